//! A new binary that cannot take over, for whatever reason, changes nothing: the old one serves on, says why, and the
//! next one may try.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use odin_tests::load::{Load, Talk};
use odin_tests::{
    Builder, HttpBackend, Odin, PluginEntry, Protocol, Raw, Target, TcpPeer, netns, paths, process, until,
};
use rustix::process::Signal;
use tokio::sync::oneshot;

/// A file that Odin is started from, and that the test may replace.
struct Installed {
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Installed {
    fn new() -> Installed {
        let folder = tempfile::tempdir().unwrap();
        let installed = Installed { file: folder.path().join("odin"), _folder: folder };
        installed.good();
        installed
    }

    /// As a package manager does it: the file that runs is never written to. By another process: no test that starts a
    /// process at this moment may hold the file open.
    fn install(&self, mode: &str, from: &Path) {
        let new = self.file.with_extension("new");
        let install = std::process::Command::new("install").arg("-m").arg(mode).arg(from).arg(&new).status();
        assert!(install.expect("install runs").success());
        fs::rename(new, &self.file).unwrap();
    }

    fn bytes(&self, mode: &str, bytes: impl AsRef<[u8]>) {
        let draft = self.file.with_extension("draft");
        fs::write(&draft, bytes).unwrap();
        self.install(mode, &draft);
    }

    fn script(&self, script: &str) {
        let script = script.replace("ODIN", &paths::odin().display().to_string());
        self.bytes("755", format!("#!/bin/sh\n{script}\n"));
    }

    fn good(&self) {
        self.install("755", &paths::odin());
    }
}

/// Clients that must not notice anything, while binaries are tried that cannot serve.
async fn fails_to_replace(builder: Builder, break_it: impl AsyncFn(&Odin, &Installed)) {
    fails_to_replace_at("\"127.0.0.1:0\"", builder, break_it).await;
}

/// As [`fails_to_replace`], with the listener `web` at these addresses.
async fn fails_to_replace_at(web: &str, builder: Builder, break_it: impl AsyncFn(&Odin, &Installed)) {
    let (installed, http, echo) = (Installed::new(), HttpBackend::saying("ok").await, TcpPeer::echo("").await);
    let config = format!(
        "workers = 2\nadmin = \"127.0.0.1:0\"\n\
         [[listeners]]\nname = \"web\"\naddress = {web}\ncluster = \"web\"\n\
         [[listeners]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\ncluster = \"tcp\"\n\
         [clusters.web]\nendpoints = [\"{}\"]\n[clusters.tcp]\nendpoints = [\"{}\"]\n",
        http.address(),
        echo.address(),
    );
    let mut odin = builder.with_config(config).binary(&installed.file).start().await;
    let mut load = Load::default();
    for talk in [Talk::New(Protocol::Http1), Talk::Kept(Protocol::Http1), Talk::Kept(Protocol::Http2)] {
        load.clients(2, talk, odin.address("web"));
    }
    break_it(&odin, &installed).await;
    let before = odin.pid();
    let now = load.exchanges();
    load.reaches(now + 200).await;
    assert!(odin.is_running() && odin.is_ready().await);
    assert!(process::children(before).is_empty(), "what failed is gone");
    // Later, with a good one, it works.
    installed.good();
    odin.upgrade().await;
    let now = load.exchanges();
    load.reaches(now + 200).await;
    load.end().await;
    until("the old process ends", async || (!process::is_running(before)).then_some(())).await;
}

#[tokio::test]
async fn a_binary_that_fails_at_once_changes_nothing() {
    fails_to_replace(Odin::builder(), async |odin, installed| {
        for (script, words) in [
            ("echo 'no luck' >&2; exit 1", &["exit status: 1", "serves on"][..]),
            ("exit 0", &["ended before it was ready"]),
            ("kill -9 $$", &["signal: 9"]),
        ] {
            installed.script(script);
            let from = odin.log().len();
            let answer = odin.try_upgrade().await.has_status(422);
            words.iter().fold(answer, |answer, words| answer.mentions(words));
            odin.log_contains_after(from, &["not upgraded", words[0]]).await;
        }
        // The command and the signal tell it as well.
        installed.script("exit 3");
        let said = odin.run(&["upgrade"]).await;
        assert!(!said.success());
        said.says(&["exit status: 3", "serves on"]);
        let from = odin.log().len();
        process::signal(odin.pid(), Signal::USR2);
        odin.log_contains_after(from, &["not upgraded", "exit status: 3"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_no_program_changes_nothing() {
    fails_to_replace(Odin::builder(), async |odin, installed| {
        installed.bytes("644", "not executable");
        odin.try_upgrade().await.has_status(422).mentions("Permission denied").mentions("odin");
        installed.bytes("755", [0x7f, b'E', b'L', b'F', 0, 0]);
        odin.try_upgrade().await.has_status(422).mentions("cannot start");
        fs::remove_file(&installed.file).unwrap();
        odin.try_upgrade().await.has_status(422).mentions("No such file");
    })
    .await;
}

#[tokio::test]
async fn a_config_or_a_plugin_that_broke_meanwhile_changes_nothing() {
    fails_to_replace(Odin::builder().plugin_file("headers"), async |odin, _| {
        let good = fs::read_to_string(odin.config_file()).unwrap();
        let from = odin.log().len();
        fs::write(odin.config_file(), good.replace("endpoints", "endpionts")).unwrap();
        odin.try_upgrade().await.has_status(422).mentions("endpionts").mentions("serves on");
        odin.log_contains_after(from, &["not upgraded", "endpionts"]).await;
        // Another process has the port that the new config adds.
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = taken.local_addr().unwrap();
        let more = format!("[[listeners]]\nname = \"more\"\naddress = \"{taken}\"\ncluster = \"web\"\n");
        fs::write(odin.config_file(), good.replacen("[[listeners]]", &format!("{more}[[listeners]]"), 1)).unwrap();
        odin.try_upgrade().await.has_status(422).mentions(&taken.to_string());
        fs::write(odin.config_file(), &good).unwrap();
        let plugin = odin.plugin_file("headers");
        let wasm = fs::read(&plugin).unwrap();
        fs::remove_file(&plugin).unwrap();
        odin.try_upgrade().await.has_status(422).mentions("headers.wasm");
        fs::write(&plugin, "no plugin").unwrap();
        odin.try_upgrade().await.has_status(422).mentions("headers");
        fs::write(&plugin, wasm).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_binary_that_hangs_can_be_killed_and_holds_nobody_up_meanwhile() {
    fails_to_replace(Odin::builder(), async |odin, installed| {
        installed.script("exec sleep 600");
        let upgrade = odin.try_upgrade();
        let meanwhile = async {
            let new = until("the new process is there", async || process::children(odin.pid()).pop()).await;
            // A second one, and a reload, are refused while the first is under way.
            odin.try_upgrade().await.has_status(422).mentions("already");
            odin.post_admin("/reload").await.has_status(422).mentions("take over");
            odin.get("/").await.has_status(200);
            process::signal(new, Signal::KILL);
        };
        let (answer, ()) = tokio::join!(upgrade, meanwhile);
        answer.has_status(422).mentions("signal: 9").mentions("serves on");
        odin.post_admin("/reload").await.has_status(200);
    })
    .await;
}

/// Kills new processes at every stage of their start.
async fn crashes(odin: &Odin, installed: &Installed) {
    // It takes the first message of the hand-over with it.
    installed.script("head -c 1 >/dev/null; exit 7");
    odin.try_upgrade().await.has_status(422).mentions("exit status: 7");
    // It cannot even hold what is handed over.
    installed.script("ulimit -n 8; exec ODIN \"$@\"");
    odin.try_upgrade().await.has_status(422).mentions("serves on");
    installed.good();
    let mut takes = Duration::MAX;
    for _ in 0..3 {
        // One may meet a busy moment, and the others would end before their turn to be killed.
        let started = Instant::now();
        odin.upgrade().await;
        takes = takes.min(started.elapsed());
    }
    let mut killed = 0;
    for step in 0..20 {
        let started = Instant::now();
        let (serves, told) = oneshot::channel();
        let upgrade = async {
            let answer = odin.try_upgrade().await;
            let _ = (answer.status == 200).then(|| serves.send(()));
            answer
        };
        let crash = async {
            let new = until("the new process is there", async || process::children(odin.pid()).pop()).await;
            // Not a wait for anything: each turn hits another stage.
            tokio::time::sleep(takes * step / 20).await;
            process::signal(new, Signal::STOP);
            // If it had served already, its end would be the end of all; then the answer is on its way. In half of the
            // shortest time it hardly has.
            let on_its_way = Duration::from_millis(if started.elapsed() < takes / 2 { 200 } else { 2_000 });
            let serves = matches!(tokio::time::timeout(on_its_way, told).await, Ok(Ok(())));
            process::signal(new, if serves { Signal::CONT } else { Signal::KILL });
        };
        let (answer, ()) = tokio::join!(upgrade, crash);
        if answer.status == 200 {
            odin.succeeded_by(answer.json()["pid"].as_u64().unwrap() as u32);
            continue;
        }
        answer.has_status(422).mentions("signal: 9").mentions("serves on");
        killed += 1;
    }
    println!("{killed} of 20 new processes were killed while they took over, which takes {takes:?}");
    assert!(killed >= 5, "{killed} of 20 new processes were killed while they took over, which takes {takes:?}");
}

#[tokio::test]
async fn a_crash_while_it_takes_over_changes_nothing() {
    let slow = ["script", "probe", "digest"].map(PluginEntry::new);
    fails_to_replace(slow.into_iter().fold(Odin::builder(), Builder::plugin_file), crashes).await;
}

#[test]
fn a_crash_while_it_takes_over_the_steering_changes_nothing() {
    netns::run(async || {
        let slow = ["script", "probe", "digest"].map(PluginEntry::new);
        let builder = slow.into_iter().fold(Odin::builder(), Builder::plugin_file);
        fails_to_replace_at("[\"127.0.0.1:8080\", \"192.0.2.0/24:80\"]", builder, crashes).await;
    });
}

#[tokio::test]
async fn of_two_upgrades_at_once_one_is_refused() {
    let http = HttpBackend::saying("ok").await;
    let odin = Odin::builder().target(&http).start().await;
    let (one, two) = tokio::join!(odin.try_upgrade(), odin.try_upgrade());
    let (good, bad) = if one.status == 200 { (one, two) } else { (two, one) };
    let pid = good.has_status(200).json()["pid"].as_u64().unwrap() as u32;
    bad.has_status(422);
    odin.succeeded_by(pid);
    odin.get("/").await.has_status(200);
    odin.upgrade().await;
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn one_with_more_workers_that_fails_when_it_has_opened_its_sockets_takes_no_connection() {
    fails_to_replace(Odin::builder().plugin_file(PluginEntry::new("headers")), async |odin, _| {
        let config = fs::read_to_string(odin.config_file()).unwrap();
        // It has compiled one plugin when the other one stops it.
        fs::write(odin.plugin_file("zz"), "no plugin").unwrap();
        let broken = config.replacen("workers = 2", "workers = 8", 1) + "[plugins.zz]\npath = \"zz.wasm\"\n";
        odin.reload(&broken).await.has_status(422);
        for _ in 0..10 {
            odin.try_upgrade().await.has_status(422).mentions("zz.wasm").mentions("serves on");
        }
        odin.reload(&config).await.has_status(200);
    })
    .await;
}

#[tokio::test]
async fn one_that_dies_later_is_noticed_by_the_one_that_still_drains() {
    let echo = TcpPeer::echo("").await;
    let mut odin = Odin::builder().top("shutdown-grace = \"200ms\"").tcp_target(&echo).start().await;
    let _open = odin.connect_tcp().await;
    let first = odin.pid();
    let second = odin.upgrade().await;
    process::signal(second, Signal::KILL);
    odin.log_contains(&["ERROR", &second.to_string(), "signal: 9", "nobody serves"]).await;
    // Whoever started it can start it again.
    assert_eq!(odin.exit_code(first).await, Some(1));
}

#[tokio::test]
async fn one_that_another_replaces_while_the_first_still_drains_is_nobodys_loss() {
    let echo = TcpPeer::echo("").await;
    let mut odin = Odin::builder().tcp_target(&echo).start().await;
    let (first, mut open) = (odin.pid(), odin.connect_tcp().await);
    let second = odin.upgrade().await;
    odin.upgrade().await;
    assert_eq!(odin.exit_code(second).await, Some(0));
    until("the first one waits for it", async || (!process::exists(second)).then_some(())).await;
    assert!(process::is_running(first));
    open.finish().await;
    open.ends().await;
    assert_eq!(odin.exit_code(first).await, Some(0));
}

#[tokio::test]
async fn one_that_dies_after_another_took_over_from_it_is_nobodys_loss() {
    let echo = TcpPeer::echo("").await;
    let mut odin = Odin::builder().top("shutdown-grace = \"200ms\"").tcp_target(&echo).start().await;
    let (first, mut open) = (odin.pid(), odin.connect_tcp().await);
    let second = odin.upgrade().await;
    let listens = |file: &String| file.contains(" 00000000:0000 0A ");
    let left = async || (!process::open_files(first).iter().any(listens)).then_some(());
    until("the first one accepts no more", left).await;
    let _drains = odin.connect_tcp().await;
    odin.upgrade().await;
    process::signal(second, Signal::KILL);
    until("the first one has waited for it", async || (!process::exists(second)).then_some(())).await;
    // The connection of the first one lives on, as long as its client likes.
    for _ in 0..20 {
        open.send("more").await;
        assert_eq!(open.read(4).await, b"more");
        let _new = odin.connect_tcp().await;
    }
    assert!(!odin.log().all().iter().any(|line| line.contains("nobody serves")), "{:#?}", odin.log().all());
    open.finish().await;
    open.ends().await;
    assert_eq!(odin.exit_code(first).await, Some(0));
}

#[tokio::test]
async fn one_whose_predecessor_dies_before_it_has_begun_serves_with_all_that_it_was_given() {
    let (installed, http) = (Installed::new(), HttpBackend::saying("ok").await);
    let odin = Odin::builder().target(&http).binary(&installed.file).start().await;
    let (first, go) = (odin.pid(), installed.file.with_extension("go"));
    installed.script(&format!("until [ -e {} ]; do sleep 0.02; done; exec ODIN \"$@\"", go.display()));
    process::adopt_orphans();
    process::signal(first, Signal::USR2);
    let second = until("the new one is there", async || process::children(first).first().copied()).await;
    odin.succeeded_by(second);
    // Its thread has given everything when it waits for an answer.
    let waits = |thread: &process::Thread| thread.name == "upgrade" && thread.sleeps;
    until("all is given", async || process::threads(first).iter().any(waits).then_some(())).await;
    process::signal(first, Signal::KILL);
    // It waits in the queue of a socket that nobody accepts from.
    let mut waiting = Raw::connect(odin.address("web")).await;
    fs::write(go, "").unwrap();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(waiting.response("GET").await.expect("it is served").head.status(), 200);
    assert!(odin.is_ready().await);
}
