//! Certificates by ACME: which names are wanted of whom, the thread that asks for them, and what it has done. The certificates
//! themselves are files, which the watch finds and a reload serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use odin_acme::{Directory, Event, ExternalAccount, Schedule, Store};
use odin_proxy::HttpChallenges;
use odin_proxy::tls::Challenges;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::config::{self, Acme, Config};
use crate::files;

/// Counts of this process.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) got: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// The names that are wanted, by the section that says of whom.
type Wanted = BTreeMap<String, (Acme, BTreeSet<String>)>;

/// What asks for certificates. Dropped, it lets the folders go, so that another process can ask.
#[derive(Default)]
pub(crate) struct Keepers {
    pub(crate) counts: Arc<Counts>,
    running: Option<Running>,
}

struct Running {
    wanted: Wanted,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Keepers {
    /// Asks for what this config wants from now on.
    pub(crate) fn follow(&mut self, config: &Config) {
        let wanted = wanted(config);
        if self.running.as_ref().is_some_and(|running| running.wanted == wanted && !running.thread.is_finished()) {
            return;
        }
        self.stop();
        if wanted.is_empty() {
            return;
        }
        let (stop, stopped) = oneshot::channel();
        let (all, counts) = (wanted.clone(), self.counts.clone());
        let thread = std::thread::Builder::new().name("acme".to_owned());
        match thread.spawn(move || run(all, &counts, stopped)) {
            Ok(thread) => self.running = Some(Running { wanted, stop, thread }),
            Err(error) => tracing::error!(%error, "no thread for certificates by ACME: none is asked for"),
        }
    }

    /// Asks for nothing more.
    pub(crate) fn stop(&mut self) {
        let Some(Running { stop, thread, .. }) = self.running.take() else { return };
        drop(stop);
        // A panic was told by the thread.
        let _ = thread.join();
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wanted(config: &Config) -> Wanted {
    let mut wanted = Wanted::new();
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        let Some((name, section)) = tls.acme.as_ref().and_then(|name| config.acme.get_key_value(name)) else {
            continue;
        };
        let (_, names) = wanted.entry(name.clone()).or_insert_with(|| (section.clone(), BTreeSet::new()));
        names.extend(tls.acme_names.iter().cloned());
    }
    wanted
}

/// Until `stopped`.
fn run(wanted: Wanted, counts: &Arc<Counts>, stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "certificates by ACME cannot be asked for"),
    };
    let tasks = LocalSet::new();
    for (section, (acme, names)) in wanted {
        let counts = counts.clone();
        tasks.spawn_local(async move { keep(&section, &acme, names.into_iter().collect(), &counts).await });
    }
    runtime.block_on(tasks.run_until(async {
        // Its end is the signal.
        let _ = stopped.await;
    }));
    drop(tasks);
    // A resolver that does not answer is not waited for.
    runtime.shutdown_background();
}

async fn keep(section: &str, acme: &Acme, names: Vec<String>, counts: &Counts) {
    let directory = match directory(acme) {
        Ok(directory) => directory,
        Err(error) => return tracing::error!(acme = section, "no certificates can be asked for: {error:#}"),
    };
    let schedule = Schedule { first_retry: acme.retry, ..Schedule::default() };
    odin_acme::keep(&directory, &store(acme), &names, schedule, |event| tell(section, &event, counts)).await;
}

fn tell(acme: &str, event: &Event<'_>, counts: &Counts) {
    match event {
        Event::NotOwner => tracing::info!(acme, "another process asks for the certificates of this folder"),
        Event::Asking { name } => tracing::info!(acme, name, "asking for a certificate"),
        Event::Got { name, until } => {
            counts.got.fetch_add(1, Relaxed);
            tracing::info!(acme, name, until, "got a certificate");
        }
        Event::Failed { name, why, again_in } => {
            counts.failed.fetch_add(1, Relaxed);
            tracing::warn!(acme, name, ?again_in, "no certificate: {why}");
        }
        Event::Folder { why } => tracing::error!(acme, "the folder for certificates cannot be used: {why}"),
    }
}

/// Reads the files that the section names.
fn directory(acme: &Acme) -> anyhow::Result<Directory> {
    let read = |path: &Path| files::read(path).with_context(|| format!("cannot read {}", path.display()));
    let external = acme.external_account.as_ref().map(|external| {
        let hmac = String::from_utf8(read(&external.hmac_file)?);
        let hmac = hmac.map_err(|_| anyhow!("{} is no base64url", external.hmac_file.display()))?;
        anyhow::Ok(ExternalAccount { kid: external.kid.clone(), hmac })
    });
    let roots = acme.roots.as_deref().map(read).transpose()?;
    let challenge = match acme.challenge {
        config::Challenge::TlsAlpn01 => odin_acme::Challenge::TlsAlpn,
        config::Challenge::Http01 => odin_acme::Challenge::Http,
    };
    let contacts = acme.contact.iter().cloned().collect();
    Ok(Directory::new(&acme.directory, contacts, external.transpose()?, challenge, roots.as_deref())?)
}

/// Whether everything is there that a section needs. An error names it.
pub(crate) fn check(acme: &Acme) -> anyhow::Result<()> {
    directory(acme).map(drop)
}

/// Where the certificates of a section are.
pub(crate) fn store(acme: &Acme) -> Store {
    Store::new(&acme.folder.clone().unwrap_or_else(default_folder), &acme.directory)
}

/// `acme` in the first of these that the environment names.
fn default_folder() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let odin = named("STATE_DIRECTORY")
        .or_else(|| Some(named("XDG_STATE_HOME")?.join("odin")))
        .or_else(|| Some(named("HOME")?.join(".local/state/odin")));
    odin.unwrap_or_else(|| PathBuf::from("/var/lib/odin")).join("acme")
}

/// Answers the challenges over TLS for the names of a section.
pub(crate) fn tls_challenges(acme: &Acme) -> Challenges {
    let store = store(acme);
    Arc::new(move |name| store.tls_answer(name))
}

/// Answers the challenges over HTTP for the names of all sections; none when there is no section.
pub(crate) fn http_challenges(config: &Config) -> Option<HttpChallenges> {
    let stores: BTreeSet<Store> = config.acme.values().map(store).collect();
    if stores.is_empty() {
        return None;
    }
    Some(Arc::new(move |token| stores.iter().find_map(|store| store.http_answer(token))))
}
