//! TLS (RFC 8446, RFC 5246) by rustls: on the side of clients ([`server`]) and of upstreams ([`client`]). What it makes of a
//! connection is a connection.

mod certificate;
pub(crate) mod client;
mod clients;
pub(crate) mod server;
mod stream;
mod tickets;
mod verify;
mod words;

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{SupportedProtocolVersion, version};

pub use certificate::{Certificate, CertificateError};
pub use client::{Client, ClientSettings, Roots};
pub(crate) use server::Begun;
pub use server::{CHALLENGE, Challenges, ClientAuth, Server, ServerSettings};
pub use tickets::{SECRET, Tickets};

/// The lowest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// RFC 5246, with forward secrecy and authenticated encryption only.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            MinVersion::Tls12 => &ALL,
            MinVersion::Tls13 => &ALL[..1],
        }
    }
}

/// The one implementation of cryptography in this process. X25519MLKEM768 is its first group (`prefer-post-quantum`).
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider()))
}
