//! What is known of a connection that is encrypted.

use std::sync::Arc;

/// See the module. Plugins read it as the `odin.tls.` names of wit/context.wit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`. Empty, like all but the name, when Odin does not decrypt it.
    pub version: &'static str,
    /// As IANA names it: `TLS13_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The group of the key exchange: `X25519MLKEM768`.
    pub group: &'static str,
    /// The session went on from an earlier connection.
    pub resumed: bool,
    /// The name that the client asked for, in lower case.
    pub sni: Option<Arc<str>>,
    /// What both agreed to speak.
    pub alpn: Option<Box<str>>,
    /// Who the client is, if it has shown a certificate; it was checked.
    pub client: Option<ClientCertificate>,
}

/// The certificate of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// As in `CN=client, O=example`.
    pub subject: String,
    /// Its DNS names.
    pub dns: Vec<String>,
    /// Its URIs, as those of SPIFFE.
    pub uris: Vec<String>,
    /// Its other names: IP and mail addresses.
    pub others: Vec<String>,
    /// Hexadecimal digits of its SHA-256.
    pub fingerprint: String,
}

impl TlsInfo {
    /// The fact of this name (without `odin.tls.`), or none.
    pub(super) fn fact(&self, name: &str) -> Option<String> {
        let client = self.client.as_ref();
        match name {
            "version" | "cipher" | "group" if self.version.is_empty() => None,
            "version" => Some(self.version.to_owned()),
            "cipher" => Some(self.cipher.to_owned()),
            "group" => Some(self.group.to_owned()),
            "sni" => self.sni.as_deref().map(str::to_owned),
            "alpn" => self.alpn.as_deref().map(str::to_owned),
            "client-subject" => client.map(|client| client.subject.clone()),
            "client-names" => client.map(ClientCertificate::names),
            "client-fingerprint" => client.map(|client| client.fingerprint.clone()),
            _ => None,
        }
    }
}

impl ClientCertificate {
    /// All its names, with a comma between two. One that has a comma itself would read as two, and is left out.
    pub fn names(&self) -> String {
        let names = self.dns.iter().chain(&self.uris).chain(&self.others).map(String::as_str);
        names.filter(|name| !name.contains(',')).collect::<Vec<_>>().join(",")
    }
}
