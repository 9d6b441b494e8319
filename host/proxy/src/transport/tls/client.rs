//! TLS on the side of upstreams: whom Odin believes, who it is itself, and the handshake.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use super::certificate::{Certificate, CertificateError, certificates, revoked};
use super::stream::Secured;
use super::verify::Fingerprints;
use super::{MinVersion, provider, words};
use crate::transport::conn::Conn;

/// Whom Odin believes when an upstream says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those of the system that Odin runs on.
    System,
    /// Mozilla's, as they were when this Odin was built.
    Mozilla,
    /// Those of a PEM file, by its name and what is in it.
    File(String, Vec<u8>),
    /// Nobody but the owners of certificates with these SHA-256 fingerprints (64 hexadecimal digits), whatever their names
    /// and times.
    Fingerprints(Vec<String>),
}

/// How the endpoints of a cluster are spoken to.
pub struct ClientSettings<'a> {
    /// Whom Odin believes.
    pub roots: Roots,
    /// PEM: certificates of upstreams that count no more. With the roots of a file only.
    pub crl: Option<&'a [u8]>,
    /// The name that the endpoints' certificates are for. None: that of the endpoint.
    pub server_name: Option<&'a str>,
    /// What Odin shows to upstreams that ask who it is.
    pub certificate: Option<&'a Certificate>,
    /// The lowest version.
    pub min_version: MinVersion,
    /// What is offered by ALPN (RFC 7301); one of it must be chosen if there is any.
    pub alpn: Vec<String>,
}

/// See [`ClientSettings`]. Two that were made of the same are equal.
pub struct Client {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    /// In words, for errors.
    roots: String,
    /// Of everything that it was made of.
    digest: [u8; 32],
}

impl Client {
    /// An error names what does not fit.
    pub fn new(settings: &ClientSettings<'_>) -> Result<Client, CertificateError> {
        let config = |error: rustls::Error| CertificateError::Config(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider().clone());
        let builder = builder.with_protocol_versions(settings.min_version.versions()).map_err(config)?;
        // Not dangerous: each of them checks, see there.
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier(&settings.roots, settings.crl)?);
        let mut made = match settings.certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                certificate.key.as_ref().clone(),
            ))),
            None => builder.with_no_client_auth(),
        };
        made.alpn_protocols = settings.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let server_name = settings.server_name.map(|name| {
            let named = ServerName::try_from(name.to_owned());
            named.map_err(|_| CertificateError::Config(format!("{name:?} is no name of a server")))
        });
        Ok(Client {
            config: Arc::new(made),
            server_name: server_name.transpose()?,
            roots: described(&settings.roots),
            digest: digest(settings),
        })
    }

    /// Makes a connection to an endpoint one whose bytes are encrypted; `host` is the endpoint's name in the config.
    pub(crate) async fn connect(&self, conn: Conn, host: Option<&str>, ip: IpAddr) -> io::Result<Conn> {
        let named = || host.and_then(|host| ServerName::try_from(host.to_owned()).ok());
        let name = self.server_name.clone().or_else(named).unwrap_or_else(|| ServerName::from(ip));
        let connecting = TlsConnector::from(self.config.clone()).connect(name.clone(), conn);
        let failed = |error| words::of_upstream(error, &name, &self.roots);
        let tls = Box::pin(connecting).await.map_err(failed)?;
        let agreed = tls.get_ref().1.alpn_protocol();
        if self.config.alpn_protocols.iter().any(|offered| offered == b"h2") && agreed != Some(b"h2") {
            return Err(io::Error::other(format!("TLS: {} did not agree on HTTP/2 (ALPN h2)", name.to_str())));
        }
        Ok(Conn::over(Secured { tls: tls.into(), ended: false }))
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Client {}

impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("roots", &self.roots).field("server_name", &self.server_name).finish()
    }
}

fn described(roots: &Roots) -> String {
    match roots {
        Roots::System => "the roots of the system".into(),
        Roots::Mozilla => "Mozilla's roots".into(),
        Roots::File(name, _) => format!("the roots in {name}"),
        Roots::Fingerprints(_) => "the fingerprints of the config".into(),
    }
}

fn verifier(roots: &Roots, crl: Option<&[u8]>) -> Result<Arc<dyn ServerCertVerifier>, CertificateError> {
    let config = |error: String| CertificateError::Config(error);
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            let system = Verifier::new(provider().clone());
            return Ok(Arc::new(system.map_err(|error| config(format!("the system's roots: {error}")))?));
        }
        Roots::Fingerprints(fingerprints) => return Ok(Arc::new(Fingerprints(fingerprints.clone()))),
        Roots::Mozilla => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::File(_, text) => {
            for root in certificates(text)? {
                store.add(root).map_err(|error| config(format!("a certificate in it cannot be a root: {error}")))?;
            }
        }
    }
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider().clone());
    if let Some(crl) = crl {
        builder = builder.with_crls(revoked(crl)?).only_check_end_entity_revocation().allow_unknown_revocation_status();
    }
    Ok(builder.build().map_err(|error| config(error.to_string()))?)
}

/// Of all parts, each with its length, so that no two ways to cut them are the same.
fn digest(settings: &ClientSettings<'_>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&bytes.len().to_be_bytes());
        context.update(bytes);
    };
    let ClientSettings { roots, crl, server_name, certificate, min_version, alpn } = settings;
    part(format!("{roots:?} {server_name:?} {min_version:?} {alpn:?}").as_bytes());
    part(crl.unwrap_or_default());
    certificate.iter().flat_map(|certificate| &certificate.key.cert).for_each(|der| part(der));
    let mut made = [0; 32];
    made.copy_from_slice(context.finish().as_ref());
    made
}
