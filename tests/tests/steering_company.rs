//! Others have ports, too: a steering Odin takes none of another Odin, nor of anybody who listens, without a word.
//!
//! Every test has a network namespace of its own; without the capabilities for that it is skipped.

use std::net::TcpListener;

use odin_tests::dial::{accepts, greeting, refused};
use odin_tests::process::user;
use odin_tests::steered::{has_counted, web, web_config};
use odin_tests::{Odin, TcpPeer, netns, until};
use tokio::io::AsyncWriteExt as _;

#[test]
fn two_odins_do_not_take_each_others_ports() {
    netns::run(async || {
        let (first, second) = (TcpPeer::echo("first").await, TcpPeer::echo("second").await);
        let one = web("bpf", &["[::]:5000-5999", "192.0.2.0/24:80"], &first).start().await;
        let pid = one.pid().to_string();
        for (address, steering) in [
            ("[::]:5999", "bpf"),
            ("127.0.0.1:5500-6500", "bpf"),
            ("127.0.0.1:5500-6500", "auto"),
            ("192.0.2.128/25:80", "bpf"),
            ("192.0.0.0/16:70-90", "bpf"),
            ("192.0.2.7:*", "bpf"),
            ("[::]:5999", "bind"),
            ("127.0.0.1:5000", "bind"),
            ("0.0.0.0:80", "bind"),
        ] {
            let said = web(steering, &["[::]:7999", address], &second).refuses_to_start().await;
            said.says(&[address.split('-').next().unwrap(), &pid, "process"]);
        }
        let without = web("auto", &["127.0.0.1:5000"], &second).without_capabilities().refuses_to_start().await;
        without.says(&["127.0.0.1:5000", &pid]);
        assert_eq!(greeting("127.0.0.1:5999").await, "first");
        refused("127.0.0.1:7999").await;

        // Side by side each has its own.
        let other = ["[::]:6000-6999", "192.0.2.0/24:81", "198.51.100.0/24:80"];
        let two = web("bpf", &other, &second).start().await;
        let three = web("bind", &["[::]:8000"], &second).start().await;
        for (address, name) in [
            ("[::1]:5999", "first"),
            ("[::1]:6000", "second"),
            ("192.0.2.5:80", "first"),
            ("192.0.2.5:81", "second"),
            ("198.51.100.9:80", "second"),
            ("127.0.0.1:8000", "second"),
        ] {
            assert_eq!(greeting(address).await, name, "{address}");
        }

        // A reload takes nothing either, in neither direction, and then changes nothing.
        let wants = web_config("", "bpf", &["[::]:6000-6999", "[::]:7000", "[::]:5000"], &second);
        two.reload(&wants).await.has_status(422).mentions("[::]:5000").mentions(&pid);
        let wants = web_config("", "bpf", &["[::]:5000-6000", "192.0.2.0/24:80"], &first);
        one.reload(&wants).await.has_status(422).mentions("[::]:5000-6000").mentions(&two.pid().to_string());
        let wants = web_config("", "bind", &["[::]:8000", "[::]:5000"], &second);
        three.reload(&wants).await.has_status(422).mentions("[::]:5000").mentions(&pid);
        refused("127.0.0.1:7000").await;
        for (address, name) in [("192.0.2.5:81", "second"), ("127.0.0.1:5000", "first"), ("127.0.0.1:8000", "second")] {
            assert_eq!(greeting(address).await, name, "{address}");
        }
        // What the other gives up is free.
        two.reload(&web_config("", "bpf", &["[::]:6001-6999"], &second)).await.has_status(200);
        one.reload(&web_config("", "bpf", &["[::]:5000-6000", "192.0.2.0/24:80-81"], &first)).await.has_status(200);
        assert_eq!((greeting("[::1]:6000").await, greeting("192.0.2.5:81").await), ("first".into(), "first".into()));
        // And what it leaves behind.
        two.kill().await;
        one.reload(&web_config("", "bpf", &["[::]:5000-6999"], &first)).await.has_status(200);
        assert_eq!(greeting("[::1]:6999").await, "first");
        one.stop().await;
        three.stop().await;
    });
}

#[test]
fn odins_of_different_users_do_not_take_each_others_ports() {
    netns::run(async || {
        let (first, second) = (TcpPeer::echo("first").await, TcpPeer::echo("second").await);
        let [nobody, daemon] = ["user = \"nobody\"\n", "user = \"daemon\"\n"];
        let one = Odin::builder().with_config(web_config(nobody, "bpf", &["[::]:5000"], &first)).start().await;
        let said =
            Odin::builder().with_config(web_config(daemon, "bpf", &["[::]:5000"], &second)).refuses_to_start().await;
        said.says(&["[::]:5000", &one.pid().to_string()]);
        let two = Odin::builder().with_config(web_config(daemon, "bpf", &["[::]:6000"], &second)).start().await;
        let wants = |top, port, backend| web_config(top, "bpf", &[&format!("[::]:{port}"), "[::]:7000"], backend);
        two.reload(&wants(daemon, 5000, &second)).await.has_status(422).mentions(&one.pid().to_string());
        one.reload(&wants(nobody, 6000, &first)).await.has_status(422).mentions(&two.pid().to_string());
        assert_eq!((greeting("[::1]:5000").await, greeting("[::1]:6000").await), ("first".into(), "second".into()));
        one.stop().await;
        two.stop().await;
    });
}

