//! Odin as a service of systemd: what it tells on the notification socket, and the sockets that it is given.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use odin_tests::{Builder, HttpBackend, Odin, Protocol, Raw, TcpPeer, paths, process, skipped, until};
use tokio::net::TcpListener;

/// What systemd would hear, and when.
struct Notified {
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
    /// `$NOTIFY_SOCKET`.
    name: String,
    _folder: tempfile::TempDir,
}

impl Notified {
    fn listen() -> Notified {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        Notified::hear(UnixDatagram::bind(&path).unwrap(), path.display().to_string(), folder)
    }

    /// By a name that is in no folder.
    fn listen_abstractly() -> Notified {
        let folder = tempfile::tempdir().unwrap();
        // As unique as the folder.
        let name = folder.path().display().to_string();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Notified::hear(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"), folder)
    }

    fn hear(socket: UnixDatagram, name: String, folder: tempfile::TempDir) -> Notified {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        // It ends with the test process: nobody waits for it.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                all.lock().unwrap().extend(text.lines().map(|line| (Instant::now(), line.to_string())));
            }
        });
        Notified { heard, name, _folder: folder }
    }

    fn told(&self, builder: Builder) -> Builder {
        builder.environment("NOTIFY_SOCKET", &self.name)
    }

    fn len(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// All lines from this one on.
    fn from(&self, from: usize) -> Vec<String> {
        self.heard.lock().unwrap()[from..].iter().map(|(_, line)| line.clone()).collect()
    }

    /// Waits until so many lines, without the signs of life, have come from this one on; answers their keys and values.
    async fn lines(&self, from: usize, number: usize) -> Vec<String> {
        let what = format!("{number} notifications");
        until(&what, async || {
            let lines: Vec<_> = self.from(from).into_iter().filter(|line| line != "WATCHDOG=1").collect();
            (lines.len() >= number).then_some(lines)
        })
        .await
    }
}

#[tokio::test]
async fn it_is_ready_when_it_serves_and_says_when_it_reloads_and_stops() {
    let (notified, backend) = (Notified::listen(), HttpBackend::echo(Protocol::Http1).await);
    let odin = notified.told(Odin::builder().target(&backend)).start().await;
    assert_eq!(notified.lines(0, 1).await, ["READY=1"]);
    odin.get("/").await.has_status(200);
    let good = std::fs::read_to_string(odin.config_file()).unwrap();
    // Reloads that work, and some that do not: all of them come to an end.
    for (config, status) in
        [(good.clone() + "[timeouts]\nconnect = \"3s\"\n", 200), (good.replace("endpoints", "endpionts"), 422)]
    {
        // Each alone, so that it is known which lines are whose: by the watch, and of the same file by hand.
        for by_hand in [false, true] {
            let (from, before) = (notified.len(), monotonic());
            match by_hand {
                true => drop(odin.post_admin("/reload").await.has_status(status)),
                false => odin.replace_config(&config),
            }
            let lines = notified.lines(from, 3).await;
            let [reloading, at, ready] = &lines[..] else { panic!("{lines:?}") };
            assert_eq!((reloading.as_str(), ready.as_str()), ("RELOADING=1", "READY=1"));
            let at: u64 = at.strip_prefix("MONOTONIC_USEC=").unwrap_or_else(|| panic!("{lines:?}")).parse().unwrap();
            assert!((before..=monotonic()).contains(&at), "{before} {at}");
        }
    }
    let from = notified.len();
    odin.hang_up();
    assert_eq!(notified.lines(from, 3).await[0], "RELOADING=1");
    let from = notified.len();
    let mut client = odin.connect().await;
    client.get("/").await.has_status(200);
    odin.stop().await;
    assert_eq!(notified.lines(from, 1).await, ["STOPPING=1"]);
}

#[tokio::test]
async fn a_notification_socket_may_have_an_abstract_name() {
    let (notified, backend) = (Notified::listen_abstractly(), HttpBackend::echo(Protocol::Http1).await);
    let odin = notified.told(Odin::builder().target(&backend)).start().await;
    assert_eq!(notified.lines(0, 1).await, ["READY=1"]);
    let from = notified.len();
    odin.post_admin("/reload").await.has_status(200);
    let lines = notified.lines(from, 3).await;
    assert!(lines[0] == "RELOADING=1" && lines[1].starts_with("MONOTONIC_USEC=") && lines[2] == "READY=1", "{lines:?}");
    let said = odin.stop().await;
    assert!(!said.stderr.contains("systemd"), "{}", said.stderr);
}

fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

#[tokio::test]
async fn a_start_that_fails_is_never_ready() {
    let (notified, backend) = (Notified::listen(), HttpBackend::echo(Protocol::Http1).await);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Odin::builder().target(&backend).toml();
    let config =
        config.replacen("\"127.0.0.1:0\"\ncluster", &format!("\"{}\"\ncluster", taken.local_addr().unwrap()), 1);
    notified.told(Odin::builder().with_config(config)).refuses_to_start().await;
    assert!(!notified.from(0).contains(&"READY=1".to_string()), "{:?}", notified.from(0));
}

#[tokio::test]
async fn the_new_process_of_an_upgrade_becomes_the_main_one() {
    let (notified, backend) = (Notified::listen(), HttpBackend::echo(Protocol::Http1).await);
    let mut odin = notified.told(Odin::builder().target(&backend)).start().await;
    notified.lines(0, 1).await;
    let first = odin.pid();
    for _ in 0..2 {
        let from = notified.len();
        let pid = odin.upgrade().await;
        let mut lines = notified.lines(from, 2).await;
        // From two processes, so in either order.
        lines.sort();
        assert_eq!(lines, [format!("MAINPID={pid}"), "READY=1".to_string()]);
    }
    assert_eq!(odin.exit_code(first).await, Some(0));
    // A reload and the end are told by the one that serves, and an old process that ends tells nothing.
    let from = notified.len();
    odin.post_admin("/reload").await.has_status(200);
    assert_eq!(notified.lines(from, 3).await.len(), 3);
    let from = notified.len();
    let last = odin.pid();
    odin.terminate();
    until("it ends", async || (!process::is_running(last)).then_some(())).await;
    assert_eq!(notified.lines(from, 1).await, ["STOPPING=1"]);
}

#[tokio::test]
async fn an_upgrade_that_fails_changes_nothing_for_systemd() {
    let (notified, backend) = (Notified::listen(), HttpBackend::echo(Protocol::Http1).await);
    let odin = notified.told(Odin::builder().target(&backend)).start().await;
    notified.lines(0, 1).await;
    let from = notified.len();
    let good = std::fs::read_to_string(odin.config_file()).unwrap();
    std::fs::remove_file(odin.config_file()).unwrap();
    odin.try_upgrade().await.has_status(422).mentions("odin.toml");
    std::fs::write(odin.config_file(), good).unwrap();
    odin.post_admin("/reload").await.has_status(200);
    let lines = notified.from(from);
    assert!(!lines.iter().any(|line| line.starts_with("MAINPID") || line.starts_with("STOPPING")), "{lines:?}");
}

#[tokio::test]
async fn signs_of_life_come_in_time_and_from_the_new_process_as_well() {
    const WITHIN: Duration = Duration::from_secs(3);
    let (notified, backend) = (Notified::listen(), HttpBackend::echo(Protocol::Http1).await);
    let builder = Odin::builder().workers(2).target(&backend).environment("WATCHDOG_USEC", WITHIN.as_micros());
    let odin = notified.told(builder).start().await;
    let alive = || {
        let heard = notified.heard.lock().unwrap();
        heard.iter().filter(|(_, line)| line == "WATCHDOG=1").map(|(at, _)| *at).collect::<Vec<_>>()
    };
    until("signs of life", async || (alive().len() >= 4).then_some(())).await;
    odin.upgrade().await;
    let upgraded = Instant::now();
    // Those of an old process that ends are not needed for these.
    until("signs of life after the upgrade", async || {
        (alive().iter().filter(|at| **at > upgraded + WITHIN).count() >= 3).then_some(())
    })
    .await;
    let times = alive();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().unwrap();
    // They come after half of it; the rest is for a busy machine, and systemd kills only after all of it.
    assert!(longest < WITHIN, "{longest:?} without a sign of life");
}

/// The config of an Odin with a listener `web` at this address.
fn at(address: std::net::SocketAddr, builder: Builder) -> Builder {
    let toml = builder.toml().replacen("\"127.0.0.1:0\"\ncluster", &format!("\"{address}\"\ncluster"), 1);
    builder.with_config(format!("steering = \"bind\"\n{toml}"))
}

