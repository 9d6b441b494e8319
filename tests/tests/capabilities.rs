//! What a plugin may ask of the host beyond its exchange: random numbers, time, log lines, metrics, shared state.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Request;
use odin_tests::{BOTH, Builder, Connection, HttpBackend, Odin, PluginEntry, Protocol, Target, body, paths, until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

async fn odin(build: impl FnOnce(Builder) -> Builder) -> (Odin, HttpBackend) {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = build(Odin::builder()).target(&backend).start().await;
    (odin, backend)
}

async fn ask(client: &mut Connection, path: &str) -> Value {
    client.get(path).await.has_status(200).json()
}

#[tokio::test]
async fn random_numbers_differ() {
    let (odin, _backend) = odin(|builder| builder.plugin("capabilities")).await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        let mut seen = BTreeSet::new();
        for _ in 0..50 {
            let answer = ask(&mut client, "/random").await;
            assert!(seen.insert(answer["number"].to_string()) && seen.insert(answer["bytes"].to_string()), "{answer}");
            assert_eq!(answer["bytes"].as_array().unwrap().len(), 32);
            assert!(answer["dice"].as_u64().unwrap() < 6, "{answer}");
        }
    }
}

#[tokio::test]
async fn the_clock_tells_the_time() {
    let (odin, _backend) = odin(|builder| builder.plugin("capabilities")).await;
    for downstream in BOTH {
        let answer = ask(&mut odin.connect_over(downstream).await, "/clock").await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(answer["now"].as_u64().unwrap()) < 60, "{answer} at {now}");
        assert_eq!(answer["went-back"], false);
    }
}

#[tokio::test]
async fn log_lines_carry_the_plugin_and_their_level() {
    let (odin, _backend) = odin(|builder| builder.plugin("capabilities")).await;
    for downstream in BOTH {
        let words = format!("over-{downstream:?}");
        ask(&mut odin.connect_over(downstream).await, &format!("/log?{words}")).await;
        for (level, word) in [("INFO", "info"), ("WARN", "warn"), ("ERROR", "error")] {
            odin.log_contains(&["capabilities", level, &format!("{word} {words}")]).await;
        }
    }
}

#[tokio::test]
async fn a_plugin_that_floods_the_log_is_held_to_its_rate_and_the_log_says_so() {
    let plugin = PluginEntry::new("flood").with("log-rate = 20").with("timeout = \"5s\"");
    let (odin, _backend) = odin(|builder| builder.plugin(plugin)).await;
    for downstream in BOTH {
        let request = Request::get("/").header("x-lines", "20000").body(body::empty()).unwrap();
        odin.connect_over(downstream).await.send(request).await.has_status(200);
    }
    odin.log_contains(&["flood", "dropped"]).await;
    let lines = odin.log().all();
    let written = lines.iter().filter(|line| line.contains("flood ") && !line.contains("dropped")).count();
    // Some seconds may have passed while it wrote.
    assert!((20..2000).contains(&written), "{written} lines of 40,000 were written");
}

#[tokio::test]
async fn metrics_of_a_plugin_are_on_the_metrics_page() {
    for workers in [1, 2] {
        let two = PluginEntry::new("capabilities").called("two");
        let (odin, _backend) = odin(|builder| builder.workers(workers).plugin("capabilities").plugin_file(two)).await;
        for downstream in BOTH {
            for size in ["0.5", "1", "5", "50", "500"] {
                ask(&mut odin.connect_over(downstream).await, &format!("/metrics?{size}")).await;
            }
        }
        let metrics = odin.metrics().await;
        let of = [("plugin", "capabilities")];
        assert_eq!(metrics.sum("odin_custom_calls_total", &of), 10.0);
        // Set to the last size, and half more.
        assert_eq!(metrics.sum("odin_custom_level", &of), 500.5);
        for (bound, count) in [("1", 4.0), ("10", 6.0), ("100", 8.0), ("+Inf", 10.0)] {
            let labels = [of[0], ("le", bound)];
            assert_eq!(metrics.sum("odin_custom_sizes_bucket", &labels), count, "le={bound}");
        }
        assert_eq!(metrics.sum("odin_custom_sizes_sum", &of), 2.0 * 556.5);
        assert_eq!(metrics.sum("odin_custom_sizes_count", &of), 10.0);
    }
}

