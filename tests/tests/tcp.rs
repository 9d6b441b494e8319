//! The TCP relay: every byte in order, each direction ends by itself, and a stalled peer costs no memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use odin_tests::{Ending, Odin, Raw, TcpPeer, body, until};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// A backend that runs the script on its only connection; what the script answers comes out of the channel.
async fn scripted<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    script: impl Fn(Raw) -> F + Send + 'static,
) -> (TcpPeer, mpsc::UnboundedReceiver<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let peer = TcpPeer::start(move |stream, _| {
        let (script, sender) = (script(Raw::new(stream)), sender.clone());
        async move {
            let _ = sender.send(script.await);
        }
    })
    .await;
    (peer, receiver)
}

async fn relay_to(backend: &TcpPeer) -> Odin {
    Odin::builder().tcp_target(backend).start().await
}

#[tokio::test]
async fn a_client_that_half_closes_still_receives_the_rest() {
    let (backend, mut got) = scripted(|mut connection| async move {
        let (request, ending) = connection.rest().await;
        connection.send([b"you said: ", request.as_slice()].concat()).await;
        (ending, request.len())
    })
    .await;
    let odin = relay_to(&backend).await;
    let mut client = odin.connect_tcp().await;
    client.send("everything I had to say").await;
    client.finish().await;
    let (answer, ending) = client.rest().await;
    assert_eq!((answer.as_slice(), ending), (&b"you said: everything I had to say"[..], Ending::Closed));
    assert_eq!(got.recv().await, Some((Ending::Closed, 23)));
    odin.stop().await;
}

#[tokio::test]
async fn a_server_that_half_closes_still_receives_the_rest() {
    let (backend, mut got) = scripted(|mut connection| async move {
        connection.send("goodbye").await;
        connection.finish().await;
        connection.rest().await
    })
    .await;
    let odin = relay_to(&backend).await;
    let mut client = odin.connect_tcp().await;
    let (farewell, ending) = client.rest().await;
    assert_eq!((farewell.as_slice(), ending), (&b"goodbye"[..], Ending::Closed));
    client.send("one more thing").await;
    client.finish().await;
    assert_eq!(got.recv().await, Some((b"one more thing".to_vec(), Ending::Closed)));
}

#[tokio::test]
async fn a_large_rest_arrives_after_a_half_close() {
    const LENGTH: u64 = 32 << 20;
    let (backend, _got) = scripted(|mut connection| async move {
        let (_, ending) = connection.rest().await;
        for piece in body::pieces(LENGTH) {
            connection.send(piece).await;
        }
        ending
    })
    .await;
    let odin = relay_to(&backend).await;
    let mut client = odin.connect_tcp().await;
    client.send("go").await;
    client.finish().await;
    let (rest, ending) = client.rest().await;
    assert_eq!(ending, Ending::Closed);
    assert_eq!(body::hex(&Sha256::digest(&rest)), body::long_digest(LENGTH));
}

#[tokio::test]
async fn a_reset_by_the_server_reaches_the_client() {
    let (backend, mut got) = scripted(|mut connection| async move {
        connection.read(5).await;
        connection.reset();
    })
    .await;
    let odin = relay_to(&backend).await;
    let mut client = odin.connect_tcp().await;
    client.send("hello").await;
    assert_eq!(client.ends().await, Ending::Reset);
    got.recv().await;
}

#[tokio::test]
async fn a_reset_by_the_client_reaches_the_server() {
    let (backend, mut got) = scripted(|mut connection| async move {
        connection.send("hello").await;
        connection.rest().await.1
    })
    .await;
    let odin = relay_to(&backend).await;
    let mut client = odin.connect_tcp().await;
    client.read(5).await;
    client.reset();
    assert_eq!(got.recv().await, Some(Ending::Reset));
}

