//! Let's Encrypt's test server, `pebble`, with a resolver for which every name is 127.0.0.1.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::peers::has;
use crate::program::Launch;
use crate::tls::Authority;
use crate::{Program, ReservedPort, until};

/// Where a name is looked for, and what the authority demands.
#[derive(Clone, Default)]
pub struct Pebble {
    /// The port that HTTP challenges go to.
    pub http_port: u16,
    /// The port that TLS challenges go to.
    pub tls_port: u16,
    /// Seconds for which certificates are valid; five years if 0.
    pub validity: u64,
    /// Accounts are only for those who have this key (base64url) as `kid-1`.
    pub external: Option<String>,
}

/// Where it is, whether it runs or not.
pub struct Place {
    port: ReservedPort,
    folder: TempDir,
    authority: Authority,
    cert: crate::tls::Issued,
}

/// It runs.
pub struct Running {
    _pebble: Program,
    _resolver: Program,
}

/// The system has it.
pub fn is_there() -> bool {
    ["pebble", "pebble-challtestsrv"].into_iter().all(has)
}

impl Default for Place {
    fn default() -> Self {
        let authority = Authority::new("the roots of a directory");
        let cert = authority.issue(&["localhost"]);
        Place { port: ReservedPort::reserve(), folder: TempDir::new().unwrap(), authority, cert }
    }
}

impl Place {
    /// The URL of the directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port.number())
    }

    /// Who has signed the certificate of the directory.
    pub fn roots(&self) -> PathBuf {
        self.authority.file()
    }

    /// Starts it.
    pub async fn start(&self, pebble: &Pebble) -> Running {
        let (management, dns) = (ReservedPort::reserve(), ReservedPort::reserve());
        let local = |port: u16| format!("127.0.0.1:{port}");
        let keys = pebble.external.as_ref().map(|key| json!({ "kid-1": key }));
        let config = json!({ "pebble": {
            "listenAddress": local(self.port.number()),
            "managementListenAddress": local(management.number()),
            "certificate": self.cert.cert,
            "privateKey": self.cert.key,
            "httpPort": pebble.http_port,
            "tlsPort": pebble.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": keys.is_some(),
            "externalAccountMACKeys": keys.unwrap_or_default(),
            "certificateValidityPeriod": pebble.validity,
        } });
        let file = self.folder.path().join("pebble.json");
        fs::write(&file, config.to_string()).unwrap();
        let dns = local(dns.number());
        let off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "127.0.0.1:0", "-defaultIPv6", ""];
        let resolver = Launch { binary: Some("pebble-challtestsrv".into()), ..Launch::default() };
        let resolver = Program::launch(&resolver, [&["-dns01", &dns], &off[..]].concat());
        let mut launch = Launch { binary: Some("pebble".into()), ..Launch::default() };
        // No waiting before it looks, and every tenth request has to be sent again.
        launch.environment.push(("PEBBLE_VA_NOSLEEP".into(), "1".into()));
        launch.environment.push(("PEBBLE_WFE_NONCEREJECT".into(), "10".into()));
        let running = Program::launch(&launch, ["-config", file.to_str().unwrap(), "-dnsserver", &dns]);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port.number()));
        until("pebble", || async move { TcpStream::connect(address).await.ok() }).await;
        Running { _pebble: running, _resolver: resolver }
    }
}
