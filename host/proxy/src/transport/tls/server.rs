//! TLS on the side of clients: which certificate a name gets, who the client is, and the handshake.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use odin_chain::{ClientCertificate, TlsInfo};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use x509_parser::extensions::GeneralName;

use super::certificate::{
    Certificate, CertificateError, alternative_names, certificates, fingerprint, parsed, revoked,
};
use super::stream::Secured;
use super::tickets::{Tickets, TicketsFor};
use super::{MinVersion, provider, words};
use crate::transport::conn::Conn;

/// Tickets for a new session: a browser opens a second connection soon.
const TICKETS: usize = 2;
/// What is read and thrown away behind a handshake that failed, so that the client finds the alert and not a reset.
const LEFT: u64 = 64 * 1024;
/// How long.
const LEFT_FOR: Duration = Duration::from_secs(1);

/// What a listener asks of its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    #[default]
    Off,
    /// A certificate, if the client has one.
    Optional,
    /// A certificate.
    Required,
}

/// How a listener speaks TLS.
pub struct ServerSettings<'a> {
    /// At least one; the first is for clients that name none of them.
    pub certificates: Vec<Arc<Certificate>>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// PEM: who signs the certificates of clients.
    pub client_ca: Option<&'a [u8]>,
    /// PEM: the certificates of clients that count no more.
    pub client_crl: Option<&'a [u8]>,
    /// The lowest version.
    pub min_version: MinVersion,
    /// What sessions are resumed by.
    pub tickets: Arc<Tickets>,
    /// What is offered by ALPN (RFC 7301), the first one first: `h2`, `http/1.1`.
    pub alpn: &'a [&'a str],
    /// Upstreams are told of the client's certificate.
    pub forward_client_cert: bool,
}

/// See [`ServerSettings`].
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    by_name: Arc<ByName>,
    pub(crate) forward_client_cert: bool,
}

impl Server {
    /// An error names what does not fit.
    pub fn new(settings: ServerSettings<'_>) -> Result<Server, CertificateError> {
        let whom = whom(&settings);
        let by_name = Arc::new(ByName::new(settings.certificates));
        let builder = ServerConfig::builder_with_provider(provider().clone());
        let builder = builder.with_protocol_versions(settings.min_version.versions());
        let builder = builder.map_err(|error| CertificateError::Config(error.to_string()))?;
        let builder = match settings.client_auth {
            ClientAuth::Off => builder.with_no_client_auth(),
            asked => {
                let optional = asked == ClientAuth::Optional;
                builder.with_client_cert_verifier(clients(settings.client_ca, settings.client_crl, optional)?)
            }
        };
        let mut config = builder.with_cert_resolver(by_name.clone());
        config.alpn_protocols = settings.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer = Arc::new(TicketsFor { tickets: settings.tickets, whom });
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        let config = Arc::new(config);
        Ok(Server { config, by_name, forward_client_cert: settings.forward_client_cert })
    }

    /// The certificates, in the order of the config.
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.by_name.all
    }

    /// Makes a connection of a client one whose bytes are encrypted. An error has been told to the client.
    pub(crate) async fn accept(&self, conn: Conn) -> Result<(Conn, TlsInfo), String> {
        let accepting = TlsAcceptor::from(self.config.clone()).accept(conn);
        // Boxed: the session is large, and moved about otherwise.
        match Box::pin(accepting.into_fallible()).await {
            Ok(tls) => {
                let info = info(tls.get_ref().1);
                Ok((Conn::over(Secured { tls: tls.into(), ended: false }), info))
            }
            Err((error, conn)) => {
                let words = words::of_client(&error);
                part(conn).await;
                Err(words)
            }
        }
    }

    /// Whether a client that has asked for `sni` may ask for `host` as well: the certificate that it was shown is for both.
    pub(crate) fn covers(&self, sni: &str, host: &str) -> bool {
        sni == host || self.by_name.find(sni).first().is_some_and(|at| self.by_name.all[*at].names.covers(host))
    }
}

