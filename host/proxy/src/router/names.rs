//! Which route serves a TLS connection that is not decrypted: by the name that the client asks for (SNI) and the protocols
//! that it offers (ALPN).

use std::collections::BTreeMap;

use crate::router::route::{Route, Routes};

/// The routes by name. An exact name comes before the longer wildcard, and that before any name; with each, routes with
/// protocols come first.
pub(crate) struct Names {
    by_name: Routes<Vec<Entry>>,
}

/// A route of a name: the protocols, none for any, and the index of the route.
struct Entry(Option<Box<[Box<[u8]>]>>, usize);

impl Names {
    /// For routes in this order: the name, which is none for any, and the protocols. Of two that match the same the first
    /// counts.
    pub(crate) fn new<'a>(routes: impl Iterator<Item = (Option<&'a str>, &'a [String])>) -> Self {
        let mut names: BTreeMap<Option<&str>, Vec<Entry>> = BTreeMap::new();
        for (at, (name, protocols)) in routes.enumerate() {
            let protocols =
                (!protocols.is_empty()).then(|| protocols.iter().map(|name| name.as_bytes().into()).collect());
            names.entry(name).or_default().push(Entry(protocols, at));
        }
        let by_name = names.into_iter().map(|(name, mut entries)| {
            // Stable: those with protocols stay in the order of the config.
            entries.sort_by_key(|Entry(protocols, _)| protocols.is_none());
            Route::new(name, None, entries)
        });
        Names { by_name: Routes::new(by_name) }
    }

    /// The index of the route for a client that asks for this name and offers these protocols.
    pub(crate) fn find(&self, name: Option<&str>, protocols: &[Box<[u8]>]) -> Option<usize> {
        let fits = |Entry(wanted, _): &&Entry| match wanted {
            Some(wanted) => wanted.iter().any(|one| protocols.contains(one)),
            None => true,
        };
        self.by_name
            .of_name(name.unwrap_or_default())
            .find_map(|entries| entries.iter().find(fits))
            .map(|entry| entry.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: [(Option<&str>, &[&str]); 8] = [
        (None, &[]),
        (Some("a.example"), &[]),
        (Some("a.example"), &["h2"]),
        (Some("a.example"), &["acme-tls/1", "x"]),
        (Some("*.example"), &["h2"]),
        (Some("*.b.example"), &[]),
        (Some("only.example"), &["h2"]),
        (None, &["mqtt"]),
    ];

    fn find(routes: &[(Option<&str>, &[&str])], name: Option<&str>, protocols: &[&str]) -> Option<usize> {
        let owned: Vec<(_, Vec<String>)> =
            routes.iter().map(|(name, all)| (*name, all.iter().map(|one| (*one).to_owned()).collect())).collect();
        let protocols: Vec<Box<[u8]>> = protocols.iter().map(|one| one.as_bytes().into()).collect();
        Names::new(owned.iter().map(|(name, all)| (*name, &all[..]))).find(name, &protocols)
    }

    #[test]
    fn the_most_specific_route_wins() {
        let cases: [(Option<&str>, &[&str], usize); 19] = [
            (Some("a.example"), &[], 1),
            (Some("A.EXAMPLE"), &[], 1),
            (Some("a.example."), &[], 1),
            (Some("a.example"), &["http/1.1"], 1),
            (Some("a.example"), &["h2", "http/1.1"], 2),
            (Some("a.example"), &["http/1.1", "h2"], 2),
            (Some("a.example"), &["H2"], 1),
            (Some("a.example"), &["acme-tls/1"], 3),
            (Some("a.example"), &["x", "h2"], 2),
            (Some("c.example"), &["h2"], 4),
            (Some("d.c.example"), &["h2"], 4),
            (Some("c.example"), &[], 0),
            (Some("c.b.example"), &["h2"], 5),
            (Some("d.c.b.Example."), &[], 5),
            (Some("b.example"), &["h2"], 4),
            (Some("only.example"), &["mqtt"], 7),
            (Some("example"), &[], 0),
            (None, &["mqtt"], 7),
            (None, &[], 0),
        ];
        for (name, protocols, at) in cases {
            assert_eq!(find(&ROUTES, name, protocols), Some(at), "{name:?} {protocols:?}");
        }
    }

    #[test]
    fn without_a_route_for_any_name_there_may_be_none() {
        for (name, protocols) in
            [(None, &[][..]), (Some("example"), &["h2"]), (Some("only.example"), &[]), (None, &["h2"])]
        {
            assert_eq!(find(&ROUTES[1..7], name, protocols), None, "{name:?}");
        }
    }
}
