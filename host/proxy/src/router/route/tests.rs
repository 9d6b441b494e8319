//! Cases, and random ones against a matcher that tries every route.

use super::*;

#[test]
fn the_most_specific_route_wins() {
    let routes = Routes::new([
        Route::new(None, None, "any"),
        Route::new(None, Some("/api/"), "api"),
        Route::new(Some("*.b.com"), None, "suffix"),
        Route::new(Some("a.b.com"), None, "exact"),
        Route::new(Some("a.b.com"), Some("/api"), "exact api"),
        Route::new(Some("a.b.com"), Some("/api"), "never"),
        Route::new(Some("[::2]"), None, "literal"),
        Route::new(Some("Dot.com."), None, "dot"),
    ]);
    for (authority, path, expected) in [
        ("x", "/", "any"),
        ("x", "*", "any"),
        ("", "", "any"),
        ("x:80", "/api", "api"),
        ("x", "/api/v1", "api"),
        ("x", "/api/", "api"),
        ("x", "/apis", "any"),
        ("x", "//api", "any"),
        ("c.B.com:8080", "/api", "suffix"),
        ("d.c.b.com.", "/api", "suffix"),
        ("b.com", "/", "any"),
        (".b.com", "/", "any"),
        ("A.b.com", "/x", "exact"),
        ("a.b.com.", "/x", "exact"),
        ("a.b.com.:443", "/x", "exact"),
        ("a.b.com..", "/x", "any"),
        ("a.b.com:1", "/api/1", "exact api"),
        ("[::1]:80", "/", "any"),
        ("[::2]", "/", "literal"),
        ("[::2]:80", "/", "literal"),
        ("dot.com", "/", "dot"),
    ] {
        assert_eq!(routes.find(authority, path), Some(&expected), "{authority} {path}");
    }
}

/// As the routes are described: whether it matches, and how specific it is.
fn rank(host: Option<&str>, prefix: Option<&str>, asked: &str, path: &str) -> Option<(u8, usize, usize)> {
    let asked = asked.to_ascii_lowercase();
    let (kind, length) = match host {
        None => (0, 0),
        Some(host) => match host.strip_prefix('*') {
            Some(suffix) => (asked.len() > suffix.len() && asked.ends_with(suffix)).then_some((1, suffix.len()))?,
            None => (asked == host).then_some((2, 0))?,
        },
    };
    let prefix = prefix.unwrap_or("").trim_end_matches('/');
    let rest = path.strip_prefix(prefix)?;
    (prefix.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some((kind, length, prefix.len()))
}

/// The next of a sequence that looks random and is the same each time.
fn next(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

fn join(state: &mut u64, words: &[&str], most: usize, separator: &str) -> String {
    let words: Vec<&str> = (0..1 + next(state, most)).map(|_| words[next(state, words.len())]).collect();
    words.join(separator)
}

#[test]
fn a_matcher_that_tries_every_route_finds_the_same() {
    let mut state = 3;
    for _ in 0..300 {
        let routes: Vec<(Option<String>, Option<String>)> = (0..next(&mut state, 30))
            .map(|_| {
                let host = join(&mut state, &["a", "b", "cc"], 4, ".");
                let host = [None, Some(host.clone()), Some(format!("*.{host}"))][next(&mut state, 3)].clone();
                let path = format!("/{}", join(&mut state, &["a", "b", "cc", "", "a"], 4, "/"));
                (host, Some(path).filter(|_| next(&mut state, 3) > 0))
            })
            .collect();
        let built = (0..).zip(&routes).map(|(at, (host, path))| Route::new(host.as_deref(), path.as_deref(), at));
        let table: Routes<usize> = Routes::new(built);
        for _ in 0..100 {
            let host = join(&mut state, &["a", "B", "cc", "b", ""], 5, ".");
            let path = format!("/{}", join(&mut state, &["a", "b", "cc", "c", ""], 5, "/"));
            let ranked = routes.iter().enumerate().filter_map(|(at, (route_host, prefix))| {
                Some((rank(route_host.as_deref(), prefix.as_deref(), without_dot(&host), &path)?, at))
            });
            let best = ranked.max_by_key(|(rank, at)| (*rank, std::cmp::Reverse(*at))).map(|(_, at)| at);
            assert_eq!(table.find(&host, &path).copied(), best, "{host}{path} in {routes:?}");
        }
    }
}
