//! What the admin pages do not let anybody do: take descriptors from the data path, or read them through a browser.

use http::Request;
use odin_tests::{Connection, DEADLINE, HttpBackend, Odin, Protocol, Raw, body, process, until, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn running() -> (Odin, HttpBackend) {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).plugin("headers").start().await;
    (odin, backend)
}

#[tokio::test]
async fn connections_that_are_slow_are_few_end_and_keep_nobody_out() {
    let (odin, _backend) = running().await;
    odin.get("/").await.has_status(200);
    let before = process::descriptors(odin.pid());
    let mut idle = Vec::new();
    for turn in 0..200 {
        let mut client = Raw::connect(odin.admin_address()).await;
        // Some say nothing, some a part of a request, and some have had an answer.
        match turn % 3 {
            0 => client.send("GET /healthz HTT").await,
            1 => client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await,
            _ => {}
        }
        idle.push(client);
        if turn > 64 && turn % 20 == 0 {
            // Whoever comes now is answered, on either way in.
            odin.admin("/healthz").await.has_status(200);
            odin.connect_admin().await.get("/healthz").await.has_status(200);
        }
    }
    // The oldest were cut to make room.
    for client in &mut idle[..136] {
        client.rest().await;
    }
    until("64 are left at most", async || (process::descriptors(odin.pid()) <= before + 64).then_some(())).await;
    odin.get("/").await.has_status(200);
    // The others end in time.
    for client in &mut idle[136..] {
        client.rest().await;
    }
    until("nothing is left of them", async || (process::descriptors(odin.pid()) <= before).then_some(())).await;
    odin.stop().await;
}

#[tokio::test]
async fn who_takes_no_answer_keeps_nobody_out() {
    let (odin, _backend) = running().await;
    let mut greedy = Vec::new();
    for _ in 0..70 {
        let mut client = Raw::connect(odin.admin_address()).await;
        // More answers than the connection holds, none of which is read.
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500)).await;
        greedy.push(client);
    }
    odin.admin("/healthz").await.has_status(200);
    odin.connect_admin().await.get("/healthz").await.has_status(200);
    odin.stop().await;
}

#[tokio::test]
async fn plugins_that_come_at_once_are_not_all_held_at_once() {
    const SIZE: usize = 40 << 20;
    let (odin, _backend) = running().await;
    odin.forget_peak();
    let before = odin.resident_bytes();
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let mut admin = odin.connect_admin().await;
        let request = Request::post("/plugins/headers").body(body::full(vec![b'x'; SIZE])).unwrap();
        uploads.spawn(async move { admin.patient().send(request).await });
    }
    while let Some(answer) = uploads.join_next().await {
        answer.unwrap().has_status(422).mentions("not a WebAssembly file");
    }
    let grown = odin.peak_resident_bytes() - before;
    // Two at once, each of which may have been copied once as it grew.
    assert!(grown < 5 * SIZE as u64, "{} MiB for twelve uploads of 40 MiB", grown >> 20);
    odin.stop().await;
}

#[tokio::test]
async fn a_plugin_that_is_too_large_is_refused() {
    let (odin, _backend) = running().await;
    let mut client = tokio::net::UnixStream::connect(odin.admin_socket()).await.unwrap();
    let length = (64 << 20) + 1;
    let head = format!("POST /plugins/headers HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("at most 64 MiB"), "{answer}");
    // The command does not even send it.
    let file = odin.folder().join("large.wasm");
    std::fs::File::create(&file).unwrap().set_len(length).unwrap();
    let said = odin.run(&["plugin", "swap", "headers", file.to_str().unwrap()]).await;
    assert!(!said.success());
    said.says(&["more than 64 MiB"]);
}

#[tokio::test]
async fn a_plugin_that_does_not_arrive_is_given_up() {
    let (odin, _backend) = running().await;
    let mut client = tokio::net::UnixStream::connect(odin.admin_socket()).await.unwrap();
    let head = "POST /plugins/headers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nnot all of it";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = client.read_to_string(&mut answer);
    tokio::time::timeout(DEADLINE * 3, read).await.expect("an answer in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("30s"), "{answer}");
    odin.admin("/healthz").await.has_status(200);
}

async fn asked(odin: &Odin, request: &str) -> (u16, String) {
    let mut client = Raw::connect(odin.admin_address()).await;
    client.send(request).await;
    let answer = client.response("GET").await.expect("an answer");
    (answer.head.status(), String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test]
async fn a_web_page_whose_name_leads_here_reads_nothing() {
    let (odin, _backend) = running().await;
    let port = odin.admin_address().port();
    for name in ["evil.example".to_string(), format!("evil.example:{port}"), "localhost.evil.example".to_string()] {
        for page in ["GET /config", "GET /healthz", "POST /reload", "POST /plugins/headers"] {
            let (status, said) = asked(&odin, &format!("{page} HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
            assert_eq!(status, 421, "{page} {name}");
            assert!(said.contains(&name) && said.contains("localhost") && !said.contains("endpoints"), "{said}");
        }
    }
    let (status, _) = asked(&odin, "GET http://evil.example/config HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(status, 421);
    assert_eq!(odin.metrics().await.sum("odin_reloads_total", &[]), 0.0);
}

#[tokio::test]
async fn whoever_has_a_reason_to_ask_is_answered() {
    let (odin, _backend) = running().await;
    let port = odin.admin_address().port();
    // curl, Prometheus, a probe by an address, a tunnel with another port.
    for host in
        ["localhost", "LOCALHOST:1", "127.0.0.1", "10.20.30.40:9901", "[::1]:9901", &format!("localhost:{port}")]
    {
        let (status, said) = asked(&odin, &format!("GET /config HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(status, 200, "{host}: {said}");
    }
    assert_eq!(asked(&odin, "GET /config HTTP/1.0\r\n\r\n").await.0, 200);
    let request = Request::post("/reload").header("origin", "http://localhost").body(body::empty()).unwrap();
    Connection::http1(odin.admin_address()).await.send(request).await.has_status(403);
}

#[tokio::test]
async fn pages_for_other_hosts_are_asked_for_by_name() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let config = Odin::builder().target(&backend).toml().replace("admin = \"127.0.0.1:0\"", "admin = \"0.0.0.0:0\"");
    let odin = Odin::builder().with_config(config).start().await;
    assert!(odin.admin_address().ip().is_unspecified());
    for host in ["odin.example:9901", "localhost", "10.1.2.3"] {
        assert_eq!(asked(&odin, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.0, 200, "{host}");
    }
}
