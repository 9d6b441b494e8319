//! What listeners and clusters speak TLS by: reads the files that the config names, and keeps what has not changed.
//!
//! A file that cannot be used is a fault with its path, and changes nothing.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, bail};
use odin_proxy::tls::{
    self, Certificate, Client, ClientAuth, ClientSettings, MinVersion, SECRET, Server, ServerSettings, Tickets,
};

use crate::config::{
    self, Acme, ClientTls, Config, Roots, Route, Section, ServerTls, TlsVersion, Traffic, UpstreamProtocol,
};
use crate::{acme, files};

/// Of all listeners and clusters that have it, by name, and of the admin pages.
#[derive(Default)]
pub(crate) struct Tls {
    admin: Option<Kept<ForServer, Server>>,
    servers: BTreeMap<String, Kept<ForServer, Server>>,
    clients: BTreeMap<String, Kept<ForClient, Client>>,
}

/// What the config says, and what is spoken.
#[derive(PartialEq)]
struct ForServer {
    section: ServerTls,
    speaks: Speaks,
    acme: Option<Acme>,
}
/// What goes over the connections of clients; ALPN offers it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// Both versions of HTTP.
    Http,
    Http1,
    Bytes,
}

impl Speaks {
    fn over(traffic: &Traffic) -> Speaks {
        match traffic {
            Traffic::Http { .. } => Speaks::Http,
            Traffic::Auto { routes, .. } if !routes.iter().all(Route::is_tls) => Speaks::Http,
            Traffic::Auto { .. } | Traffic::Tcp { .. } | Traffic::Tls { .. } => Speaks::Bytes,
        }
    }

    fn alpn(self) -> &'static [&'static str] {
        match self {
            Speaks::Http => &["h2", "http/1.1"],
            Speaks::Http1 => &["http/1.1"],
            Speaks::Bytes => &[],
        }
    }
}

/// What the config says, and whether HTTP/2 is spoken.
type ForClient = (ClientTls, bool);

/// A section, what its files held, and what was made of both.
struct Kept<S, T> {
    section: S,
    /// Those that are not there as well: they may come.
    paths: Vec<PathBuf>,
    files: Files,
    made: Arc<T>,
}

/// Files that were read.
type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Tls {
    /// Reads everything; what is wrong goes to `faults`. What `before` has of the same files stays.
    pub(crate) fn read(config: &Config, before: Option<&Tls>, faults: &mut Vec<anyhow::Error>) -> Tls {
        let mut tls = Tls::default();
        let of_server = |section: &ServerTls, speaks, before: Option<&Kept<ForServer, Server>>| {
            let acme = acme_of(config, section);
            let make = |files: &Files| server(section, acme, files, speaks, before);
            let wanted = ForServer { section: section.clone(), speaks, acme: acme.cloned() };
            kept(wanted, before, server_files(config, section), make)
        };
        let of_acme = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.acme.as_ref());
        for (name, section) in of_acme.filter_map(|name| config.acme.get_key_value(name)).collect::<BTreeMap<_, _>>() {
            if let Err(fault) = acme::check(section).with_context(|| Section::acme(name)) {
                faults.push(fault);
            }
        }
        for listener in &config.listeners {
            let Some(section) = &listener.tls else { continue };
            let before = before.and_then(|before| before.servers.get(&listener.name));
            match of_server(section, Speaks::over(&listener.traffic), before)
                .with_context(|| Section::listener(&listener.name))
            {
                Ok(made) => drop(tls.servers.insert(listener.name.clone(), made)),
                Err(fault) => faults.push(fault),
            }
        }
        if let Some(section) = &config.admin_tls {
            let before = before.and_then(|before| before.admin.as_ref());
            match of_server(section, Speaks::Http1, before).context("`admin-tls`") {
                Ok(made) => tls.admin = Some(made),
                Err(fault) => faults.push(fault),
            }
        }
        for (name, cluster) in &config.clusters {
            let Some(section) = &cluster.tls else { continue };
            let before = before.and_then(|before| before.clients.get(name));
            let http2 = cluster.protocol == UpstreamProtocol::Http2;
            let wanted = (section.clone(), http2);
            let made = kept(wanted, before, client_files(section), |files| client(section, files, http2));
            match made.with_context(|| Section::cluster(name)) {
                Ok(made) => drop(tls.clients.insert(name.clone(), made)),
                Err(fault) => faults.push(fault),
            }
        }
        tls
    }

    /// By what the listener of this name speaks.
    pub(crate) fn server(&self, listener: &str) -> Option<Arc<Server>> {
        self.servers.get(listener).map(|kept| kept.made.clone())
    }

    /// By what the admin pages speak.
    pub(crate) fn admin(&self) -> Option<Arc<Server>> {
        self.admin.as_ref().map(|kept| kept.made.clone())
    }

    /// By what the cluster of this name speaks.
    pub(crate) fn client(&self, cluster: &str) -> Option<Arc<Client>> {
        self.clients.get(cluster).map(|kept| kept.made.clone())
    }

    /// The listeners and clusters whose keys are as before, and whose files are not.
    pub(crate) fn renewed(&self, before: &Tls) -> impl Iterator<Item = Section> {
        let servers = renewed(&self.servers, &before.servers).map(|name| Section::listener(name));
        let clients = renewed(&self.clients, &before.clients).map(|name| Section::cluster(name));
        servers.chain(clients).collect::<Vec<_>>().into_iter()
    }

    /// The files that all of it was made of.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let servers = self.servers.values().chain(&self.admin).map(|kept| &kept.paths);
        servers.chain(self.clients.values().map(|kept| &kept.paths)).flatten().map(PathBuf::as_path)
    }
}

