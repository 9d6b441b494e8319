//! What a reload changes is told in the same words by `odin diff`, by the admin pages and by the reload itself; and a
//! file that changes is noticed, however it was written.

use std::fs;
use std::path::{Path, PathBuf};

use odin_tests::{HttpBackend, Odin, PluginEntry, Program, Protocol, ReservedPort, Target, paths, until};
use serde_json::Value;

/// Two configs, and what makes of the first the second. `A` to `C` are ports, `DOWN` a backend.
const BEFORE: &str = r#"
workers = 1
admin = "127.0.0.1:0"
[[listeners]]
name = "web"
address = ["127.0.0.1:0", "0.0.0.0:A"]
[[listeners.routes]]
path = "/a"
cluster = "a"
[[listeners.routes]]
path = "/old"
cluster = "a"
[[listeners.routes]]
cluster = "a"
[[listeners]]
name = "gone"
address = "0.0.0.0:B"
cluster = "a"
[clusters.a]
endpoints = ["DOWN", "127.0.0.1:1", { address = "127.0.0.1:4", weight = 2 }]
[clusters.old]
endpoints = ["127.0.0.1:1"]
[timeouts]
connect = "5s"
"#;

const AFTER: &str = r#"
workers = 1
admin = "127.0.0.1:0"
[[listeners]]
name = "web"
address = ["127.0.0.1:0", "0.0.0.0:C"]
[[listeners.routes]]
path = "/a"
cluster = "new"
[[listeners.routes]]
host = "example.com"
path = "/new"
cluster = "a"
[[listeners.routes]]
cluster = "a"
[[listeners]]
name = "more"
protocol = "tcp"
address = "0.0.0.0:B"
cluster = "a"
[clusters.a]
endpoints = ["DOWN", { address = "127.0.0.1:3", weight = 3 }, { address = "127.0.0.1:4", weight = 5 }]
[clusters.new]
endpoints = ["127.0.0.1:1"]
[timeouts]
connect = "7s"
"#;

const CHANGES: &str = "\
~ setting timeouts.connect: 5s -> 7s
- listener gone
+ listener more
- binding web 0.0.0.0:A
- binding gone 0.0.0.0:B
+ binding web 0.0.0.0:C
+ binding more 0.0.0.0:B
- route web */old
- route gone */
~ route web */a: cluster a -> new
+ route web example.com/new
- cluster old
+ cluster new
- endpoint a 127.0.0.1:1
- endpoint old 127.0.0.1:1
~ endpoint a 127.0.0.1:4: weight 2 -> 5
+ endpoint a 127.0.0.1:3: weight 3
+ endpoint new 127.0.0.1:1
~ plugin probe: config.greeting is another
+ plugin headers
";

