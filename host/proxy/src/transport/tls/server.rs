//! TLS on the side of clients: which certificate a name gets, who the client is, and the handshake.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use odin_chain::{ClientCertificate, TlsInfo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Accepted, Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, TlsAcceptor};
use x509_parser::extensions::GeneralName;

use super::certificate::{
    Certificate, CertificateError, alternative_names, certificates, fingerprint, parsed, serials,
};
use super::clients::{self, Noting, Until};
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
    /// The first is for clients that name none of them.
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
    /// Proves to an authority that a name is served here (RFC 8737): a key with the certificate (PEM) that is shown to who asks
    /// for the name with [`CHALLENGE`].
    pub challenges: Option<Challenges>,
}

/// See [`ServerSettings`].
pub type Challenges = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What an authority asks for by ALPN (RFC 8737, section 6.2).
pub const CHALLENGE: &str = "acme-tls/1";

/// See [`ServerSettings`].
#[derive(Debug)]
pub struct Server {
    plan: Plan,
    /// For every connection; none where each has its own, because clients show certificates.
    config: Option<Arc<ServerConfig>>,
    demands: Vec<u8>,
    pub(crate) forward_client_cert: bool,
}

impl Server {
    /// An error names what does not fit.
    pub fn new(settings: ServerSettings<'_>) -> Result<Server, CertificateError> {
        let demands = demands(&settings)?;
        let whom = whom(&settings, &demands);
        let verifier = match settings.client_auth {
            ClientAuth::Off => None,
            asked => {
                let optional = asked == ClientAuth::Optional;
                Some(clients::verifier(settings.client_ca, settings.client_crl, optional)?)
            }
        };
        let plan = Plan {
            versions: settings.min_version.versions(),
            alpn: settings.alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            by_name: Arc::new(ByName::new(settings.certificates)),
            verifier,
            tickets: settings.tickets,
            whom,
            challenges: settings.challenges,
        };
        let config = plan.config().map_err(|error| CertificateError::Config(error.to_string()))?;
        let config = plan.verifier.is_none().then_some(config);
        Ok(Server { plan, config, demands, forward_client_cert: settings.forward_client_cert })
    }

    /// Whether a connection that came in by the one may go on by the other: both ask the same of clients.
    pub(crate) fn asks_as(&self, other: &Server) -> bool {
        self.demands == other.demands && self.forward_client_cert == other.forward_client_cert
    }

    /// The certificates, in the order of the config.
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.plan.by_name.all
    }

    /// Makes a connection of a client one whose bytes are encrypted, from its beginning or from what was read of it. An
    /// error has been told to the client.
    pub(crate) async fn accept(&self, conn: Conn, begun: Option<Begun>) -> Result<(Conn, TlsInfo), String> {
        let (begun, conn) = match (begun, &self.plan.challenges) {
            (None, Some(_)) => {
                let (begun, conn) = first(conn).await?;
                (Some(begun), conn)
            }
            (begun, _) => (begun, conn),
        };
        let proof = begun.as_ref().and_then(|begun| self.plan.proof(&begun.accepted.client_hello()));
        let config = match (proof, &self.config) {
            (Some(proof), _) => proof,
            (None, Some(config)) => config.clone(),
            (None, None) => self.plan.config().map_err(|error| error.to_string())?,
        };
        let accepting = match begun {
            None => TlsAcceptor::from(config).accept(conn),
            Some(Begun { accepted, rest }) => {
                StartHandshake::from_parts(accepted, conn).into_stream_with(config, |session| {
                    let mut rest = &rest[..];
                    // Nothing to read would be the end of the connection.
                    while !rest.is_empty() && session.read_tls(&mut rest).is_ok_and(|read| read > 0) {}
                })
            }
        };
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

    /// The same for a socket that is none of the data path: the admin pages.
    pub async fn accept_socket(
        &self,
        socket: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, String> {
        self.accept(socket.into(), None).await.map(|(conn, _)| conn)
    }

    /// Whether a client that has asked for `sni` may ask for `host` as well: whichever certificate of that
    /// name it was shown, it is for both.
    pub(crate) fn covers(&self, sni: &str, host: &str) -> bool {
        let by_name = &self.plan.by_name;
        sni == host || by_name.find(sni).iter().all(|at| by_name.all[*at].names.covers(host))
    }
}

/// Reads the ClientHello.
async fn first(conn: Conn) -> Result<(Begun, Conn), String> {
    let mut reading = LazyConfigAcceptor::new(Acceptor::default(), conn);
    match (&mut reading).await {
        Ok(StartHandshake { accepted, io, .. }) => Ok((Begun { accepted, rest: Vec::new() }, io)),
        Err(error) => {
            if let Some(conn) = reading.take_io() {
                part(conn).await;
            }
            Err(words::of_client(&error))
        }
    }
}

/// A handshake of which the ClientHello was read.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) accepted: Accepted,
    /// What came behind it.
    pub(crate) rest: Vec<u8>,
}

