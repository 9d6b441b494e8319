//! A plugin chooses who gets new connections: the plugin `canary` sends some of them to another listener, and one that
//! fails leaves them where they were.
//!
//! Every test has a network namespace of its own; without the capabilities for that it is skipped.

use std::collections::BTreeMap;

use odin_tests::dial::{below, greeting};
use odin_tests::steered::has_counted;
use odin_tests::{Builder, Odin, PluginEntry, Target, TcpPeer, netns, paths};
use serde_json::json;

/// The listeners `web`, which the plugin steers, and `canary`, with a backend each that says its name.
struct Pair {
    odin: Odin,
    _web: TcpPeer,
    _canary: TcpPeer,
}

const WEB: &str = "[::]:8000";

fn config(steering: &str, addresses: &[&str], web: &TcpPeer, canary: &TcpPeer) -> String {
    let listener = |name: &str, steer: &str, addresses: &[&str], backend: &TcpPeer| {
        format!(
            "[[listeners]]\nname = \"{name}\"\nprotocol = \"tcp\"\naddress = {addresses:?}\ncluster = \"{name}\"\n{steer}\
             [clusters.{name}]\nendpoints = [\"{}\"]\n",
            backend.address()
        )
    };
    let top = format!("workers = 2\nadmin = \"127.0.0.1:0\"\nsteering = \"{steering}\"\n");
    top + &listener("web", "steer = \"chooser\"\n", addresses, web) + &listener("canary", "", &["[::]:8100"], canary)
}

fn builder(steering: &str, addresses: &[&str], plugin: PluginEntry, web: &TcpPeer, canary: &TcpPeer) -> Builder {
    Odin::builder().with_config(config(steering, addresses, web, canary)).plugin_file(plugin.called("chooser"))
}

async fn backends() -> (TcpPeer, TcpPeer) {
    (TcpPeer::echo("web").await, TcpPeer::echo("canary").await)
}

async fn steered_by(plugin: PluginEntry) -> Pair {
    let (web, canary) = backends().await;
    let odin = builder("bpf", &[WEB, "192.0.2.0/24:5000-5999"], plugin, &web, &canary).start().await;
    Pair { odin, _web: web, _canary: canary }
}

fn canary(percent: f64) -> PluginEntry {
    PluginEntry::new("canary").with(&format!("config = {{ to = \"canary\", percent = {percent:?} }}"))
}

fn probe(config: &str) -> PluginEntry {
    PluginEntry::new("steer_probe").with(&format!("config = {config}"))
}

impl Pair {
    /// How many of so many new connections to the listener `web` reach the other one.
    async fn canaries(&self, connections: usize) -> usize {
        let mut canaries = 0;
        for turn in 0..connections {
            // One port, and any of a thousand at 256 addresses.
            let address = match turn % 2 {
                0 => "127.0.0.1:8000".to_string(),
                _ => format!("192.0.2.{}:{}", below(256), 5000 + below(1000)),
            };
            match greeting(&address).await.as_str() {
                "web" => {}
                "canary" => canaries += 1,
                other => panic!("{address}: {other}"),
            }
        }
        canaries
    }

    /// Fails unless the share of new connections that reach the other listener is this one, within five standard
    /// deviations.
    async fn has_share(&self, share: f64, connections: usize) {
        let canaries = self.canaries(connections).await;
        let (mean, variance) = (connections as f64 * share, connections as f64 * share * (1.0 - share));
        println!("{canaries} of {connections} at {share}");
        assert!(
            (canaries as f64 - mean).abs() <= 5.0 * variance.sqrt(),
            "{canaries} of {connections} reached the canary, and a share of {share} was wanted"
        );
        // By its own address it is always there.
        assert_eq!(greeting("127.0.0.1:8100").await, "canary");
    }

    /// Puts another text into the config, and reloads.
    async fn reconfigured(&self, from: &str, to: &str) {
        let before = std::fs::read_to_string(self.odin.config_file()).unwrap();
        let after = before.replace(from, to);
        assert_ne!(before, after);
        self.odin.reload(&after).await.has_status(200);
    }

    /// How often the plugin says that it was asked: that is there when the answer is obeyed, unlike a line in the log.
    async fn asked(&self) -> u64 {
        self.odin.metrics().await.sum("odin_custom_asked", &[("plugin", "chooser")]) as u64
    }

    /// The weights of the first binding of `web`, by listener.
    async fn weights(&self) -> BTreeMap<String, u64> {
        let steering = self.odin.steering().await;
        let weights = steering.binding("web", WEB)["weights"].as_array().unwrap().clone();
        let mut sums = BTreeMap::new();
        for one in weights {
            *sums.entry(one["listener"].as_str().unwrap().to_string()).or_insert(0) += one["weight"].as_u64().unwrap();
        }
        sums
    }
}

