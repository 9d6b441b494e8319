//! The keys of `tls`, of a listener and of a cluster.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::super::places::Kind;
use super::super::section::{choice, section};
use super::super::shapes::{self, boolean, list, optional, reference, text};
use super::super::{acme, sections, tls};

section! {
    /// How the connections of a listener are encrypted.
    pub(crate) struct ServerTls {
        /// A client gets the one for the name that it asks for (SNI), or else the first. At least one, unless there is `acme`.
        certificates: Vec<CertificateFiles> = Vec::new(), tls::certificates();
        /// A key of `acme`: who issues further ones. Default: nobody.
        acme: Option<String> = None, optional(reference(Kind::Acme)), r##"#"letsencrypt""##;
        /// For which names, a certificate for each. Default: the exact `host`s of the listener's routes.
        acme_names: Vec<String> = Vec::new(), list("names", acme::name()), r##"#["a.example.com"]"##;
        /// Whether clients show a certificate.
        client_auth: ClientAuth = ClientAuth::default(), shapes::choice();
        /// PEM file: who signs the certificates of clients.
        client_ca: Option<PathBuf> = None, optional(sections::file());
        /// PEM file: certificates of clients that are revoked.
        client_crl: Option<PathBuf> = None, optional(sections::file());
        /// Tell upstreams of the client's certificate, as `X-Forwarded-Client-Cert`.
        forward_client_cert: bool = false, boolean();
        /// The lowest version.
        min_version: TlsVersion = TlsVersion::default(), shapes::choice();
        /// The file with a secret of at least 32 bytes from which the keys of session tickets follow: machines with the same
        /// one resume each other's sessions. Default: a secret of this process, which `odin upgrade` hands on.
        tickets: Option<PathBuf> = None, optional(sections::file());
    }
}

section! {
    /// A certificate with its key.
    pub(crate) struct CertificateFiles {
        /// PEM file: the certificate, then those that lead to its root.
        cert: PathBuf [required r#"for example "a.pem""#], sections::file();
        /// PEM file: the key of the first certificate.
        key: PathBuf [required r#"for example "a.key""#], sections::file();
    }
}

section! {
    /// How the endpoints of a cluster are spoken to over TLS.
    pub(crate) struct ClientTls {
        /// Who may sign the endpoints' certificates.
        roots: Roots = Roots::default(), tls::roots();
        /// With `roots = "none"`: the SHA-256 of the certificates that are believed, in hexadecimal.
        fingerprints: Vec<String> = Vec::new(), list("fingerprints", tls::fingerprint());
        /// The name that the certificates are for. Default: that of the endpoint.
        server_name: Option<String> = None, optional(text());
        /// PEM file: the certificate that Odin shows to endpoints that ask for one.
        cert: Option<PathBuf> = None, optional(sections::file());
        /// PEM file: its key.
        key: Option<PathBuf> = None, optional(sections::file());
        /// PEM file: certificates of endpoints that are revoked; with roots from a file.
        crl: Option<PathBuf> = None, optional(sections::file());
        /// The lowest version.
        min_version: TlsVersion = TlsVersion::default(), shapes::choice();
        /// What is offered by ALPN. Default: `h2` for a cluster with `protocol = "http2"`, else nothing.
        alpn: Vec<String> = Vec::new(), list("protocols", text());
    }
}

choice! {
    /// Whether clients show a certificate.
    pub(crate) enum ClientAuth {
        /// They are not asked.
        Off = "off",
        /// They may; one that is shown must be good.
        Optional = "optional",
        /// They must.
        Required = "required",
    }
}

choice! {
    /// The lowest version of TLS that is spoken.
    pub(crate) enum TlsVersion {
        /// TLS 1.2, with forward secrecy and authenticated encryption only.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
}

/// Who may sign the endpoints' certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Whom the system trusts.
    #[default]
    System,
    /// Mozilla's list, as of this build.
    Mozilla,
    /// Nobody: fingerprints count.
    None,
    /// Those in a PEM file.
    File(PathBuf),
}

impl Serialize for Roots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Roots::System => serializer.serialize_str("system"),
            Roots::Mozilla => serializer.serialize_str("mozilla"),
            Roots::None => serializer.serialize_str("none"),
            Roots::File(path) => path.serialize(serializer),
        }
    }
}
