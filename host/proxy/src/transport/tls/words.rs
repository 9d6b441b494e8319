//! What went wrong in a handshake, in words: which check, for whom, against what.

use std::io;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, Error, ProtocolVersion};

use super::certificate::date_of;

pub(super) fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "unknown",
    }
}

/// A client's handshake failed.
pub(super) fn of_client(error: &io::Error) -> String {
    match cause(error) {
        Some(Error::NoCertificatesPresented) => {
            "the client shows no certificate, and client-auth is required".to_owned()
        }
        Some(Error::InvalidCertificate(check)) => {
            format!("the client's certificate is refused: {}, by client-ca", failed(check))
        }
        Some(Error::General(text)) if text.contains("no server certificate chain resolved") => {
            "there is no certificate that suits the client, or none yet".to_owned()
        }
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the client has gone".to_owned(),
        None => error.to_string(),
    }
}

/// The handshake with an upstream of this name failed.
pub(super) fn of_upstream(error: io::Error, name: &ServerName<'_>, roots: &str) -> io::Error {
    let name = name.to_str();
    let words = match cause(&error) {
        Some(Error::InvalidCertificate(check)) => {
            format!("TLS: the certificate for {name:?} is refused: {}; checked against {roots}", failed(check))
        }
        Some(error @ Error::AlertReceived(_)) => format!("TLS: {name:?} refuses: {error}"),
        Some(error) => format!("TLS with {name:?}: {error}"),
        None => return error,
    };
    io::Error::new(error.kind(), words)
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Which check failed.
fn failed(check: &CertificateError) -> String {
    let at = |time: &UnixTime| date_of(std::time::Duration::from_secs(time.as_secs()));
    match check {
        CertificateError::ExpiredContext { not_after, .. } => format!("it expired on {}", at(not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => format!("it is not valid before {}", at(not_before)),
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::UnknownIssuer => {
            "nobody who is believed has signed it (unknown issuer, or self-signed)".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => match presented.as_slice() {
            [] => "it is for no name".to_owned(),
            names => format!("it is for other names ({})", names.join(", ")),
        },
        CertificateError::BadSignature => "its signature is wrong".to_owned(),
        CertificateError::ExpiredRevocationListContext { next_update, .. } => {
            format!("the revocation list expired on {}", at(next_update))
        }
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "it is for another purpose (extended key usage)".to_owned()
        }
        CertificateError::ApplicationVerificationFailure => "its fingerprint is none of those".to_owned(),
        other => other.to_string(),
    }
}
