//! Chunk extensions (RFC 9112, section 7.1.1): nobody uses them, but peers that read them in different ways see different
//! bodies. So one that is not spelled by the grammar is refused, and none is forwarded.

/// Whether this, which follows the size of a chunk, is a list of extensions or nothing:
/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
pub(crate) fn is_valid(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = space(rest).strip_prefix(b";") else { return false };
        let Some(after) = token(space(after)) else { return false };
        rest = after;
        if let Some(value) = space(rest).strip_prefix(b"=") {
            let value = space(value);
            let Some(after) = token(value).or_else(|| quoted_string(value)) else { return false };
            rest = after;
        }
    }
    true
}

/// What follows optional white space.
fn space(text: &[u8]) -> &[u8] {
    let length = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[length..]
}

/// What follows a token (RFC 9110, section 5.6.2).
fn token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| is_token(**byte)).count();
    (length > 0).then(|| &text[length..])
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What follows a quoted string (RFC 9110, section 5.6.4).
fn quoted_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'\t' | b' '..=b'~' | 0x80.., after @ ..] => after,
            [b'\t' | b' '..=b'[' | b']'..=b'~' | 0x80.., after @ ..] => after,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_and_nothing_else() {
        for good in ["", ";a", ";a=b", " ; a = b", ";a=\"b;c\\\"d\"", ";a;b=1;c", ";a=\"\""] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            ";",
            " ",
            ";;",
            ";a;",
            ";bad[=x",
            ";a=",
            ";=a",
            ";a=\"b",
            ";a=\"b\\",
            ";a b",
            "a",
            ";a=b\x01",
            ";a=\"\x01\"",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
    }
}