/// What a ticket is bound to: one of another listener, with other names or other demands on its clients, resumes nothing here.
/// A renewed certificate changes nothing of it.
fn whom(settings: &ServerSettings<'_>) -> Vec<u8> {
    let ServerSettings { certificates, client_auth, client_ca, client_crl, min_version, alpn, .. } = settings;
    let mut names: Vec<_> = certificates.iter().map(|certificate| certificate.names()).collect();
    names.sort();
    let clients = [client_ca.unwrap_or_default(), client_crl.unwrap_or_default()].map(|pem| digest(&SHA256, pem));
    format!("{names:?} {client_auth:?} {clients:?} {min_version:?} {alpn:?}").into_bytes()
}

/// Ends a connection whose handshake failed. The alert is lost if what the client has sent meanwhile is not read.
async fn part(mut conn: Conn) {
    if conn.shutdown().await.is_ok() {
        let mut left = (&mut conn).take(LEFT);
        let mut sink = tokio::io::sink();
        let reading = tokio::io::copy(&mut left, &mut sink);
        // How it ends does not matter.
        let _ = tokio::time::timeout(LEFT_FOR, reading).await;
    }
}

/// Checks what clients show.
fn clients(
    ca: Option<&[u8]>,
    crl: Option<&[u8]>,
    optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let config = |error: String| CertificateError::Config(error);
    let mut roots = RootCertStore::empty();
    for root in certificates(ca.unwrap_or_default())? {
        roots.add(root).map_err(|error| config(format!("a certificate in it cannot be a root: {error}")))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider().clone());
    if let Some(crl) = crl {
        builder = builder.with_crls(revoked(crl)?).only_check_end_entity_revocation().allow_unknown_revocation_status();
    }
    if optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| config(error.to_string()))
}

fn info(session: &rustls::ServerConnection) -> TlsInfo {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
    TlsInfo {
        version: session.protocol_version().map_or("unknown", words::version),
        cipher: session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown"),
        group: session.negotiated_key_exchange_group().and_then(|group| group.name().as_str()).unwrap_or("unknown"),
        resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        sni: session.server_name().map(|name| name.to_ascii_lowercase().into()),
        alpn: session.alpn_protocol().map(text),
        client: session.peer_certificates().and_then(|chain| client(chain.first()?)),
    }
}

fn client(leaf: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let parsed = parsed(leaf).ok()?;
    let (mut dns, mut uris, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for name in alternative_names(&parsed) {
        match name {
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::RFC822Name(mail) => others.push((*mail).to_owned()),
            GeneralName::IPAddress(bytes) => others.extend(super::certificate::ip(bytes).map(|ip| ip.to_string())),
            _ => {}
        }
    }
    Some(ClientCertificate { subject: parsed.subject().to_string(), dns, uris, others, fingerprint: fingerprint(leaf) })
}

/// The certificates of a listener by the names that they are for.
#[derive(Debug)]
struct ByName {
    all: Vec<Arc<Certificate>>,
    /// Keys that sign fast before RSA ones, which not every client can do without.
    exact: HashMap<String, Vec<usize>>,
    /// By what follows `*.`.
    wild: HashMap<String, Vec<usize>>,
    /// For clients that ask for none of these names.
    others: Vec<usize>,
}

impl ByName {
    fn new(all: Vec<Arc<Certificate>>) -> Self {
        let (mut exact, mut wild) = (HashMap::<_, Vec<usize>>::new(), HashMap::<_, Vec<usize>>::new());
        for (at, certificate) in all.iter().enumerate() {
            for name in &certificate.names.dns {
                match name.strip_prefix("*.") {
                    Some(below) => wild.entry(below.to_owned()).or_default().push(at),
                    None => exact.entry(name.clone()).or_default().push(at),
                }
            }
        }
        // Stable: of equals the one that the config names first.
        exact.values_mut().chain(wild.values_mut()).for_each(|found| found.sort_by_key(|at| all[*at].is_rsa()));
        let others = (0..all.len()).collect();
        ByName { all, exact, wild, others }
    }

    /// Those for a name in lower case, the best first.
    fn find(&self, name: &str) -> &[usize] {
        let below = || self.wild.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(below).unwrap_or(&self.others)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = match hello.server_name() {
            Some(name) => self.find(&name.to_ascii_lowercase()),
            None => &self.others,
        };
        let keys = found.iter().map(|at| &self.all[*at].key);
        keys.into_iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some()).cloned()
    }
}