#[tokio::test]
async fn small_messages_go_back_and_forth_at_once() {
    let backend = TcpPeer::echo("").await;
    let odin = relay_to(&backend).await;
    let mut client = odin.connect_tcp().await;
    for turn in 0..5000usize {
        let message = vec![turn as u8; 1 + turn % 1500];
        client.send(&message).await;
        assert_eq!(client.read(message.len()).await, message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_growing_and_shrinking_size_come_back_whole() {
    let backend = TcpPeer::echo("").await;
    let odin = relay_to(&backend).await;
    let mut stream = odin.connect_tcp().await;
    // From small to bulk and back, so that the relay changes its way of working more than once.
    for shift in [3, 20, 8, 23, 1, 22, 6, 21] {
        let message: Vec<u8> = body::pieces(1 << shift).flatten().collect();
        let (mut reader, mut writer) = stream.stream().split();
        let mut back = vec![0; message.len()];
        let (sent, read) = tokio::join!(writer.write_all(&message), reader.read_exact(&mut back));
        sent.unwrap();
        read.unwrap();
        assert!(back == message, "{} bytes came back changed", message.len());
    }
}

#[tokio::test]
async fn five_hundred_connections_are_relayed_at_once() {
    let backend = TcpPeer::echo("").await;
    let odin = Odin::builder().workers(2).tcp_target(&backend).start().await;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(odin.connect_tcp().await);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("{number:05}")).await;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.read(5).await, format!("{number:05}").as_bytes());
    }
    assert_eq!(backend.connections(), 500);
}

/// Sends the known content without end, or up to `length`, and counts what the kernel took.
async fn source(length: u64, sent: Arc<AtomicU64>) -> TcpPeer {
    TcpPeer::start(move |mut stream, _| {
        let sent = Arc::clone(&sent);
        async move {
            for piece in body::pieces(length) {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_stalled_receiver_holds_less_than_a_mebibyte_and_loses_nothing() {
    const LENGTH: u64 = 64 << 20;
    const STALLED: u64 = 16;
    let sent = Arc::new(AtomicU64::new(0));
    let backend = source(LENGTH, Arc::clone(&sent)).await;
    let odin = relay_to(&backend).await;
    // The first connection pays for what is made once.
    let mut warm = odin.connect_tcp().await;
    assert!(warm.read(4 << 20).await.len() == 4 << 20);
    drop(warm);

    let before = odin.resident_bytes();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(odin.connect_tcp().await);
    }
    // Stalled is when the kernel has taken nothing more for a hundred looks.
    let (mut last, mut same) = (0, 0);
    until("the senders are stalled", || {
        let now = sent.load(Ordering::Relaxed);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        let done = same >= 100;
        async move { done.then_some(()) }
    })
    .await;
    let grown = odin.resident_bytes().saturating_sub(before);
    println!("{STALLED} stalled receivers: {grown} bytes more resident");
    assert!(grown < STALLED << 20, "{STALLED} stalled receivers hold {grown} bytes");

    let mut resumed = stalled.pop().unwrap();
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    while let Ok(n @ 1..) = resumed.stream().read(&mut buffer).await {
        hash.update(&buffer[..n]);
        length += n as u64;
    }
    assert_eq!(length, LENGTH);
    assert_eq!(body::hex(&hash.finalize()), body::long_digest(LENGTH));
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_timeout() {
    let backend = TcpPeer::echo("").await;
    let odin = Odin::builder().tcp_target(&backend).section("[timeouts]\ntcp-idle = \"300ms\"").start().await;
    let mut client = odin.connect_tcp().await;
    client.send("ping").await;
    assert_eq!(client.read(4).await, b"ping");
    client.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_each_way_has_the_same_digest() {
    const LENGTH: u64 = 1 << 30;
    async fn receive(stream: &mut (impl AsyncReadExt + Unpin)) -> (u64, String) {
        let (mut hash, mut length) = (Sha256::new(), 0);
        let mut buffer = vec![0; 256 * 1024];
        while length < LENGTH {
            let n = stream.read(&mut buffer).await.unwrap();
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            length += n as u64;
        }
        (length, body::hex(&hash.finalize()))
    }
    let (backend, mut got) = scripted(|mut connection| async move {
        let received = receive(connection.stream()).await;
        for piece in body::pieces(LENGTH) {
            connection.send(piece).await;
        }
        received
    })
    .await;
    let odin = relay_to(&backend).await;
    let mut client = odin.connect_tcp().await;
    for piece in body::pieces(LENGTH) {
        client.send(piece).await;
    }
    let received = receive(client.stream()).await;
    let wanted = (LENGTH, body::long_digest(LENGTH));
    assert_eq!(received, wanted);
    assert_eq!(got.recv().await.unwrap(), wanted);
    println!("resident at most {} bytes", odin.peak_resident_bytes());
}
