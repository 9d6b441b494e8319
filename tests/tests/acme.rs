//! Certificates by ACME, end to end: the real Odin asks Let's Encrypt's test server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use odin_tests::pebble::{self, Pebble, Place};
use odin_tests::{HttpBackend, Odin, Protocol, ReservedPort, Target as _, skipped, until, within};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Believes everybody: the roots of the test server are other ones at every start.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A connection that asks for this name.
async fn connect(address: SocketAddr, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(address).await?;
    within("a TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// The certificate that is shown for a name, if one for it is.
async fn shown(address: SocketAddr, name: &str) -> Option<Vec<u8>> {
    let stream = connect(address, name).await.ok()?;
    let leaf = stream.get_ref().1.peer_certificates()?.first()?.to_vec();
    // The name stands in the certificate as it is.
    leaf.windows(name.len()).any(|part| part == name.as_bytes()).then_some(leaf)
}

async fn issued(address: SocketAddr, name: &str) -> Vec<u8> {
    until(&format!("a certificate for {name}"), || async { shown(address, name).await }).await
}

/// An Odin with the listeners `tls` (routes for `a.test` and `b.test`) and `plain`, and more keys of `[acme.test]`.
struct Setting {
    tls: ReservedPort,
    plain: ReservedPort,
    place: Place,
    state: TempDir,
    backend: HttpBackend,
}

impl Setting {
    /// None, and told, when the test server is not there.
    async fn new() -> Option<Setting> {
        if !pebble::is_there() {
            skipped("pebble, a package of Debian");
            return None;
        }
        let (tls, plain) = (ReservedPort::reserve(), ReservedPort::reserve());
        let backend = HttpBackend::echo(Protocol::Http1).await;
        Some(Setting { tls, plain, place: Place::default(), state: TempDir::new().unwrap(), backend })
    }

    fn pebble(&self) -> Pebble {
        Pebble { http_port: self.plain.number(), tls_port: self.tls.number(), ..Pebble::default() }
    }

    fn config(&self, keys: &str) -> String {
        self.config_at((self.tls.number(), self.plain.number()), keys)
    }

    fn config_at(&self, (tls, plain): (u16, u16), keys: &str) -> String {
        format!(
            "admin = '127.0.0.1:0'\n[[listeners]]\nname = 'tls'\naddress = '127.0.0.1:{tls}'\ntls = {{ acme = 'test' }}\n\
             [[listeners.routes]]\nhost = 'a.test'\ncluster = 'up'\n[[listeners.routes]]\nhost = 'b.test'\ncluster = 'up'\n\
             [[listeners]]\nname = 'plain'\naddress = '127.0.0.1:{plain}'\ncluster = 'up'\n\
             [clusters.up]\nendpoints = ['{}']\n[acme.test]\ndirectory = '{}'\nroots = {:?}\nfolder = {:?}\nretry = '1s'\n\
             contact = 'mailto:ops@a.test'\n{keys}\n",
            self.backend.address(),
            self.place.directory(),
            self.place.roots(),
            self.state.path(),
        )
    }
}

/// Files below a folder whose name ends so.
fn files(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path, ending)),
            path if path.to_string_lossy().ends_with(ending) => found.push(path),
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn a_directory_that_comes_late_issues_what_a_restart_and_another_odin_serve() {
    let Some(setting) = Setting::new().await else { return };
    let odin = Odin::builder().with_config(setting.config("")).start().await;
    let address = odin.address("tls");
    odin.log_contains(&["no certificate: ", "cannot connect to localhost"]).await;
    assert!(connect(address, "a.test").await.is_err());
    odin.log_contains(&["TLS handshake failed: there is no certificate"]).await;

    let running = setting.place.start(&setting.pebble()).await;
    let first = issued(address, "a.test").await;
    issued(address, "b.test").await;
    let mut stream = connect(address, "a.test").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let metrics = odin.metrics().await;
    assert!(metrics.sum("odin_acme_certificates_total", &[]) >= 2.0);
    assert!(metrics.sum("odin_acme_failures_total", &[]) >= 1.0);
    assert!(metrics.sum("odin_tls_certificate_expiry_seconds", &[("names", "a.test")]) > 1e9);
    // Who asks as an authority does, and is none, gets nothing; nothing is left of the challenges.
    assert!(
        files(&setting.state.path().join("."), "").iter().all(|file| !file.to_string_lossy().contains("challenges/"))
    );

    // Another Odin serves what is in the folder, and asks for nothing.
    let (tls, plain) = (ReservedPort::reserve(), ReservedPort::reserve());
    let config = setting.config_at((tls.number(), plain.number()), "");
    let other = Odin::builder().with_config(config).start().await;
    other.log_contains(&["another process asks"]).await;
    assert_eq!(issued(other.address("tls"), "a.test").await, first);
    other.stop().await;

    // So does the same one after a restart, without the directory.
    odin.stop().await;
    drop(running);
    let odin = Odin::builder().with_config(setting.config("")).start().await;
    assert_eq!(issued(odin.address("tls"), "a.test").await, first);
    assert!(!odin.log().all().iter().any(|line| line.contains("asking for a certificate")));
    odin.stop().await;
}

#[tokio::test]
async fn a_name_is_proven_over_plain_http() {
    let Some(setting) = Setting::new().await else { return };
    let _running = setting.place.start(&Pebble { tls_port: 1, ..setting.pebble() }).await;
    let odin = Odin::builder().with_config(setting.config("challenge = 'http-01'")).start().await;
    issued(odin.address("tls"), "a.test").await;
    issued(odin.address("tls"), "b.test").await;
    // What is no token goes on to the route: an upstream may have challenges of its own.
    let mut client = TcpStream::connect(odin.address("plain")).await.unwrap();
    for path in ["other", "..%2f..%2faccount.json", ""] {
        let request =
            format!("GET /.well-known/acme-challenge/{path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("an answer", client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.contains("x-forwarded-proto") || answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        client = TcpStream::connect(odin.address("plain")).await.unwrap();
    }
    odin.stop().await;
}

#[tokio::test]
async fn an_account_can_belong_to_one_at_the_authority() {
    let Some(setting) = Setting::new().await else { return };
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let _running = setting.place.start(&Pebble { external: Some(key.to_owned()), ..setting.pebble() }).await;
    let odin = Odin::builder().with_config(setting.config("")).start().await;
    odin.log_contains(&["no certificate: a new account: ", "externalAccountRequired"]).await;
    let file = setting.state.path().join("hmac");
    std::fs::write(&file, format!("{key}\n")).unwrap();
    let account = format!("external-account = {{ kid = 'kid-1', hmac-file = {file:?} }}");
    odin.reload(&setting.config(&account)).await.has_status(200);
    issued(odin.address("tls"), "a.test").await;
    odin.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_and_its_connections_go_on() {
    let Some(setting) = Setting::new().await else { return };
    let _running = setting.place.start(&Pebble { validity: 20, ..setting.pebble() }).await;
    let odin = Odin::builder().with_config(setting.config("[timeouts]\nheader = '1m'")).start().await;
    let address = odin.address("tls");
    let first = issued(address, "a.test").await;
    let mut open = connect(address, "a.test").await.unwrap();
    for _ in 0..2 {
        let before = issued(address, "a.test").await;
        // A handshake at any moment finds a certificate that is valid.
        until("the next certificate", || async {
            (shown(address, "a.test").await.expect("there is a certificate") != before).then_some(())
        })
        .await;
    }
    assert_ne!(issued(address, "a.test").await, first);
    open.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", open.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    odin.stop().await;
}

#[tokio::test]
async fn an_upgrade_hands_on_who_asks() {
    let Some(setting) = Setting::new().await else { return };
    let _running = setting.place.start(&setting.pebble()).await;
    let odin = Odin::builder().with_config(setting.config("")).start().await;
    let address = odin.address("tls");
    let (first, _) = (issued(address, "a.test").await, issued(address, "b.test").await);
    // A connection that stays open, so that the process before is there for a while.
    let mut open = connect(address, "a.test").await.unwrap();
    odin.upgrade().await;
    assert_eq!(issued(address, "a.test").await, first);
    let more = setting.config("").replace("host = 'b.test'", "host = 'c.test'");
    std::fs::write(odin.config_file(), more).unwrap();
    assert!(odin.run(&["reload"]).await.status.success());
    issued(address, "c.test").await;
    open.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", open.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    odin.stop().await;
}

#[tokio::test]
async fn what_the_authority_does_not_reach_is_told_in_its_words() {
    let Some(setting) = Setting::new().await else { return };
    let nowhere = ReservedPort::reserve();
    let _running = setting.place.start(&Pebble { tls_port: nowhere.number(), ..setting.pebble() }).await;
    let odin = Odin::builder().with_config(setting.config("")).start().await;
    odin.log_contains(&["no certificate: tls-alpn-01 failed: ", "Failed to connect"]).await;
    // Of a directory that somebody else signed nothing is believed.
    let other = odin_tests::tls::Authority::new("somebody else");
    let config = setting.config("").replace(setting.place.roots().to_str().unwrap(), other.file().to_str().unwrap());
    odin.reload(&config).await.has_status(200);
    odin.log_contains(&["no certificate: the directory: ", "UnknownIssuer"]).await;
    tokio::time::timeout(Duration::from_secs(20), odin.stop()).await.expect("it ends at once");
}
