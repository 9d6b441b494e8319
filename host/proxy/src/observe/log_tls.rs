//! What a line of the access log says of the encryption, and of who the client has shown itself to be.

use std::fmt::Write as _;

use odin_chain::TlsInfo;

use crate::observe::log_text::{quoted, quoted_ascii};

/// Text: ` tls=TLSv1.3 sni="a.example" client-cert="CN=client"`.
pub(super) fn text(line: &mut String, tls: &TlsInfo) {
    let version = if tls.version.is_empty() { "not-decrypted" } else { tls.version };
    let _ = write!(line, " tls={version}");
    if let Some(sni) = &tls.sni {
        let _ = write!(line, " sni={}", quoted_ascii(sni));
    }
    if let Some(client) = &tls.client {
        let _ = write!(line, " client-cert={}", quoted_ascii(&client.subject));
    }
}

/// JSON: a member of the line's object.
pub(super) fn json(line: &mut String, tls: &TlsInfo) {
    let TlsInfo { version, cipher, group, resumed, sni, alpn, client } = tls;
    let _ = match version.is_empty() {
        true => write!(line, r#","tls":{{"decrypted":false"#),
        false => write!(
            line,
            r#","tls":{{"decrypted":true,"version":"{version}","cipher":"{cipher}","group":"{group}","resumed":{resumed}"#
        ),
    };
    let mut member = |name: &str, value: &str| {
        let _ = write!(line, r#","{name}":{}"#, quoted(value));
    };
    if let Some(sni) = sni {
        member("sni", sni);
    }
    if let Some(alpn) = alpn {
        member("alpn", alpn);
    }
    if let Some(client) = client {
        member("client_subject", &client.subject);
        member("client_names", &client.names());
        member("client_fingerprint", &client.fingerprint);
    }
    line.push('}');
}
