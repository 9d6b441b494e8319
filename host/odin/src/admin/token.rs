//! The token that gives a client of the TCP pages the rights of the unix socket, and its comparison, which takes the
//! same time whatever is sent.

use std::path::Path;

use anyhow::{Context as _, bail};
use http::{HeaderMap, header};
use nix::unistd::geteuid;
use sha2::{Digest as _, Sha256};

use super::socket::read_private;

/// A shorter one could be guessed.
const LEAST: usize = 16;

/// What must be sent, as a hash.
pub(crate) struct Token([u8; 32]);

/// What a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    Right,
    Wrong,
}

impl Token {
    /// Reads the file: one word of at least 16 printable characters. The file must belong to root or to the user of this
    /// process, and must not be readable for others.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Token> {
        let read = || {
            let text = read_private(path, &[0, geteuid().as_raw()])?;
            let token = text.trim();
            if token.len() < LEAST {
                bail!("the token has fewer than {LEAST} characters; `openssl rand -hex 32` makes one");
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                bail!("a token is one word of letters, digits and signs");
            }
            Ok(Token(Sha256::digest(token).into()))
        };
        read().with_context(|| format!("admin-token-file: {}", path.display()))
    }

    /// What the `Authorization` of a request holds.
    pub(super) fn sent(expected: Option<&Token>, fields: &HeaderMap) -> Sent {
        let Some(value) = fields.get(header::AUTHORIZATION) else { return Sent::Nothing };
        let token = value.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        let (Some((_, token)), Some(expected)) = (token, expected) else { return Sent::Wrong };
        // Of hashes: neither the length nor how much of the token was right shows in the time.
        let sent: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        let differ = sent.iter().zip(&expected.0).fold(0, |differ, (a, b)| differ | (a ^ b));
        if std::hint::black_box(differ) == 0 { Sent::Right } else { Sent::Wrong }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_whole_token_is_right() {
        let token = Token(Sha256::digest("0123456789abcdef").into());
        let sent = |value: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(header::AUTHORIZATION, value.parse().unwrap());
            Token::sent(Some(&token), &fields)
        };
        assert_eq!(sent("Bearer 0123456789abcdef"), Sent::Right);
        assert_eq!(sent("bearer  0123456789abcdef"), Sent::Right);
        for wrong in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Bearer", "Bearer ", "Basic 0123456789abcdef", ""]
        {
            assert_eq!(sent(wrong), Sent::Wrong, "{wrong}");
        }
        assert_eq!(Token::sent(Some(&token), &HeaderMap::new()), Sent::Nothing);
        let mut fields = HeaderMap::new();
        fields.insert(header::AUTHORIZATION, "Bearer 0123456789abcdef".parse().unwrap());
        assert_eq!(Token::sent(None, &fields), Sent::Wrong);
    }

    #[test]
    fn a_file_that_others_read_or_that_holds_no_token_is_refused() {
        let file = std::env::temp_dir().join(format!("odin-token-{}", std::process::id()));
        let read = |mode: u32, text: &str| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            Token::read(&file).map(|_| ()).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read(0o600, "0123456789abcdef\n"), Ok(()));
        assert_eq!(read(0o640, "0123456789abcdef"), Ok(()));
        for (mode, text, words) in [
            (0o644, "0123456789abcdef", "others may read or write it (mode 0644)"),
            (0o660, "0123456789abcdef", "others may read or write it (mode 0660)"),
            (0o600, "short", "fewer than 16 characters"),
            (0o600, "0123456789 abcdef", "one word"),
        ] {
            let error = read(mode, text).unwrap_err();
            assert!(error.starts_with("admin-token-file: /") && error.contains(words), "{error}");
        }
        fs::remove_file(&file).unwrap();
        assert!(Token::read(&file).is_err_and(|error| format!("{error:#}").contains("No such file")));
    }
}
