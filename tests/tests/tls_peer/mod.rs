//! Real clients and servers of TLS, and their first bytes.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use odin_tests::{TcpPeer, within};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Names that the certificate of every server has.
const NAMES: [&str; 9] = [
    "a.example",
    "b.example",
    "big.example",
    "b.a.example",
    "x.b.example",
    "y.b.example",
    "z.c.b.example",
    "nobody.test",
    "127.0.0.1",
];

struct Identity {
    cert: CertificateDer<'static>,
    key: Vec<u8>,
    pem: String,
}

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).unwrap();
        Identity { cert: made.cert.der().clone(), key: made.signing_key.serialize_der(), pem: made.cert.pem() }
    })
}

/// The certificate of every server, which is its own root.
pub(crate) fn pem() -> &'static str {
    &identity().pem
}

/// A server of TLS with these protocols: says its name in a line, then sends back what it gets.
pub(crate) async fn server(name: &'static str, alpn: &[&str]) -> TcpPeer {
    serving(alpn, move |mut stream| async move {
        stream.write_all(format!("{name}\n").as_bytes()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// A server of TLS that does this with each connection.
pub(crate) async fn serving<F: Future<Output = ()> + Send + 'static>(
    alpn: &[&str],
    serve: impl Fn(tokio_rustls::server::TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> TcpPeer {
    let Identity { cert, key, .. } = identity();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.clone()], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    TcpPeer::start(move |stream, _| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

fn client(alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identity().cert.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A whole handshake; a client that asks for an address names no server.
pub(crate) async fn connect(address: SocketAddr, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within("handshake", TlsConnector::from(client(alpn)).connect(name, stream)).await
}

/// What the server that a client comes to says, or what became of the handshake.
pub(crate) async fn greeted(address: SocketAddr, name: &str, alpn: &[&str]) -> Result<String, String> {
    let mut stream = connect(address, name, alpn).await.map_err(|error| error.to_string())?;
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(within("a greeting", stream.read_u8()).await.map_err(|error| error.to_string())?);
    }
    line.pop();
    stream.write_all(b"echo").await.unwrap();
    let mut echo = [0; 4];
    within("an echo", stream.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"echo");
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    Ok(String::from_utf8(line).unwrap())
}

/// The first bytes of a client, with a post-quantum key share.
pub(crate) fn hello(name: &str, alpn: &[&str]) -> Vec<u8> {
    let mut client = ClientConnection::new(client(alpn), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    assert!(sent.len() > 1400, "{} bytes", sent.len());
    sent
}

/// The same handshake message in records of so many bytes.
pub(crate) fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[22, 3, 1, (piece.len() >> 8) as u8, piece.len() as u8], piece].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}
