//! TLS as a test sees it: an authority that issues certificates of every kind, clients that tell what they agreed on, and a
//! front that makes any backend one that speaks TLS.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::body::hex;
use crate::tcp::TcpPeer;
use crate::wait::within;
use crate::{Target, paths};

/// For the times of certificates.
pub use rcgen::date_time_ymd as date;

/// Who signs certificates, with a folder for their files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
    serial: AtomicU64,
}

/// A certificate with its key, and the files of both.
pub struct Issued {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    serial: u64,
}

impl Issued {
    /// As the config has it: `{ cert = "…", key = "…" }`.
    pub fn pair(&self) -> String {
        format!("{{ cert = {:?}, key = {:?} }}", self.cert, self.key)
    }

    /// Puts this one in the files of another.
    pub fn replace(&self, other: &Issued) {
        for (from, to) in [(&self.key, &other.key), (&self.cert, &other.cert)] {
            let new = to.with_extension("new");
            std::fs::copy(from, &new).unwrap();
            std::fs::rename(new, to).unwrap();
        }
    }

    fn chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.der.clone()], PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new("Odin's test authority")
    }
}

impl Authority {
    /// One of this name.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, folder, serial: AtomicU64::new(1) }
    }

    /// The file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A config of the repository with the certificates that it names: the folder that who tries it makes is another one here.
    pub fn in_config(&self, text: &str) -> String {
        for name in ["web", "api"] {
            let issued = self.issue(&[&format!("{name}.localhost")]);
            std::fs::copy(issued.cert, self.folder().join(format!("{name}.pem"))).unwrap();
            std::fs::copy(issued.key, self.folder().join(format!("{name}.key"))).unwrap();
        }
        for name in ["clients", "upstream"] {
            std::fs::copy(self.file(), self.folder().join(format!("{name}.pem"))).unwrap();
        }
        text.replace("certs/", &format!("{}/", self.folder().display()))
    }

    /// A certificate for these names, with an ECDSA key.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// The same, with something changed.
    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let (mut params, serial) = self.params(names);
        change(&mut params);
        let made = params.signed_by(&key, &self.issuer).unwrap();
        self.write(serial, made.der().clone(), &made.pem(), &key.serialize_pem())
    }

    /// The same with an RSA key, which `openssl` makes.
    pub fn issue_rsa(&self, names: &[&str]) -> Issued {
        let made = std::process::Command::new("openssl").args(["genrsa", "2048"]).output().unwrap();
        let pem = String::from_utf8(made.stdout).unwrap();
        let key = KeyPair::from_pem(&pem).unwrap();
        let (params, serial) = self.params(names);
        let made = params.signed_by(&key, &self.issuer).unwrap();
        self.write(serial, made.der().clone(), &made.pem(), &pem)
    }

    /// One that nobody but its owner has signed.
    pub fn self_signed(&self, names: &[&str]) -> Issued {
        let key = KeyPair::generate().unwrap();
        let (params, serial) = self.params(names);
        let made = params.self_signed(&key).unwrap();
        self.write(serial, made.der().clone(), &made.pem(), &key.serialize_pem())
    }

    fn params(&self, names: &[&str]) -> (CertificateParams, u64) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        let serial = self.serial.fetch_add(1, Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params, serial)
    }

    fn write(&self, serial: u64, der: CertificateDer<'static>, cert: &str, key: &str) -> Issued {
        let file = |ending: &str| self.folder.path().join(format!("{serial}.{ending}"));
        let issued = Issued { cert: file("pem"), key: file("key"), der, serial };
        std::fs::write(&issued.cert, cert).unwrap();
        std::fs::write(&issued.key, key).unwrap();
        issued
    }

    /// The file of a list of certificates that count no more.
    pub fn revoke(&self, revoked: &[&Issued]) -> PathBuf {
        let entry = |issued: &&Issued| RevokedCertParams {
            serial_number: SerialNumber::from(issued.serial),
            revocation_time: date(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date(2025, 1, 1),
            next_update: date(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let file = self.folder.path().join("revoked.pem");
        std::fs::write(&file, params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        file
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A client that believes in this authority, and offers these protocols.
    pub fn client(&self, alpn: &[&str]) -> Client {
        self.client_of(alpn, rustls::ALL_VERSIONS, None)
    }

    /// The same with a certificate of its own.
    pub fn client_with(&self, alpn: &[&str], certificate: &Issued) -> Client {
        self.client_of(alpn, rustls::ALL_VERSIONS, Some(certificate))
    }

    /// The same of one version.
    pub fn client_of(
        &self,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        certificate: Option<&Issued>,
    ) -> Client {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(self.roots());
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let (chain, key) = issued.chain();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Client(Arc::new(config))
    }
}

/// The words in backquotes of the lines of docs/tls.md that begin so: what Odin says that it offers.
pub fn offered(rows: &[&str]) -> BTreeSet<String> {
    let page = std::fs::read_to_string(paths::workspace().join("docs/tls.md")).unwrap();
    let lines = page.lines().filter(|line| rows.iter().any(|row| line.starts_with(&format!("| {row}"))));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Hexadecimal digits of the SHA-256 of a certificate.
pub fn fingerprint(issued: &Issued) -> String {
    hex(&Sha256::digest(&issued.der))
}

/// A client whose sessions can be resumed by its later connections.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// A connection on which the handshake is done. With TLS 1.3 the server may refuse it after that.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(address).await?, name).await
    }

    /// The same on a connection that is there.
    pub async fn over(&self, stream: TcpStream, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        within("a TLS handshake", TlsConnector::from(self.0.clone()).connect(name, stream)).await
    }

    /// The whole answer to one request over HTTP/1.1, as text.
    pub async fn ask(&self, address: SocketAddr, name: &str, host: &str, path: &str) -> io::Result<String> {
        let mut stream = self.connect(address, name).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        within("an answer over TLS", stream.read_to_end(&mut answer)).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// The server's side of handshakes, with this certificate; clients that show none of `clients` are refused.
pub fn acceptor(certificate: &Issued, alpn: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let (chain, key) = certificate.chain();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A backend that speaks TLS: what is left of each connection goes to `target`.
pub async fn front(target: &impl Target, certificate: &Issued, alpn: &[&str], clients: Option<&Authority>) -> TcpPeer {
    let (acceptor, target) = (acceptor(certificate, alpn, clients), target.address());
    TcpPeer::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            // A client that is refused, or that refuses, is what some tests are about.
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let Ok(mut behind) = TcpStream::connect(target).await else { return };
            let _ = copy_bidirectional(&mut stream, &mut behind).await;
        }
    })
    .await
}
