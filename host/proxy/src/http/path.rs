//! One spelling for each path, before a route is matched: what is matched is what the upstream gets.
//!
//! Servers disagree on what `//`, `/./`, `%61`, `\`, `;x` and `%2f` mean. If Odin matched one reading and the upstream
//! served another, a plugin on `/admin` could be passed by. So a path is normalised (RFC 3986, section 6.2.2), and
//! refused where no normal form is safe.

use std::borrow::Cow;

/// What a listener does with the paths of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRules {
    /// Paths are normalised, or refused with 400.
    Strict(EncodedSlashes),
    /// Paths are matched and forwarded as they came.
    Off,
}

impl Default for PathRules {
    fn default() -> Self {
        PathRules::Strict(EncodedSlashes::Refuse)
    }
}

/// What becomes of `%2F` (and `%5C`) in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// The request is refused.
    #[default]
    Refuse,
    /// They stay encoded, and separate no segments.
    Keep,
    /// `%2F` becomes `/` and separates segments; `%5C` is refused.
    Decode,
}

/// Why a path was refused.
pub(crate) type Refused = &'static str;

impl PathRules {
    /// The normal form of a path that begins with `/`; none when it is normal already.
    pub(crate) fn apply(self, path: &str) -> Result<Option<String>, Refused> {
        match self {
            PathRules::Off => Ok(None),
            PathRules::Strict(_) if is_plain(path) => Ok(None),
            PathRules::Strict(slashes) => {
                let normal = resolve(&decode(path, slashes)?)?;
                Ok((normal != path).then_some(normal))
            }
        }
    }

    /// What routes are matched against: the path without the parameters of its segments (`;x`, RFC 3986 section 3.3),
    /// which many servers ignore. What follows an encoded `?`, `#` or `;` is ignored as well, for servers that decode
    /// before they split.
    pub(crate) fn for_matching(self, path: &str) -> Cow<'_, str> {
        if self == PathRules::Off || !path.bytes().any(|byte| matches!(byte, b';' | b'%')) {
            return Cow::Borrowed(path);
        }
        let mut matched = String::with_capacity(path.len());
        for segment in path.split('/') {
            let name = name_of(segment);
            if !name.is_empty() {
                matched.push('/');
                matched.push_str(name);
            }
        }
        if matched.is_empty() || path.ends_with('/') {
            matched.push('/');
        }
        Cow::Owned(matched)
    }
}

/// Checks the path of a route in the config: one that is not normal would never match.
///
/// # Errors
/// What to write instead, or why no request can have this path.
pub fn check_route_path(path: &str) -> Result<(), String> {
    let rules = PathRules::Strict(EncodedSlashes::Keep);
    let normal = rules.apply(path).map_err(|why| format!("no request can have it: {why}"))?;
    let normal = normal.as_deref().unwrap_or(path);
    match rules.for_matching(normal).trim_end_matches('/') {
        matched if matched == path.trim_end_matches('/') => Ok(()),
        matched => Err(format!("paths are normalised before they are matched; write `{matched}`")),
    }
}

/// The part of a segment that routes are matched against.
fn name_of(segment: &str) -> &str {
    let bytes = segment.as_bytes();
    let ends = |at: &usize| match bytes[*at] {
        b';' => true,
        b'%' => {
            let code = bytes.get(at + 1..at + 3).unwrap_or(b"");
            [b"3B", b"3F", b"23"].iter().any(|end| code.eq_ignore_ascii_case(*end))
        }
        _ => false,
    };
    match (0..bytes.len()).find(ends) {
        Some(end) => &segment[..end],
        None => segment,
    }
}

/// Nothing in it has to be looked at closely. Nearly every path is plain.
fn is_plain(path: &str) -> bool {
    let mut before = b'/';
    // The slash at the start is one of its own; from there on none may follow another.
    path.bytes().skip(1).all(|byte| {
        let suspicious =
            matches!(byte, b'%' | b'\\' | b';' | 0x7f..) || (before == b'/' && matches!(byte, b'/' | b'.'));
        before = byte;
        !suspicious
    })
}

/// Decodes what means the same decoded (RFC 3986, section 6.2.2.2), and writes the rest in one way.
fn decode(path: &str, slashes: EncodedSlashes) -> Result<String, Refused> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    let mut overlong = Overlong::default();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.and_then(hex));
                let [Some(high), Some(low)] = digits else { return Err("a % without two hexadecimal digits") };
                let byte = high << 4 | low;
                overlong.look_at(byte)?;
                encoded(byte, slashes, &mut out)?;
                continue;
            }
            b'\\' => return Err("a backslash in the path"),
            0x80.. => return Err("a byte outside ASCII in the path"),
            byte => out.push(char::from(byte)),
        }
        overlong = Overlong::default();
    }
    Ok(out)
}

