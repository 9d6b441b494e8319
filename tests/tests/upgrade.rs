//! A new binary takes over, and whoever talks to Odin does not notice.

use std::collections::BTreeSet;
use std::fs;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use odin_tests::load::{Done, Load, Talk};
use odin_tests::steered::has_counted;
use odin_tests::{
    BOTH, By, Connection, HttpBackend, Odin, Protocol, Raw, Target, TcpPeer, body, netns, process, until, within,
};
use rustix::process::Signal;
use tokio_tungstenite::tungstenite::Message;

const UPGRADES: usize = 30;
/// Exchanges from one upgrade to the next, at least.
const BETWEEN: usize = 2_000;
/// Requests. Both tests of upgrades under load together make more than twice as many.
const ENOUGH: usize = 50_000;

/// The listeners `web` and `tcp` at these addresses.
fn config(steering: &str, [web, tcp]: [&str; 2], http: &HttpBackend, echo: &TcpPeer) -> String {
    format!(
        "workers = 2\nadmin = \"127.0.0.1:0\"\nsteering = \"{steering}\"\n\
         [[listeners]]\nname = \"web\"\naddress = {web}\ncluster = \"web\"\n\
         [[listeners]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = {tcp}\ncluster = \"tcp\"\n\
         [clusters.web]\nendpoints = [\"{}\"]\n[clusters.tcp]\nendpoints = [\"{}\"]\n",
        http.address(),
        echo.address(),
    )
}

