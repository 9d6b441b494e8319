//! Certificates and binaries change while clients connect over TLS: nobody fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use odin_tests::tls::{Authority, Client};
use odin_tests::{HttpBackend, Odin, Protocol, until};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// Clients that come one after the other, each with a handshake and a request.
struct Load {
    clients: JoinSet<Result<(), String>>,
    over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    resumed: Arc<AtomicUsize>,
}

impl Load {
    /// So many at a time. A client that resumes sessions goes on with the one before.
    fn start(many: usize, odin: &Odin, client: impl Fn() -> Client + Clone + Send + 'static) -> Load {
        let (over, served, resumed) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let (mut clients, address) = (JoinSet::new(), odin.address("web"));
        for _ in 0..many {
            let (over, served, resumed, client) = (over.clone(), served.clone(), resumed.clone(), client.clone());
            clients.spawn(async move {
                while !over.load(Relaxed) {
                    let mut stream = client().connect(address, "a.test").await.map_err(|error| error.to_string())?;
                    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
                    stream.write_all(request).await.map_err(|error| error.to_string())?;
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
                    if !answer.starts_with("HTTP/1.1 200") {
                        return Err(answer);
                    }
                    served.fetch_add(1, Relaxed);
                    let kind = stream.get_ref().1.handshake_kind();
                    resumed.fetch_add(usize::from(kind == Some(HandshakeKind::Resumed)), Relaxed);
                }
                Ok(())
            });
        }
        Load { clients, over, served, resumed }
    }

    async fn end(mut self) -> (usize, usize) {
        self.over.store(true, Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap().unwrap();
        }
        (self.served.load(Relaxed), self.resumed.load(Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_certificates_after_each_other_and_no_failed_handshake() {
    let (authority, backend) = (Arc::new(Authority::default()), HttpBackend::echo(Protocol::Http1).await);
    let issued = authority.issue(&["a.test"]);
    let tls = format!("tls = {{ certificates = [{}] }}", issued.pair());
    let odin = Odin::builder().target(&backend).in_listener(&tls).workers(2).start().await;
    let issuer = authority.clone();
    let load = Load::start(4, &odin, move || issuer.client(&[]));
    let mut swapped = 0;
    for _ in 0..200 {
        let renewed = authority.issue(&["a.test"]);
        renewed.replace(&issued);
        // Between the two files a reload may be refused; the next one is not.
        swapped += usize::from(odin.run(&["reload"]).await.status.success());
    }
    assert!(swapped >= 190, "{swapped}");
    let last = std::fs::read(&issued.cert).unwrap();
    until("the last certificate", || async {
        let stream = authority.client(&[]).connect(odin.address("web"), "a.test").await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let pem: rustls::pki_types::CertificateDer<'_> =
            rustls::pki_types::pem::PemObject::from_pem_slice(&last).unwrap();
        (shown == pem.to_vec()).then_some(())
    })
    .await;
    let (served, _) = load.end().await;
    assert!(served > 200, "{served}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_under_load_fail_no_request_and_sessions_go_on() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let tls = format!("tls = {{ certificates = [{}] }}", authority.issue(&["a.test"]).pair());
    let odin = Odin::builder().target(&backend).in_listener(&tls).workers(2).start().await;
    let client = authority.client(&[]);
    let load = Load::start(4, &odin, move || client.clone());
    for _ in 0..5 {
        let before = load.served.load(Relaxed);
        odin.upgrade().await;
        until("requests of the new process", || async { (load.served.load(Relaxed) > before + 50).then_some(()) })
            .await;
    }
    let (served, resumed) = load.end().await;
    // The first ones of the four have no session to go on with, and a ticket is used once.
    assert!(served > 250 && resumed * 10 > served * 9, "{resumed} of {served}");
}