/// As `odin diff` prints it.
fn lines(answer: &Value) -> String {
    let line = |change: &Value| {
        let text = |key: &str| change[key].as_str().unwrap_or_else(|| panic!("{key} in {change}")).to_string();
        let sign = match text("op").as_str() {
            "add" => '+',
            "remove" => '-',
            "change" => '~',
            other => panic!("{other} in {change}"),
        };
        let detail = change["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("{sign} {} {}{detail}\n", text("kind"), text("name"))
    };
    answer["changes"].as_array().unwrap_or_else(|| panic!("changes in {answer}")).iter().map(line).collect()
}

/// A config file that can be written without anybody noticing: by another name of it, in a folder that is not watched,
/// with the same length and time.
struct Unseen {
    file: PathBuf,
    other: PathBuf,
    _folders: [tempfile::TempDir; 2],
}

impl Unseen {
    fn new(text: &str) -> Unseen {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [file, other] = [0, 1].map(|n: usize| folders[n].path().join("odin.toml"));
        fs::write(&file, Unseen::filled(text)).unwrap();
        fs::hard_link(&file, &other).unwrap();
        Unseen { file, other, _folders: folders }
    }

    fn write(&self, text: &str) {
        let written = fs::metadata(&self.other).unwrap().modified().unwrap();
        fs::write(&self.other, Unseen::filled(text)).unwrap();
        fs::File::options().write(true).open(&self.other).unwrap().set_modified(written).unwrap();
    }

    fn filled(text: &str) -> String {
        format!("{text:\n<10000}")
    }
}

#[tokio::test]
async fn everybody_tells_the_same_changes() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let ports: Vec<_> = (0..3).map(|_| ReservedPort::reserve()).collect();
    let fill = |text: &str| {
        let with = |text: String, (name, port): (char, &ReservedPort)| {
            text.replace(&format!("0.0.0.0:{name}"), &format!("0.0.0.0:{}", port.number()))
        };
        ('A'..='C').zip(&ports).fold(text.replace("DOWN", &backend.address().to_string()), with)
    };
    let plugin = |name: &str, greeting: &str| {
        let config = format!(
            "config = {{ greeting = \"{greeting}\" }}\ngrant = [\"log\", \"clock\", \"config\", \"metrics\", \"shared\"]"
        );
        let config = if name == "probe" { &config } else { "" };
        format!("[plugins.{name}]\npath = \"{}\"\n{config}\n", paths::plugin(name).display())
    };
    let before = fill(BEFORE) + &plugin("probe", "one");
    let after = fill(AFTER) + &plugin("probe", "two") + &plugin("headers", "");
    let unseen = Unseen::new(&before);
    let odin = Odin::builder().config_file(&unseen.file).start().await;
    assert_eq!(lines(&odin.post_admin("/reload").await.has_status(200).json()), "");
    let expected = fill(CHANGES);

    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.toml"), folder.path().join("new.toml"));
    fs::write(&old, &before).unwrap();
    fs::write(&new, &after).unwrap();
    let diff = async |arguments: &[&str]| {
        let said = Program::spawn([&["diff"], arguments].concat()).finished().await;
        assert!(said.success(), "{said:?}");
        said.stdout + "\n"
    };
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let socket = odin.admin_socket().to_str().unwrap();
    assert_eq!(diff(&[new, "--against", old]).await, expected);
    assert_eq!(diff(&[new, "--socket", socket]).await, expected);
    assert_eq!(diff(&[old, "--socket", socket]).await, "no changes\n");
    assert_eq!(lines(&odin.connect_admin().await.get("/diff").await.has_status(200).json()), "");
    unseen.write(&after);
    assert_eq!(lines(&odin.connect_admin().await.get("/diff").await.has_status(200).json()), expected);
    // Whoever may only read is not told which of the settings of a plugin it was.
    let told = lines(&odin.admin("/diff").await.has_status(200).json());
    assert_eq!(told, expected.replace("config.greeting is another", "config is another"));
    let from = odin.log().len();
    assert_eq!(lines(&odin.post_admin("/reload").await.has_status(200).json()), expected);
    // The log as well, for as many lines as it has for that.
    for line in expected.lines().take(20) {
        odin.log_contains_after(from, &[line]).await;
    }
    assert_eq!(diff(&[new, "--socket", socket]).await, "no changes\n");
    odin.get("/").await.has_status(200);
    // And it is what is in force.
    assert_eq!(diff(&[old, "--against", new]).await.lines().count(), expected.lines().count());
    odin.stop().await;
}

#[tokio::test]
async fn the_settings_of_plugins_are_told_to_nobody() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let config = |secret: &str| {
        let plugin = paths::plugin("probe");
        Odin::builder().target(&backend).toml()
            + &format!(
                "[plugins.probe]\npath = \"{}\"\ngrant = [\"log\", \"clock\", \"config\", \"metrics\", \"shared\"]\n\
                 config = {secret}\n",
                plugin.display()
            )
    };
    let secrets =
        ["\"hunter-1\"", "\"hunter-2\"", "[\"hunter-3\"]", "{ key = \"hunter-4\" }", "{ key = [\"hunter-5\"] }"];
    let unseen = Unseen::new(&config(secrets[0]));
    let odin = Odin::builder().config_file(&unseen.file).start().await;
    for secret in &secrets[1..] {
        unseen.write(&config(secret));
        for changes in [odin.admin("/diff").await, odin.post_admin("/reload").await] {
            let changes = lines(&changes.has_status(200).json());
            // None, where the watch has found the file before it was asked about.
            let told = changes.is_empty() || changes.starts_with("~ plugin probe: config");
            assert!(told && !changes.contains("hunter"), "{changes}");
        }
    }
    odin.log_contains(&["plugin probe: config is another"]).await;
    let log = odin.log().all();
    // This plugin tells them itself.
    let told: Vec<_> = log.iter().filter(|line| !line.contains(" plugin: ") && line.contains("hunter")).collect();
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn a_file_that_is_wrong_is_told_by_everybody_and_changes_nothing() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let good = Odin::builder().target(&backend).toml();
    let unseen = Unseen::new(&good);
    let odin = Odin::builder().config_file(&unseen.file).start().await;
    let bad = good.replace("endpoints", "endpionts");
    let shown = odin.admin("/config").await.has_status(200).text();
    unseen.write(&bad);
    odin.admin("/diff").await.has_status(422).mentions("endpionts").mentions("`endpoints`").mentions("odin.toml:");
    odin.post_admin("/reload").await.has_status(422).mentions("endpionts").mentions("odin.toml:");
    odin.log_contains(&["not reloaded, the old config serves on", "endpionts"]).await;
    let file = odin.config_file().to_str().unwrap();
    let said = odin.run(&["diff", file]).await;
    assert!(!said.success());
    said.says(&["endpionts"]);
    let metrics = odin.metrics().await;
    assert_eq!(metrics.sum("odin_reloads_total", &[("outcome", "refused")]), 1.0);
    assert_eq!(metrics.sum("odin_reloads_total", &[("outcome", "applied")]), 0.0);
    assert_eq!(odin.admin("/config").await.has_status(200).text(), shown);
    odin.get("/").await.has_status(200).has_field("backend", "a");
    odin.reload(&good).await.has_status(200);
    // The file is watched as well, which may have been quicker.
    assert!(odin.metrics().await.sum("odin_reloads_total", &[("outcome", "applied")]) >= 1.0);
}