#[test]
fn what_an_odin_that_never_was_root_steers_is_not_taken_by_root_nor_by_others() {
    netns::run(async || {
        let (first, second) = (TcpPeer::echo("first").await, TcpPeer::echo("second").await);
        let both = ["bpf", "net_admin"];
        let [nobody, daemon] = ["nobody", "daemon"].map(|name| user(name).0.to_string());
        let one = web("auto", &["[::]:5000"], &first).started_as(&nobody, &both).start().await;
        let pid = one.pid().to_string();
        let odin = |port: u16| web("auto", &[&format!("[::]:{port}")], &second);
        for other in [odin(5000), odin(5000).started_as(&daemon, &both), odin(5000).started_as(&daemon, &[])] {
            other.refuses_to_start().await.says(&["[::]:5000", &pid]);
        }
        let two = odin(6000).started_as(&daemon, &both).start().await;
        let three = odin(7000).start().await;
        let wants = |own: u16| web_config("", "auto", &[&format!("[::]:{own}"), "[::]:5000"], &second);
        two.reload(&wants(6000)).await.has_status(422).mentions(&pid);
        three.reload(&wants(7000)).await.has_status(422).mentions(&pid);
        assert_eq!(greeting("127.0.0.1:5000").await, "first");
        one.stop().await;
    });
}

#[test]
fn two_odins_that_bind_do_not_share_a_port_silently() {
    netns::run(async || {
        let (first, second) = (TcpPeer::echo("first").await, TcpPeer::echo("second").await);
        let one = web("bind", &["[::]:5000", "127.0.0.1:6000"], &first).start().await;
        for (steering, address) in
            [("bind", "[::]:5000"), ("bind", "127.0.0.1:6000"), ("bpf", "[::]:5000"), ("bpf", "[::]:5990-6000")]
        {
            web(steering, &["[::]:7000", address], &second).refuses_to_start().await.says(&[address]);
        }
        for _ in 0..20 {
            assert_eq!(greeting("127.0.0.1:5000").await, "first");
        }
        one.stop().await;
    });
}

#[test]
fn a_port_that_somebody_listens_on_is_not_taken_silently() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let other = TcpListener::bind("127.0.0.1:5001").unwrap();
        let other6 = TcpListener::bind("[::1]:5002").unwrap();
        for (address, taken) in [
            ("127.0.0.1:5001", "127.0.0.1:5001"),
            ("0.0.0.0:5001", "127.0.0.1:5001"),
            ("[::]:5001", "127.0.0.1:5001"),
            ("[::]:5000-5001", "127.0.0.1:5001"),
            ("127.0.0.0/8:5001", "127.0.0.1:5001"),
            ("[::]:5002", "[::1]:5002"),
        ] {
            let said = web("bpf", &["[::]:5003", address], &backend).refuses_to_start().await;
            said.says(&[address, taken, "odin.toml:", ": listener \"web\": "]);
        }
        web("bind", &["127.0.0.1:5001"], &backend).refuses_to_start().await.says(&["127.0.0.1:5001", "in use"]);

        let odin = web("bpf", &["[::]:5003"], &backend).start().await;
        let wants = web_config("", "bpf", &["[::]:5003", "[::]:5004", "0.0.0.0:5001"], &backend);
        odin.reload(&wants)
            .await
            .has_status(422)
            .mentions(": listener \"web\": 0.0.0.0:5001")
            .mentions("127.0.0.1:5001");
        assert_eq!(greeting("127.0.0.1:5003").await, "web");
        refused("127.0.0.1:5004").await;
        assert!(accepts("127.0.0.1:5001").await && accepts("[::1]:5002").await);
        has_counted(odin.steering().await.steered("web"), 1);
        // Once it is free, it can be had.
        drop((other, other6));
        odin.reload(&wants).await.has_status(200);
        assert_eq!(greeting("127.0.0.1:5001").await, "web");
        odin.stop().await;
    });
}

#[test]
fn who_only_pretends_to_be_an_odin_keeps_nobody_from_starting() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};

    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let listen = |name: &str| {
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let listener = UnixListener::bind_addr(&address).unwrap();
            listener.set_nonblocking(true).unwrap();
            tokio::net::UnixListener::from_std(listener).unwrap()
        };
        // One never answers, one says what makes no sense, one never ends.
        let _silent = listen("odin/steer/1");
        let (senseless, endless) = (listen("odin/steer/2"), listen("odin/steer/not a number"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = senseless.accept().await {
                let _ = stream.write_all(b"[{\"pid\": \"all of them\"}").await;
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = endless.accept().await {
                tokio::spawn(async move { while stream.write_all(&[b' '; 4096]).await.is_ok() {} });
            }
        });
        let odin = web("bpf", &["[::]:5000"], &backend).start().await;
        odin.log_contains(&["WARN", "odin/steer/1"]).await;
        assert_eq!(greeting("127.0.0.1:5000").await, "web");
        odin.reload(&web_config("", "bpf", &["[::]:5000-5001"], &backend)).await.has_status(200);
        assert_eq!(greeting("127.0.0.1:5001").await, "web");
        odin.stop().await;
    });
}

