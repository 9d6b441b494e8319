//! What is steered changes while clients are there: by reload, and at the end.
//!
//! Every test has a network namespace of its own; without the capabilities for that it is skipped.

use std::collections::BTreeMap;

use odin_tests::dial::{accepts, below, greeting, refused};
use odin_tests::steered::{has_counted, listener, with};
use odin_tests::{Raw, TcpPeer, netns, until};

#[test]
fn a_reload_adds_and_removes_ports_and_networks_and_disturbs_nobody() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let config = |addresses: &[&str]| listener("web", "tcp", addresses, &backend);
        let odin = with(2, "bpf", &[config(&["[::]:7000-7999", "192.0.2.0/24:80"])]).start().await;
        let start = std::fs::read_to_string(odin.config_file()).unwrap();
        let with_addresses =
            |addresses: &[&str]| start.replace(&config(&["[::]:7000-7999", "192.0.2.0/24:80"]), &config(addresses));
        let mut kept = Raw::connect("[::1]:7500".parse().unwrap()).await;
        assert_eq!(kept.read(3).await, b"web");
        refused("[::1]:8000").await;
        refused("[2001:db8::5]:80").await;

        let more =
            with_addresses(&["[::]:7000-7999", "192.0.2.0/24:80", "[::]:8000-8999", "[2001:db8::/64]:80", "0.0.0.0:9"]);
        let from = odin.log().len();
        odin.reload(&more).await.has_status(200);
        for word in ["[::]:8000-8999", "[2001:db8::/64]:80", "0.0.0.0:9"] {
            // In the log, and not in the answer: the watch may have been quicker.
            odin.log_contains_after(from, &[word]).await;
        }
        for address in
            ["127.0.0.1:8500", "[::1]:8999", "[2001:db8::5]:80", "127.0.0.1:9", "[::1]:7000", "192.0.2.200:80"]
        {
            assert_eq!(greeting(address).await, "web", "{address}");
        }
        // Counters of what stayed go on.
        has_counted(odin.steering().await.steered_to("web", "[::]:7000-7999"), 2);

        let fewer = with_addresses(&["[::]:7400-7599", "192.0.2.128/25:80"]);
        odin.reload(&fewer).await.has_status(200);
        for address in [
            "127.0.0.1:8500",
            "[::1]:8999",
            "[2001:db8::5]:80",
            "127.0.0.1:9",
            "[::1]:7399",
            "[::1]:7600",
            "192.0.2.127:80",
        ] {
            refused(address).await;
        }
        for address in ["127.0.0.1:7400", "[::1]:7599", "192.0.2.128:80"] {
            assert_eq!(greeting(address).await, "web", "{address}");
        }
        kept.send("still here").await;
        assert_eq!(kept.read(10).await, b"still here", "the connection was there before both");
        // What cannot be changes nothing.
        let bad = with_addresses(&["[::]:7400-7599", "[::]:7500"]);
        odin.reload(&bad).await.has_status(422).mentions("[::]:7500");
        assert_eq!(greeting("127.0.0.1:7500").await, "web");
        drop(kept);
        odin.stop().await;
    });
}

#[test]
fn the_count_of_what_was_steered_outlives_the_ports() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let config = |addresses: &[&str]| listener("web", "tcp", addresses, &backend);
        let odin = with(2, "bpf", &[config(&["[::]:7000", "[::]:8000"])]).start().await;
        let start = std::fs::read_to_string(odin.config_file()).unwrap();
        let without = start.replace(&config(&["[::]:7000", "[::]:8000"]), &config(&["[::]:8000"]));
        let count = async || {
            let sent = [("listener", "web"), ("outcome", "sent")];
            odin.metrics().await.sum("odin_steered_total", &sent) as u64
        };
        for port in [7000, 8000, 7000] {
            assert_eq!(greeting(&format!("[::1]:{port}")).await, "web");
        }
        let before = count().await;
        has_counted(before, 3);
        odin.reload(&without).await.has_status(200);
        let after = count().await;
        has_counted(after, 3);
        assert!(after >= before, "a counter never goes down");
        assert_eq!(greeting("[::1]:8000").await, "web");
        odin.reload(&start).await.has_status(200);
        assert_eq!(greeting("[::1]:7000").await, "web");
        has_counted(count().await, 5);
        odin.stop().await;
    });
}

