//! A plugin is replaced while Odin runs: by its file, by the admin listener, by a signal. A bad one changes nothing.

use std::path::Path;

use http::Request;
use odin_tests::{HttpBackend, Odin, PluginEntry, Protocol, TcpPeer, body, paths, until};
use tokio::sync::watch;

struct Pair {
    odin: Odin,
    _first: HttpBackend,
    _last: HttpBackend,
}

/// Odin with the plugin `chooser`, which is `lb_first`, and backends that are called `first` and `last`.
async fn chooser() -> Pair {
    let (first, last) = (HttpBackend::named("first", Protocol::Http1), HttpBackend::named("last", Protocol::Http1));
    let (first, last) = (first.await, last.await);
    let balancer = PluginEntry::new("lb_first").called("chooser");
    let odin = Odin::builder().balancer(balancer).target(&first).target(&last).start().await;
    let pair = Pair { odin, _first: first, _last: last };
    assert_eq!(pair.chosen().await, "first");
    pair
}

impl Pair {
    async fn chosen(&self) -> String {
        self.odin.get("/").await.has_status(200).field("backend").unwrap()
    }

    async fn chooses(&self, name: &str) {
        until("the new generation serves", || async { (self.chosen().await == name).then_some(()) }).await;
    }

    fn file(&self) -> std::path::PathBuf {
        self.odin.plugin_file("chooser")
    }

    async fn failed_swaps(&self) -> f64 {
        self.odin.metrics().await.sum("odin_plugin_swaps_total", &[("plugin", "chooser"), ("outcome", "refused")])
    }
}

/// Puts the content where the file is, in one step.
fn rename_over(file: &Path, content: &[u8]) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(&beside, file).unwrap();
}

#[tokio::test]
async fn a_file_that_is_overwritten_in_place_is_loaded() {
    let pair = chooser().await;
    std::fs::write(pair.file(), paths::plugin_bytes("lb_last")).unwrap();
    pair.chooses("last").await;
    std::fs::write(pair.file(), paths::plugin_bytes("lb_first")).unwrap();
    pair.chooses("first").await;
    pair.odin.log_contains(&["chooser", "generation"]).await;
    pair.odin.stop().await;
}

#[tokio::test]
async fn a_file_that_is_renamed_over_is_loaded() {
    let pair = chooser().await;
    rename_over(&pair.file(), &paths::plugin_bytes("lb_last"));
    pair.chooses("last").await;
    rename_over(&pair.file(), &paths::plugin_bytes("lb_first"));
    pair.chooses("first").await;
}

#[tokio::test]
async fn a_file_that_is_removed_and_written_again_is_loaded() {
    let pair = chooser().await;
    std::fs::remove_file(pair.file()).unwrap();
    assert_eq!(pair.chosen().await, "first");
    std::fs::write(pair.file(), paths::plugin_bytes("lb_last")).unwrap();
    pair.chooses("last").await;
}

#[tokio::test]
async fn a_hang_up_loads_what_the_files_hold() {
    let pair = chooser().await;
    std::fs::write(pair.file(), paths::plugin_bytes("lb_last")).unwrap();
    pair.odin.hang_up();
    pair.chooses("last").await;
}

#[tokio::test]
async fn a_plugin_that_is_posted_serves_when_the_reply_is_there() {
    let pair = chooser().await;
    for (generation, guest, name) in [(2, "lb_last", "last"), (3, "lb_first", "first"), (4, "lb_last", "last")] {
        let reply = pair.odin.post_plugin("chooser", paths::plugin_bytes(guest)).await.has_status(200).json();
        assert_eq!(reply["name"], "chooser");
        assert_eq!(reply["generation"], generation);
        assert_eq!(reply["swapped"], true);
        assert_eq!(pair.chosen().await, name);
    }
    let again = pair.odin.post_plugin("chooser", paths::plugin_bytes("lb_last")).await.has_status(200).json();
    assert_eq!((&again["generation"], &again["swapped"]), (&4.into(), &false.into()));
    pair.odin.post_plugin("nobody", paths::plugin_bytes("lb_last")).await.has_status(404);
}

#[tokio::test]
async fn a_posted_plugin_that_does_not_load_changes_nothing_and_the_reply_says_why() {
    let pair = chooser().await;
    let cut = paths::plugin_bytes("lb_last")[..500].to_vec();
    for (failed, (content, words)) in [
        (b"just a text file".to_vec(), "not a WebAssembly file"),
        (cut, ""),
        (Vec::new(), ""),
        (paths::plugin_bytes("refuse_config"), "no config is good enough, least of all null"),
        (paths::plugin_bytes("other_world"), "elsewhere:greeter/names"),
        (paths::plugin_bytes("headers"), "balancer"),
    ]
    .into_iter()
    .enumerate()
    {
        let from = pair.odin.log().len();
        pair.odin.post_plugin("chooser", content).await.has_status(422).mentions(words);
        pair.odin.log_contains_after(from, &["chooser", words]).await;
        assert_eq!(pair.failed_swaps().await, (failed + 1) as f64);
        assert_eq!(pair.chosen().await, "first");
    }
    let listed = pair.odin.admin("/plugins").await.has_status(200).text();
    assert!(listed.contains("chooser") && listed.contains("balancer"), "{listed}");
    pair.odin.post_plugin("chooser", paths::plugin_bytes("lb_last")).await.has_status(200);
    assert_eq!(pair.chosen().await, "last");
}

