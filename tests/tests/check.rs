//! `odin check` and `odin -f` refuse the same configs with the same words.

use std::fs;
use std::path::Path;

use odin_tests::{Finished, Odin, Program, paths};
use tokio::task::JoinSet;

/// Programs that run at once.
const AT_ONCE: usize = 4;

/// Each text of a table of bad configs, as `host/odin/src/config/tests/cases.rs` reads it: a text, `=> ` and an error for
/// each error, an empty line; in a text with `@` each line `@ VALUE` is a text of its own.
fn texts(table: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let (mut text, mut value, mut told) = (Vec::new(), None, false);
    for line in table.lines().chain([""]) {
        match (line.starts_with("=> "), line.strip_prefix("@ ")) {
            (true, _) if !told => {
                let whole = text.join("\n");
                texts.push(value.map_or(whole.clone(), |value| whole.replace('@', value)));
                told = true;
            }
            (true, _) => {}
            (false, Some(next)) => (value, told) = (Some(next), false),
            (false, None) if told => (text, value, told) = (Vec::new(), None, false),
            (false, None) if text.is_empty() && (line.is_empty() || line.starts_with("## ")) => {}
            (false, None) => text.push(line),
        }
    }
    texts
}

/// What both say about a file; they must agree.
async fn both(file: &Path) -> Finished {
    let file = file.display().to_string();
    let checked = Program::spawn(["check", &file]).finished().await;
    let started = Program::spawn(["-f", &file]).finished().await;
    let text = || fs::read_to_string(&file).unwrap_or_default();
    assert!(!checked.success() && !started.success(), "{}\n{checked:?}\n{started:?}", text());
    // What is given up at the start comes before.
    let faults = |said: &str| {
        let lines = said.lines().filter(|line| *line != "odin: capabilities dropped" && !line.contains(" WARN "));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(faults(&checked.stderr), faults(&started.stderr), "{}", text());
    checked
}

#[tokio::test]
async fn every_bad_config_of_the_tree_is_refused_by_both() {
    let cases = paths::workspace().join("host/odin/src/config/tests/cases");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lb.wasm"), "").unwrap();
    let mut running = JoinSet::new();
    let mut compared = 0;
    for entry in fs::read_dir(cases).unwrap() {
        let path = entry.unwrap().path();
        let ending = match path.file_stem().unwrap().to_str().unwrap() {
            ending @ ("yaml" | "json") => ending.to_string(),
            _ => "toml".to_string(),
        };
        for text in texts(&fs::read_to_string(&path).unwrap()) {
            let file = folder.path().join(format!("{compared}.{ending}"));
            fs::write(&file, text).unwrap();
            running.spawn(async move { both(&file).await });
            compared += 1;
            if running.len() >= AT_ONCE {
                running.join_next().await.unwrap().unwrap();
            }
        }
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    assert!(compared > 250, "{compared} cases");
}

/// Faults that show only when the plugins are loaded: the lines of the listener, of the cluster, the plugins that there
/// are, and what must be said.
const WITH_PLUGINS: [(&str, &str, &[&str], &[&str]); 7] = [
    (
        "",
        "balancer = 'headers'",
        &["headers"],
        &["odin.toml:7: cluster \"a\": plugin \"headers\" exports no balancer hook"],
    ),
    (
        "plugins = ['lb_rr']",
        "",
        &["lb_rr"],
        &["odin.toml:2: listener \"web\": plugin \"lb_rr\" exports no hook of requests"],
    ),
    (
        "steer = 'headers'",
        "",
        &["headers"],
        &["odin.toml:2: listener \"web\": plugin \"headers\" exports no steer hook"],
    ),
    (
        "protocol = 'tcp'\nplugins = ['headers']",
        "",
        &["headers"],
        &["odin.toml:2: listener \"web\": plugin \"headers\" exports no hook of TCP connections"],
    ),
    // All at once.
    (
        "plugins = ['lb_rr']",
        "balancer = 'headers'",
        &["lb_rr", "headers", "text"],
        &[
            "odin.toml:2: listener \"web\": plugin \"lb_rr\" exports no hook of requests",
            "odin.toml:7: cluster \"a\": plugin \"headers\" exports no balancer hook",
            "plugin \"text\": ",
            "not a WebAssembly file",
        ],
    ),
    ("", "", &["lb_random"], &["plugin \"lb_random\": ", "`odin:plugin/random`, which its config does not grant"]),
    ("", "", &["token"], &["admin-token-file", "No such file"]),
];

#[tokio::test]
async fn what_shows_when_plugins_are_loaded_is_refused_by_both() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text.wasm"), "text").unwrap();
    let section = |name: &&str| match *name {
        "token" => String::new(),
        "text" => "[plugins.text]\npath = 'text.wasm'\n".to_string(),
        name => format!("[plugins.{name}]\npath = '{}'\n", paths::plugin(name).display()),
    };
    for (listener, cluster, plugins, words) in WITH_PLUGINS {
        let token = if plugins == ["token"] { "admin-token-file = 'token'\n" } else { "" };
        let text = format!(
            "{token}admin = 'off'\n[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\ncluster = 'a'\n{listener}\n\
             [clusters.a]\nendpoints = ['127.0.0.1:1']\n{cluster}\n{}",
            plugins.iter().map(section).collect::<String>()
        );
        let file = folder.path().join("odin.toml");
        fs::write(&file, text).unwrap();
        both(&file).await.says(words);
    }
}

#[tokio::test]
async fn what_a_check_lets_pass_starts() {
    let backend = odin_tests::HttpBackend::named("a", odin_tests::Protocol::Http1).await;
    let with = || Odin::builder().target(&backend).balancer("lb_rr").plugin("headers");
    let checked = with().check().await;
    assert!(checked.success(), "{checked:?}");
    checked.says(&["ok (1 listener, 1 cluster, 2 plugins)"]);
    with().start().await.stop().await;
}