#[test]
fn who_asks_an_odin_and_does_not_listen_keeps_it_from_telling_nobody() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixStream};

    netns::run(async || {
        let (first, second) = (TcpPeer::echo("first").await, TcpPeer::echo("second").await);
        // Enough to tell that it does not fit into a socket's buffer.
        let ports: Vec<String> = (10_000..30_000).step_by(2).map(|port| format!("[::]:{port}")).collect();
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let one = web("bpf", &ports, &first).start().await;
        let address = SocketAddr::from_abstract_name(format!("odin/steer/{}", one.pid())).unwrap();
        let deaf: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect_addr(&address).unwrap()).collect();
        let said = web("bpf", &["[::]:20000"], &second).refuses_to_start().await;
        said.says(&["[::]:20000", &one.pid().to_string()]);
        drop(deaf);
        assert_eq!(greeting("127.0.0.1:20000").await, "first");
        one.stop().await;
    });
}

#[test]
fn two_odins_that_want_the_same_port_at_the_same_moment_do_not_both_get_it() {
    netns::run(async || {
        let (first, second) = (TcpPeer::echo("first").await, TcpPeer::echo("second").await);
        for steering in ["bpf", "bind"] {
            let one = web(steering, &["127.0.0.1:5000"], &first).start().await;
            let two = web(steering, &["127.0.0.1:6000"], &second).start().await;
            for port in 7000..7010 {
                let both = |own: u16, backend| {
                    web_config("", steering, &[&format!("127.0.0.1:{own}"), &format!("127.0.0.1:{port}")], backend)
                };
                let (of_one, of_two) = (both(5000, &first), both(6000, &second));
                let (one, two) = tokio::join!(one.reload(&of_one), two.reload(&of_two));
                let mut codes = [one.status.as_u16(), two.status.as_u16()];
                let winner = if codes[0] == 200 { "first" } else { "second" };
                codes.sort_unstable();
                assert_eq!(codes, [200, 422], "{port} {steering}");
                assert_eq!(greeting(&format!("127.0.0.1:{port}")).await, winner);
            }
            one.stop().await;
            two.stop().await;
        }
    });
}

#[test]
fn a_bound_odin_shares_no_address_with_another_although_it_has_the_port_elsewhere() {
    netns::run(async || {
        let (first, second) = (TcpPeer::echo("first").await, TcpPeer::echo("second").await);
        let one = web("bind", &["127.0.0.1:5000"], &first).start().await;
        let two = web("bind", &["127.0.0.2:5000"], &second).start().await;
        let wants = web_config("", "bind", &["127.0.0.1:5000", "127.0.0.2:5000"], &first);
        one.reload(&wants).await.has_status(422).mentions("127.0.0.2:5000").mentions("in use");
        // Its own address may become a wider or a narrower one.
        two.stop().await;
        for address in ["0.0.0.0:5000", "[::]:5000", "127.0.0.1:5000"] {
            one.reload(&web_config("", "bind", &[address], &first)).await.has_status(200);
            assert_eq!(greeting("127.0.0.1:5000").await, "first", "{address}");
        }
        one.stop().await;
    });
}

#[test]
fn an_address_that_became_another_users_is_named_as_odins_own() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let config = |address| web_config("user = \"nobody\"\n", "bind", &[address], &backend);
        let odin = Odin::builder().with_config(config("0.0.0.0:5000")).start().await;
        let answer = odin.reload(&config("[::]:5000")).await.has_status(422);
        answer.mentions("this Odin has that port at another address").mentions("[::]:5000");
        assert_eq!(greeting("127.0.0.1:5000").await, "web");
        odin.stop().await;
    });
}

#[test]
fn no_listener_gets_the_admin_pages_of_before_a_reload() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let config = |admin: &str, address: &str| {
            web_config("", "bpf", &["[::]:5000", address], &backend).replace("127.0.0.1:0", admin)
        };
        let odin = Odin::builder().with_config(config("0.0.0.0:9901", "[::]:5001")).start().await;
        for address in ["[::]:9901", "192.0.2.0/24:9900-9999"] {
            let answer = odin.reload(&config("127.0.0.1:9902", address)).await.has_status(422);
            answer.mentions("0.0.0.0:9901, where the admin pages are until the next start");
        }
        // Once they have moved the port is free.
        std::fs::write(odin.config_file(), config("127.0.0.1:9902", "[::]:5001")).unwrap();
        odin.upgrade().await;
        until("nobody listens on the port", async || (!accepts("127.0.0.1:9901").await).then_some(())).await;
        std::fs::write(odin.config_file(), config("127.0.0.1:9902", "[::]:9901")).unwrap();
        until("the listener has it", async || accepts("127.0.0.1:9901").await.then_some(())).await;
        assert_eq!(greeting("127.0.0.1:9901").await, "web");
        odin.terminate();
    });
}
