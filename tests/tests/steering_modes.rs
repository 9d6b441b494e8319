//! What becomes of addresses where nothing can be steered, and what people are told about it.
//!
//! Every test has a network namespace of its own; without the capabilities for that it is skipped.

use std::process::Command;

use odin_tests::dial::{accepts, greeting, refused};
use odin_tests::steered::{NOWHERE, bindings, listener, somewhere, with};
use odin_tests::{Connection, HttpBackend, Odin, Program, Protocol, TcpPeer, echoed, netns, paths};
use serde_json::Value;

#[test]
fn without_the_capability_ports_are_bound_and_the_network_is_named_as_not_served() {
    netns::run(async || {
        let backend = HttpBackend::named("web", Protocol::Http1).await;
        let listeners = [listener("web", "http", &bindings(), &backend)];
        let odin = with(1, "auto", &listeners).without_capabilities().start().await;
        let why = ["CAP_BPF", "CAP_NET_ADMIN"];
        for network in ["192.0.2.0/24:80", "[2001:db8:0:1::/64]:80"] {
            odin.log_contains(&[&["NOT listening on", network, "(web)"][..], &why].concat()).await;
        }
        odin.log_contains(&[&["steering by bind"][..], &why].concat()).await;
        let mut served = 0;
        while served < 200 {
            let (address, binding) = somewhere();
            if binding.contains('/') {
                refused(&address).await;
                continue;
            }
            let mut client = Connection::http1(address.parse().unwrap()).await;
            let answer = client.get("/").await.has_status(200).json();
            let dialled = echoed(&answer, "x-saw").concat();
            assert!(dialled.contains(&address), "dialled {address}, and the plugin saw {dialled}");
            served += 1;
        }
        for address in NOWHERE {
            refused(address).await;
        }
        let steering = odin.steering().await;
        assert_eq!((steering.mode(), &steering.listener("web")["accepted"]), ("bind", &200.into()));
        let network = steering.binding("web", "192.0.2.0/24:80");
        assert_eq!(network["serving"], false, "{network}");
        assert!(network["reason"].as_str().unwrap().contains("CAP_BPF"), "{network}");
        let port = steering.binding("web", "[::]:20000-20999");
        assert_eq!((&port["by"], &port["serving"]), (&"bind".into(), &true.into()), "{port}");
        odin.stop().await;
    });
}

#[test]
fn what_insists_on_bpf_does_not_start_without_the_capabilities_and_names_those_that_are_missing() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let odin = || with(1, "bpf", &[listener("web", "tcp", &["[::]:9000"], &backend)]);
        let said = odin().without_capabilities().refuses_to_start().await;
        said.says(&["steering = \"bpf\"", "lacks CAP_BPF and CAP_NET_ADMIN: give it"]);
        for (missing, there, kept) in [("CAP_BPF", "CAP_NET_ADMIN", "net_admin"), ("CAP_NET_ADMIN", "CAP_BPF", "bpf")] {
            let command = format!("setpriv --bounding-set=-all,+{kept} --inh-caps=-all");
            let said = odin().started_by(&command).refuses_to_start().await;
            said.says(&[&format!("lacks {missing}:")]);
            assert!(!said.stderr.contains(&format!("lacks {there}")), "{said:?}");
        }
        // With both, and nothing else, it starts.
        let odin = odin().started_by("setpriv --bounding-set=-all,+net_admin,+bpf --inh-caps=-all").start().await;
        assert_eq!(greeting("127.0.0.1:9000").await, "web");
        odin.stop().await;
    });
}

#[test]
fn what_insists_on_binding_refuses_a_network() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        for address in ["192.0.2.0/24:80", "127.0.0.1:*"] {
            let said = with(1, "bind", &[listener("web", "tcp", &[address], &backend)]).refuses_to_start().await;
            said.says(&[address, "steering"]);
        }
        let odin = with(2, "bind", &[listener("web", "tcp", &["[::]:9000-9009"], &backend)]).start().await;
        assert_eq!(greeting("127.0.0.1:9009").await, "web");
        assert_eq!(netns::hidden(), []);
        let steering = odin.steering().await;
        assert_eq!((steering.mode(), &steering.0["steering"]["reason"]), ("bind", &Value::Null));
        odin.stop().await;
    });
}