#[test]
fn ten_thousand_ports_are_added_at_once() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let few = listener("web", "tcp", &["[::]:9"], &backend);
        let ports: Vec<String> = (10_000..30_000).step_by(2).map(|port| format!("[::]:{port}")).collect();
        let many = listener("web", "tcp", &ports, &backend);
        let odin = with(2, "bpf", std::slice::from_ref(&few)).start().await;
        let before = std::fs::read_to_string(odin.config_file()).unwrap();
        let start = std::time::Instant::now();
        odin.reload(&before.replace(&few, &many)).await.has_status(200);
        println!("10,000 ports: {:?}", start.elapsed());
        for _ in 0..100 {
            assert_eq!(greeting(&format!("127.0.0.1:{}", 10_000 + 2 * below(10_000))).await, "web");
            refused(&format!("127.0.0.1:{}", 10_001 + 2 * below(10_000))).await;
        }
        refused("127.0.0.1:9").await;
        odin.reload(&before).await.has_status(200);
        for _ in 0..100 {
            refused(&format!("127.0.0.1:{}", 10_000 + 2 * below(10_000))).await;
        }
        assert_eq!(greeting("127.0.0.1:9").await, "web");
        odin.stop().await;
    });
}

#[test]
fn a_steering_odin_that_drains_takes_nobody_new_and_finishes_what_runs() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let odin = with(2, "bpf", &[listener("web", "tcp", &["[::]:9000", "192.0.2.0/24:*"], &backend)]).start().await;
        let mut open = Raw::connect("192.0.2.1:7".parse().unwrap()).await;
        assert_eq!(open.read(3).await, b"web");
        odin.terminate();
        until("nobody new is taken", async || {
            (!accepts("127.0.0.1:9000").await && !accepts("192.0.2.1:7").await).then_some(())
        })
        .await;
        refused("127.0.0.1:9000").await;
        // The pages tell of what was, until the drain is over.
        let steering = odin.steering().await;
        assert_eq!((steering.mode(), steering.steered("web") >= 1), ("bpf", true));
        let binding = steering.binding("web", "[::]:9000");
        assert_eq!((&binding["by"], &binding["serving"]), (&"bpf".into(), &false.into()));
        assert_eq!(binding["reason"], "this process drains");
        assert!(odin.metrics().await.sum("odin_steered_total", &[("listener", "web"), ("outcome", "sent")]) >= 1.0);
        open.send("still here").await;
        assert_eq!(open.read(10).await, b"still here");
        open.finish().await;
        assert!(odin.finished().await.success());
        assert_eq!(netns::hidden(), []);
    });
}

