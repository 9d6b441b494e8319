//! Paths: one spelling for each, and none that another server takes for a path whose route it did not match.

use super::latin1;
use crate::http::path::{EncodedSlashes, PathRules};

const WORDS: &[&str] = &[
    "/", "//", "/..", "/.", "/../", "/./", "admin", "/admin", "x", "%61dmin", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";",
    ";x", "/..;", "/;x", "%00", "%0a", "%3f", "%3B", "%23", "%25", "%c0%af", "%c0%ae", "%", "%zz",
];

#[test]
fn fuzz_paths() {
    odin_fuzz::target("path").words(WORDS).longest(96).run(|input| {
        let path = format!("/{}", latin1(input));
        if path.contains(['?', '#']) || http::uri::PathAndQuery::try_from(path.as_str()).is_err() {
            return "more than a path, or none".to_owned();
        }
        let mut answers = Vec::new();
        for slashes in [EncodedSlashes::Refuse, EncodedSlashes::Keep, EncodedSlashes::Decode] {
            let rules = PathRules::Strict(slashes);
            let Ok(normal) = rules.apply(&path) else {
                answers.push("refused");
                continue;
            };
            answers.push(if normal.is_some() { "changed" } else { "normal" });
            let normal = normal.unwrap_or_else(|| path.clone());
            assert!(normal.starts_with('/') && normal.is_ascii(), "{normal}");
            assert_eq!(rules.apply(&normal), Ok(None), "{normal} is its own spelling");
            let matched = rules.for_matching(&normal);
            // An operator who keeps slashes says that the upstream does not decode them.
            if slashes != EncodedSlashes::Keep && readings(&normal).iter().any(|read| is_admin(read)) {
                assert!(is_admin(&matched), "{normal} is matched as {matched}, and some server takes it for /admin");
            }
        }
        answers.join(", ")
    });
}

fn is_admin(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

/// What other servers make of a path: they decode it, drop parameters, take `\` for `/`, and stop at a NUL, `?` or `#`.
fn readings(path: &str) -> Vec<String> {
    let parameterless =
        |path: &str| path.split('/').map(|part| part.split(';').next().unwrap_or("")).collect::<Vec<_>>().join("/");
    let decoded = decode(path);
    let mut all =
        vec![path.to_owned(), parameterless(path), parameterless(&decoded), decode(&parameterless(path)), decoded];
    let cut: Vec<String> =
        all.iter().map(|text| text.split(['\0', '?', '#']).next().unwrap_or("").to_owned()).collect();
    all.extend(cut);
    let turned: Vec<String> = all.iter().map(|text| text.replace('\\', "/")).collect();
    all.extend(turned);
    all.iter().map(|text| resolve(text)).collect()
}

fn decode(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        let digits = others.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(char::from(code.unwrap_or(*first)));
        rest = if code.is_some() { &others[2..] } else { others };
    }
    out
}

fn resolve(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
