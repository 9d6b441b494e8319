//! The command line and the config file: what is accepted, what is refused, and with which words.

use odin_tests::tls::Authority;
use odin_tests::{DeadPort, HttpBackend, Odin, Program, Protocol, Target, TcpPeer, paths};

fn path_of(plugin: &str) -> String {
    paths::plugin(plugin).display().to_string()
}

#[tokio::test]
async fn a_plugin_alone_is_enough_to_see_two_backends_alternate() {
    let plugin = path_of("lb_rr");
    let anywhere = ["--listen", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let odin = Odin::command(&[&["--plugin", &plugin], &anywhere[..]].concat()).await;
    let http = odin.listeners().iter().find(|l| l.scheme == "http").expect("an HTTP listener").address;
    let tcp = odin.listeners().iter().find(|l| l.scheme == "tcp").expect("a TCP listener").address;
    let mut client = odin_tests::Connection::http1(http).await;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let text = client.get("/").await.has_status(200).text();
        bodies.push(text.split(':').next().unwrap_or("").to_string());
    }
    assert!(bodies[0] != bodies[1] && bodies[0] == bodies[2] && bodies[1] == bodies[3], "{bodies:?}");
    let mut relayed = odin_tests::Raw::connect(tcp).await;
    relayed.send("hello\n").await;
    relayed.finish().await;
    let (said, _) = relayed.rest().await;
    assert!(!said.is_empty(), "the demo backend says something");
    odin.log_contains(&["curl"]).await;
    odin.stop().await;
}

#[tokio::test]
async fn targets_take_the_place_of_the_demo() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let (plugin, heavy, light) = (path_of("lb_rr"), format!("{},weight=3", a.address()), b.address().to_string());
    let arguments = [
        "--plugin",
        &plugin,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "off",
        "--target",
        &heavy,
        "--target",
        &light,
        "--workers",
        "2",
    ];
    let odin = Odin::command(&arguments).await;
    let http = odin.listeners().iter().find(|l| l.scheme == "http").expect("an HTTP listener").address;
    let mut client = odin_tests::Connection::http1(http).await;
    for _ in 0..40 {
        client.get("/").await.has_status(200);
    }
    assert_eq!((a.requests(), b.requests()), (30, 10));
    odin.stop().await;
}

#[tokio::test]
async fn a_tcp_listener_alone_relays_to_the_targets() {
    let peer = TcpPeer::echo("hello\n").await;
    let target = peer.address().to_string();
    let odin = Odin::command(&["--tcp", "127.0.0.1:0", "--admin", "off", "--target", &target]).await;
    let tcp = odin.listeners().iter().find(|l| l.scheme == "tcp").expect("a TCP listener").address;
    assert_eq!(odin_tests::Raw::connect(tcp).await.read(6).await, b"hello\n");
}

#[tokio::test]
async fn help_and_version_are_there() {
    let help = Program::spawn(["--help"]).finished().await;
    assert!(help.success());
    help.says(&["--plugin", "--grant", "--listen", "--tcp", "--target", "--workers", "--log-format", "check"]);
    let version = Program::spawn(["--version"]).finished().await;
    assert!(version.success());
    version.says(&["odin"]);
}

#[tokio::test]
async fn unknown_flags_and_bad_values_are_refused() {
    for (arguments, word) in [
        (&["--lisen", "127.0.0.1:0"][..], "--listen"),
        (&["--listen", "nowhere"], "nowhere"),
        (&["--target", "127.0.0.1:80,wieght=3"], "weight"),
        (&["--plugin", "/does/not/exist.wasm", "--listen", "127.0.0.1:0", "--admin", "off"], "exist.wasm"),
        (&["--plugin", "a.wasm", "--grant", "log,metric"], "did you mean `metrics`?"),
        (&["--grant", "log"], "--plugin"),
        (&["-f", "/does/not/exist.toml"], "exist.toml"),
        (&["check", "/does/not/exist.toml"], "exist.toml"),
    ] {
        let finished = Program::spawn(arguments).finished().await;
        assert!(!finished.success(), "{arguments:?}: {finished:?}");
        finished.says(&[word]);
    }
}

const TOML: &str = r#"
workers = 1
admin = "127.0.0.1:0"
[[listeners]]
name = "web"
address = "127.0.0.1:0"
cluster = "web"
[clusters.web]
endpoints = ["TARGET"]
"#;

const YAML: &str = r#"
workers: 1
admin: 127.0.0.1:0
listeners:
  - name: web
    address: 127.0.0.1:0
    cluster: web
clusters:
  web:
    endpoints: [ "TARGET" ]
"#;

const JSON: &str = r#"{
  "workers": 1, "admin": "127.0.0.1:0",
  "listeners": [{ "name": "web", "address": "127.0.0.1:0", "cluster": "web" }],
  "clusters": { "web": { "endpoints": ["TARGET"] } }
}"#;