#[tokio::test]
async fn the_config_is_there_to_be_asked() {
    let plugin = PluginEntry::new("capabilities").with("config = { limits = { burst = 7 }, name = \"x\" }");
    let (odin, _backend) = odin(|builder| builder.plugin(plugin)).await;
    let mut client = odin.connect().await;
    for (path, wanted) in [
        ("limits.burst", json!("7")),
        ("limits", json!("{\"burst\":7}")),
        ("name", json!("\"x\"")),
        ("nothing", json!(null)),
        ("name.deeper", json!(null)),
    ] {
        assert_eq!(ask(&mut client, &format!("/config?{path}")).await["value"], wanted, "{path}");
    }
}

#[tokio::test]
async fn shared_values_are_kept_replaced_and_removed() {
    let (odin, _backend) = odin(|builder| builder.workers(2).plugin("capabilities")).await;
    for downstream in BOTH {
        let key = format!("k-{downstream:?}");
        // A connection of its own each time: any worker may serve it.
        let ask = async |path: String| ask(&mut odin.connect_over(downstream).await, &path).await;
        assert_eq!(ask(format!("/shared/get?{key}")).await, json!({ "value": null, "version": null }));
        let first = ask(format!("/shared/set?{key}=one")).await["version"].as_u64().unwrap();
        for _ in 0..8 {
            assert_eq!(ask(format!("/shared/get?{key}")).await, json!({ "value": "one", "version": first }));
        }
        let second = ask(format!("/shared/set?{key}=two")).await["version"].as_u64().unwrap();
        assert!(second > first, "{first} {second}");
        assert_eq!(ask(format!("/shared/remove?{key}")).await["removed"], true);
        assert_eq!(ask(format!("/shared/remove?{key}")).await["removed"], false);
        assert_eq!(ask(format!("/shared/get?{key}")).await["value"], json!(null));
        let third = ask(format!("/shared/set?{key}=three")).await["version"].as_u64().unwrap();
        assert!(third > second, "a version came again: {second} {third}");
    }
}

