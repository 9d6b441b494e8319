//! What a PROXY header told about a connection, beside its addresses: the `odin.proxy.` names of the context.

use std::net::SocketAddr;

use super::Value;

/// From the header of a connection that came through another proxy. None of it was checked by Odin: the sender is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyFacts {
    /// `odin.proxy.address`: who sent the header.
    pub sender: Option<SocketAddr>,
    /// `odin.proxy.alpn`
    pub alpn: Option<Vec<u8>>,
    /// `odin.proxy.authority`: the name that the client asked for, usually the SNI of its TLS.
    pub authority: Option<Box<str>>,
    /// `odin.proxy.unique-id`
    pub unique_id: Option<Vec<u8>>,
    /// Of a header that says something about TLS.
    pub tls: Option<ProxyTls>,
}

/// What the header says about the TLS between client and sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyTls {
    /// `odin.proxy.tls`: the client came over TLS.
    pub used: bool,
    /// The client has shown a certificate, on this connection or an earlier one of the session.
    pub certificate: bool,
    /// `odin.proxy.tls-verified`: it has, and the sender has verified it.
    pub verified: bool,
    /// `odin.proxy.tls-version`
    pub version: Option<Box<str>>,
    /// `odin.proxy.tls-client-name`: the common name in the client's certificate.
    pub client_name: Option<Box<str>>,
}

impl ProxyFacts {
    /// The fact of this name (without `odin.proxy.`), or none.
    pub(super) fn fact(&self, name: &str) -> Option<Value> {
        let tls = self.tls.as_ref();
        match name {
            "address" => self.sender.map(|sender| Value::Text(sender.to_string())),
            "alpn" => self.alpn.as_deref().map(text_of),
            "authority" => self.authority.as_deref().map(text),
            "unique-id" => self.unique_id.as_deref().map(text_of),
            "tls" => tls.map(|tls| Value::Boolean(tls.used)),
            "tls-verified" => tls.map(|tls| Value::Boolean(tls.verified)),
            "tls-version" => text(tls?.version.as_deref()?).into(),
            "tls-client-name" => text(tls?.client_name.as_deref()?).into(),
            _ => None,
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Text where it is text, bytes elsewhere.
fn text_of(bytes: &[u8]) -> Value {
    str::from_utf8(bytes).map_or_else(|_| Value::Bytes(bytes.to_vec()), text)
}