#[test]
fn nothing_that_can_be_served_is_no_start() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let odin = with(1, "auto", &[listener("web", "tcp", &["192.0.2.0/24:80"], &backend)]);
        odin.without_capabilities().refuses_to_start().await.says(&["CAP_BPF", "CAP_NET_ADMIN"]);
    });
}

#[test]
fn a_network_that_a_reload_adds_and_nothing_can_serve_is_named() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let few = listener("web", "tcp", &["[::]:9000"], &backend);
        let odin = with(1, "auto", std::slice::from_ref(&few)).without_capabilities().start().await;
        let before = std::fs::read_to_string(odin.config_file()).unwrap();
        let more = listener("web", "tcp", &["[::]:9000", "[::]:9001", "192.0.2.0/24:9002"], &backend);
        let from = odin.log().len();
        odin.reload(&before.replace(&few, &more)).await.has_status(200);
        odin.log_contains_after(from, &["192.0.2.0/24:9002", "CAP_BPF"]).await;
        assert_eq!(greeting("127.0.0.1:9001").await, "web");
        refused("192.0.2.1:9002").await;
        assert_eq!(odin.steering().await.binding("web", "192.0.2.0/24:9002")["serving"], false);
        odin.stop().await;
    });
}

#[tokio::test]
async fn asking_an_odin_that_is_not_there_is_a_clear_error() {
    let said = Program::spawn(["steer", "status", "--socket", "/nobody/here.sock"]).finished().await;
    assert!(!said.success());
    said.says(&["/nobody/here.sock", "No such file"]);
}

#[test]
fn a_network_that_does_not_come_to_this_host_is_told_with_the_command_that_mends_it() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let addresses = ["10.9.0.0/16:80", "[fd00:9::/64]:80", "192.0.2.0/24:80", "[::]:81"];
        let odin = with(1, "bpf", &[listener("web", "tcp", &addresses, &backend)]).start().await;
        for address in ["10.9.8.7:80", "[fd00:9::7]:80"] {
            assert!(!accepts(address).await, "{address} is nowhere");
        }
        let log = odin.log().all();
        let told =
            log.iter().filter_map(|line| line.split_once("is not an address of this host")?.1.split_once(": ip "));
        let commands: Vec<&str> = told.filter_map(|(_, command)| Some(command.split_once(" dev lo")?.0)).collect();
        assert_eq!(commands, ["route add local 10.9.0.0/16", "-6 route add local fd00:9::/64"], "{log:#?}");
        for command in commands {
            let done = Command::new("ip").args(command.split(' ')).args(["dev", "lo"]).status().unwrap();
            assert!(done.success(), "{command}");
        }
        for address in ["10.9.8.7:80", "[fd00:9::7]:80", "192.0.2.1:80"] {
            assert_eq!(greeting(address).await, "web", "{address}");
        }
        odin.stop().await;
    });
}

#[test]
fn the_demo_binds_and_leaves_the_network_of_the_host_as_it_is() {
    netns::run(async || {
        let plugin = paths::plugin("lb_rr").display().to_string();
        let odin = Odin::command(&["--plugin", &plugin]).await;
        assert_eq!(odin.steering().await.mode(), "bind");
        let listening: Vec<_> = netns::listening().into_iter().map(|listener| listener.address).collect();
        for address in ["127.0.0.1:8080", "127.0.0.1:7000"] {
            assert!(listening.contains(&address.parse().unwrap()), "{address} in {listening:?}");
        }
        assert!(netns::hidden().is_empty(), "nothing is steered");
        odin.get("/").await.has_status(200);
        odin.stop().await;
        // Asked for, it steers, and says whom to look for.
        let odin = Odin::command(&["--plugin", &plugin, "--steering", "auto"]).await;
        let pid = odin.pid().to_string();
        odin.log_contains(&["steering by bpf", &format!("process {pid}"), "odin steer status"]).await;
        odin.stop().await;
    });
}
