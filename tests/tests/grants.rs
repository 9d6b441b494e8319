//! Every capability is denied unless the config grants it: the refusal names the import and the line to add.

use odin_tests::{BOTH, DeadPort, HttpBackend, Odin, PluginEntry, Program, Protocol, Target, paths};

const CAPABILITIES: [&str; 6] = ["log", "clock", "random", "config", "metrics", "shared"];

/// The guest that uses all of them, granted all but this one.
fn all_but(missing: &str) -> PluginEntry {
    let entry = PluginEntry::new("capabilities").without_grants();
    CAPABILITIES.iter().filter(|name| **name != missing).fold(entry, |entry, name| entry.granting(name))
}

#[tokio::test]
async fn a_plugin_without_its_grant_is_refused_with_the_import_and_the_line_to_add() {
    let dead = DeadPort::reserve();
    for missing in CAPABILITIES {
        let words = [
            "capabilities",
            &format!("odin:plugin/{missing}"),
            "grant = [",
            &format!("\"{missing}\""),
            "[plugins.capabilities]",
        ];
        let builder = Odin::builder().plugin(all_but(missing)).target(&dead);
        let refused = builder.clone().refuses_to_start().await;
        refused.says(&words);
        // The line is a whole one: what is granted already is in it, too.
        for name in CAPABILITIES {
            refused.says(&[&format!("\"{name}\"")]);
        }
        let checked = builder.check().await;
        assert!(!checked.success(), "{checked:?}");
        checked.says(&words);
    }
}

#[tokio::test]
async fn calls_need_the_names_of_clusters() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let builder = Odin::builder().plugin(PluginEntry::new("caller").without_grants()).target(&backend);
    let words = ["caller", "odin:plugin/outbound", "outbound = [", "[plugins.caller]"];
    builder.clone().refuses_to_start().await.says(&words);
    let checked = builder.check().await;
    assert!(!checked.success());
    checked.says(&words);
    // A cluster that is not there is a mistake of the config.
    let builder = Odin::builder().plugin(PluginEntry::new("caller").calling("nowhere")).target(&backend);
    builder.clone().refuses_to_start().await.says(&["nowhere", "outbound"]);
    builder.check().await.says(&["nowhere", "outbound"]);
    let good = Odin::builder().plugin(PluginEntry::new("caller").calling("web")).target(&backend);
    let checked = good.clone().check().await;
    assert!(checked.success(), "{checked:?}");
    good.start().await.get("/").await.has_status(200);
}

#[tokio::test]
async fn what_a_plugin_does_not_import_it_need_not_be_granted() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("headers").plugin("pass").plugin("reroute").target(&backend);
    let odin = odin.plugin_file(PluginEntry::new("reply").granting("log")).start().await;
    for downstream in BOTH {
        odin.connect_over(downstream).await.get("/").await.has_status(200).has_field("x-odin-response", "yes");
    }
    let status = odin.plugin_status("headers").await;
    assert_eq!((&status["imports"], &status["grants"]), (&serde_json::json!([]), &serde_json::json!([])), "{status}");
}

#[tokio::test]
async fn the_plugins_page_tells_grants_and_imports() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let caller = PluginEntry::new("caller").calling("web");
    let odin = Odin::builder().plugin("capabilities").plugin(caller).target(&backend).start().await;
    let status = odin.plugin_status("capabilities").await;
    for kind in ["imports", "grants"] {
        let mut names: Vec<_> = status[kind].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["clock", "config", "log", "metrics", "random", "shared"], "{kind}");
    }
    let status = odin.plugin_status("caller").await;
    assert_eq!(status["imports"], serde_json::json!(["outbound"]));
    assert!(status["grants"].to_string().contains("web"), "{status}");
}

#[tokio::test]
async fn a_word_that_is_no_capability_is_a_mistake_of_the_config() {
    let dead = DeadPort::reserve();
    let plugin = PluginEntry::new("headers").granting("lag");
    Odin::builder().plugin(plugin).target(&dead).refuses_to_start().await.says(&["lag", "log"]);
}

#[tokio::test]
async fn a_swap_to_a_plugin_that_wants_more_is_refused_and_changes_nothing() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("headers").target(&backend).start().await;
    let refused = odin.post_plugin("headers", paths::plugin_bytes("capabilities")).await.has_status(422);
    refused.mentions("odin:plugin/random").mentions("grant = [");
    odin.get("/").await.has_status(200).has_field("x-odin-response", "yes");
    let status = odin.plugin_status("headers").await;
    assert_eq!((&status["generation"], &status["failed_swaps"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn a_reload_may_grant_what_was_missing() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin(all_but("")).target(&backend).start().await;
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    let from = odin.log().len();
    std::fs::write(odin.config_file(), text.replace("\"random\", ", "")).unwrap();
    odin.hang_up();
    odin.log_contains_after(from, &["odin:plugin/random", "grant = ["]).await;
    // The one that was refused changes nothing.
    odin.get("/random").await.has_status(200);
    std::fs::write(odin.config_file(), &text).unwrap();
    odin.hang_up();
    odin.get("/random").await.has_status(200);
}

#[tokio::test]
async fn the_command_line_grants_too() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = paths::plugin("capabilities").display().to_string();
    let target = backend.address().to_string();
    let flags = [
        "--plugin",
        &plugin,
        "--target",
        &target,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--workers",
        "1",
    ];
    let refused = Program::spawn(flags).finished().await;
    assert!(!refused.success());
    refused.says(&["odin:plugin/random", "add --grant log,clock,random,config,metrics,shared"]);
    assert!(!refused.stderr.contains("[plugins."), "who uses flags is told the flag: {refused:?}");
    let some = [&flags[..], &["--grant", "log,clock", "--grant", "random"]].concat();
    let refused = Program::spawn(some).finished().await;
    assert!(!refused.success());
    refused.says(&["odin:plugin/shared", "add --grant log,clock,random,config,metrics,shared"]);
    let all = [&flags[..], &["--grant", "log,clock", "--grant", "random", "--grant", "config,metrics,shared"]].concat();
    let odin = Odin::command(&all).await;
    let listener = odin.listeners()[0].address;
    let answer = odin_tests::Connection::http1(listener).await.get("/clock").await.has_status(200).json();
    assert_eq!(answer["went-back"], false);
    let wrong = Program::spawn([&flags[..], &["--grant", "lag"]].concat()).finished().await;
    assert!(!wrong.success());
    wrong.says(&["lag", "log"]);
}