#[tokio::test]
async fn an_inherited_socket_is_served_with_those_who_waited_in_it() {
    for workers in [1, 3] {
        let backend = HttpBackend::echo(Protocol::Http1).await;
        // As systemd does it: without SO_REUSEPORT.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut early = Vec::new();
        for _ in 0..20 {
            let mut client = Raw::connect(address).await;
            client.send("GET /early HTTP/1.1\r\nHost: a\r\n\r\n").await;
            early.push(client);
        }
        let odin = at(address, Odin::builder().workers(workers).target(&backend)).activated_by(socket).start().await;
        assert_eq!(odin.address("web"), address);
        for client in &mut early {
            assert_eq!(client.response("GET").await.expect("an answer").head.status(), 200);
        }
        for _ in 0..20 {
            odin.get("/").await.has_status(200);
        }
        // It outlives an upgrade, and a reload that takes its address away: systemd listens there as before, and who
        // comes meanwhile is served when the address is back, by a reload or by an upgrade.
        odin.upgrade().await;
        for _ in 0..20 {
            odin.get("/").await.has_status(200);
        }
        let text = std::fs::read_to_string(odin.config_file()).unwrap();
        let elsewhere = text.replace(&address.to_string(), "127.0.0.1:0");
        for by_upgrade in [false, true] {
            let from = odin.log().len();
            odin.reload(&elsewhere).await.has_status(200);
            odin.log_contains_after(from, &["systemd listens on", &address.to_string()]).await;
            let mut waiting = Raw::connect(address).await;
            waiting.send("GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if by_upgrade {
                odin.upgrade().await;
            }
            odin.reload(&text).await.has_status(200);
            assert_eq!(waiting.response("GET").await.expect("an answer").head.status(), 200);
        }
    }
}

#[tokio::test]
async fn an_inherited_socket_serves_tcp_as_well() {
    let peer = TcpPeer::echo("hello\n").await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut early = Raw::connect(address).await;
    let odin = at(address, Odin::builder().tcp_target(&peer)).activated_by(socket).start().await;
    assert_eq!(early.read(6).await, b"hello\n");
    assert_eq!(odin.connect_tcp().await.read(6).await, b"hello\n");
}

#[tokio::test]
async fn an_inherited_socket_that_nobody_wants_is_told() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let odin = Odin::builder().target(&backend).activated_by(socket).start().await;
    // Whoever waits there would wait for ever: the address has to be named, or the start refused.
    odin.log_contains(&["systemd listens on", &address.to_string()]).await;
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn an_inherited_socket_of_another_kind_is_refused() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let said = Odin::builder().target(&backend).activated_by(datagrams).refuses_to_start().await;
    said.says(&["socket", "TCP"]);
    let folder = tempfile::tempdir().unwrap();
    let local = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    Odin::builder().target(&backend).activated_by(local).refuses_to_start().await.says(&["socket", "TCP"]);
}

#[tokio::test]
async fn sockets_for_another_process_are_left_alone() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let builder = Odin::builder().target(&backend).environment("LISTEN_FDS", 1).environment("LISTEN_PID", 1);
    builder.start().await.get("/").await.has_status(200);
}

#[tokio::test]
async fn the_real_thing_activates_odin() {
    let reserved = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        return skipped("systemd-socket-activate");
    }
    let (backend, address) = (HttpBackend::echo(Protocol::Http1).await, reserved());
    let builder = at(address, Odin::builder().workers(2).target(&backend));
    let builder = builder.started_by(&format!("systemd-socket-activate -l {address}"));
    // It listens, and starts Odin when the first client comes: that one waits until Odin serves.
    let (odin, answer) = tokio::join!(builder.start(), async {
        let mut client = until("systemd listens", async || Raw::try_connect(address).await.ok()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.response("GET").await.expect("an answer").head.status()
    });
    assert_eq!(answer, 200);
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn the_units_in_the_repository_are_valid() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skipped("systemd-analyze");
    }
    // The file that the unit starts must be there.
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for name in ["odin.service", "odin.socket"] {
        let text = std::fs::read_to_string(paths::config(name)).unwrap();
        let text = text.replace("/usr/local/bin/odin", &paths::odin().display().to_string());
        units.push(folder.path().join(name));
        std::fs::write(units.last().unwrap(), text).unwrap();
    }
    let verified = Command::new("systemd-analyze").arg("verify").args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    // It tells of other units of this machine, too; and before 253 it does not know this type, as the unit says.
    let known = |line: &&str| line.contains("odin") && !line.ends_with("service type, ignoring: notify-reload");
    let ours: Vec<_> = said.lines().filter(known).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}