#[tokio::test]
async fn what_only_a_start_can_change_says_so() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let config = format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ncluster = \"a\"\n\
         [clusters.a]\nendpoints = [\"{}\"]\n",
        backend.address()
    );
    let odin = Odin::builder().with_config(&config).start().await;
    for (line, setting) in [
        ("workers = 2\nadmin = \"127.0.0.1:0\"\n", "workers"),
        ("workers = 1\nadmin = \"127.0.0.1:1\"\n", "admin"),
        ("workers = 1\nadmin = \"127.0.0.1:0\"\nsteering = \"bind\"\n", "steering"),
        ("workers = 1\nadmin = \"127.0.0.1:0\"\nuser = \"nobody\"\n", "user"),
    ] {
        let from = odin.log().len();
        let text = config.replace("workers = 1\nadmin = \"127.0.0.1:0\"\n", line);
        odin.reload(&text).await.has_status(200);
        let said = odin.log_contains_after(from, &["takes effect at the next start", setting]).await;
        assert!(said.contains(&format!("`{setting}`")), "{said}");
        odin.get("/").await.has_status(200);
        odin.reload(&config).await.has_status(200);
    }
}

/// A config that serves from the first backend or from the second.
fn serving(backend: &HttpBackend) -> String {
    format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ncluster = \"a\"\n\
         [clusters.a]\nendpoints = [\"{}\"]\n",
        backend.address()
    )
}

async fn serves(odin: &Odin, name: &str) {
    let what = format!("{name} serves");
    until(&what, async || (odin.get("/").await.field("backend").as_deref() == Some(name)).then_some(())).await;
}

#[tokio::test]
async fn a_config_file_is_watched_however_it_is_written() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let (of_a, of_b) = (serving(&a), serving(&b));
    let odin = Odin::builder().with_config(&of_a).start().await;
    let file = odin.config_file();
    serves(&odin, "a").await;
    // In place.
    fs::write(file, &of_b).unwrap();
    serves(&odin, "b").await;
    // By a rename, as editors and deployments do it, more than once.
    for (text, name) in [(&of_a, "a"), (&of_b, "b"), (&of_a, "a")] {
        let new = file.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, file).unwrap();
        serves(&odin, name).await;
    }
    // Gone, and here again.
    fs::remove_file(file).unwrap();
    serves(&odin, "a").await;
    fs::write(file, &of_b).unwrap();
    serves(&odin, "b").await;
    // What is wrong is told, and what is right again is taken.
    let from = odin.log().len();
    fs::write(file, of_a.replace("endpoints", "endpionts")).unwrap();
    odin.log_contains_after(from, &["not reloaded", "endpionts"]).await;
    serves(&odin, "b").await;
    fs::write(file, &of_a).unwrap();
    serves(&odin, "a").await;
}

/// As Kubernetes mounts a ConfigMap: `odin.toml -> ..data/odin.toml`, `..data -> ..N`, and `..data` is replaced.
#[tokio::test]
async fn a_config_behind_links_is_watched_when_the_links_are_swapped() {
    use std::os::unix::fs::symlink;
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let version = |number: usize, text: &str| {
        let name = format!("..{number}");
        fs::create_dir(at(&name)).unwrap();
        fs::write(at(&name).join("odin.toml"), text).unwrap();
        symlink(&name, at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        if number > 0 {
            fs::remove_dir_all(at(&format!("..{}", number - 1))).unwrap();
        }
    };
    version(0, &serving(&a));
    symlink(Path::new("..data/odin.toml"), at("odin.toml")).unwrap();
    let odin = Odin::builder().config_file(at("odin.toml")).start().await;
    serves(&odin, "a").await;
    for number in 1..6 {
        let (backend, name) = if number % 2 == 0 { (&a, "a") } else { (&b, "b") };
        version(number, &serving(backend));
        serves(&odin, name).await;
    }
}

#[tokio::test]
async fn a_plugin_that_was_added_by_a_reload_is_watched_as_well() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).plugin_file(PluginEntry::new("headers").called("late")).start().await;
    let text = fs::read_to_string(odin.config_file()).unwrap();
    odin.reload(&text.replace("plugins = []", "plugins = [\"late\"]")).await.has_status(200);
    assert!(odin.get("/").await.has_status(200).headers.contains_key("x-odin-response"));
    let before = odin.plugin_status("late").await["generation"].as_u64().unwrap();
    let other = odin_tests::paths::plugin_bytes("pass");
    fs::write(odin.plugin_file("late"), other).unwrap();
    until("the file is swapped", async || {
        (odin.plugin_status("late").await["generation"].as_u64().unwrap() > before).then_some(())
    })
    .await;
}
