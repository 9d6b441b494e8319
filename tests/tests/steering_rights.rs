//! What a steering Odin may do and what it leaves behind: no capability, no root, nothing pinned, no port that is busy.
//!
//! Every test has a network namespace of its own; without the capabilities for that it is skipped.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use odin_tests::dial::{accepts, greeting, refused};
use odin_tests::process::{Thread, threads, user};
use odin_tests::steered::{web, web_config};
use odin_tests::{Odin, Raw, TcpPeer, netns, paths, until};
use tokio::io::AsyncWriteExt as _;

/// The threads, once those are there that there always are; a thread names itself.
async fn threads_of(odin: &Odin) -> Vec<Thread> {
    until("the threads are there", async || {
        let threads = threads(odin.pid());
        let named = |name: &&str| threads.iter().any(|thread| thread.name == *name);
        ["worker-0", "worker-1", "access-log"].iter().all(named).then_some(threads)
    })
    .await
}

/// Fails unless every thread has these capabilities.
async fn has_capabilities(odin: &Odin, wanted: u64) {
    for thread in threads_of(odin).await {
        assert_eq!(thread.capabilities, wanted, "{:#x}: {thread:?}", thread.capabilities);
        assert!(thread.no_new_privileges, "{thread:?}");
    }
}

/// Fails unless every thread is this user, in every respect.
async fn is_user(odin: &Odin, uid: u32, gid: u32) {
    for thread in threads_of(odin).await {
        assert_eq!((&thread.uids, &thread.gids), (&vec![uid; 4], &vec![gid; 4]), "{thread:?}");
        assert!(thread.groups.iter().all(|group| *group == gid), "{thread:?}");
    }
}

#[test]
fn a_steering_odin_has_no_capability_left_and_still_takes_new_ports() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let odin = web("bpf", &["[::]:80"], &backend).start().await;
        odin.log_contains(&["odin: capabilities dropped"]).await;
        has_capabilities(&odin, 0).await;
        is_user(&odin, 0, 0).await;
        assert_eq!(greeting("127.0.0.1:80").await, "web");
        let more = web_config("", "bpf", &["[::]:80", "[::]:443", "192.0.2.0/24:1-9"], &backend);
        odin.reload(&more).await.has_status(200);
        for address in ["127.0.0.1:80", "[::1]:443", "192.0.2.9:9"] {
            assert_eq!(greeting(address).await, "web");
        }
        has_capabilities(&odin, 0).await;
        odin.stop().await;
    });
}

#[test]
fn another_user_runs_every_thread_and_still_takes_new_ports() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let (uid, gid) = user("nobody");
        for name in ["nobody".to_string(), uid.to_string()] {
            let top = format!("user = \"{name}\"\n");
            let config = |addresses: &[&str]| web_config(&top, "bpf", addresses, &backend);
            let odin = Odin::builder().with_config(config(&["[::]:80"])).start().await;
            odin.log_contains(&["odin: running as", &format!("(uid {uid})")]).await;
            is_user(&odin, uid, gid).await;
            has_capabilities(&odin, 0).await;
            assert_eq!(greeting("127.0.0.1:80").await, "web");
            odin.reload(&config(&["[::]:80", "[::]:443", "192.0.2.0/24:1-9"])).await.has_status(200);
            for address in ["127.0.0.1:80", "[::1]:443", "192.0.2.9:9"] {
                assert_eq!(greeting(address).await, "web");
            }
            // Also by the signal, and back.
            let from = odin.log().len();
            std::fs::write(odin.config_file(), config(&["[::]:443"])).unwrap();
            odin.hang_up();
            odin.log_contains_after(from, &["- binding web [::]:80"]).await;
            refused("127.0.0.1:80").await;
            assert_eq!(greeting("127.0.0.1:443").await, "web");
            is_user(&odin, uid, gid).await;
            has_capabilities(&odin, 0).await;
            odin.stop().await;
        }
    });
}

#[test]
fn binding_keeps_at_most_the_capability_to_bind_and_takes_new_ports_below_1024() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let (uid, gid) = user("nobody");
        for (top, uid, gid) in [("", 0, 0), ("user = \"nobody\"\n", uid, gid)] {
            let config = |addresses: &[&str]| web_config(top, "bind", addresses, &backend);
            let odin = Odin::builder().with_config(config(&["[::]:80"])).start().await;
            has_capabilities(&odin, netns::ONLY_NET_BIND_SERVICE).await;
            is_user(&odin, uid, gid).await;
            odin.reload(&config(&["[::]:80", "[::]:443", "127.0.0.1:1-9"])).await.has_status(200);
            for address in ["127.0.0.1:80", "[::1]:443", "127.0.0.1:9"] {
                assert_eq!(greeting(address).await, "web");
            }
            has_capabilities(&odin, netns::ONLY_NET_BIND_SERVICE).await;
            odin.stop().await;
        }
    });
}

