//! Who may connect: networks, and how many connections one source may have and open.

use odin_tests::{Builder, Ending, HttpBackend, Odin, Protocol, Raw, until};

async fn started(builder: Builder, sources: &str) -> (HttpBackend, Odin) {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = builder.in_listener(&format!("sources = {{ {sources} }}")).target(&backend).start().await;
    (backend, odin)
}

async fn turned_away(odin: &Odin, reason: &str) -> f64 {
    odin.metrics().await.sum("odin_connections_turned_away_total", &[("reason", reason)])
}

/// Whether a request on a new connection is answered, behind these bytes. Else the connection ends without a word.
async fn is_served(odin: &Odin, header: &str) -> Option<Raw> {
    let mut raw = Raw::try_connect(odin.address("web")).await.ok()?;
    raw.send(format!("{header}GET / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    let answered = raw.response("GET").await?;
    assert_eq!(answered.head.status(), 200);
    Some(raw)
}

#[tokio::test]
async fn networks_are_allowed_and_denied() {
    let table = [
        (r#"allow = ["127.0.0.0/8"]"#, true),
        (r#"allow = ["10.0.0.0/8", "127.0.0.1"]"#, true),
        (r#"allow = ["10.0.0.0/8", "::/0"]"#, false),
        (r#"deny = ["127.0.0.0/30"]"#, false),
        (r#"deny = ["127.0.0.4/30"]"#, true),
        (r#"allow = ["127.0.0.1"], deny = ["0.0.0.0/0"]"#, false),
        ("allow = []", false),
    ];
    for (sources, served) in table {
        let (_backend, odin) = started(Odin::builder(), sources).await;
        assert_eq!(is_served(&odin, "").await.is_some(), served, "{sources}");
        assert_eq!(turned_away(&odin, "source-denied").await, f64::from(u8::from(!served)), "{sources}");
        odin.stop().await;
    }
}

#[tokio::test]
async fn one_source_has_no_more_connections_than_it_may_over_all_workers() {
    let (_backend, odin) = started(Odin::builder().workers(2), "connections = 3").await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(is_served(&odin, "").await.expect("not over the limit"));
    }
    for _ in 0..20 {
        assert!(is_served(&odin, "").await.is_none(), "over the limit");
    }
    assert_eq!(turned_away(&odin, "source-connections").await, 20.0);
    // One line a second, however many there are.
    odin.log_contains(&["connection refused", "too many connections of its source"]).await;
    let lines = odin.log().all().iter().filter(|line| line.contains("connection refused")).count();
    assert!(lines <= 5, "{lines} lines");
    // Whoever leaves makes room, also for a config that came meanwhile.
    let config = std::fs::read_to_string(odin.config_file()).unwrap().replace("connections = 3", "connections = 2");
    odin.reload(&config).await.has_status(200);
    assert!(is_served(&odin, "").await.is_none(), "three are open");
    open.truncate(1);
    let second = until("room for one more", async || is_served(&odin, "").await).await;
    assert!(is_served(&odin, "").await.is_none(), "two are open");
    drop((open, second));
    odin.stop().await;
}

#[tokio::test]
async fn one_source_opens_no_more_connections_in_a_second_than_it_may() {
    let (_backend, odin) = started(Odin::builder(), "new-per-second = 5").await;
    let mut served = 0;
    let began = std::time::Instant::now();
    for _ in 0..60 {
        served += u64::from(is_served(&odin, "").await.is_some());
    }
    let seconds = began.elapsed().as_secs() + 2;
    assert!((5..=5 * seconds).contains(&served), "{served} in {seconds} s");
    assert_eq!(turned_away(&odin, "source-rate").await, (60 - served) as f64);
    until("the next second", async || is_served(&odin, "").await).await;
    odin.stop().await;
}

#[tokio::test]
async fn the_source_is_that_of_the_proxy_header() {
    let builder = Odin::builder().in_listener(r#"proxy-protocol = { from = ["127.0.0.0/8"] }"#);
    let (_backend, odin) = started(builder, r#"connections = 1, deny = ["127.0.0.0/8", "192.0.2.9"]"#).await;
    let line = |client: &str| format!("PROXY TCP4 {client} 192.0.2.200 5000 443\r\n");
    let first = is_served(&odin, &line("192.0.2.1")).await.expect("its first");
    assert!(is_served(&odin, &line("192.0.2.1")).await.is_none(), "its second");
    let _other = is_served(&odin, &line("192.0.2.2")).await.expect("another source");
    assert!(is_served(&odin, &line("192.0.2.9")).await.is_none(), "denied");
    drop(first);
    until("it has gone", async || is_served(&odin, &line("192.0.2.1")).await).await;
    assert!(turned_away(&odin, "source-connections").await >= 1.0);
    assert_eq!(turned_away(&odin, "source-denied").await, 1.0);
    odin.stop().await;
}

#[tokio::test]
async fn what_is_over_a_limit_is_closed_without_a_word() {
    let (backend, odin) = started(Odin::builder(), r#"deny = ["0.0.0.0/0"]"#).await;
    let mut raw = Raw::connect(odin.address("web")).await;
    assert_eq!(raw.ends().await, Ending::Closed);
    assert_eq!(backend.requests(), 0);
    odin.stop().await;
}
