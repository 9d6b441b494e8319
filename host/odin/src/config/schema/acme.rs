//! The keys of `[acme.NAME]`.

use std::path::PathBuf;
use std::time::Duration;

use super::super::section::{choice, section};
use super::super::shapes::{self, duration, optional, text};
use super::super::{acme, sections};

section! {
    /// Who issues certificates by ACME (RFC 8555). To name one is to agree to its terms of service.
    pub(crate) struct Acme {
        /// The URL of its directory.
        directory: String [required r#"for example "https://acme-v02.api.letsencrypt.org/directory""#], acme::directory(),
            r#""https://acme.example/directory""#;
        /// Where it may write to. Default: nowhere.
        contact: Option<String> = None, optional(acme::contact()), r##"#"mailto:ops@example.com""##;
        /// How the names are proven.
        challenge: Challenge = Challenge::default(), shapes::choice();
        /// The folder that keeps the account and the certificates; several Odins may share it. Default: acme in
        /// `$STATE_DIRECTORY`, or in odin in the user's state folder.
        folder: Option<PathBuf> = None, optional(sections::file()), r##"#"acme""##;
        /// PEM file: who may sign the certificate of the directory. Default: whom the system trusts.
        roots: Option<PathBuf> = None, optional(sections::file()), r##"#"directory.pem""##;
        /// An account at the authority that the one of Odin belongs to. Default: none.
        external_account: Option<ExternalAccount> = None, optional(shapes::section());
        /// How long to wait after a failure; each further one doubles it, up to an hour.
        retry: Duration = Duration::from_secs(60), duration(Duration::from_secs(1));
    }
}

section! {
    /// An account at the authority, as it has told it (RFC 8555, section 7.3.4).
    pub(crate) struct ExternalAccount {
        /// The identifier of its key.
        kid: String [required r#"for example "kid-1""#], text(), r#""kid-1""#;
        /// The file with its key, in base64url.
        hmac_file: PathBuf [required r#"for example "hmac""#], sections::file(), r#""hmac""#;
    }
}

choice! {
    /// How names are proven.
    pub(crate) enum Challenge {
        /// By the listener itself, which the authority reaches on port 443.
        TlsAlpn01 = "tls-alpn-01",
        /// By any listener for HTTP in plain text, which the authority reaches on port 80.
        Http01 = "http-01",
    }
}
