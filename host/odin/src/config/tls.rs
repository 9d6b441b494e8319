//! Reads the `tls` of listeners and clusters, and sees that their keys fit each other.
//! Must never open a file.

use serde_json::json;

use super::check::References;
use super::node::Value;
use super::readers;
use super::schema::{CertificateFiles, ClientAuth, ClientTls, Roots, ServerTls};
use super::section::Keyed;
use super::shapes::{self, Described, Inner, Layout, Shape, described};
use super::{describe, sections};

/// `{ cert = "a.pem", key = "a.key" }`, each.
pub(super) fn certificates() -> Shape<Vec<CertificateFiles>> {
    let form = || {
        let keys = CertificateFiles::keys();
        let schema = json!({ "type": "array", "items": describe::table(&keys) });
        let inner = Inner { layout: Layout::Inline, about: CertificateFiles::ABOUT, keys };
        Described { inner: Some(inner), ..described(schema, "list of tables") }
    };
    Shape::new(form, |field, references| {
        let certificates = field.list("tables")?;
        Some(certificates.into_iter().filter_map(|field| field.section(references)).collect())
    })
}

/// `"system"`, `"mozilla"`, `"none"`, or a file.
pub(super) fn roots() -> Shape<Roots> {
    let words = "`\"system\"`: whom the system trusts. `\"mozilla\"`: Mozilla's list, as of this build. `\"none\"`: \
                 `fingerprints` count. Or the path of a PEM file";
    let form = move || Described { words: words.to_owned(), ..sections::file().describe() };
    Shape::new(form, |field, references| match &field.node.value {
        Value::Text(text) if text == "system" => Some(Roots::System),
        Value::Text(text) if text == "mozilla" => Some(Roots::Mozilla),
        Value::Text(text) if text == "none" => Some(Roots::None),
        _ => sections::file().read(field, references).map(Roots::File),
    })
}

/// 32 bytes in hexadecimal, with or without colons; kept in lower case without them.
pub(super) fn fingerprint() -> Shape<String> {
    let schema = || json!({ "type": "string", "pattern": "^([0-9A-Fa-f]{2}:?){32}$" });
    Shape::value(
        move || described(schema(), "64 hexadecimal digits"),
        |value| {
            let text = readers::text(value)?;
            let digits = text.replace(':', "").to_ascii_lowercase();
            match digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                true => Ok(digits),
                false => Err(format!(
                    "`{text}` is not a SHA-256 fingerprint; write what `openssl x509 -noout -fingerprint -sha256` shows"
                )),
            }
        },
    )
}

/// The `tls` of a listener.
pub(super) fn server() -> Shape<ServerTls> {
    Shape::new(form::<ServerTls>, |field, references: &mut References| {
        let (report, line, path) = (field.report, field.node.line, field.path.clone());
        let named = field.node.has("certificates");
        let tls: ServerTls = field.section(references)?;
        match (&tls.client_ca, tls.client_auth) {
            (None, ClientAuth::Optional | ClientAuth::Required) => {
                let message =
                    "`client-auth` needs to know who signs the certificates of clients; add `client-ca`, a PEM file";
                report.about(line, &path, message);
            }
            (Some(_), ClientAuth::Off) => {
                let message = "`client-ca` without `client-auth` would check nobody; add `client-auth = \"required\"`, or remove it";
                report.about(line, &path, message);
            }
            _ => {}
        }
        if !named && tls.acme.is_none() {
            let message = r#"a listener needs a certificate; add `certificates`, as [{ cert = "a.pem", key = "a.key" }], or `acme`"#;
            report.about(line, &path, message);
        }
        if tls.acme.is_none() && !tls.acme_names.is_empty() {
            report.about(
                line,
                &path,
                "`acme-names` go with `acme`, which says who issues their certificates; add that",
            );
        }
        if tls.client_crl.is_some() && tls.client_ca.is_none() {
            report.about(line, &path, "`client-crl` goes with `client-ca`; add that, or remove it");
        }
        Some(tls)
    })
}

/// That of the admin pages.
pub(super) fn admin() -> Shape<ServerTls> {
    Shape::new(form::<ServerTls>, |field, references: &mut References| {
        let (report, line, path) = (field.report, field.node.line, field.path.clone());
        let tls = server().read(field, references)?;
        if tls.acme.is_some() {
            report.about(line, &path, "the admin pages have no certificates from `acme`; write `certificates`");
        }
        if tls.forward_client_cert {
            report.about(
                line,
                &path,
                "`forward-client-cert` is for upstreams, and the admin pages have none; remove it",
            );
        }
        Some(tls)
    })
}

/// The `tls` of a cluster.
pub(super) fn client() -> Shape<ClientTls> {
    Shape::new(form::<ClientTls>, |field, references: &mut References| {
        let (report, line, path) = (field.report, field.node.line, field.path.clone());
        let tls: ClientTls = field.section(references)?;
        if tls.cert.is_some() != tls.key.is_some() {
            report.about(line, &path, "`cert` and `key` go together; add the other one");
        }
        match (&tls.roots, tls.fingerprints.is_empty()) {
            (Roots::None, true) => {
                report.about(line, &path, "with `roots = \"none\"` nobody is believed; add `fingerprints`");
            }
            (Roots::None, false) | (_, true) => {}
            _ => report.about(line, &path, "`fingerprints` go with `roots = \"none\"`; add that, or remove them"),
        }
        if tls.crl.is_some() && !matches!(tls.roots, Roots::File(_)) {
            report.about(line, &path, "`crl` goes with roots from a file; write `roots = \"ca.pem\"`");
        }
        Some(tls)
    })
}

/// A table on one line.
fn form<T: Keyed>() -> Described {
    shapes::tables(Layout::One, T::ABOUT, T::keys())
}