#[test]
fn the_percentage_of_new_connections_reaches_the_other_listener_and_a_reload_changes_it() {
    netns::run(async || {
        let pair = steered_by(canary(5.0)).await;
        assert_eq!(pair.weights().await, BTreeMap::from([("web".into(), 950), ("canary".into(), 50)]));
        pair.has_share(0.05, 4000).await;
        // Who came in by which door is counted there; who took it in is counted at the listener.
        let steering = pair.odin.steering().await;
        assert_eq!(steering.listener("web")["steer"], "chooser");
        has_counted(steering.steered("web"), 4000);
        let accepted = |name| steering.listener(name)["accepted"].as_u64().unwrap();
        assert_eq!(accepted("web") + accepted("canary"), 4001);

        pair.reconfigured("percent = 5.0", "percent = 40").await;
        pair.has_share(0.4, 4000).await;
        pair.reconfigured("percent = 40", "percent = 0.1").await;
        // So few that it may be none.
        assert_eq!(pair.weights().await, BTreeMap::from([("web".into(), 999), ("canary".into(), 1)]));
        pair.has_share(0.001, 4000).await;
        pair.reconfigured("percent = 0.1", "percent = 100").await;
        pair.has_share(1.0, 500).await;
        pair.reconfigured("percent = 100", "percent = 0").await;
        pair.has_share(0.0, 500).await;
        // Without the plugin everything is as it was without it.
        pair.reconfigured("steer = \"chooser\"\n", "").await;
        assert_eq!(pair.weights().await, BTreeMap::new());
        pair.has_share(0.0, 500).await;
        pair.odin.stop().await;
    });
}

#[test]
fn five_thousand_ports_may_have_a_share_of_a_thousandth() {
    netns::run(async || {
        let (web, other) = backends().await;
        let ports: Vec<String> = (10_000..20_000).step_by(2).map(|port| format!("[::]:{port}")).collect();
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let odin = builder("bpf", &ports, canary(99.9), &web, &other).start().await;
        let mut canaries = 0;
        for _ in 0..500 {
            let said = greeting(&format!("127.0.0.1:{}", 10_000 + 2 * below(5_000))).await;
            canaries += usize::from(said == "canary");
        }
        // Half a connection is the mean.
        assert!(canaries >= 490, "{canaries} of 500");
        odin.stop().await;
    });
}

#[test]
fn a_connection_stays_where_it_is_when_the_weights_change() {
    netns::run(async || {
        let pair = steered_by(canary(0.0)).await;
        let mut open = odin_tests::Raw::connect("127.0.0.1:8000".parse().unwrap()).await;
        assert_eq!(open.read(3).await, b"web");
        pair.reconfigured("percent = 0.0", "percent = 100").await;
        pair.has_share(1.0, 200).await;
        open.send("still here").await;
        assert_eq!(open.read(10).await, b"still here");
        pair.odin.stop().await;
    });
}

#[test]
fn a_plugin_that_is_swapped_is_asked_again() {
    netns::run(async || {
        let pair = steered_by(probe("{ weights = [[\"canary\", 0, 1]], on = [\"web\"] }")).await;
        // Once for each of the two bindings.
        assert_eq!((pair.asked().await, pair.canaries(50).await), (2, 50));
        // The same with another hash: with a section of its own, which nobody reads.
        let other = [paths::plugin_bytes("steer_probe"), b"\x00\x06\x05other".to_vec()].concat();
        pair.odin.post_plugin("chooser", other).await.has_status(200);
        assert_eq!((pair.asked().await, pair.canaries(50).await), (4, 50));
        pair.odin.stop().await;
    });
}

#[test]
fn ports_that_a_reload_adds_are_steered_by_the_plugin_as_well() {
    netns::run(async || {
        let pair = steered_by(canary(100.0)).await;
        pair.reconfigured("\"[::]:8000\"", "\"[::]:8000\", \"[::]:8080\", \"198.51.100.0/24:*\"").await;
        for address in ["127.0.0.1:8080", "[::1]:8080", "198.51.100.9:7"] {
            assert_eq!(greeting(address).await, "canary", "{address}");
        }
        pair.odin.stop().await;
    });
}

#[test]
fn a_plugin_is_told_what_it_is_asked_for_and_may_choose_a_worker() {
    netns::run(async || {
        let pair = steered_by(probe("{ weights = [[\"web\", 1, 1]], on = [\"web\"] }")).await;
        for binding in [WEB, "192.0.2.0/24:5000-5999"] {
            let asked = format!("asked for {binding} of web: 2 workers, listeners web canary");
            pair.odin.log_contains(&[&asked]).await;
        }
        assert_eq!(pair.canaries(200).await, 0);
        let steering = pair.odin.steering().await;
        assert_eq!(steering.listener("web")["accepted_by_worker"], json!([0, 200]));
        // Once for each binding, whenever bindings or plugins change, and never for a connection.
        assert_eq!(pair.asked().await, 2);
        pair.odin.stop().await;
    });
}

