//! Who may give orders: whoever reaches the unix socket, which is the user that Odin runs as, and who has the token. All
//! others see the pages, without secrets.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use http::Request;
use odin_tests::{
    Builder, By, Connection, HttpBackend, Odin, Program, Protocol, Response, body, netns, paths, process, until,
};

const TOKEN: &str = "2b7e151628aed2a6abf7158809cf4f3c";

async fn backend() -> HttpBackend {
    HttpBackend::named("a", Protocol::Http1).await
}

/// A request over TCP with one more field.
async fn over_tcp(odin: &Odin, request: &str, field: Option<(&str, &str)>) -> Response {
    let (method, path) = request.split_once(' ').unwrap();
    let request = field
        .into_iter()
        .fold(Request::builder().method(method).uri(path), |request, (name, value)| request.header(name, value));
    Connection::http1(odin.admin_address()).await.send(request.body(body::empty()).unwrap()).await
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

async fn pid(odin: &Odin) -> u64 {
    odin.connect_admin().await.get("/process").await.has_status(200).json()["pid"].as_u64().unwrap()
}

#[tokio::test]
async fn orders_are_taken_over_the_socket_and_nowhere_else() {
    let backend = backend().await;
    let odin = Odin::builder().target(&backend).plugin("headers").start().await;
    for order in ["POST /reload", "POST /upgrade", "POST /plugins/headers", "POST /nothing"] {
        let refused = over_tcp(&odin, order, None).await.has_status(403);
        refused.mentions("odin plugin swap NAME FILE").mentions(odin.admin_socket().to_str().unwrap());
    }
    for order in ["PUT /plugins/headers", "DELETE /plugins/headers"] {
        over_tcp(&odin, order, None).await.has_status(405);
    }
    // What a page in the operator's browser sends, with and without `Origin`.
    for field in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")]
    {
        over_tcp(&odin, "POST /reload", Some(field)).await.has_status(403).mentions("web pages");
    }
    assert_eq!(odin.metrics().await.sum("odin_reloads_total", &[]), 0.0);
    assert_eq!(odin.plugin_status("headers").await["generation"], 1);
    odin.post_admin("/reload").await.has_status(200);
    odin.post_plugin("headers", paths::plugin_bytes("pass")).await.has_status(200);
    assert_eq!(odin.plugin_status("headers").await["generation"], 2);
    odin.post_admin("/nothing").await.has_status(404);
    // Reading goes on as it was.
    for page in ["/healthz", "/metrics", "/listeners", "/clusters", "/plugins", "/config", "/diff", "/process"] {
        odin.admin(page).await.has_status(200);
    }
    odin.stop().await;
}

#[tokio::test]
async fn the_commands_give_the_orders() {
    let backend = backend().await;
    let odin = Odin::builder().target(&backend).plugin("headers").start().await;
    let file = paths::plugin("pass").display().to_string();
    let said = odin.run(&["plugin", "swap", "headers", &file]).await;
    assert!(said.success(), "{said:?}");
    said.says(&["odin: headers swapped: generation 2 serves"]);
    odin.run(&["plugin", "swap", "headers", &file]).await.says(&["this file already (generation 2)"]);
    let text = odin.folder().join("text.wasm");
    fs::write(&text, "text").unwrap();
    for (name, file, words) in [
        ("headers", text.to_str().unwrap(), "not swapped, the old generation serves on: not a WebAssembly file"),
        ("header", &file, "no plugin is named \"header\""),
        ("headers", "/does/not/exist.wasm", "cannot read /does/not/exist.wasm"),
    ] {
        let said = odin.run(&["plugin", "swap", name, file]).await;
        assert!(!said.success(), "{said:?}");
        said.says(&[words]);
    }
    let said = odin.run(&["reload"]).await;
    assert!(said.success(), "{said:?}");
    said.says(&["no changes"]);
    fs::write(odin.config_file(), "nonsense").unwrap();
    assert!(!odin.run(&["reload"]).await.success());
    odin.stop().await;
}

#[tokio::test]
async fn the_socket_is_its_users_alone_and_goes_with_the_process() {
    let backend = backend().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let with = || Odin::builder().target(&backend).top(&format!("admin-socket = \"{}\"", path.display()));
    let odin = with().start().await;
    assert_eq!(odin.admin_socket(), path);
    assert_eq!(mode(&path), 0o600);
    // One that somebody listens on stays that one's.
    let said = with().refuses_to_start().await;
    said.says(&["admin-socket", &format!("another program (process {})", odin.pid())]);
    odin.post_admin("/reload").await.has_status(200);
    // One that a process has left behind is replaced.
    odin.kill().await;
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let odin = with().start().await;
    odin.post_admin("/reload").await.has_status(200);
    odin.stop().await;
    assert!(fs::symlink_metadata(&path).is_err(), "it goes with the process");
    // What is no socket is never removed.
    fs::write(&path, "mine").unwrap();
    with().refuses_to_start().await.says(&["is there, and is no socket"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    fs::remove_file(&path).unwrap();
    // Nor is one made where others could put another in its place.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    with().refuses_to_start().await.says(&["others may write it (mode 0777)"]);
}

#[tokio::test]
async fn the_default_socket_is_found_by_the_commands() {
    let backend = backend().await;
    let folder = tempfile::tempdir().unwrap();
    let runtime = folder.path().to_str().unwrap();
    let start = || Odin::builder().target(&backend).environment("RUNTIME_DIRECTORY", runtime).start();
    let command = async |words: &[&str]| {
        let mut launch = odin_tests::Launch::default();
        // The folder of an Odin that has nothing to do with this test is not looked into.
        launch.environment.push(("RUNTIME_DIRECTORY".to_string(), runtime.to_string()));
        Program::launch(&launch, words).finished().await
    };
    let one = start().await;
    assert_eq!(one.admin_socket(), folder.path().join(format!("{}.sock", one.pid())));
    assert_eq!(mode(one.admin_socket()), 0o600);
    let said = command(&["reload"]).await;
    said.says(&["no changes"]);
    let two = start().await;
    let said = command(&["reload"]).await;
    assert!(!said.success());
    said.says(&["several Odins run here", &one.pid().to_string(), &two.pid().to_string(), "--socket "]);
    said.says(&[one.config_file().to_str().unwrap()]);
    // A killed one is no Odin any more, and the next start removes what it left.
    let left = one.admin_socket().to_path_buf();
    one.kill().await;
    command(&["reload"]).await.says(&["no changes"]);
    let three = start().await;
    assert!(fs::symlink_metadata(&left).is_err(), "{left:?}");
    two.stop().await;
    three.stop().await;
    let said = command(&["reload"]).await;
    assert!(!said.success());
    said.says(&["no running Odin was found", runtime, "--socket"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn no_socket_can_be_asked_for() {
    let backend = backend().await;
    let odin = Odin::builder().target(&backend).top("admin-socket = \"off\"").start().await;
    assert!(!odin.log().all().iter().any(|line| line.contains("admin socket")), "{:?}", odin.log().all());
    over_tcp(&odin, "POST /reload", None).await.has_status(403).mentions("`admin-socket`, which is off");
    odin.stop().await;
}

#[tokio::test]
async fn the_socket_goes_over_to_the_process_that_takes_over() {
    let backend = backend().await;
    let odin = Odin::builder().target(&backend).plugin("headers").start().await;
    let path = odin.admin_socket().to_path_buf();
    for by in [By::Command, By::Admin, By::Signal] {
        let before = odin.pid();
        let new = odin.upgrade_by(by).await;
        until("the old process has ended", async || (!process::is_running(before)).then_some(())).await;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(pid(&odin).await, u64::from(new));
        odin.post_plugin("headers", paths::plugin_bytes("pass")).await.has_status(200);
    }
    // One that fails to take over takes nothing away.
    let config = fs::read_to_string(odin.config_file()).unwrap();
    fs::write(odin.config_file(), "nonsense").unwrap();
    odin.try_upgrade().await.has_status(422);
    fs::write(odin.config_file(), &config).unwrap();
    assert_eq!(pid(&odin).await, u64::from(odin.pid()));
    // At another place there is another one, and the old one is gone.
    let other = odin.folder().join("other.sock");
    fs::write(odin.config_file(), format!("admin-socket = \"other.sock\"\n{config}")).unwrap();
    odin.upgrade_by(By::Signal).await;
    until("the old socket is gone", async || fs::symlink_metadata(&path).is_err().then_some(())).await;
    let mut admin = Connection::unix(&other).await;
    assert_eq!(admin.get("/process").await.json()["pid"].as_u64(), Some(u64::from(odin.pid())));
    odin.terminate();
    until("the new socket is gone", async || fs::symlink_metadata(&other).is_err().then_some(())).await;
}

#[test]
fn the_socket_belongs_to_the_user_that_odin_becomes() {
    netns::run(async || {
        let backend = backend().await;
        let (uid, _) = process::user("nobody");
        let binary = paths::odin();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let copy = folder.path().join("odin");
        fs::copy(binary, &copy).unwrap();
        let odin = Odin::builder().target(&backend).top("user = \"nobody\"").binary(copy).start().await;
        let path = odin.admin_socket().to_path_buf();
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (uid, 0o600));
        let around = fs::symlink_metadata(path.parent().unwrap()).unwrap();
        assert_eq!((around.uid(), around.mode() & 0o7777), (uid, 0o700));
        odin.post_admin("/reload").await.has_status(200);
        let before = odin.pid();
        let new = odin.upgrade_by(By::Command).await;
        until("the old process has ended", async || (!process::is_running(before)).then_some(())).await;
        assert_eq!(pid(&odin).await, u64::from(new));
        odin.terminate();
        until("the socket is gone", async || fs::symlink_metadata(&path).is_err().then_some(())).await;
    });
}

/// A config with a token in a file of this mode.
fn with_token(backend: &HttpBackend, folder: &Path, mode: u32) -> Builder {
    let file = folder.join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    Odin::builder().target(backend).top(&format!("admin-token-file = \"{}\"", file.display()))
}

#[tokio::test]
async fn who_sends_the_token_may_give_orders_over_tcp() {
    let backend = backend().await;
    let folder = tempfile::tempdir().unwrap();
    let odin = with_token(&backend, folder.path(), 0o600).start().await;
    let right = format!("Bearer {TOKEN}");
    over_tcp(&odin, "POST /reload", Some(("authorization", &right))).await.has_status(200);
    over_tcp(&odin, "POST /reload", None).await.has_status(403);
    for wrong in ["Bearer 2b7e151628aed2a6abf7158809cf4f3d", "Bearer ", "Basic x", &right[..38], &format!("{right}0")] {
        let refused = over_tcp(&odin, "POST /reload", Some(("authorization", wrong))).await.has_status(401);
        assert_eq!(refused.field("www-authenticate").as_deref(), Some("Bearer"));
        over_tcp(&odin, "GET /config", Some(("authorization", wrong))).await.has_status(401);
    }
    // A new token is taken up by a reload.
    fs::write(folder.path().join("token"), "another-token-of-good-length").unwrap();
    odin.post_admin("/reload").await.has_status(200);
    over_tcp(&odin, "POST /reload", Some(("authorization", &right))).await.has_status(401);
    let new = "Bearer another-token-of-good-length";
    over_tcp(&odin, "POST /reload", Some(("authorization", new))).await.has_status(200);
    odin.stop().await;
}

#[tokio::test]
async fn a_token_that_others_can_read_is_refused() {
    let backend = backend().await;
    let folder = tempfile::tempdir().unwrap();
    let said = with_token(&backend, folder.path(), 0o644).refuses_to_start().await;
    said.says(&["admin-token-file", "others may read or write it (mode 0644)"]);
    let odin = Odin::builder().target(&backend).top("admin-token-file = \"/does/not/exist\"");
    odin.refuses_to_start().await.says(&["admin-token-file: /does/not/exist: No such file"]);
}

#[tokio::test]
async fn secrets_are_shown_as_hashes_to_whoever_may_only_read() {
    let backend = backend().await;
    let folder = tempfile::tempdir().unwrap();
    let text = with_token(&backend, folder.path(), 0o600).toml();
    let plugin = |secret: &str| {
        let file = paths::plugin("headers");
        format!("{text}[plugins.other]\npath = \"{}\"\nconfig = {{ id = \"{secret}\" }}\n", file.display())
    };
    let odin = Odin::builder().with_config(plugin("hunter-1")).start().await;
    let right = format!("Bearer {TOKEN}");
    let shown = odin.admin("/config").await.has_status(200);
    assert!(!shown.text().contains("hunter"), "{shown:?}");
    let hash = shown.json()["plugins"]["other"]["config"].as_str().unwrap().to_string();
    assert!(hash.starts_with("sha256:") && hash.len() > 12, "{hash}");
    assert_eq!(odin.admin("/config").await.json()["plugins"]["other"]["config"], hash.as_str());
    odin.connect_admin().await.get("/config").await.has_status(200).mentions("hunter-1");
    over_tcp(&odin, "GET /config", Some(("authorization", &right))).await.has_status(200).mentions("hunter-1");
    odin.replace_config(&plugin("hunter-2"));
    until("the new config is in force", async || {
        let config = odin.connect_admin().await.get("/config").await.text();
        config.contains("hunter-2").then_some(())
    })
    .await;
    let other = odin.admin("/config").await.json()["plugins"]["other"]["config"].as_str().unwrap().to_string();
    assert!(other.starts_with("sha256:") && other != hash, "{other}");
    odin.stop().await;
}
