//! What is looked at of a certificate before it is put in the place of another one.

use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// The first and the last second of the validity of a key with its chain (PEM), if both belong together and are for `name`.
/// An error says what is wrong.
pub(crate) fn validity(pem: &str, name: &str) -> Result<(i64, i64), String> {
    let key = KeyPair::from_pem(pem).map_err(|error| format!("its key cannot be read: {error}"))?;
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("it is no PEM: {error}"))?;
    let (_, leaf) =
        x509_parser::parse_x509_certificate(&leaf).map_err(|error| format!("it cannot be read: {error}"))?;
    if leaf.public_key().raw != key.subject_public_key_info() {
        return Err("it is for another key".to_owned());
    }
    let names = leaf.subject_alternative_name().ok().flatten();
    let mut names = names.iter().flat_map(|names| &names.value.general_names);
    if !names.any(|found| matches!(found, GeneralName::DNSName(found) if found.eq_ignore_ascii_case(name))) {
        return Err(format!("it is not for {name}"));
    }
    let validity = leaf.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use rcgen::CertificateParams;

    use super::*;

    /// A key with a certificate for `name` that is valid for so many seconds, of which some are over.
    pub(crate) fn made(name: &str, over: i64, life: i64) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let at =
            |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.unsigned_abs());
        (params.not_before, params.not_after) = (at(now() - over), at(now() - over + life));
        key.serialize_pem() + &params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_key_and_a_chain_belong_together() {
        let (one, two) = (made("a.test", 10, 100), made("a.test", 10, 100));
        let (from, until) = validity(&one, "A.test").unwrap();
        assert_eq!(until - from, 100);
        let (key, _) = one.split_once("-----BEGIN CERTIFICATE").unwrap();
        let (_, chain) = two.split_once("-----BEGIN CERTIFICATE").unwrap();
        for (pem, name, words) in [
            (one.as_str(), "b.test", "it is not for b.test"),
            (&format!("{key}-----BEGIN CERTIFICATE{chain}"), "a.test", "for another key"),
            (key, "a.test", "no PEM"),
            ("", "a.test", "key cannot be read"),
            ("nonsense", "a.test", "key cannot be read"),
        ] {
            let error = validity(pem, name).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