#[tokio::test]
async fn a_file_without_the_hooks_that_are_needed_is_refused_wherever_the_plugin_is_used() {
    let (http, echo) = (HttpBackend::named("a", Protocol::Http1).await, TcpPeer::echo("").await);
    let odin = Odin::builder().target(&http).tcp_target(&echo).plugin("headers").tcp_plugin("counting_tcp");
    let odin = odin.start().await;
    for (plugin, wrong, right) in [("headers", "lb_rr", "trivial"), ("counting_tcp", "headers", "counting_tcp")] {
        let refused = odin.post_plugin(plugin, paths::plugin_bytes(wrong)).await.has_status(422);
        refused.mentions("listener").mentions(plugin).mentions("exports no hook of");
        odin.post_plugin(plugin, paths::plugin_bytes(right)).await.has_status(200);
    }
    // What serves is right, so a reload is.
    odin.post_admin("/reload").await.has_status(200);
}

#[tokio::test]
async fn a_plugin_that_is_cut_short_anywhere_is_refused() {
    let pair = chooser().await;
    let whole = paths::plugin_bytes("lb_last");
    for length in (0..whole.len()).step_by(whole.len() / 60) {
        let cut = whole[..length].to_vec();
        pair.odin.post_plugin("chooser", cut).await.has_status(422);
    }
    let mut scrambled = whole.clone();
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        scrambled[at] ^= 0x55;
        let reply = pair.odin.post_plugin("chooser", scrambled.clone()).await;
        assert!(matches!(reply.status.as_u16(), 200 | 422), "{reply:?}");
        scrambled[at] ^= 0x55;
    }
    pair.odin.post_plugin("chooser", whole).await.has_status(200);
    assert_eq!(pair.chosen().await, "last");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_the_log_and_the_metrics_say_why() {
    let pair = chooser().await;
    std::fs::write(pair.file(), "just a text file").unwrap();
    pair.odin.log_contains(&["chooser", "not a WebAssembly file"]).await;
    until("the failure is counted", || async { (pair.failed_swaps().await >= 1.0).then_some(()) }).await;
    assert_eq!(pair.chosen().await, "first");
    let listed = pair.odin.admin("/plugins").await.has_status(200);
    listed.mentions("not a WebAssembly file");
    std::fs::write(pair.file(), paths::plugin_bytes("lb_last")).unwrap();
    pair.chooses("last").await;
}

#[tokio::test]
async fn a_file_that_arrives_piece_by_piece_is_loaded_once_it_is_whole() {
    use std::io::Write as _;
    let pair = chooser().await;
    let content = paths::plugin_bytes("lb_last");
    let mut file = std::fs::File::create(pair.file()).unwrap();
    for piece in content.chunks(content.len() / 7 + 1) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        pair.chosen().await;
    }
    drop(file);
    pair.chooses("last").await;
}

#[tokio::test]
async fn an_exchange_in_flight_keeps_its_generation() {
    let (release, held) = watch::channel(false);
    let backend = HttpBackend::start(Protocol::Http1, move |_| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|released| *released).await;
            http::Response::new(body::full("slow"))
        }
    })
    .await;
    let odin = Odin::builder().plugin("headers").target(&backend).start().await;
    let mut client = odin.connect().await;
    let in_flight = tokio::spawn(async move { client.get("/").await });
    backend.has_seen(1).await;
    odin.post_plugin("headers", paths::plugin_bytes("reply")).await.has_status(200);
    odin.get("/").await.has_status(418);
    release.send_replace(true);
    in_flight.await.unwrap().has_status(200).has_body("slow").has_field("x-odin-response", "yes");
}

#[tokio::test]
async fn a_swap_keeps_what_the_plugin_shares() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("probe").target(&backend).start().await;
    let seen = |response: odin_tests::Response| odin_tests::echoed(&response.json(), "x-probe-seen")[0].clone();
    assert_eq!(seen(odin.get("/").await), "0");
    odin.post_plugin("probe", paths::plugin_bytes("reply")).await.has_status(200);
    odin.get("/").await.has_status(418);
    odin.post_plugin("probe", paths::plugin_bytes("probe")).await.has_status(200);
    assert_eq!(seen(odin.get("/").await), "1");
}

#[tokio::test]
async fn only_a_post_swaps() {
    let pair = chooser().await;
    let request = Request::put("/plugins/chooser").body(body::full(paths::plugin_bytes("lb_last"))).unwrap();
    pair.odin.order(request).await.has_status(405);
    assert_eq!(pair.chosen().await, "first");
}

#[tokio::test]
async fn what_was_posted_stays_until_the_file_is_another() {
    let pair = chooser().await;
    pair.odin.post_plugin("chooser", paths::plugin_bytes("lb_last")).await.has_status(200);
    pair.chooses("last").await;
    let config = std::fs::read_to_string(pair.odin.config_file()).unwrap();
    for turn in 0..3 {
        pair.odin.reload(&format!("{config}# turn {turn}\n")).await.has_status(200);
        assert_eq!(pair.chosen().await, "last", "a reload for another reason takes nothing back");
    }
    // The same content, written again.
    rename_over(&pair.file(), &paths::plugin_bytes("lb_first"));
    pair.odin.reload(&config).await.has_status(200);
    assert_eq!(pair.chosen().await, "last");
    rename_over(&pair.file(), &[paths::plugin_bytes("lb_first"), b"\x00\x06\x05other".to_vec()].concat());
    pair.chooses("first").await;
    pair.odin.stop().await;
}
