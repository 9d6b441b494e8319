//! Slow readers behind TLS: what the session has taken and not yet passed on arrives, to the last byte.
//!
//! A session takes up to 64 KiB more than the socket below it. So bodies of many lengths are sent to readers that rest at
//! first: some of them end in what the session has taken.

use std::net::SocketAddr;
use std::time::Duration;

use odin_tests::tls::{Authority, acceptor};
use odin_tests::{Odin, TcpPeer, within};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// From less than a socket takes to more, in steps that are smaller than what a session takes.
fn lengths() -> impl Iterator<Item = usize> {
    (1_500_000..4_500_000).step_by(48 * 1024)
}

/// How long a reader rests. All that can be sent meanwhile is sent, and no connection that ends lingers for so long.
const REST: Duration = Duration::from_millis(2500);

/// A socket that has room for little.
fn small() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("a head", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads a body of this length; how much of it came, if that is less.
async fn body(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Result<(), usize> {
    let (mut got, mut piece) = (0, vec![0; 64 * 1024]);
    while got < length {
        match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut piece)).await {
            Ok(Ok(read)) if read > 0 => got += read,
            _ => return Err(got),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_client_gets_the_whole_of_a_response() {
    let authority = Authority::default();
    let backend = TcpPeer::start(|mut stream, _| async move {
        let asked = head(&mut stream).await;
        let length: usize = asked.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&vec![b'z'; length]).await;
    })
    .await;
    let tls = format!("tls = {{ certificates = [{}] }}", authority.issue(&["a.test"]).pair());
    let odin = Odin::builder().target(&backend).in_listener(&tls).start().await;
    let mut clients = JoinSet::new();
    for (length, last) in lengths().flat_map(|length| [(length, "keep-alive"), (length, "close")]) {
        let (client, address) = (authority.client(&["http/1.1"]), odin.address("web"));
        clients.spawn(async move {
            let stream = small().connect(address).await.unwrap();
            let mut stream = client.over(stream, "a.test").await.unwrap();
            let request = format!("GET /{length} HTTP/1.1\r\nHost: a.test\r\nConnection: {last}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            head(&mut stream).await;
            sleep(REST).await;
            (length, last, body(&mut stream, length).await)
        });
    }
    for (length, last, got) in clients.join_all().await {
        assert_eq!(got, Ok(()), "of {length}, {last}");
    }
}

#[tokio::test]
async fn a_slow_upstream_gets_the_whole_of_a_request() {
    let authority = Authority::default();
    let accepts = acceptor(&authority.issue(&["up.test"]), &[], None);
    let socket = small();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(256).unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (accepts, (stream, _)) = (accepts.clone(), listener.accept().await.unwrap());
            tokio::spawn(async move {
                let mut stream = accepts.accept(stream).await.unwrap();
                let asked = head(&mut stream).await;
                let length: usize = asked.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                sleep(REST).await;
                let status = if body(&mut stream, length).await == Ok(()) { 200 } else { 400 };
                let answer = format!("HTTP/1.1 {status} Read\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    let of_cluster = format!("tls = {{ roots = {:?}, server-name = 'up.test' }}", authority.file());
    let odin = Odin::builder().target(&upstream).in_cluster(&of_cluster).start().await;
    let mut clients = JoinSet::new();
    for length in lengths() {
        let address = odin.address("web");
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("POST /{length} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'u'; length]).await.unwrap();
            (length, head(&mut stream).await)
        });
    }
    for (length, answer) in clients.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 200"), "of {length}: {answer}");
    }
}