#[tokio::test]
async fn a_value_is_set_only_by_those_who_know_its_version() {
    let (odin, _backend) = odin(|builder| builder.plugin("capabilities")).await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        let mut cas = async |value: &str, version: Option<u64>| {
            let request = Request::get(format!("/shared/cas?turn-{downstream:?}={value}"));
            let request = version.iter().fold(request, |request, version| request.header("x-version", *version));
            client.send(request.body(body::empty()).unwrap()).await.has_status(200).json()
        };
        let first = cas("a", None).await["version"].as_u64().unwrap();
        let again = cas("b", None).await;
        assert_eq!((&again["error"], &again["version"]), (&"conflict".into(), &first.into()), "{again}");
        let second = cas("b", Some(first)).await["version"].as_u64().unwrap();
        let stale = cas("c", Some(first)).await;
        assert_eq!((&stale["error"], &stale["version"]), (&"conflict".into(), &second.into()), "{stale}");
        let value = ask(&mut odin.connect().await, &format!("/shared/get?turn-{downstream:?}")).await;
        assert_eq!(value, json!({ "value": "b", "version": second }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_on_two_workers_lose_no_update() {
    const CLIENTS: usize = 100;
    const TURNS: usize = 20;
    let (odin, _backend) =
        odin(|builder| builder.workers(2).plugin(PluginEntry::new("capabilities").with("timeout = \"1s\""))).await;
    let address = odin.address("web");
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(async move {
            let mut client =
                if number % 2 == 0 { Connection::http1(address).await } else { Connection::http2(address).await };
            let mut turns = Vec::new();
            for _ in 0..TURNS {
                let appended = ask(&mut client, "/shared/append?all=x").await;
                assert!(appended["version"].is_u64(), "{appended}");
                turns.push(ask(&mut client, "/shared/count?").await["before"].as_u64().unwrap());
            }
            turns
        });
    }
    let mut turns = Vec::new();
    while let Some(done) = clients.join_next().await {
        turns.extend(done.unwrap());
    }
    turns.sort_unstable();
    assert_eq!(
        turns,
        (0..(CLIENTS * TURNS) as u64).collect::<Vec<_>>(),
        "a counter gave a number twice, or not at all"
    );
    let all = ask(&mut odin.connect().await, "/shared/get?all").await;
    assert_eq!(all["value"].as_str().unwrap().len(), CLIENTS * TURNS, "an update was lost");
}

#[tokio::test]
async fn values_expire() {
    let (odin, _backend) = odin(|builder| builder.plugin("capabilities")).await;
    let mut client = odin.connect().await;
    ask(&mut client, "/shared/set?kept=1").await;
    assert!(ask(&mut client, "/shared/expire?brief=1").await["version"].is_u64());
    until("the value expires", async || {
        ask(&mut odin.connect().await, "/shared/get?brief").await["value"].is_null().then_some(())
    })
    .await;
    assert_eq!(ask(&mut client, "/shared/get?kept").await["value"], "1");
    // An expired key is not there: who says so may set it.
    assert!(ask(&mut client, "/shared/cas?brief=2").await["version"].is_u64());
}

#[tokio::test]
async fn what_was_used_least_recently_makes_room_and_what_is_too_large_is_refused() {
    let plugin = PluginEntry::new("capabilities").with("shared-size = \"64KiB\"");
    let (odin, _backend) = odin(|builder| builder.plugin(plugin)).await;
    let mut client = odin.connect().await;
    assert_eq!(ask(&mut client, "/shared/huge?big").await["error"], "too-large");
    let value = "v".repeat(100);
    ask(&mut client, &format!("/shared/set?first={value}")).await;
    for number in 0..1000 {
        assert!(ask(&mut client, &format!("/shared/set?key-{number}={value}")).await["version"].is_u64());
        // Used all the time.
        assert_eq!(ask(&mut client, "/shared/get?first").await["value"], value, "after {number} more");
    }
    assert!(ask(&mut client, "/shared/get?key-0").await["value"].is_null(), "nothing made room");
    assert_eq!(ask(&mut client, "/shared/get?key-999").await["value"], value);
    let long = "k".repeat(1025);
    assert_eq!(ask(&mut client, &format!("/shared/set?{long}=1")).await["error"], "too-large");
}

#[tokio::test]
async fn a_space_is_private_unless_the_config_names_a_common_one() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let entry = |name: &str| PluginEntry::new("capabilities").called(name);
    let common = |name: &str| entry(name).with("shared-space = \"sessions\"");
    let routes = ["one", "two", "three", "four"]
        .map(|name| format!("[[listeners.routes]]\nhost = \"{name}\"\ncluster = \"web\"\nplugins = [\"{name}\"]\n"));
    let config = format!(
        "workers = 2\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{}\
         [clusters.web]\nendpoints = [\"{}\"]\n",
        routes.concat(),
        backend.address()
    );
    let builder = Odin::builder().with_config(config).plugin_file(entry("one")).plugin_file(entry("two"));
    let odin = builder.plugin_file(common("three")).plugin_file(common("four")).start().await;
    let ask = async |host: &str, path: &str| {
        let request = Request::get(path).header("host", host).body(body::empty()).unwrap();
        odin.request(request).await.has_status(200).json()
    };
    ask("one", "/shared/set?key=mine").await;
    ask("three", "/shared/set?key=ours").await;
    for (host, value) in
        [("one", json!("mine")), ("two", json!(null)), ("three", json!("ours")), ("four", json!("ours"))]
    {
        assert_eq!(ask(host, "/shared/get?key").await["value"], value, "{host}");
    }
    assert_eq!(ask("three", "/shared/count?").await["before"], 0);
    assert_eq!(ask("four", "/shared/count?").await["before"], 1);
    assert_eq!(ask("one", "/shared/count?").await["before"], 0);
    assert_eq!(ask("two", "/shared/count?").await["before"], 0);
}

#[tokio::test]
async fn shared_state_is_kept_over_a_swap() {
    let (odin, _backend) = odin(|builder| builder.workers(2).plugin("capabilities")).await;
    let mut client = odin.connect().await;
    let version = ask(&mut client, "/shared/set?key=before").await["version"].clone();
    ask(&mut client, "/shared/count?").await;
    // The same plugin, and yet another file: it has one custom section more.
    let other = [paths::plugin_bytes("capabilities"), b"\0\x05\x04more".to_vec()].concat();
    let swapped = odin.post_plugin("capabilities", other).await.has_status(200).json();
    assert_eq!((&swapped["swapped"], &swapped["generation"]), (&true.into(), &2.into()), "{swapped}");
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        assert_eq!(ask(&mut client, "/shared/get?key").await, json!({ "value": "before", "version": version }));
    }
    assert_eq!(ask(&mut client, "/shared/count?").await["before"], 1);
}
