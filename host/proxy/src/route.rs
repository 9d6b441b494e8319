//! Which cluster and which plugins serve a request: by host, then by path prefix.

/// What a route matches and where it leads; `T` is what the worker keeps for it.
pub(crate) struct Route<T> {
    host: HostPattern,
    path: Option<String>,
    pub(crate) target: T,
}

enum HostPattern {
    Any,
    Exact(String),
    /// `*.example.com`, kept as `.example.com`.
    Suffix(String),
}

impl<T> Route<T> {
    /// `host` is none for any, `name` or `*.name`; `path` is a prefix that ends at a segment.
    pub(crate) fn new(host: Option<&str>, path: Option<&str>, target: T) -> Self {
        let host = match host {
            None | Some("*") => HostPattern::Any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => HostPattern::Suffix(suffix.to_ascii_lowercase()),
                None => HostPattern::Exact(host.to_ascii_lowercase()),
            },
        };
        let path = path.map(|path| path.trim_end_matches('/').to_owned()).filter(|path| !path.is_empty());
        Route { host, path, target }
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        let host_fits = match &self.host {
            HostPattern::Any => true,
            HostPattern::Exact(name) => host.eq_ignore_ascii_case(name),
            HostPattern::Suffix(suffix) => {
                host.len() > suffix.len()
                    && host.as_bytes()[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
            }
        };
        host_fits
            && self.path.as_deref().is_none_or(|prefix| {
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// More specific sorts first: exact host, then the longer suffix, then any; in each the longer path.
    fn rank(&self) -> (u8, usize, usize) {
        let path = self.path.as_ref().map_or(0, String::len);
        match &self.host {
            HostPattern::Exact(_) => (2, 0, path),
            HostPattern::Suffix(suffix) => (1, suffix.len(), path),
            HostPattern::Any => (0, 0, path),
        }
    }
}

/// The routes of a listener, the most specific first.
pub(crate) struct Routes<T>(Vec<Route<T>>);

impl<T> Routes<T> {
    pub(crate) fn new(mut routes: Vec<Route<T>>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.rank()));
        Routes(routes)
    }

    /// Where the route for a request leads, or none.
    pub(crate) fn find(&self, authority: &str, path: &str) -> Option<&T> {
        let host = host_of(authority);
        self.0.iter().find(|route| route.matches(host, path)).map(|route| &route.target)
    }
}

/// The host of an authority, without its port.
fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if !authority.ends_with(']') => &authority[..at],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_route_wins() {
        let routes = Routes::new(vec![
            Route::new(None, None, "any"),
            Route::new(None, Some("/api/"), "api"),
            Route::new(Some("*.b.com"), None, "suffix"),
            Route::new(Some("a.b.com"), None, "exact"),
            Route::new(Some("a.b.com"), Some("/api"), "exact api"),
        ]);
        for (authority, path, expected) in [
            ("x", "/", "any"),
            ("x:80", "/api", "api"),
            ("x", "/api/v1", "api"),
            ("x", "/apis", "any"),
            ("c.B.com:8080", "/api", "suffix"),
            ("b.com", "/", "any"),
            ("A.b.com", "/x", "exact"),
            ("a.b.com:1", "/api/1", "exact api"),
            ("[::1]:80", "/", "any"),
        ] {
            assert_eq!(routes.find(authority, path), Some(&expected), "{authority} {path}");
        }
    }
}
