//! A Fly-style file: several apps, each with several ports and several targets, one of which is dead.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use odin_tests::{DeadPort, Odin, Raw, ReservedPort, Target, TcpPeer};
use serde_json::json;

#[tokio::test]
async fn every_port_of_every_app_answers_and_a_dead_target_is_passed_over() {
    let greetings = ["alpha\n", "beta 1\n", "beta 2\n", "gamma\n"];
    let mut peers = Vec::new();
    for greeting in greetings {
        peers.push(TcpPeer::echo(greeting).await);
    }
    let dead = DeadPort::reserve();
    let ports: Vec<_> = (0..8).map(|_| ReservedPort::reserve()).collect();
    let numbers: Vec<u16> = ports.iter().map(ReservedPort::number).collect();
    let at = |peer: &dyn Target| peer.address().to_string();
    let apps = [
        ("alpha", &numbers[..3], vec![at(&peers[0])], vec!["alpha\n"]),
        ("beta", &numbers[3..5], vec![at(&peers[1]), at(&peers[2])], vec!["beta 1\n", "beta 2\n"]),
        // The dead one is first, so that it is the first choice of every balancer.
        ("gamma", &numbers[5..], vec![at(&dead), format!("localhost:{}", peers[3].address().port())], vec!["gamma\n"]),
    ];
    let list: Vec<_> = apps
        .iter()
        .map(|(name, ports, targets, _)| json!({"Name": name, "Ports": ports, "Targets": targets}))
        .collect();
    let config = json!({ "Apps": list }).to_string();
    let odin = Odin::builder().with_config_named("fly.json", config).argument("--admin").argument("127.0.0.1:0");
    let odin = odin.start().await;
    let names: BTreeSet<_> = odin.listeners().iter().map(|listening| listening.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["alpha", "beta", "gamma"]), "an app is a listener");

    for (name, ports, _, greetings) in &apps {
        let mut heard = BTreeSet::new();
        for port in *ports {
            for turn in 0..4 {
                let mut client = Raw::connect(SocketAddr::from(([127, 0, 0, 1], *port))).await;
                let message = format!("{name} {port} {turn}");
                client.send(&message).await;
                client.finish().await;
                let (answer, _) = client.rest().await;
                let answer = String::from_utf8(answer).unwrap();
                let greeting = answer.strip_suffix(&message).unwrap_or_else(|| panic!("{port}: {answer:?}"));
                heard.insert(greeting.to_string());
            }
        }
        let wanted: BTreeSet<_> = greetings.iter().map(|greeting| greeting.to_string()).collect();
        assert_eq!(heard, wanted, "{name}");
    }
    odin.stop().await;
}

#[tokio::test]
async fn the_fly_file_in_the_repository_is_valid() {
    let checked = Odin::builder().config_file(odin_tests::paths::config("fly.json")).check().await;
    assert!(checked.success(), "{checked:?}");
}
