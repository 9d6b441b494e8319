//! Clusters of 5,000 weighted endpoints of which some are dead: every request is served, by each live endpoint in
//! proportion to its weight, with each balancer.

use std::net::{Ipv4Addr, SocketAddr};

use odin_tests::{Builder, DeadPort, Odin, Target, TcpPeer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const ENDPOINTS: usize = 5_000;
/// Enough to tell the shares of three weights from each other.
const REQUESTS: usize = 2_000;

/// One address of many that lead to the same socket, or to none.
struct At(SocketAddr);

impl Target for At {
    fn address(&self) -> SocketAddr {
        self.0
    }
}

fn weight(index: usize) -> u32 {
    1 + (index % 3) as u32
}

/// Answers on every loopback address, and closes: thousands of kept connections are not what this is about.
async fn everywhere() -> TcpPeer {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    TcpPeer::on(listener, |mut stream, _| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    })
}

/// What `/clusters` says of each endpoint, in config order.
async fn endpoints(odin: &Odin) -> Vec<Value> {
    odin.admin("/clusters").await.has_status(200).json()[0]["endpoints"].as_array().unwrap().clone()
}

fn number(endpoint: &Value, key: &str) -> u64 {
    endpoint[key].as_u64().unwrap_or_else(|| panic!("{key} in {endpoint}"))
}

/// Serves requests with each balancer once every dead endpoint has been found out, which reloads do not forget.
async fn is_served(is_dead: fn(usize) -> bool) {
    let (live, dead) = (everywhere().await, DeadPort::reserve());
    let at = |index: usize| {
        let port = if is_dead(index) { dead.address().port() } else { live.address().port() };
        At(SocketAddr::from(([127, 1, (index / 250) as u8, (index % 250) as u8 + 1], port)))
    };
    let builder = Odin::builder().plugin_file("lb_rr").plugin_file("lb_random");
    let odin = (0..ENDPOINTS).fold(builder, |builder, index| builder.target(&at(index))).start().await;
    let mut client = odin.connect().await;
    let found = |endpoints: &[Value]| {
        let dead = (0..).zip(endpoints).filter(|(index, _)| is_dead(*index));
        dead.into_iter().all(|(_, endpoint)| number(endpoint, "connect_failures") > 0)
    };
    // An exchange tries four endpoints: while nobody knows which are dead, they may be four dead ones.
    while !found(&endpoints(&odin).await) {
        for _ in 0..500 {
            client.get("/").await;
        }
    }
    for balancer in [None, Some("lb_rr"), Some("lb_random")] {
        let builder = balancer.into_iter().fold(Odin::builder(), |builder, name| builder.balancer(name));
        let add = |builder: Builder, index| builder.weighted_target(&at(index), weight(index));
        odin.reload(&(0..ENDPOINTS).fold(builder, add).toml()).await.has_status(200);
        let before = endpoints(&odin).await;
        for request in 0..REQUESTS {
            let response = client.get("/").await;
            assert_eq!(response.status, 200, "request {request} with {balancer:?}: {response:?}");
        }
        let (mut served, mut expected) = ([0.0; 3], [0.0; 3]);
        for (index, (before, after)) in before.iter().zip(&endpoints(&odin).await).enumerate() {
            if !is_dead(index) {
                served[index % 3] += (number(after, "requests") - number(before, "requests")) as f64;
                expected[index % 3] += f64::from(weight(index));
            }
        }
        assert_eq!(served.iter().sum::<f64>() as usize, REQUESTS);
        let all: f64 = expected.iter().sum();
        for (served, expected) in served.iter().zip(expected.map(|weights| weights / all * REQUESTS as f64)) {
            // Random picks stray from it by 25 or so.
            assert!((served - expected).abs() <= 120.0, "{balancer:?}: {served} of {expected}");
        }
    }
}

#[tokio::test]
async fn one_dead_endpoint_of_5000_costs_nobody_anything() {
    is_served(|index| index == 17).await;
}

#[tokio::test]
async fn with_half_of_5000_endpoints_dead_the_others_serve() {
    is_served(|index| index % 2 == 0).await;
}

#[tokio::test]
async fn the_last_of_5000_endpoints_serves_every_request() {
    is_served(|index| index != 2_718).await;
}