/// Writes one byte that came percent-encoded.
fn encoded(byte: u8, slashes: EncodedSlashes, out: &mut String) -> Result<(), Refused> {
    match (byte, slashes) {
        (0..0x20 | 0x7f, _) => return Err("an encoded control character in the path"),
        (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', _) => out.push(char::from(byte)),
        (b'/', EncodedSlashes::Decode) => out.push('/'),
        (b'/', EncodedSlashes::Refuse) => return Err("an encoded slash in the path"),
        (b'\\', EncodedSlashes::Decode | EncodedSlashes::Refuse) => return Err("an encoded backslash in the path"),
        _ => {
            out.push('%');
            for digit in [byte >> 4, byte & 0xf] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    Ok(())
}

/// Finds UTF-8 that says an ASCII character in more than one byte, such as `%C0%AF` for a slash.
#[derive(Default)]
struct Overlong {
    before: u8,
}

impl Overlong {
    fn look_at(&mut self, byte: u8) -> Result<(), Refused> {
        match (std::mem::replace(&mut self.before, byte), byte) {
            (0xc0 | 0xc1, 0x80..=0xbf) | (0xe0, 0x80..=0x9f) | (0xf0, 0x80..=0x8f) => Err("overlong UTF-8 in the path"),
            _ => Ok(()),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Takes out empty segments and resolves `.` and `..` (RFC 3986, section 5.2.4).
fn resolve(path: &str) -> Result<String, Refused> {
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in path.split('/').skip(1) {
        let name = segment.split(';').next().unwrap_or("");
        let matched = name_of(segment);
        // Some servers drop `;x` first and resolve the dots then; some of them decode `%3B` before.
        let hidden = matched.len() < segment.len() && matches!(matched, "." | "..");
        if hidden || (name.len() < segment.len() && name.ends_with('.')) {
            return Err("dots before a parameter in the path");
        }
        ends_in_slash = matches!(name, "" | "." | "..");
        match name {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ if hides_dots(segment) => return Err("dots beside an encoded slash in the path"),
            _ => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if ends_in_slash || segments.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// A server that decodes slashes would find `.` or `..` in it.
fn hides_dots(segment: &str) -> bool {
    let separated = |text: &str, by: &str| text.split(by).any(|part| matches!(part, "." | ".."));
    segment.contains('%') && separated(&segment.replace("%5C", "%2F"), "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: PathRules = PathRules::Strict(EncodedSlashes::Refuse);

    fn normal(rules: PathRules, path: &str) -> Result<String, Refused> {
        rules.apply(path).map(|normal| normal.unwrap_or_else(|| path.to_owned()))
    }

    #[test]
    fn one_path_has_one_spelling() {
        for (came, sent) in [
            ("/", "/"),
            ("/a/b.c", "/a/b.c"),
            ("/a/", "/a/"),
            ("//a", "/a"),
            ("/a//b///", "/a/b/"),
            ("/%61", "/a"),
            ("/%7Ea%2Dz", "/~a-z"),
            ("/a%20b%c3%a9", "/a%20b%C3%A9"),
            ("/a%252fb", "/a%252fb"),
            ("/./a/.", "/a/"),
            ("/a/../b", "/b"),
            ("/%2e%2E/b", "/b"),
            ("/a/..", "/"),
            ("/../../a", "/a"),
            ("/.a/..b/...", "/.a/..b/..."),
            ("/;x/a", "/a"),
            ("/a;v=1/b;w", "/a;v=1/b;w"),
            ("/a;/", "/a;/"),
        ] {
            assert_eq!(normal(STRICT, came).as_deref(), Ok(sent), "{came}");
            assert_eq!(normal(STRICT, sent).as_deref(), Ok(sent), "{sent} again");
        }
    }

    #[test]
    fn what_has_no_safe_spelling_is_refused() {
        for path in [
            "/a\\b",
            "/%5c",
            "/%2f",
            "/a%2Fb",
            "/%00",
            "/a%0d%0a",
            "/%7f",
            "/%",
            "/%4",
            "/%zz",
            "/%u002f",
            "/é",
            "/a/..;/b",
            "/.;/a",
            "/a..;x/",
            "/a/..%3b/b",
            "/.%3Fx/a",
            "/%2e%2e%23/a",
            "/%c0%af",
            "/%C1%81",
            "/%e0%80%af",
            "/%f0%80%80%af",
        ] {
            assert!(normal(STRICT, path).is_err(), "{path}");
        }
    }

    #[test]
    fn encoded_slashes_may_be_kept_or_decoded() {
        let (keep, decode) = (PathRules::Strict(EncodedSlashes::Keep), PathRules::Strict(EncodedSlashes::Decode));
        assert_eq!(normal(keep, "/a%2fb%5c").as_deref(), Ok("/a%2Fb%5C"));
        assert_eq!(normal(decode, "/x%2F..%2f%2fb").as_deref(), Ok("/b"));
        assert!(normal(decode, "/a%5cb").is_err());
        for path in ["/x/..%2fb", "/x/a%2f..", "/%2e%2f", "/x%5C..%5Cb"] {
            assert!(normal(keep, path).is_err(), "{path}");
        }
    }

    #[test]
    fn parameters_do_not_hide_a_path_from_its_route() {
        for (path, matched) in [
            ("/a/b", "/a/b"),
            ("/a;x/b;y=/c", "/a/b/c"),
            ("/a%3fx", "/a"),
            ("/a%23/b%3Bc", "/a/b"),
            ("/%3Fx/a/", "/a/"),
            ("/%3F", "/"),
            ("/a%20b", "/a%20b"),
        ] {
            assert_eq!(STRICT.for_matching(path), matched, "{path}");
        }
        assert_eq!(PathRules::Off.for_matching("/a;x"), "/a;x");
    }

    #[test]
    fn routes_of_the_config_are_told_how_to_be_written() {
        assert_eq!(check_route_path("/v1/a b.c"), Ok(()));
        assert_eq!(check_route_path("/v1/"), Ok(()));
        assert!(check_route_path("/%61//b").unwrap_err().contains("write `/a/b`"));
        assert!(check_route_path("/a;x").unwrap_err().contains("write `/a`"));
        assert!(check_route_path("/a\\b").unwrap_err().contains("backslash"));
    }
}
