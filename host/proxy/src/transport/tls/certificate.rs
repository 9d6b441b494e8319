//! Certificates with their keys: read from PEM, checked, and what is known of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::SignatureAlgorithm;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::provider;

/// What is wrong with a certificate, a key, or another file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is no PEM file, or one without what is looked for.
    #[error("{0}")]
    Pem(String),
    /// The certificate is not one.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// The key is not one that can be used.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// Key and certificate are not of each other.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// Its time is over.
    #[error("the certificate expired on {0}")]
    Expired(String),
    /// Its time has not begun.
    #[error("the certificate is not valid before {0}")]
    NotYetValid(String),
    /// The parts do not make a config.
    #[error("{0}")]
    Config(String),
}

/// A chain of certificates with the key of the first.
#[derive(Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Names,
    /// Seconds since 1970.
    not_after: i64,
    not_before: i64,
}

impl Certificate {
    /// From the two files. Key and certificate belong together; its time is not looked at.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, CertificateError> {
        let chain = certificates(chain)?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => {
                return Err(CertificateError::Pem("no private key in the key file".into()));
            }
            Err(error) => return Err(CertificateError::Pem(format!("the key file is no PEM: {error}"))),
        };
        let loaded = provider().key_provider.load_private_key(key);
        let loaded = loaded.map_err(|error| CertificateError::Key(error.to_string()))?;
        let (names, (not_before, not_after)) = {
            let leaf = parsed(&chain[0])?;
            let validity = leaf.validity();
            (Names::of(&leaf), (validity.not_before.timestamp(), validity.not_after.timestamp()))
        };
        for one in &chain[1..] {
            parsed(one)?;
        }
        let key = CertifiedKey::new(chain, loaded);
        match key.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                return Err(CertificateError::Mismatch);
            }
            Err(error) => return Err(CertificateError::Key(error.to_string())),
        }
        Ok(Certificate { key: Arc::new(key), names, not_after, not_before })
    }

    /// Whether it can be used at this moment.
    pub fn is_in_time(&self) -> Result<(), CertificateError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        match now {
            _ if now > self.not_after => Err(CertificateError::Expired(date(self.not_after))),
            _ if now < self.not_before => Err(CertificateError::NotYetValid(date(self.not_before))),
            _ => Ok(()),
        }
    }

    /// The last second of its validity, since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The same chain.
    pub fn is(&self, other: &Certificate) -> bool {
        self.key.cert == other.key.cert
    }

    /// The names that it is for, as people read them.
    pub fn names(&self) -> String {
        let ips = self.names.ips.iter().map(ToString::to_string);
        self.names.dns.iter().cloned().chain(ips).collect::<Vec<_>>().join(", ")
    }

    /// RSA keys take many times longer to sign.
    pub(super) fn is_rsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::RSA
    }
}

/// What a certificate is for (its subject alternative names; RFC 9525 leaves the common name out).
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// In lower case; `*.name` for one more label.
    pub(super) dns: Vec<String>,
    pub(super) ips: Vec<IpAddr>,
}

impl Names {
    fn of(leaf: &X509Certificate<'_>) -> Names {
        let mut names = Names::default();
        for name in alternative_names(leaf) {
            match name {
                GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => names.ips.extend(ip(bytes)),
                _ => {}
            }
        }
        names
    }

    /// `host` is in lower case, without a port.
    pub(crate) fn covers(&self, host: &str) -> bool {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return self.ips.contains(&ip);
        }
        let wild = host.split_once('.').map(|(_, below)| below);
        self.dns.iter().any(|name| match name.strip_prefix("*.") {
            Some(below) => wild == Some(below),
            None => name == host,
        })
    }
}

pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

pub(super) fn alternative_names<'a>(leaf: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let extension = leaf.subject_alternative_name().ok().flatten();
    extension.into_iter().flat_map(|extension| &extension.value.general_names)
}

pub(super) fn parsed<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(CertificateError::Unreadable(error.to_string())),
    }
}

/// The certificates of a PEM file; at least one.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if all.is_empty() => Err(CertificateError::Pem("no certificate in it".into())),
        Ok(all) => Ok(all),
        Err(error) => Err(CertificateError::Pem(format!("it is no PEM: {error}"))),
    }
}

/// The revocation lists of a PEM file; at least one.
pub(super) fn revoked(text: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if all.is_empty() => Err(CertificateError::Pem("no revocation list in it".into())),
        Ok(all) => Ok(all),
        Err(error) => Err(CertificateError::Pem(format!("it is no PEM: {error}"))),
    }
}

/// The name of an issuer and a serial number, as they stand in a certificate.
type Serial = (Vec<u8>, Vec<u8>);

/// Which certificates these lists revoke.
pub(super) fn serials(text: &[u8]) -> Result<BTreeSet<Serial>, CertificateError> {
    let mut all = BTreeSet::new();
    for list in revoked(text)? {
        let (_, list) = x509_parser::parse_x509_crl(list.as_ref())
            .map_err(|error| CertificateError::Unreadable(format!("a revocation list: {error}")))?;
        let issuer = list.issuer().as_raw();
        all.extend(list.iter_revoked_certificates().map(|one| (issuer.to_vec(), one.raw_serial().to_vec())));
    }
    Ok(all)
}

/// Hexadecimal digits of the SHA-256 of a certificate, as tools show it without its colons.
pub(super) fn fingerprint(der: &CertificateDer<'_>) -> String {
    digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `2026-12-01 at 05:00:00 UTC` of seconds since 1970.
pub(super) fn date(seconds: i64) -> String {
    let Ok(time) = x509_parser::time::ASN1Time::from_timestamp(seconds) else {
        return format!("{seconds} seconds after 1970");
    };
    let time = time.to_datetime();
    let (date, clock) = (time.date(), time.time());
    format!("{date} at {:02}:{:02}:{:02} UTC", clock.hour(), clock.minute(), clock.second())
}

/// As [`date`], of a time that rustls tells.
pub(super) fn date_of(since_1970: Duration) -> String {
    date(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX))
}
