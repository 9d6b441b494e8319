//! Files that change behind links, in folders that are replaced, among many others or slowly: what is followed is what
//! the path leads to, at any time.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use odin_tests::{HttpBackend, Odin, Protocol, Target, paths, skipped, until};
use tempfile::TempDir;

/// A folder, and two backends to tell by which config is in force.
struct Place {
    folder: TempDir,
    a: HttpBackend,
    b: HttpBackend,
}

impl Place {
    async fn new() -> Place {
        let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
        Place { folder: tempfile::tempdir().unwrap(), a, b }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A config that serves from this backend.
    fn config(&self, name: &str) -> String {
        let backend = if name == "a" { &self.a } else { &self.b };
        format!(
            "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             cluster = \"web\"\n[clusters.web]\nendpoints = [\"{}\"]\n",
            backend.address()
        )
    }

    /// Writes such a config, and its folder.
    fn write(&self, file: &str, name: &str) {
        let file = self.at(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, self.config(name)).unwrap();
    }

    /// Lets the link lead there, in one step.
    fn link(&self, link: &str, to: &str) {
        symlink(to, self.at("new-link")).unwrap();
        fs::rename(self.at("new-link"), self.at(link)).unwrap();
    }

    async fn start(&self, file: &str) -> Odin {
        let odin = Odin::builder().config_file(self.at(file)).start().await;
        serves(&odin, "a").await;
        // The look at the end of the start finds whatever came until then: the test begins after it.
        let config = fs::read_to_string(self.at(file)).unwrap();
        fs::write(self.at(file), format!("shutdown-grace = \"9s\"\n{config}")).unwrap();
        odin.log_contains(&["setting shutdown-grace"]).await;
        odin
    }
}

async fn serves(odin: &Odin, name: &str) {
    let what = format!("{name} serves");
    until(&what, async || (odin.get("/").await.field("backend").as_deref() == Some(name)).then_some(())).await;
}

async fn generation(odin: &Odin, plugin: &str) -> u64 {
    odin.plugin_status(plugin).await["generation"].as_u64().unwrap()
}

#[tokio::test]
async fn a_release_is_deployed_by_a_link_to_its_folder() {
    let place = Place::new().await;
    place.write("releases/1/odin.toml", "a");
    place.write("releases/2/odin.toml", "b");
    place.link("current", "releases/1");
    let odin = place.start("current/odin.toml").await;
    place.link("current", "releases/2");
    serves(&odin, "b").await;
    place.link("current", "releases/1");
    serves(&odin, "a").await;
    // What the link leads to now is followed as well.
    place.write("releases/1/odin.toml", "b");
    serves(&odin, "b").await;
    odin.stop().await;
}

#[tokio::test]
async fn a_link_to_a_file_behind_a_link_to_its_folder_is_followed() {
    let place = Place::new().await;
    place.write("srv/1/odin.toml", "a");
    place.write("srv/2/odin.toml", "b");
    fs::create_dir(place.at("etc")).unwrap();
    place.link("srv/current", "1");
    place.link("etc/odin.toml", "../srv/current/odin.toml");
    let odin = place.start("etc/odin.toml").await;
    place.link("srv/current", "2");
    serves(&odin, "b").await;
    place.link("srv/current", "1");
    serves(&odin, "a").await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_followed() {
    let place = Place::new().await;
    place.write("etc/odin.toml", "a");
    let odin = place.start("etc/odin.toml").await;
    // Another one is put in its place.
    place.write("next/odin.toml", "b");
    fs::rename(place.at("etc"), place.at("old")).unwrap();
    fs::rename(place.at("next"), place.at("etc")).unwrap();
    serves(&odin, "b").await;
    place.write("etc/odin.toml", "a");
    serves(&odin, "a").await;
    // It is gone, and comes again.
    fs::remove_dir_all(place.at("etc")).unwrap();
    odin.log_contains(&["the config file cannot be read"]).await;
    place.write("etc/odin.toml", "b");
    serves(&odin, "b").await;
    // Without anybody seeing that it was gone; the old one is written as if nothing had happened.
    fs::remove_dir_all(place.at("etc")).unwrap();
    place.write("etc/odin.toml", "a");
    serves(&odin, "a").await;
    place.write("old/odin.toml", "b");
    place.write("etc/odin.toml", "b");
    serves(&odin, "b").await;
}

#[tokio::test]
async fn edits_are_noticed_after_a_hang_up_that_found_another_folder() {
    let place = Place::new().await;
    place.write("etc/odin.toml", "a");
    let odin = place.start("etc/odin.toml").await;
    place.write("next/odin.toml", "b");
    fs::rename(place.at("etc"), place.at("old")).unwrap();
    fs::rename(place.at("next"), place.at("etc")).unwrap();
    odin.hang_up();
    serves(&odin, "b").await;
    place.write("etc/odin.toml", "a");
    serves(&odin, "a").await;
}

#[tokio::test]
async fn a_config_that_cannot_be_read_is_told_once() {
    let place = Place::new().await;
    // Root may read anything.
    let user = if rustix::process::geteuid().is_root() { "user = \"nobody\"\n" } else { "" };
    let odin = Odin::builder().with_config(user.to_string() + &place.config("a")).start().await;
    serves(&odin, "a").await;
    let file = odin.config_file();
    let told = || odin.log().all().iter().filter(|line| line.contains("the config file cannot be read")).count();
    for (turn, name) in ["b", "a"].into_iter().enumerate() {
        let from = odin.log().len();
        let new = file.with_extension("new");
        for _ in 0..3 {
            fs::write(&new, user.to_string() + &place.config(name)).unwrap();
            fs::set_permissions(&new, Permissions::from_mode(0o000)).unwrap();
            fs::rename(&new, file).unwrap();
            odin.log_contains_after(from, &["WARN", "the config file cannot be read", "denied", "odin.toml"]).await;
        }
        fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        odin.log_contains_after(from, &["the config file can be read again"]).await;
        serves(&odin, name).await;
        assert_eq!(told(), turn + 1);
    }
}

#[tokio::test]
async fn a_start_tells_that_its_user_cannot_read_the_config_again() {
    if !rustix::process::geteuid().is_root() {
        // Any other user who cannot read the file cannot start with it either.
        return skipped("to be root");
    }
    let place = Place::new().await;
    fs::write(place.at("odin.toml"), format!("user = \"nobody\"\n{}", place.config("a"))).unwrap();
    fs::set_permissions(place.at("odin.toml"), Permissions::from_mode(0o600)).unwrap();
    let odin = Odin::builder().config_file(place.at("odin.toml")).start().await;
    odin.log_contains(&["WARN", "the config file cannot be read", "denied"]).await;
    serves(&odin, "a").await;
}

/// As Kubernetes mounts a ConfigMap with a config and a plugin.
#[tokio::test]
async fn a_plugin_beside_its_config_in_a_config_map_is_swapped() {
    let place = Place::new().await;
    let version = |number: usize, plugin: &str| {
        let name = format!("..{number}");
        let both = format!("\"{}\", \"{}\"", place.a.address(), place.b.address());
        place.write(&format!("{name}/odin.toml"), "a");
        let config = place.config("a").replace(&format!("\"{}\"", place.a.address()), &both);
        let config = config + "balancer = \"chooser\"\n[plugins.chooser]\npath = \"p.wasm\"\n";
        fs::write(place.at(&name).join("odin.toml"), config).unwrap();
        fs::write(place.at(&name).join("p.wasm"), paths::plugin_bytes(plugin)).unwrap();
        place.link("..data", &name);
        if number > 0 {
            fs::remove_dir_all(place.at(&format!("..{}", number - 1))).unwrap();
        }
    };
    version(0, "lb_first");
    symlink("..data/odin.toml", place.at("odin.toml")).unwrap();
    symlink("..data/p.wasm", place.at("p.wasm")).unwrap();
    let odin = place.start("odin.toml").await;
    for number in 1..5 {
        let (plugin, name) = if number % 2 == 0 { ("lb_first", "a") } else { ("lb_last", "b") };
        version(number, plugin);
        serves(&odin, name).await;
        assert_eq!(generation(&odin, "chooser").await, number as u64 + 1);
    }
}

#[tokio::test]
async fn a_linked_config_is_read_however_busy_its_folder_is() {
    let place = Place::new().await;
    place.write("real/odin.toml", "a");
    fs::create_dir(place.at("etc")).unwrap();
    place.link("etc/odin.toml", "../real/odin.toml");
    let odin = place.start("etc/odin.toml").await;
    let quiet = Arc::new(AtomicBool::new(false));
    let (noise, ends) = (place.at("etc/noise"), Arc::clone(&quiet));
    let busy = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            fs::write(&noise, "noise").unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    for name in ["b", "a", "b"] {
        place.write("real/odin.toml", name);
        serves(&odin, name).await;
    }
    quiet.store(true, Ordering::Relaxed);
    busy.join().unwrap();
}

#[tokio::test]
async fn more_events_than_the_system_keeps_are_a_reason_to_look() {
    let place = Place::new().await;
    place.write("etc/odin.toml", "a");
    let odin = place.start("etc/odin.toml").await;
    let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let kept: usize = kept.trim().parse().unwrap();
    odin.freeze().await;
    // It is created, opened, written, closed and removed.
    for _ in 0..kept / 5 + 10 {
        fs::write(place.at("etc/noise"), "noise").unwrap();
        fs::remove_file(place.at("etc/noise")).unwrap();
    }
    place.write("etc/odin.toml", "b");
    odin.thaw();
    odin.log_contains(&["too many changes of files"]).await;
    serves(&odin, "b").await;
    place.write("etc/odin.toml", "a");
    serves(&odin, "a").await;
}

#[tokio::test]
async fn a_file_that_is_written_by_another_name_is_read() {
    let place = Place::new().await;
    place.write("elsewhere/odin.toml", "a");
    fs::create_dir(place.at("etc")).unwrap();
    // As a file that is mounted into a container, and written outside.
    fs::hard_link(place.at("elsewhere/odin.toml"), place.at("etc/odin.toml")).unwrap();
    let odin = place.start("etc/odin.toml").await;
    place.write("elsewhere/odin.toml", "b");
    serves(&odin, "b").await;
}

/// A config with a plugin of which only a look tells that it is another: so a test knows that there was one.
struct Looked {
    place: Place,
    odin: Odin,
}

impl Looked {
    async fn start() -> Looked {
        let place = Place::new().await;
        for (release, plugin) in [("1", "headers"), ("2", "pass")] {
            fs::create_dir(place.at(release)).unwrap();
            fs::write(place.at(release).join("p.wasm"), paths::plugin_bytes(plugin)).unwrap();
        }
        place.link("current", "1");
        fs::create_dir(place.at("etc")).unwrap();
        fs::write(place.at("etc/odin.toml"), Looked::config(&place, "a")).unwrap();
        let odin = place.start("etc/odin.toml").await;
        Looked { place, odin }
    }

    fn config(place: &Place, name: &str) -> String {
        place.config(name) + &format!("[plugins.p]\npath = \"{}\"\n", place.at("current/p.wasm").display())
    }

    /// Waits until the files were looked at, twice.
    async fn twice(&self) {
        for release in ["2", "1"] {
            let before = generation(&self.odin, "p").await;
            self.place.link("current", release);
            until("the plugin is swapped", async || (generation(&self.odin, "p").await > before).then_some(())).await;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_written_slowly_is_read_when_it_is_whole() {
    let looked = Looked::start().await;
    let (place, odin) = (&looked.place, &looked.odin);
    for (created, name) in [(false, "b"), (true, "a")] {
        let mut from = odin.log().len();
        if created {
            fs::remove_file(place.at("etc/odin.toml")).unwrap();
            odin.log_contains_after(from, &["the config file cannot be read"]).await;
            from = odin.log().len();
        }
        let text = Looked::config(place, name);
        let mut file = fs::File::create(place.at("etc/odin.toml")).unwrap();
        // A half that would be refused.
        file.write_all(&text.as_bytes()[..text.len() / 2]).unwrap();
        looked.twice().await;
        looked.twice().await;
        let said = odin.log().all()[from..].join("\n");
        assert!(!said.contains("reloaded") && !said.contains("can be read"), "{said}");
        file.write_all(&text.as_bytes()[text.len() / 2..]).unwrap();
        drop(file);
        serves(odin, name).await;
    }
}

#[tokio::test]
async fn a_file_is_not_read_without_a_reason() {
    let looked = Looked::start().await;
    // What was looked at once after the start is done by then.
    looked.twice().await;
    let opens = Opens::of(&looked.place.at("etc/odin.toml"));
    fs::write(looked.place.at("etc/noise"), "noise").unwrap();
    looked.twice().await;
    assert_eq!(opens.so_far(), 0);
    looked.place.write("etc/odin.toml", "b");
    serves(&looked.odin, "b").await;
    assert!(opens.so_far() > 0);
}

/// Counts how often a file is opened.
struct Opens(rustix::fd::OwnedFd);

impl Opens {
    fn of(file: &Path) -> Opens {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&watch, file, WatchFlags::OPEN).unwrap();
        Opens(watch)
    }

    fn so_far(&self) -> usize {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = rustix::fs::inotify::Reader::new(&self.0, &mut buffer);
        std::iter::from_fn(|| reader.next().ok().map(drop)).count()
    }
}
