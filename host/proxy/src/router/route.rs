//! Which cluster and which plugins serve a request: by host, then by path prefix. A look-up costs one hash of the host for
//! each label that a route's wildcard has at most, and one of each segment of the path that a route has as well, however
//! many routes there are and whatever the request brings.

use std::collections::HashMap;

/// What a route matches and where it leads.
pub(crate) struct Route<'a, T> {
    host: Option<&'a str>,
    path: Option<&'a str>,
    target: T,
}

impl<'a, T> Route<'a, T> {
    /// `host` is none for any, `name` or `*.name`; `path` is a prefix that ends at a segment.
    pub(crate) fn new(host: Option<&'a str>, path: Option<&'a str>, target: T) -> Self {
        Route { host, path, target }
    }
}

/// The routes of a listener. An exact host comes before the longer wildcard, and that before any host; with each the longer
/// path comes first. Of two routes that match the same the first counts.
pub(crate) struct Routes<T> {
    exact: Hosts<T>,
    /// `*.example.com`, by `.example.com`.
    suffix: Hosts<T>,
    /// The dots of the longest of those.
    suffix_labels: usize,
    any: Paths<T>,
}

struct Hosts<T> {
    by_name: HashMap<Box<str>, Paths<T>>,
    /// Bytes of the longest name: a longer one needs no look.
    longest: usize,
}

/// A tree of path segments; the root stands for every path.
struct Paths<T> {
    target: Option<T>,
    below: HashMap<Box<str>, Paths<T>>,
}

impl<T> Routes<T> {
    pub(crate) fn new<'a>(routes: impl IntoIterator<Item = Route<'a, T>>) -> Self {
        let mut all = Routes { exact: Hosts::new(), suffix: Hosts::new(), suffix_labels: 0, any: Paths::new() };
        for Route { host, path, target } in routes {
            let paths = match host {
                None | Some("*") => &mut all.any,
                Some(host) => match host.strip_prefix('*') {
                    Some(suffix) => {
                        all.suffix_labels = all.suffix_labels.max(suffix.matches('.').count());
                        all.suffix.of(suffix)
                    }
                    None => all.exact.of(host),
                },
            };
            paths.add(path.unwrap_or(""), target);
        }
        all
    }

    /// Where the route for a request leads, or none. `authority` may have a port, which does not matter; nor do case and
    /// one dot at the end of the host.
    pub(crate) fn find(&self, authority: &str, path: &str) -> Option<&T> {
        self.hosts(host_of(authority)).find_map(|paths| paths.find(path))
    }

    /// The targets of the routes without a path that match this name, the most specific first.
    pub(crate) fn of_name(&self, name: &str) -> impl Iterator<Item = &T> {
        self.hosts(without_dot(name)).filter_map(|paths| paths.target.as_ref())
    }

    fn hosts(&self, host: &str) -> impl Iterator<Item = &Paths<T>> {
        let wildcards = self.suffixes(host).filter_map(|suffix| self.suffix.get(suffix));
        self.exact.get(host).into_iter().chain(wildcards).chain([&self.any])
    }

    /// The ends of a host that begin with a dot, the longest first; none is the whole of it.
    fn suffixes<'a>(&self, host: &'a str) -> impl Iterator<Item = &'a str> {
        let dots = host.rmatch_indices('.').take(self.suffix_labels);
        let first = dots.last().map_or(host.len(), |(at, _)| at);
        host[first..].match_indices('.').map(move |(at, _)| first + at).filter(|at| *at > 0).map(|at| &host[at..])
    }
}

impl<T> Hosts<T> {
    fn new() -> Self {
        Hosts { by_name: HashMap::new(), longest: 0 }
    }

    fn of(&mut self, name: &str) -> &mut Paths<T> {
        let name = without_dot(name).to_ascii_lowercase();
        self.longest = self.longest.max(name.len());
        self.by_name.entry(name.into()).or_insert_with(Paths::new)
    }

    fn get(&self, name: &str) -> Option<&Paths<T>> {
        if name.len() > self.longest {
            return None;
        }
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.by_name.get(name.to_ascii_lowercase().as_str());
        }
        self.by_name.get(name)
    }
}

impl<T> Paths<T> {
    fn new() -> Self {
        Paths { target: None, below: HashMap::new() }
    }

    fn add(&mut self, prefix: &str, target: T) {
        let prefix = prefix.trim_end_matches('/');
        let mut node = self;
        if !prefix.is_empty() {
            for segment in prefix.split('/') {
                node = node.below.entry(segment.into()).or_insert_with(Paths::new);
            }
        }
        node.target.get_or_insert(target);
    }

    /// The target of the longest prefix. Goes no further into the path than the tree does.
    fn find(&self, path: &str) -> Option<&T> {
        let (mut node, mut found) = (self, self.target.as_ref());
        for segment in path.split('/') {
            match node.below.get(segment) {
                Some(below) => node = below,
                None => break,
            }
            found = node.target.as_ref().or(found);
        }
        found
    }
}

/// The host of an authority, without its port and without the dot that makes a name absolute.
fn host_of(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        Some(at) if !authority.ends_with(']') => &authority[..at],
        _ => authority,
    };
    without_dot(host)
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests;
