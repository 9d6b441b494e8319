//! Certificates from an authority that speaks ACME (RFC 8555): asked for, proven, kept in a folder, and renewed in time.
//!
//! ```text
//! keeper (which name is due) ─→ authority (account, order, proof, certificate) ─→ http (one request)
//!    └── schedule                   └── store (folder: certificates, account, answers to challenges, who owns it)
//! ```
//!
//! Several processes may share a folder. One of them, the owner, asks for certificates; all of them serve what is in it, and
//! all can answer the authority's challenges, wherever its connections come out.
//!
//! This is the only crate that knows ACME.

mod authority;
mod http;
mod keeper;
mod leaf;
mod schedule;
mod store;

pub use authority::{Challenge, Directory, ExternalAccount, SetupError};
pub use keeper::{Event, keep};
pub use schedule::Schedule;
pub use store::{Store, check_name};

/// The protocol of a connection by which an authority looks whether a name is served here (RFC 8737, section 6.2).
pub const ALPN: &str = "acme-tls/1";