#[test]
fn a_plugin_that_fails_at_the_start_leaves_the_connections_where_they_belong_and_says_so() {
    netns::run(async || {
        for (does, why) in [
            ("fail", "told to"),
            ("panic", ""),
            ("loop", ""),
            ("bomb", ""),
            ("unknown", "no such listener"),
            ("past-the-end", "worker"),
            ("zero", "add up to 0"),
            ("many", ""),
            ("long-name", ""),
        ] {
            let pair = steered_by(probe(&format!("{{ does = \"{does}\" }}"))).await;
            pair.odin.log_contains(&["ERROR", "chooser", WEB, why]).await;
            assert_eq!(pair.canaries(100).await, 0, "{does}");
            assert_eq!(pair.weights().await, BTreeMap::new(), "{does}");
            let accepted = pair.odin.steering().await.listener("web")["accepted_by_worker"].clone();
            assert!(accepted[0].as_u64() > Some(20) && accepted[1].as_u64() > Some(20), "{does}: {accepted}");
            pair.odin.stop().await;
        }
    });
}

#[test]
fn a_plugin_that_fails_later_leaves_the_spread_as_it_was() {
    netns::run(async || {
        let share = "weights = [[\"web\", 0, 1], [\"canary\", 0, 3]]".to_string();
        let pair = steered_by(probe(&format!("{{ {share} }}"))).await;
        pair.has_share(0.75, 1000).await;
        let mut before = share;
        for does in ["does = \"fail\"", "does = \"unknown\"", "does = \"zero\"", "does = \"panic\"", "does = \"loop\""]
        {
            let from = pair.odin.log().len();
            pair.reconfigured(&before, does).await;
            pair.odin.log_contains_after(from, &["ERROR", "chooser", WEB]).await;
            pair.has_share(0.75, 400).await;
            before = does.to_string();
        }
        // One that is well again is obeyed again.
        pair.reconfigured(&before, "weights = [[\"canary\", 0, 1]]").await;
        pair.has_share(1.0, 200).await;
        pair.odin.stop().await;
    });
}

#[test]
fn where_nothing_is_steered_a_warning_says_that_the_plugin_is_not_asked() {
    netns::run(async || {
        let (web, other) = backends().await;
        let bound = builder("bind", &[WEB], canary(100.0), &web, &other);
        let unable = builder("auto", &[WEB, "192.0.2.0/24:5000-5999"], canary(100.0), &web, &other);
        for odin in [bound, unable.without_capabilities()] {
            let odin = odin.start().await;
            odin.log_contains(&["WARN", "chooser", WEB, "not steered"]).await;
            for _ in 0..50 {
                assert_eq!(greeting("127.0.0.1:8000").await, "web");
            }
            odin.stop().await;
        }
    });
}

#[test]
fn a_plugin_that_cannot_steer_is_refused_and_a_listener_that_there_is_not_is_told() {
    netns::run(async || {
        let (web, other) = backends().await;
        let odin = |plugin| builder("auto", &[WEB], plugin, &web, &other);
        odin(PluginEntry::new("headers")).refuses_to_start().await.says(&["chooser", "steer"]);
        let misspelt = config("auto", &[WEB], &web, &other).replace("steer = \"chooser\"", "steer = \"choser\"");
        let misspelt = Odin::builder().with_config(misspelt).plugin_file(canary(5.0).called("chooser"));
        misspelt.refuses_to_start().await.says(&["choser", "chooser"]);
        // Which listeners there are only the plugin can ask.
        let missing = PluginEntry::new("canary").with("config = { to = \"cannary\", percent = 5 }");
        let odin = odin(missing).start().await;
        odin.log_contains(&["ERROR", "cannary", "web, canary"]).await;
        assert_eq!(greeting("127.0.0.1:8000").await, "web");
        odin.stop().await;
    });
}

#[test]
fn a_canary_that_is_complete_takes_over_and_the_other_listener_can_go() {
    netns::run(async || {
        let pair = steered_by(canary(100.0)).await;
        pair.has_share(1.0, 100).await;
        let config = std::fs::read_to_string(pair.odin.config_file()).unwrap();
        let from = config.find("[[listeners]]\nname = \"canary\"").unwrap();
        let to = from + config[from..].find("[clusters.canary]").unwrap();
        let alone = [&config[..from], &config[to..]].concat();
        pair.odin.reload(&alone).await.has_status(200);
        assert_eq!(greeting("127.0.0.1:8000").await, "web", "evenly over the listener's own workers");
        assert_eq!(pair.weights().await, BTreeMap::new());
        pair.odin.stop().await;
    });
}

#[test]
fn a_plugin_that_has_failed_is_asked_again_at_the_next_reload() {
    netns::run(async || {
        let pair = steered_by(probe("{ does = \"fail\" }")).await;
        let reloads = async || pair.odin.metrics().await.sum("odin_reloads_total", &[]) as u64;
        for turn in 1..4 {
            assert_eq!(pair.asked().await, 2 + 2 * reloads().await, "once for each binding, and again by each reload");
            // A change that has nothing to do with it. Where the watch is quicker there are two reloads.
            pair.reconfigured("admin =", "# again\nadmin =").await;
            assert!(reloads().await >= turn);
        }
        assert_eq!(pair.asked().await, 2 + 2 * reloads().await);
        pair.odin.stop().await;
    });
}