fn renewed<'a, S: PartialEq, T>(
    now: &'a BTreeMap<String, Kept<S, T>>,
    before: &'a BTreeMap<String, Kept<S, T>>,
) -> impl Iterator<Item = &'a String> {
    let another = |(name, kept): &(&String, &Kept<S, T>)| {
        let before = before.get(*name).filter(|before| before.section == kept.section);
        before.is_some_and(|before| !Arc::ptr_eq(&before.made, &kept.made))
    };
    now.iter().filter(another).map(|(name, _)| name)
}

/// A file that is read.
struct Wanted {
    path: PathBuf,
    /// It may come later.
    may_miss: bool,
}

impl Wanted {
    fn now(path: &Path) -> Wanted {
        Wanted { path: path.to_owned(), may_miss: false }
    }
}

/// What `before` has, if neither its section nor its files have changed.
fn kept<S: PartialEq, T>(
    section: S,
    before: Option<&Kept<S, T>>,
    wanted: Vec<Wanted>,
    make: impl FnOnce(&Files) -> anyhow::Result<T>,
) -> anyhow::Result<Kept<S, T>> {
    let mut files = Files::new();
    for Wanted { path, may_miss } in &wanted {
        match files::read(path) {
            Ok(content) => drop(files.insert(path.clone(), content)),
            Err(error) if *may_miss && error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    let same = before.filter(|before| before.section == section && before.files == files);
    let made = same.map_or_else(|| make(&files).map(Arc::new), |same| Ok(same.made.clone()))?;
    let paths = wanted.into_iter().map(|wanted| wanted.path).collect();
    Ok(Kept { section, paths, files, made })
}

/// The files that the sections of a config name.
pub(crate) fn files_of(config: &Config) -> impl Iterator<Item = PathBuf> {
    let servers = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).chain(&config.admin_tls);
    let clients = config.clusters.values().filter_map(|cluster| cluster.tls.as_ref());
    let files = servers.flat_map(|section| server_files(config, section)).chain(clients.flat_map(client_files));
    files.map(|wanted| wanted.path)
}

fn acme_of<'a>(config: &'a Config, section: &ServerTls) -> Option<&'a Acme> {
    section.acme.as_ref().and_then(|name| config.acme.get(name))
}

fn server_files(config: &Config, section: &ServerTls) -> Vec<Wanted> {
    let certificates = section.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    let others = [&section.client_ca, &section.client_crl, &section.tickets].into_iter().flatten();
    let issued = acme_of(config, section).map(|acme| issued(acme, section)).unwrap_or_default();
    let issued = issued.into_iter().map(|path| Wanted { path, may_miss: true });
    certificates.chain(others).map(|path| Wanted::now(path)).chain(issued).collect()
}

/// Where the certificates are that an authority has issued, or will issue.
fn issued(acme: &Acme, section: &ServerTls) -> Vec<PathBuf> {
    let store = acme::store(acme);
    section.acme_names.iter().map(|name| store.certificate(name)).collect()
}

fn client_files(section: &ClientTls) -> Vec<Wanted> {
    let roots = if let Roots::File(path) = &section.roots { Some(path) } else { None };
    let others = [&section.cert, &section.key, &section.crl].into_iter().flatten();
    roots.into_iter().chain(others).map(|path| Wanted::now(path)).collect()
}

fn content<'a>(files: &'a Files, path: Option<&PathBuf>) -> Option<&'a [u8]> {
    path.and_then(|path| files.get(path)).map(Vec::as_slice)
}

/// A certificate and its key; errors name the files.
fn certificate(files: &Files, cert: &PathBuf, key: &PathBuf) -> anyhow::Result<Certificate> {
    let of = |path| content(files, Some(path)).unwrap_or_default();
    let made = Certificate::from_pem(of(cert), of(key));
    made.with_context(|| format!("{} with {}", cert.display(), key.display()))
}

