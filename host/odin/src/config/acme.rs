//! Reads what `[acme.NAME]` has, and which names a listener asks for certificates of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::places::Kind;
use super::readers;
use super::schema::{Acme, ServerTls, Traffic};
use super::shapes::{self, Shape, described};

pub(super) fn sections() -> Shape<BTreeMap<String, Acme>> {
    shapes::named(Kind::Acme, |_, field, references| field.section(references))
}

/// A URL that begins with `https://` (RFC 8555, section 6.1).
pub(super) fn directory() -> Shape<String> {
    let schema = || json!({ "type": "string", "pattern": "^https://[^/\\s]+(/\\S*)?$" });
    Shape::value(
        move || described(schema(), "URL"),
        |value| {
            let url = readers::text(value)?;
            let parsed = url.parse::<http::Uri>().ok();
            match parsed.is_some_and(|parsed| parsed.scheme_str() == Some("https") && parsed.host().is_some()) {
                true => Ok(url),
                false => Err(format!("`{url}` is no https URL, which that of a directory is")),
            }
        },
    )
}

/// `mailto:` and an address.
pub(super) fn contact() -> Shape<String> {
    let schema = || json!({ "type": "string", "pattern": "^mailto:[^\\s@]+@[^\\s@]+$" });
    Shape::value(
        move || described(schema(), "mailto:ADDRESS"),
        |value| {
            let text = readers::text(value)?;
            let address = text.strip_prefix("mailto:").and_then(|address| address.split_once('@'));
            match address.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !text.contains(' ')) {
                true => Ok(text),
                false => Err(format!("`{text}` is no contact; write `mailto:` and an address")),
            }
        },
    )
}

/// A name that an authority can prove.
pub(super) fn name() -> Shape<String> {
    Shape::value(
        || described(json!({ "type": "string", "pattern": "^[a-z0-9-]+([.][a-z0-9-]+)*$" }), "DNS name"),
        |value| {
            let name = readers::text(value)?;
            odin_acme::check_name(&name).map(|()| name)
        },
    )
}

/// Names a listener's `acme-names` if the config does not: the hosts of its routes. False when there is none.
pub(super) fn complete(tls: &mut ServerTls, traffic: &Traffic) -> bool {
    let (Traffic::Http { routes, .. } | Traffic::Auto { routes, .. }) = traffic else {
        return tls.acme.is_none() || !tls.acme_names.is_empty();
    };
    if tls.acme.is_some() && tls.acme_names.is_empty() {
        let hosts = routes.iter().filter_map(|route| route.host.as_ref());
        let names: BTreeSet<&String> = hosts.filter(|host| odin_acme::check_name(host).is_ok()).collect();
        tls.acme_names = names.into_iter().cloned().collect();
    }
    tls.acme.is_none() || !tls.acme_names.is_empty()
}