#[tokio::test]
async fn toml_yaml_and_json_say_the_same() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    for (name, text) in [("odin.toml", TOML), ("odin.yaml", YAML), ("odin.yml", YAML), ("odin.json", JSON)] {
        let text = text.replace("TARGET", &backend.address().to_string());
        let checked = Odin::builder().with_config_named(name, &text).check().await;
        assert!(checked.success(), "{name}: {checked:?}");
        let odin = Odin::builder().with_config_named(name, &text).start().await;
        odin.get("/").await.has_status(200).has_field("backend", "a");
        odin.stop().await;
    }
}

#[tokio::test]
async fn a_bad_config_is_refused_with_file_line_key_and_the_nearest_valid_key() {
    let good = TOML.replace("TARGET", "127.0.0.1:1");
    for (bad, words) in [
        (good.replace("endpoints", "endpionts"), &["odin.toml:9", "endpionts", "endpoints"][..]),
        (good.replace("workers", "wrokers"), &["odin.toml:2", "wrokers", "workers"]),
        (good.replace("address = ", "adress = "), &["odin.toml:6", "adress", "address"]),
        (good.replace("127.0.0.1:1", "127.0.0.1:99999"), &["odin.toml:9", "127.0.0.1:99999"]),
        (good.replace("\"127.0.0.1:0\"\ncluster", "\"nowhere\"\ncluster"), &["odin.toml:6", "nowhere"]),
        (good.replace("cluster = \"web\"", "cluster = \"wbe\""), &["odin.toml:7", "wbe", "web"]),
        (good.replace("workers = 1", "workers = \"many\""), &["odin.toml:2", "workers"]),
        (good.clone() + "balancer = \"lb_rr\"\n", &["odin.toml:10", "lb_rr"]),
        (good.clone() + "[plugins.p]\npath = \"gone.wasm\"\n", &["odin.toml:11", "gone.wasm"]),
        (good.clone() + "[plugins.p]\ngrnat = []\n", &["odin.toml:11", "grnat", "`grant`"]),
        (good.clone() + "[plugins.p]\ngrant = [\"clok\"]\n", &["odin.toml:11", "grant[0]", "`clock`"]),
        (good.clone() + "[plugins.p]\noutbound = [\"wbe\"]\n", &["odin.toml:11", "outbound[0]", "`web`"]),
        (good.clone() + "[timeouts]\nidle = \"soon\"\n", &["odin.toml:11", "idle", "soon"]),
        (good.clone() + "[limits]\nhead-bites = 1\n", &["odin.toml:11", "head-bites", "head-bytes"]),
        (good.clone() + "no toml at all", &["odin.toml:10"]),
    ] {
        let checked = Odin::builder().with_config(&bad).check().await;
        assert!(!checked.success(), "accepted:\n{bad}");
        checked.says(words);
        Odin::builder().with_config(&bad).refuses_to_start().await.says(words);
    }
    let yaml = YAML.replace("TARGET", "127.0.0.1:1").replace("cluster: web", "clutser: web");
    let checked = Odin::builder().with_config_named("odin.yaml", yaml).check().await;
    checked.says(&["odin.yaml:7", "clutser", "cluster"]);
    let json = JSON.replace("TARGET", "127.0.0.1:1").replace("\"workers\"", "\"worker\"");
    let checked = Odin::builder().with_config_named("odin.json", json).check().await;
    checked.says(&["odin.json:2", "worker", "workers"]);
}

#[tokio::test]
async fn a_plugin_that_does_not_load_is_found_by_a_check() {
    let text = paths::workspace().join("README.md");
    let good = TOML.replace("TARGET", "127.0.0.1:1");
    let config = format!("{good}[plugins.p]\npath = \"{}\"\n", text.display());
    let checked = Odin::builder().with_config(config).check().await;
    assert!(!checked.success(), "{checked:?}");
    checked.says(&["odin.toml:10: plugin \"p\": ", "README.md", "not a WebAssembly file"]);
}

#[tokio::test]
async fn every_config_in_the_repository_is_valid() {
    let (mut checked, authority) = (0, Authority::default());
    for entry in std::fs::read_dir(paths::workspace().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ![".toml", ".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // As it is, where it is, unless it needs certificates that nobody has made yet.
        let builder = match text.contains("certs/") {
            true => Odin::builder().with_config_named(&name, authority.in_config(&text)),
            false => Odin::builder().config_file(&path),
        };
        let finished = builder.check().await;
        assert!(finished.success(), "{name}: {finished:?}");
        checked += 1;
    }
    assert!(checked >= 3, "{checked} configs");
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_clear_error() {
    let taken = DeadPort::reserve().revive();
    let address = taken.local_addr().unwrap().to_string();
    let finished = Program::spawn(["--listen", &address, "--admin", "off"]).finished().await;
    assert!(!finished.success());
    finished.says(&[&address]);
}
