//! The folder of one directory: `NAME.pem` (a key and its chain in one file, so that a rename swaps both), `account.json`,
//! `challenges/` while there are some, and `owner`, which is locked by the process that asks for certificates.
//!
//! All files are for the user of the process alone.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use sha2::{Digest as _, Sha256};

/// Bytes of a file that is read: a chain has a few thousand.
pub(crate) const LARGEST: u64 = 64 * 1024;
/// Bytes of a token (RFC 8555, section 8.1: base64url of some 128 random bits).
const LONGEST_TOKEN: usize = 256;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Store {
    folder: PathBuf,
}

/// While it is there, this process is the one that asks for certificates.
pub(crate) struct Owner(#[allow(dead_code, reason = "closing it unlocks it")] File);

/// An answer to a challenge; removed when it is dropped.
pub(crate) struct Answer(PathBuf);

impl Drop for Answer {
    fn drop(&mut self) {
        // The next owner removes what is left.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether an authority can prove this name by HTTP or TLS: a DNS name in lower case, no wildcard, no address. An error says
/// what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.starts_with("*.") {
        return Err(format!(
            "`{name}` is a wildcard, which needs a proof by DNS; name each host, or get it by another tool"
        ));
    }
    let last_is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    match name.len() <= 253 && name.split('.').all(label) && !last_is_number {
        true => Ok(()),
        false => Err(format!("`{name}` is no DNS name in lower case")),
    }
}

impl Store {
    /// Below `state`, for the directory at this URL: its host can be read in the name of the folder.
    pub fn new(state: &Path, url: &str) -> Store {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
        let readable: String =
            host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let hash: String = Sha256::digest(url).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Store { folder: state.join(format!("{}-{hash}", readable.trim_start_matches('.'))) }
    }

    /// Where the key and the chain of a name are, once there are some.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// What is answered at `/.well-known/acme-challenge/TOKEN` (RFC 8555, section 8.3).
    pub fn http_answer(&self, token: &str) -> Option<String> {
        read(&self.http_file(token)?).ok()
    }

    /// A key with the certificate that is shown to who asks for `name` with [`ALPN`](crate::ALPN), as PEM (RFC 8737, section 3).
    pub fn tls_answer(&self, name: &str) -> Option<String> {
        check_name(name).ok()?;
        let digits = read(&self.tls_file(name)).ok()?;
        let digest: Option<Vec<u8>> =
            digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok()).collect();
        let digest = digest.filter(|digest| digest.len() == 32)?;
        let key = KeyPair::generate().ok()?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).ok()?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
        Some(key.serialize_pem() + &params.self_signed(&key).ok()?.pem())
    }

    /// Makes the folder. An error names it.
    pub fn prepare(&self) -> io::Result<()> {
        let challenges = self.challenges();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&challenges);
        made.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", challenges.display())))
    }

    /// None while another process is the owner.
    pub(crate) fn own(&self) -> io::Result<Option<Owner>> {
        self.prepare()?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.folder.join("owner"))?;
        match file.try_lock() {
            Ok(()) => {
                // Of an owner that died.
                for left in fs::read_dir(self.challenges())?.flatten() {
                    let _ = fs::remove_file(left.path());
                }
                Ok(Some(Owner(file)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Lets every process answer a challenge over HTTP.
    pub(crate) fn answer_http(&self, token: &str, authorization: &str) -> io::Result<Answer> {
        let file = self.http_file(token).ok_or_else(|| io::Error::other(format!("{token:?} is no token")))?;
        write(&file, authorization)?;
        Ok(Answer(file))
    }

    /// Lets every process answer a challenge over TLS.
    pub(crate) fn answer_tls(&self, name: &str, digest: &[u8]) -> io::Result<Answer> {
        let file = self.tls_file(name);
        write(&file, &digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())?;
        Ok(Answer(file))
    }

    pub(crate) fn read_certificate(&self, name: &str) -> io::Result<String> {
        read(&self.certificate(name))
    }

    pub(crate) fn write_certificate(&self, name: &str, pem: &str) -> io::Result<()> {
        write(&self.certificate(name), pem)
    }

    pub(crate) fn read_account(&self) -> io::Result<String> {
        read(&self.folder.join("account.json"))
    }

    pub(crate) fn write_account(&self, account: &str) -> io::Result<()> {
        write(&self.folder.join("account.json"), account)
    }

    /// The authority does not know it any more.
    pub(crate) fn forget_account(&self) {
        let _ = fs::remove_file(self.folder.join("account.json"));
    }

    fn challenges(&self) -> PathBuf {
        self.folder.join("challenges")
    }

    /// None for what is no token: neither a client nor an authority names other files.
    fn http_file(&self, token: &str) -> Option<PathBuf> {
        let plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let fine = plain && (1..=LONGEST_TOKEN).contains(&token.len());
        fine.then(|| self.challenges().join(format!("http-{token}")))
    }

    fn tls_file(&self, name: &str) -> PathBuf {
        self.challenges().join(format!("tls-{name}"))
    }
}

/// An error names the file.
fn read(path: &Path) -> io::Result<String> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(named)?;
    io::read_to_string(io::Read::take(file, LARGEST)).map_err(named)
}

/// The file is the old one or the new one, whole, whatever happens meanwhile.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(named)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::leaf;

    #[test]
    fn names_are_dns_names() {
        for good in ["a.test", "xn--bcher-kva.example", "a-b.c1.example", "localhost"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = format!("{}.test", "a".repeat(64));
        for bad in
            ["", ".", "a..test", "*.a.test", "A.test", "../x", "a/b", "-a.test", "192.0.2.1", "::1", &long, "a.test."]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn directories_have_folders_of_their_own() {
        let state = Path::new("/state");
        let one = Store::new(state, "https://acme.example/directory");
        let two = Store::new(state, "https://acme.example/staging");
        assert_ne!(one, two);
        assert!(one.certificate("a.test").starts_with("/state"), "{one:?}");
        for odd in ["https://../../etc/x", "..", "", "https://[::1]:14000/dir"] {
            let folder = Store::new(state, odd).folder;
            assert!(folder.parent() == Some(state) && !folder.ends_with(".."), "{odd}: {folder:?}");
        }
    }

    #[test]
    fn answers_are_for_those_who_know_what_to_ask_for() {
        let state = TempDir::new().unwrap();
        let store = Store::new(state.path(), "https://acme.test/dir");
        let _owner = store.own().unwrap().unwrap();
        fs::write(store.folder.join("secret"), "s").unwrap();
        let answer = store.answer_http("token-1_A", "token-1_A.thumb").unwrap();
        assert_eq!(store.http_answer("token-1_A").as_deref(), Some("token-1_A.thumb"));
        let long = "a".repeat(300);
        for token in ["", "other", "../secret", "..%2fsecret", "token-1_A/", "a b", &long] {
            assert_eq!(store.http_answer(token), None, "{token}");
            assert!(token == "other" || store.answer_http(token, "x").is_err(), "{token}");
        }
        drop(answer);
        assert_eq!(store.http_answer("token-1_A"), None);

        let _answer = store.answer_tls("a.test", &[7; 32]).unwrap();
        let pem = store.tls_answer("a.test").unwrap();
        assert!(leaf::validity(&pem, "a.test").is_ok());
        for name in ["b.test", "../a.test", "A.TEST", ""] {
            assert_eq!(store.tls_answer(name), None, "{name}");
        }
    }

    #[test]
    fn one_process_owns_a_folder_and_the_next_one_begins_clean() {
        let state = TempDir::new().unwrap();
        let store = Store::new(state.path(), "https://acme.test/dir");
        let owner = store.own().unwrap().unwrap();
        assert!(store.own().unwrap().is_none());
        std::mem::forget(store.answer_http("left", "left.thumb").unwrap());
        drop(owner);
        let _owner = store.own().unwrap().unwrap();
        assert_eq!(store.http_answer("left"), None);
        store.write_certificate("a.test", "pem").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.folder), mode(&store.certificate("a.test"))), (0o700, 0o600));
        let error = store.read_certificate("b.test").unwrap_err().to_string();
        assert!(error.contains("b.test.pem: No such file"), "{error}");
    }
}