/// Upgrades again and again while clients of every kind talk; none of them may notice. Every exchange has its line in
/// the access log, whichever process it was served by, and each process exits with 0.
async fn upgrades_under_load(mut odin: Odin, web: &[std::net::SocketAddr], tcp: &[std::net::SocketAddr]) -> Done {
    let mut load = Load::default();
    for address in web {
        for (number, talk) in [(8, Talk::New(Protocol::Http1)), (16, Talk::Kept(Protocol::Http1))] {
            load.clients(number / web.len(), talk, *address);
        }
        for (number, talk) in [(4, Talk::New(Protocol::Http2)), (8, Talk::Kept(Protocol::Http2))] {
            load.clients(number / web.len(), talk, *address);
        }
    }
    for address in tcp {
        load.clients(4 / tcp.len(), Talk::NewTcp, *address);
    }
    let mut processes = vec![odin.pid()];
    for upgrade in 0..UPGRADES {
        load.reaches((upgrade + 1) * BETWEEN).await;
        processes.push(odin.upgrade_by([By::Admin, By::Signal, By::Command][upgrade % 3]).await);
    }
    load.reaches((UPGRADES + 1) * BETWEEN).await;
    let done = load.end().await;
    let different: BTreeSet<u32> = processes.iter().copied().collect();
    assert_eq!(different.len(), UPGRADES + 1, "{processes:?}");
    odin.terminate();
    for pid in processes {
        assert_eq!(odin.exit_code(pid).await, Some(0), "process {pid}");
    }
    let wanted = done.requests + done.relays;
    until("every exchange is in the access log", async || (odin.access_log().len() >= wanted).then_some(())).await;
    let lines = odin.access_log().all();
    assert_eq!(lines.len(), wanted, "each exchange has one line");
    let failed: Vec<_> = lines.iter().filter(|line| line.contains("error")).take(5).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(done.requests >= ENOUGH, "{done:?}");
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_upgrades_under_load_fail_nothing_where_sockets_are_bound() {
    let (http, echo) = (HttpBackend::saying("ok").await, TcpPeer::echo("").await);
    let config = config("bind", ["\"127.0.0.1:0\"", "\"127.0.0.1:0\""], &http, &echo);
    let odin = Odin::builder().with_config(config).start().await;
    let (web, tcp) = (odin.address("web"), odin.address("tcp"));
    let done = upgrades_under_load(odin, &[web], &[tcp]).await;
    println!("bound: {UPGRADES} upgrades, {done:?}");
}

#[test]
fn thirty_upgrades_under_load_fail_nothing_where_connections_are_steered() {
    netns::run(async || {
        let (http, echo) = (HttpBackend::saying("ok").await, TcpPeer::echo("").await);
        let addresses = ["[\"192.0.2.0/24:80\", \"[::]:8000-8099\"]", "[\"0.0.0.0:5001\", \"203.0.113.0/24:*\"]"];
        let odin = Odin::builder().with_config(config("bpf", addresses, &http, &echo)).start().await;
        let web = ["192.0.2.7:80", "127.0.0.1:8042"].map(|address| address.parse().unwrap());
        let tcp = ["127.0.0.1:5001", "203.0.113.9:1234"].map(|address| address.parse().unwrap());
        let done = upgrades_under_load(odin, &web, &tcp).await;
        println!("steered: {UPGRADES} upgrades, {done:?}");
        // The last one has ended, and nothing is left behind that would steer.
        odin_tests::dial::refused("192.0.2.7:80").await;
    });
}

#[test]
fn the_steering_goes_on_counting_after_an_upgrade() {
    netns::run(async || {
        let (http, echo) = (HttpBackend::saying("ok").await, TcpPeer::echo("").await);
        let addresses = ["[\"192.0.2.1:80\", \"127.0.0.1:8000-8099\"]", "\"127.0.0.1:5001\""];
        let odin = Odin::builder().with_config(config("bpf", addresses, &http, &echo)).start().await;
        let talk = async |times: usize| {
            for _ in 0..times {
                Connection::http1("192.0.2.1:80".parse().unwrap()).await.get("/").await.has_status(200);
                Connection::http1("127.0.0.1:8001".parse().unwrap()).await.get("/").await.has_status(200);
            }
        };
        talk(10).await;
        let before = odin.steering().await;
        has_counted(before.steered("web"), 20);
        odin.upgrade().await;
        // From the first moment on, whichever process accepts it.
        talk(5).await;
        let after = odin.steering().await;
        assert_eq!(after.mode(), "bpf");
        has_counted(after.steered_to("web", "192.0.2.1:80"), 15);
        has_counted(after.steered_to("web", "127.0.0.1:8000-8099"), 15);
        assert_eq!(after.binding("web", "192.0.2.1:80")["dropped"], 0);
        // Sockets that are steered to cannot be bound while they are in use.
        let text = fs::read_to_string(odin.config_file()).unwrap();
        fs::write(odin.config_file(), text.replace("\"bpf\"", "\"bind\"")).unwrap();
        odin.try_upgrade().await.has_status(422).mentions("an upgrade cannot change that");
        talk(5).await;
        has_counted(odin.steering().await.steered_to("web", "192.0.2.1:80"), 20);
    });
}

#[tokio::test]
async fn ports_that_the_system_chose_and_the_admin_address_stay() {
    let (http, echo) = (HttpBackend::saying("ok").await, TcpPeer::echo("hello\n").await);
    let odin = Odin::builder().target(&http).tcp_target(&echo).start().await;
    for by in [By::Admin, By::Command, By::Signal] {
        let (before, from) = (odin.pid(), odin.log().len());
        let pid = odin.upgrade_by(by).await;
        assert_ne!(pid, before);
        odin.log_contains_after(from, &[&format!("took over from process {before}")]).await;
        // The same addresses, which the new process tells anew.
        odin.log_contains_after(from, &[&format!("http://{} (web)", odin.address("web"))]).await;
        odin.log_contains_after(from, &[&format!("tcp://{} (tcp)", odin.address("tcp"))]).await;
        odin.log_contains_after(from, &[&format!("admin on http://{}", odin.admin_address())]).await;
        odin.get("/").await.has_status(200);
        assert_eq!(odin.connect_tcp().await.read(6).await, b"hello\n");
        until("the old process has ended", async || (!process::is_running(before)).then_some(())).await;
        odin.get("/").await.has_status(200);
        assert_eq!(odin.connect_tcp().await.read(6).await, b"hello\n");
        assert!(odin.is_ready().await);
    }
}

/// Says a word through a relay and hears it back.
async fn relays(relay: &mut Raw, word: &str) {
    relay.send(word).await;
    assert_eq!(relay.read(word.len()).await, word.as_bytes());
}

#[tokio::test]
async fn what_is_open_lives_on_in_the_old_processes_until_it_ends() {
    let (feed, content) = body::by_hand();
    let content = std::sync::Mutex::new(Some(content));
    let http = HttpBackend::start(Protocol::Http1, move |request| {
        let fed = content.lock().unwrap().take_if(|_| request.uri().path() == "/long");
        async move { Response::new(fed.unwrap_or_else(|| body::full("ok"))) }
    })
    .await;
    let echo = TcpPeer::echo("").await;
    let mut odin = Odin::builder().target(&http).tcp_target(&echo).start().await;
    let mut processes = vec![odin.pid()];

    let mut downloading = odin.connect().await;
    let download = downloading.start(Request::get("/long").body(body::empty()).unwrap()).await;
    let mut relay = odin.connect_tcp().await;
    relays(&mut relay, "first").await;
    let mut idle = odin.connect_tcp().await;
    let mut younger = Vec::new();
    for turn in 0..4 {
        processes.push(odin.upgrade().await);
        assert!(feed.send(format!("piece {turn}, ")).await);
        relays(&mut relay, "still here").await;
        let mut relay = odin.connect_tcp().await;
        relays(&mut relay, "new").await;
        younger.push(relay);
        odin.get("/new").await.has_status(200);
    }
    assert!(process::is_running(processes[0]));
    assert!(feed.send("the end").await);
    drop(feed);
    let (length, _) = body::digest(download.into_body()).await.unwrap();
    assert_eq!(length, 4 * "piece N, ".len() as u64 + 7);
    for relay in younger.iter_mut().chain([&mut relay]) {
        relays(relay, "and on").await;
        relay.finish().await;
        relay.ends().await;
    }
    assert!(process::is_running(processes[0]), "one connection is still open");
    relays(&mut idle, "not forgotten").await;
    idle.finish().await;
    idle.ends().await;
    for pid in &processes[..4] {
        assert_eq!(odin.exit_code(*pid).await, Some(0));
    }
    odin.access_log_contains(&["/long", "200"]).await;
    odin.access_log_contains(&["/new", "200"]).await;
    let of_relays = || odin.access_log().all().iter().filter(|line| line.contains(&echo.address().to_string())).count();
    until("each relay has its line", async || (of_relays() == 6).then_some(())).await;
    odin.terminate();
    assert_eq!(odin.exit_code(processes[4]).await, Some(0));
}

#[tokio::test]
async fn a_long_download_and_an_upload_are_whole_across_an_upgrade() {
    const LENGTH: u64 = 64 << 20;
    let http = HttpBackend::start(Protocol::Http1, |request| async move {
        match request.method() {
            &http::Method::POST => {
                let (length, digest) = body::digest(request.into_body()).await.unwrap_or_default();
                Response::new(body::full(format!("{length} {digest}")))
            }
            _ => Response::new(body::long(LENGTH)),
        }
    })
    .await;
    for protocol in BOTH {
        let odin = Odin::builder().workers(2).target(&http).start().await;
        let (mut down, mut up) = (odin.connect_over(protocol).await, odin.connect_over(protocol).await);
        let download = down.start(Request::get("/").body(body::empty()).unwrap()).await;
        let upload = async {
            let request = Request::post("/").body(body::long(LENGTH)).unwrap();
            up.patient().send(request).await.has_status(200).text()
        };
        let download = body::digest(download.into_body());
        let (_, uploaded, downloaded) = tokio::join!(odin.upgrade(), upload, download);
        assert_eq!(uploaded, format!("{LENGTH} {}", body::long_digest(LENGTH)));
        assert_eq!(downloaded.unwrap(), (LENGTH, body::long_digest(LENGTH)));
    }
}

#[tokio::test]
async fn a_websocket_goes_on_across_upgrades() {
    let backend = TcpPeer::start(|stream, _| async move {
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    })
    .await;
    let mut odin = Odin::builder().target(&backend).start().await;
    let url = format!("ws://{}/", odin.address("web"));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let first = odin.pid();
    for turn in 0..4 {
        let message = Message::text(format!("message {turn}"));
        socket.send(message.clone()).await.unwrap();
        let heard = within("the message comes back", socket.next()).await.unwrap().unwrap();
        assert_eq!(heard, message);
        if turn < 3 {
            odin.upgrade().await;
        }
    }
    assert!(process::is_running(first));
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the WebSocket ends", socket.next()).await {}
    drop(socket);
    assert_eq!(odin.exit_code(first).await, Some(0));
}

#[tokio::test]
async fn kept_connections_are_told_to_leave_and_idle_ones_do_not_hold_the_old_process_up() {
    let http = HttpBackend::saying("ok").await;
    let mut odin = Odin::builder().target(&http).start().await;
    let (mut one, mut two) = (odin.connect_raw().await, odin.connect_http2().await);
    let mut idle = odin.connect_raw().await;
    one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(one.response("GET").await.unwrap().head.field("connection"), None);
    two.get("/").await.has_status(200);
    let first = odin.pid();
    odin.upgrade().await;
    // Whatever is sent before the client could know is answered.
    loop {
        one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = one.response("GET").await.expect("one more answer").head;
        assert_eq!(answer.status(), 200);
        if answer.field("connection") == Some("close") {
            break;
        }
    }
    one.ends().await;
    two.closed().await;
    idle.ends().await;
    assert_eq!(odin.exit_code(first).await, Some(0));
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn what_does_not_end_is_cut_when_the_time_to_drain_is_over() {
    let (http, echo) = (HttpBackend::saying("ok").await, TcpPeer::echo("").await);
    let mut odin = Odin::builder().top("drain-timeout = \"1s\"").target(&http).tcp_target(&echo).start().await;
    let mut relay = odin.connect_tcp().await;
    relays(&mut relay, "hello").await;
    let first = odin.pid();
    let started = std::time::Instant::now();
    odin.upgrade().await;
    relays(&mut relay, "again").await;
    let (rest, _) = relay.rest().await;
    assert!(rest.is_empty() && started.elapsed().as_millis() >= 1_000, "{:?}", started.elapsed());
    assert_eq!(odin.exit_code(first).await, Some(0));
    odin.access_log_contains(&[&echo.address().to_string(), "drain"]).await;
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn an_old_process_that_is_told_to_stop_does_not_wait_for_the_end_of_its_drain() {
    let (http, echo) = (HttpBackend::saying("ok").await, TcpPeer::echo("").await);
    let mut odin = Odin::builder().top("shutdown-grace = \"500ms\"").target(&http).tcp_target(&echo).start().await;
    let mut relay = odin.connect_tcp().await;
    relays(&mut relay, "hello").await;
    let first = odin.pid();
    odin.upgrade().await;
    relays(&mut relay, "again").await;
    // As `systemctl stop` does, which signals all processes of the service.
    process::signal(first, Signal::TERM);
    assert_eq!(odin.exit_code(first).await, Some(0));
    assert_eq!(relay.rest().await.0, b"");
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn the_new_process_stops_as_the_first_would_have() {
    let http = HttpBackend::saying("ok").await;
    let mut odin = Odin::builder().target(&http).start().await;
    let first = odin.pid();
    let second = odin.upgrade().await;
    assert_eq!(odin.exit_code(first).await, Some(0));
    let mut kept = odin.connect().await;
    kept.get("/").await.has_status(200);
    odin.terminate();
    kept.closed().await;
    assert_eq!(odin.exit_code(second).await, Some(0));
    assert!(tokio::net::TcpStream::connect(odin.address("web")).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn the_number_of_workers_changes_at_an_upgrade() {
    let (http, echo) = (HttpBackend::saying("ok").await, TcpPeer::echo("hello\n").await);
    let odin = Odin::builder().workers(2).target(&http).tcp_target(&echo).start().await;
    let mut load = Load::default();
    for talk in [Talk::New(Protocol::Http1), Talk::Kept(Protocol::Http1), Talk::Kept(Protocol::Http2)] {
        load.clients(3, talk, odin.address("web"));
    }
    let mut before = 2;
    for workers in [4, 1, 3, 2] {
        let text = fs::read_to_string(odin.config_file()).unwrap();
        let text = text.replace(&format!("workers = {before}"), &format!("workers = {workers}"));
        let from = odin.log().len();
        odin.reload(&text).await.has_status(200);
        odin.log_contains_after(from, &["`workers` takes effect at the next start"]).await;
        let pid = odin.upgrade().await;
        // A thread names itself, a moment after it was made.
        let named = |thread: &process::Thread| thread.name.contains("worker");
        let are_there =
            async || (process::threads(pid).iter().filter(|thread| named(thread)).count() == workers).then_some(());
        until(&format!("{workers} workers are there"), are_there).await;
        // As many connections as it takes to meet every socket: the kernel picks one by a hash of the addresses.
        for _ in 0..60 {
            odin.get("/").await.has_status(200);
            assert_eq!(odin.connect_tcp().await.read(6).await, b"hello\n");
        }
        let now = load.exchanges();
        load.reaches(now + 500).await;
        before = workers;
    }
    load.end().await;
}
