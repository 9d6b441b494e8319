//! The one certificate of all proxies: ECDSA on P-256, signed by itself, made once in a run.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;

/// What it is for.
pub(crate) const NAME: &str = "bench";

pub(crate) struct Certificate {
    pub(crate) der: CertificateDer<'static>,
    pem: String,
    key: String,
}

pub(crate) fn certificate() -> Result<&'static Certificate> {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made);
    }
    let key = KeyPair::generate()?;
    let made = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    let certificate = Certificate { der: made.der().clone(), pem: made.pem(), key: key.serialize_pem() };
    Ok(MADE.get_or_init(|| certificate))
}

impl Certificate {
    /// Writes `bench.pem`, `bench.key`, and for HAProxy both in `bench.both`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let both = format!("{}{}", self.pem, self.key);
        for (ending, text) in [("pem", &self.pem), ("key", &self.key), ("both", &both)] {
            let file = folder.join(format!("bench.{ending}"));
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}