fn server(
    section: &ServerTls,
    acme: Option<&Acme>,
    files: &Files,
    speaks: Speaks,
    before: Option<&Kept<ForServer, Server>>,
) -> anyhow::Result<Server> {
    let mut certificates = Vec::new();
    for config::CertificateFiles { cert, key } in &section.certificates {
        let certificate = certificate(files, cert, key)?;
        let known = |before: &Kept<_, Server>| before.made.certificates().iter().any(|known| known.is(&certificate));
        match certificate.is_in_time() {
            Ok(()) => {}
            // What serves already shall not keep the rest of a config from being served, nor a start from starting.
            Err(error) if before.is_none_or(known) => tracing::warn!(file = %cert.display(), "{error}"),
            Err(error) => bail!("{}: {error}", cert.display()),
        }
        certificates.push(Arc::new(certificate));
    }
    for path in acme.map(|acme| issued(acme, section)).unwrap_or_default() {
        if !files.contains_key(&path) {
            continue;
        }
        // One that cannot be used is asked for again.
        match certificate(files, &path, &path) {
            Ok(certificate) => certificates.push(Arc::new(certificate)),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
    let tickets = match &section.tickets {
        None => own_tickets()?,
        Some(path) => match content(files, Some(path)) {
            Some(secret) if secret.len() >= SECRET => Tickets::shared(secret),
            _ => bail!(
                "{}: a secret of at least {SECRET} bytes is needed; make one with `openssl rand -out FILE 80`",
                path.display()
            ),
        },
    };
    let settings = ServerSettings {
        certificates,
        client_auth: match section.client_auth {
            config::ClientAuth::Off => ClientAuth::Off,
            config::ClientAuth::Optional => ClientAuth::Optional,
            config::ClientAuth::Required => ClientAuth::Required,
        },
        client_ca: content(files, section.client_ca.as_ref()),
        client_crl: content(files, section.client_crl.as_ref()),
        min_version: min_version(section.min_version),
        tickets,
        alpn: speaks.alpn(),
        forward_client_cert: section.forward_client_cert,
        challenges: acme.map(acme::tls_challenges),
    };
    Server::new(settings).with_context(|| named(&[&section.client_ca, &section.client_crl]))
}

fn client(section: &ClientTls, files: &Files, http2: bool) -> anyhow::Result<Client> {
    let pair = section.cert.as_ref().zip(section.key.as_ref());
    let certificate = pair.map(|(cert, key)| certificate(files, cert, key)).transpose()?;
    if let (Some(certificate), Some(cert)) = (&certificate, &section.cert)
        && let Err(error) = certificate.is_in_time()
    {
        tracing::warn!(file = %cert.display(), "{error}");
    }
    let roots = match &section.roots {
        Roots::System => tls::Roots::System,
        Roots::Mozilla => tls::Roots::Mozilla,
        Roots::None => tls::Roots::Fingerprints(section.fingerprints.clone()),
        Roots::File(path) => {
            let text = content(files, Some(path)).unwrap_or_default();
            tls::Roots::File(path.display().to_string(), text.to_vec())
        }
    };
    let alpn = if section.alpn.is_empty() && http2 { vec!["h2".to_owned()] } else { section.alpn.clone() };
    let settings = ClientSettings {
        roots,
        crl: content(files, section.crl.as_ref()),
        server_name: section.server_name.as_deref(),
        certificate: certificate.as_ref(),
        min_version: min_version(section.min_version),
        alpn,
    };
    let root_file = if let Roots::File(path) = &section.roots { Some(path.clone()) } else { None };
    Client::new(&settings).with_context(|| named(&[&root_file, &section.crl]))
}

/// The files that an error may be about.
fn named(paths: &[&Option<PathBuf>]) -> String {
    let shown: Vec<_> = paths.iter().filter_map(|path| Some(path.as_ref()?.display().to_string())).collect();
    if shown.is_empty() { "tls".to_owned() } else { shown.join(" or ") }
}

fn min_version(version: TlsVersion) -> MinVersion {
    match version {
        TlsVersion::Tls12 => MinVersion::Tls12,
        TlsVersion::Tls13 => MinVersion::Tls13,
    }
}

/// The keys of tickets of this process, once they are needed or taken over.
static OWN: OnceLock<Arc<Tickets>> = OnceLock::new();

fn own_tickets() -> anyhow::Result<Arc<Tickets>> {
    if let Some(own) = OWN.get() {
        return Ok(own.clone());
    }
    let made = Tickets::own().context("the system has no random numbers for the keys of session tickets")?;
    Ok(OWN.get_or_init(|| made).clone())
}

/// Goes on with the keys of the process before, so that its clients can resume their sessions.
pub(crate) fn take_over(keys: &[u8]) {
    match Tickets::taken_over(keys) {
        Some(tickets) => drop(OWN.set(tickets)),
        None => tracing::warn!("the keys of session tickets that the process before hands over cannot be used"),
    }
}

/// What [`take_over`] takes; empty when there is nothing.
pub(crate) fn hand_over() -> Vec<u8> {
    OWN.get().and_then(|tickets| tickets.hand_over()).unwrap_or_default()
}