/// What the configs of a listener's connections are made of.
struct Plan {
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
    by_name: Arc<ByName>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    tickets: Arc<Tickets>,
    whom: Arc<[u8]>,
    challenges: Option<Challenges>,
}

impl Plan {
    /// For an authority that looks whether the name is served here; for nobody else.
    fn proof(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let answers = self.challenges.as_ref()?;
        if !hello.alpn()?.eq([CHALLENGE.as_bytes()]) {
            return None;
        }
        let pem = answers(&hello.server_name()?.to_ascii_lowercase())?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = provider().key_provider.load_private_key(key).ok()?;
        // It has a critical extension that nobody but the authority knows, so that the two cannot be compared here.
        let certified = CertifiedKey::new(certificates(pem.as_bytes()).ok()?, key);
        let config =
            ServerConfig::builder_with_provider(provider().clone()).with_protocol_versions(self.versions).ok()?;
        let config = config.with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![CHALLENGE.as_bytes().to_vec()];
        Some(Arc::new(config))
    }

    fn config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let until = Arc::new(Until::default());
        let builder = ServerConfig::builder_with_provider(provider().clone());
        let builder = builder.with_protocol_versions(self.versions)?;
        let builder = match &self.verifier {
            None => builder.with_no_client_auth(),
            Some(by) => builder.with_client_cert_verifier(Arc::new(Noting { by: by.clone(), until: until.clone() })),
        };
        let mut config = builder.with_cert_resolver(self.by_name.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        config.ticketer = Arc::new(TicketsFor { tickets: self.tickets.clone(), whom: self.whom.clone(), until });
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plan")
    }
}

/// What is asked of clients. A list of revoked certificates that says the same as the one before, later, asks the same.
fn demands(settings: &ServerSettings<'_>) -> Result<Vec<u8>, CertificateError> {
    let ServerSettings { client_auth, client_ca, client_crl, min_version, .. } = settings;
    let ca = digest(&SHA256, client_ca.unwrap_or_default());
    let revoked = client_crl.map(serials).transpose()?;
    Ok(format!("{client_auth:?} {ca:?} {revoked:?} {min_version:?}").into_bytes())
}

/// What a ticket is bound to: it resumes nothing at a listener with other names, another ALPN or other demands on its clients.
/// Listeners that are equal in this resume each other's sessions; a renewed certificate changes nothing of it.
fn whom(settings: &ServerSettings<'_>, demands: &[u8]) -> Arc<[u8]> {
    let mut names: Vec<_> = settings.certificates.iter().map(|certificate| certificate.names()).collect();
    names.sort();
    [format!("{names:?} {:?} ", settings.alpn).as_bytes(), demands].concat().into()
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
        let mut keys = found.iter().map(|at| &self.all[*at].key);
        let schemes = hello.signature_schemes();
        if schemes.is_empty() {
            // None of its cipher suites is signed by any: with a certificate the client learns that it is the suites.
            return keys.next().cloned();
        }
        keys.find(|key| key.key.choose_scheme(schemes).is_some()).cloned()
    }
}