#[test]
fn ports_that_move_from_one_listener_to_another_are_never_without_one() {
    netns::run(async || {
        let (one, two) = (TcpPeer::echo("one").await, TcpPeer::echo("two").await);
        for steering in ["bpf", "bind"] {
            let [ports, more] = ["[::]:9000-9009", "[::]:9010"];
            let both = |to_one: &[&str], to_two: &[&str]| {
                [listener("one", "tcp", to_one, &one), listener("two", "tcp", to_two, &two)]
            };
            let configs = [both(&[ports, "[::]:9020"], &[more]), both(&["[::]:9020"], &[ports, more])];
            let odin = with(2, steering, &configs[0]).start().await;
            let start = std::fs::read_to_string(odin.config_file()).unwrap();
            let texts = [start.clone(), start.replace(&configs[0].concat(), &configs[1].concat())];
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    tokio::spawn(async {
                        let mut heard = BTreeMap::new();
                        while heard.len() < 2 || heard.values().sum::<usize>() < 200 {
                            let said = greeting(&format!("127.0.0.1:{}", 9000 + below(10))).await;
                            assert!(["one", "two"].contains(&said.as_str()), "{said:?}");
                            *heard.entry(said).or_insert(0) += 1;
                        }
                    })
                })
                .collect();
            let mut turns = 0;
            while turns < 50 || !clients.iter().all(|client| client.is_finished()) {
                turns += 1;
                odin.reload(&texts[turns % 2]).await.has_status(200);
                // Steered, they go there by the time of the answer; a worker that has the socket takes a moment.
                let wanted = ["one", "two"][turns % 2];
                if steering == "bpf" {
                    assert_eq!(greeting("[::1]:9009").await, wanted);
                }
                let there = async || (greeting("[::1]:9009").await == wanted).then_some(());
                until("new connections go to the other listener", there).await;
                assert!(turns < 5000, "the clients hear both");
            }
            for client in clients {
                client.await.expect("no connection failed");
            }
            odin.stop().await;
        }
    });
}

#[test]
fn what_was_counted_stays_with_the_listener_that_had_the_port() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let config = |one: &[&str], other: &[&str]| {
            format!("{}{}", listener("one", "tcp", one, &backend), listener("other", "tcp", other, &backend))
        };
        let (with_one, with_other) =
            (config(&["[::]:1", "[::]:8000"], &["[::]:2"]), config(&["[::]:1"], &["[::]:2", "[::]:8000"]));
        let odin = with(2, "bpf", std::slice::from_ref(&with_one)).start().await;
        let start = std::fs::read_to_string(odin.config_file()).unwrap();
        let counts = async || {
            let metrics = odin.metrics().await;
            ["one", "other"].map(|name| metrics.sum("odin_steered_total", &[("listener", name), ("outcome", "sent")]))
        };
        for (text, dialled) in [(&with_one, [5, 0]), (&with_other, [5, 5]), (&with_one, [10, 5])] {
            odin.reload(&start.replace(&with_one, text)).await.has_status(200);
            for _ in 0..5 {
                assert_eq!(greeting("[::1]:8000").await, "web");
            }
            counts().await.into_iter().zip(dialled).for_each(|(counted, dialled)| has_counted(counted as u64, dialled));
        }
        odin.stop().await;
    });
}

#[test]
fn what_a_reload_answers_has_happened_for_bound_and_for_steered_ports() {
    netns::run(async || {
        let (one, other) = (TcpPeer::echo("one").await, TcpPeer::echo("other").await);
        let config = |of_one: &[&str], of_other: &[&str]| {
            format!("{}{}", listener("one", "tcp", of_one, &one), listener("other", "tcp", of_other, &other))
        };
        for steering in ["bind", "bpf"] {
            let first = config(&["127.0.0.1:8000", "127.0.0.1:8001"], &["127.0.0.1:8002"]);
            let odin = with(2, steering, std::slice::from_ref(&first)).start().await;
            let start = std::fs::read_to_string(odin.config_file()).unwrap();
            let second = start.replace(&first, &config(&["127.0.0.1:8000"], &["127.0.0.1:8002", "127.0.0.1:8001"]));
            let third = start.replace(&first, &config(&["127.0.0.1:8000"], &["127.0.0.1:8002"]));
            for _ in 0..100 {
                for (text, gets) in [(&start, Some("one")), (&second, Some("other")), (&third, None)] {
                    odin.reload(text).await.has_status(200);
                    match gets {
                        Some(name) => assert_eq!(greeting("127.0.0.1:8001").await, name, "{steering}"),
                        None => refused("127.0.0.1:8001").await,
                    }
                }
            }
            odin.stop().await;
        }
    });
}
