//! Who clients are: the check of the certificates that they show, and how long that is believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::certificate::{CertificateError, certificates, parsed, revoked};
use super::provider;

/// The last second, since 1970, in which the client of one connection is who its certificate says. A session that is resumed
/// is not checked again, so its ticket ends with it.
#[derive(Debug)]
pub(super) struct Until(AtomicI64);

impl Default for Until {
    /// No certificate was shown: nothing ends.
    fn default() -> Self {
        Until(AtomicI64::new(i64::MAX))
    }
}

impl Until {
    pub(super) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self, seconds: i64) {
        self.0.store(seconds, Relaxed);
    }
}

/// Checks what clients show: by `ca`, and by the revocation lists in `crl` (both PEM).
pub(super) fn verifier(
    ca: Option<&[u8]>,
    crl: Option<&[u8]>,
    optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let config = |error: String| CertificateError::Config(error);
    let mut roots = RootCertStore::empty();
    for root in certificates(ca.unwrap_or_default())? {
        roots.add(root).map_err(|error| config(format!("a certificate in it cannot be a root: {error}")))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider().clone());
    if let Some(crl) = crl {
        builder = builder.with_crls(revoked(crl)?).only_check_end_entity_revocation().allow_unknown_revocation_status();
    }
    if optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| config(error.to_string()))
}

/// Checks what the client of one connection shows, and notes until when it is valid.
#[derive(Debug)]
pub(super) struct Noting {
    pub(super) by: Arc<dyn ClientCertVerifier>,
    pub(super) until: Arc<Until>,
}

impl ClientCertVerifier for Noting {
    fn offer_client_auth(&self) -> bool {
        self.by.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.by.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.by.verify_client_cert(leaf, others, now)?;
        // Upstreams are told who the client is, so one that cannot be told is refused.
        let read = parsed(leaf).map_err(|_| Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        self.until.set(read.validity().not_after.timestamp());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by.supported_verify_schemes()
    }
}