#[test]
fn who_may_not_bind_a_port_below_1024_is_told_what_is_missing() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let said = web("bind", &["[::]:80"], &backend).without_capabilities().refuses_to_start().await;
        said.says(&["[::]:80", "CAP_NET_BIND_SERVICE"]);
        // By a reload, too, and then nothing changes.
        let odin = web("auto", &["[::]:8080"], &backend).without_capabilities().start().await;
        let with_80 = web_config("", "auto", &["[::]:8080", "[::]:8081", "[::]:80"], &backend);
        odin.reload(&with_80).await.has_status(422).mentions("[::]:80").mentions("CAP_NET_BIND_SERVICE");
        assert_eq!(greeting("127.0.0.1:8080").await, "web");
        refused("127.0.0.1:8081").await;
        odin.stop().await;
    });
}

#[test]
fn a_user_that_there_is_not_or_may_not_be_is_a_clear_error() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        for steering in ["bpf", "bind", "auto"] {
            let odin = |user: &str| {
                let top = format!("user = \"{user}\"\n");
                Odin::builder().with_config(web_config(&top, steering, &["[::]:8080"], &backend))
            };
            odin("no-such-user").refuses_to_start().await.says(&["user = \"no-such-user\"", "no such user"]);
            refused("127.0.0.1:8080").await;
        }
        let top = "user = \"nobody\"\n";
        let odin =
            Odin::builder().with_config(web_config(top, "auto", &["[::]:8080"], &backend)).without_capabilities();
        odin.refuses_to_start().await.says(&["user = \"nobody\"", "cannot become", "root"]);
        let odin = Odin::builder().with_config(web_config(top, "auto", &["[::]:8080"], &backend));
        // Who is that user already may name it.
        let odin =
            odin.started_by("setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=-all").start().await;
        assert_eq!(greeting("127.0.0.1:8080").await, "web");
        odin.stop().await;
    });
}

#[test]
fn nothing_is_left_of_a_steering_odin_that_was_killed() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let addresses = ["[::]:80", "[::]:5000-5999", "192.0.2.0/24:*"];
        for _ in 0..3 {
            let odin = web("bpf", &addresses, &backend).start().await;
            let mut open = Raw::connect("[::1]:5500".parse().unwrap()).await;
            assert_eq!(open.read(3).await, b"web");
            odin.kill().await;
            for address in ["127.0.0.1:80", "[::1]:5500", "192.0.2.77:7"] {
                refused(address).await;
            }
            assert_eq!(netns::hidden(), []);
            open.rest().await;
        }
        // Somebody else may have what it had.
        let other = TcpListener::bind("[::]:80").expect("the port is free");
        assert!(accepts("127.0.0.1:80").await);
        drop(other);
    });
}

#[test]
fn an_odin_that_never_was_root_steers_with_two_capabilities_and_drops_them() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let unit = std::fs::read_to_string(paths::config("odin.service")).unwrap();
        for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
            assert!(unit.lines().any(|line| line == format!("{key}=CAP_BPF CAP_NET_ADMIN")), "the unit gives these");
        }
        let (uid, gid) = user("nobody");
        let odin =
            web("auto", &["[::]:80"], &backend).started_as(&uid.to_string(), &["bpf", "net_admin"]).start().await;
        assert_eq!(odin.steering().await.mode(), "bpf", "{}", odin.steering().await.0);
        is_user(&odin, uid, gid).await;
        has_capabilities(&odin, 0).await;
        odin.reload(&web_config("", "auto", &["[::]:80", "192.0.2.0/24:443"], &backend)).await.has_status(200);
        assert_eq!((greeting("127.0.0.1:80").await, greeting("192.0.2.9:443").await), ("web".into(), "web".into()));
        odin.stop().await;
    });
}

#[test]
fn an_odin_can_be_started_again_at_once_on_ports_with_connections_that_just_ended() {
    netns::run(async || {
        let backend = TcpPeer::start(|mut stream, _| async move {
            // It ends first, so Odin does, and the kernel keeps Odin's port busy for a minute.
            let _ = stream.write_all(b"web").await;
        })
        .await;
        for steering in ["bind", "bpf", "bind"] {
            for _ in 0..3 {
                let odin = web(steering, &["[::]:80", "127.0.0.1:81"], &backend).start().await;
                for port in [80, 81, 80, 81] {
                    assert_eq!(greeting(&format!("127.0.0.1:{port}")).await, "web");
                }
                let mut open = Raw::connect("127.0.0.1:80".parse().unwrap()).await;
                assert_eq!(open.read(3).await, b"web");
                odin.kill().await;
                drop(open);
            }
        }
    });
}

#[test]
fn a_config_that_the_user_cannot_read_is_not_reloaded_and_the_error_says_so() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let config = |addresses: &[&str]| web_config("user = \"nobody\"\n", "bpf", addresses, &backend);
        let odin = Odin::builder().with_config(config(&["[::]:80"])).start().await;
        // As it is to be from the first moment: the file is watched.
        let new = odin.config_file().with_extension("new");
        std::fs::write(&new, config(&["[::]:80", "[::]:81"])).unwrap();
        std::fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&new, odin.config_file()).unwrap();
        let refused = odin.post_admin("/reload").await.has_status(422);
        refused.mentions("odin.toml").mentions("Permission denied");
        assert_eq!(greeting("127.0.0.1:80").await, "web");
        std::fs::set_permissions(odin.config_file(), Permissions::from_mode(0o644)).unwrap();
        odin.post_admin("/reload").await.has_status(200);
        assert_eq!(greeting("127.0.0.1:81").await, "web");
        odin.stop().await;
    });
}
