//! What accepts connections, and where they go. The keys of `[[listeners]]` are those of four sections: [`Entrance`],
//! [`HttpRules`], which are of HTTP only, [`AutoRules`], which are of `protocol = "auto"` only, and [`Destination`].

use std::time::Duration;

use odin_steer::Binding;
use serde::Serialize;

use ipnet::IpNet;

use super::super::bindings::{self, Placed};
use super::super::networks;
use super::super::places::Kind;
use super::super::routes::{PlacedRoute, host, path, protocol_name, routes, sni};
use super::super::section::{choice, section};
use super::super::shapes::{self, boolean, duration, list, optional, reference, whole};
use super::super::tls;
use super::ServerTls;

/// What accepts connections at some addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Listener {
    /// In logs and metrics.
    pub(crate) name: String,
    /// At least one. Port 0: the system chooses one.
    #[serde(rename = "address", serialize_with = "one_or_many")]
    pub(crate) addresses: Vec<Binding>,
    /// How its connections are encrypted; none for plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ServerTls>,
    /// A key of `plugins`, which chooses who gets new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steer: Option<String>,
    /// Who says by a PROXY header who the client is.
    #[serde(rename = "proxy-protocol", skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    /// Who may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sources: Option<Sources>,
    /// What arrives, and where it goes.
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
}

impl Listener {
    /// One with every default.
    pub(crate) fn new(name: String, addresses: Vec<Binding>, traffic: Traffic) -> Self {
        Listener { name, addresses, tls: None, steer: None, proxy_protocol: None, sources: None, traffic }
    }
}

/// The `protocol` of a listener with what belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "protocol", rename_all = "lowercase")]
pub(crate) enum Traffic {
    /// HTTP/1.1 and HTTP/2 with prior knowledge. The default.
    Http {
        /// How its requests are read.
        #[serde(flatten)]
        rules: HttpRules,
        /// At least one; no two match the same host and path. The listener's own `cluster` and `plugins` are the
        /// last one, without host and path.
        routes: Vec<Route>,
    },
    /// Bytes.
    Tcp {
        /// A key of `clusters`.
        cluster: String,
        /// Keys of `plugins`, in the order in which connections meet them.
        plugins: Vec<String>,
    },
    /// TLS that is not decrypted.
    Tls {
        /// At least one; no two match the same name and protocol. The listener's own `cluster` and `plugins` are the
        /// last one, without name and protocols.
        routes: Vec<Route>,
    },
    /// Any of these, told apart by the first bytes.
    Auto {
        /// How its requests are read.
        #[serde(flatten)]
        rules: HttpRules,
        /// How it tells protocols apart.
        #[serde(flatten)]
        auto: AutoRules,
        /// Those with `sni` or `alpn` are of TLS, the others of HTTP; the listener's own `cluster` is one of HTTP.
        routes: Vec<Route>,
    },
}

impl Traffic {
    /// The value of `protocol`.
    pub(crate) fn protocol(&self) -> &'static str {
        match self {
            Traffic::Http { .. } => "http",
            Traffic::Tcp { .. } => "tcp",
            Traffic::Tls { .. } => "tls",
            Traffic::Auto { .. } => "auto",
        }
    }
}

section! {
    /// What accepts connections at some addresses.
    pub(crate) struct Entrance {
        /// In logs and metrics. Default: the address, the first of them if there are more.
        name: Option<String> = None, optional(shapes::text()), r##"#"web""##;
        /// One address or a list of them. With port 0 the system chooses a port, and Odin prints it.
        address: Vec<Placed> [required r#"for example "127.0.0.1:8080""#], bindings::shape(), r#""127.0.0.1:8085""#;
        /// What arrives.
        protocol: Protocol = Protocol::default(), shapes::choice();
        /// Speak TLS to the clients. Default: plain text.
        tls: Option<ServerTls> = None, optional(tls::server()),
            r##"#{ certificates = [{ cert = "a.pem", key = "a.key" }] }"##;
        /// Load balancers in front that send a PROXY header. Default: nobody.
        proxy_protocol: Option<ProxyProtocol> = None, optional(shapes::section());
        /// Who may connect. Default: everybody, as often as they like.
        sources: Option<Sources> = None, optional(shapes::section());
    }
}

section! {
    /// Who says by a PROXY header, version 1 or 2, who the client is.
    pub(crate) struct ProxyProtocol {
        /// What comes from one of these networks must begin with a header.
        from: Vec<IpNet> [required r#"for example ["10.0.0.0/8"]"#], networks::list(), r#"["192.0.2.0/24"]"#;
        /// What becomes of connections from elsewhere. They are never believed.
        r#else: Elsewhere = Elsewhere::default(), shapes::choice(), r#""ignore""#;
    }
}

choice! {
    /// What becomes of connections from networks that send no PROXY header.
    pub(crate) enum Elsewhere {
        /// They are closed at once.
        Refuse = "refuse",
        /// They are served as they are.
        Ignore = "ignore",
    }
}

section! {
    /// Who may connect. A source is an IPv4 address, or the /64 of an IPv6 address; that of the PROXY header, if there is one.
    pub(crate) struct Sources {
        /// Networks that may.
        allow: Vec<IpNet> = everybody(), networks::list();
        /// Networks that may not, even if they are in `allow`.
        deny: Vec<IpNet> = Vec::new(), networks::list(), r#"["192.0.2.0/24"]"#;
        /// Open connections of one source; 0 for any number.
        connections: u32 = 0, whole(0..=1_000_000);
        /// New connections of one source in a second; 0 for any number.
        new_per_second: u32 = 0, whole(0..=1_000_000);
    }
}

fn everybody() -> Vec<IpNet> {
    vec![IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())]
}

choice! {
    /// The `protocol` of a listener.
    pub(crate) enum Protocol {
        /// HTTP/1.1, and HTTP/2 with prior knowledge.
        Http = "http",
        /// Bytes.
        Tcp = "tcp",
        /// TLS, which goes by name and protocol to a cluster and is not decrypted.
        Tls = "tls",
        /// HTTP, TLS that is not decrypted, or any other bytes: the first ones tell.
        Auto = "auto",
    }
}

section! {
    /// How the requests of an HTTP listener are read.
    #[derive(Copy)]
    pub(crate) struct HttpRules {
        /// Believe `Forwarded`, `X-Forwarded-*` and `X-Request-Id` of the client.
        trust_forwarded: bool = false, boolean();
        /// A client that has ended its sending side still waits for its answer. Else it has gone.
        half_close: bool = false, boolean();
        /// What becomes of paths before they are matched.
        path_normalization: PathNormalization = PathNormalization::default(), shapes::choice();
        /// What becomes of `%2F` in a normalised path.
        encoded_slashes: EncodedSlashes = EncodedSlashes::default(), shapes::choice();
    }
}

section! {
    /// How a listener tells protocols apart.
    pub(crate) struct AutoRules {
        /// For `"auto"`: the name of a cluster, where connections go that are neither HTTP nor TLS of a route, and those of
        /// clients that say nothing. Default: they are closed.
        tcp_cluster: Option<String> = None, optional(reference(Kind::Cluster)), r##"#"smtp""##;
        /// For `"auto"` with `tcp-cluster`: how long a client may take to say what it speaks.
        detect_timeout: Duration = Duration::from_millis(500), duration(Duration::from_millis(1)), r##"#"500ms""##;
    }
}

section! {
    /// Where it goes.
    pub(crate) struct Destination {
        /// The name of a cluster: where connections go, or the requests that no route matches.
        cluster: Option<String> = None, optional(reference(Kind::Cluster)), r#""web""#;
        /// Of what goes to `cluster`: in this order for requests, backwards for responses.
        plugins: Vec<String> = Vec::new(), list("plugin names", reference(Kind::Plugin)), r#"["headers"]"#;
        /// By host and path for HTTP, by name and protocol for TLS. The exact name wins, then the longest path.
        routes: Vec<PlacedRoute> = Vec::new(), routes();
        /// A plugin that exports the steer hook and chooses who gets new connections.
        steer: Option<String> = None, optional(reference(Kind::Plugin)), r##"#"canary""##;
    }
}

section! {
    /// What a request or a TLS connection must match to go to a cluster; the exact name first, then the longest path.
    pub(crate) struct Route {
        /// `api.example.com`, or `*.example.com` for every name below it. Default: every host.
        host: Option<String> = None, host(), r#""api.example.com""#;
        /// A prefix of whole segments that starts with `/`. Default: every path.
        path: Option<String> = None, path(), r#""/v1""#;
        /// Of TLS that is not decrypted, the server that the client asks for: as `host`. Default: any, or none.
        sni: Option<String> = None, sni(), r##"#"a.example.com""##;
        /// Of TLS that is not decrypted: the client offers one of these protocols. Default: any, or none.
        alpn: Option<Vec<String>> = None, optional(list("protocol names", protocol_name())), r##"#["h2"]"##;
        /// The name of a cluster.
        cluster: String [required "the name of one of the clusters"], reference(Kind::Cluster), r#""web""#;
        /// In the order in which requests meet them.
        plugins: Vec<String> = Vec::new(), list("plugin names", reference(Kind::Plugin));
    }
}

choice! {
    /// The `path-normalization` of a listener.
    pub(crate) enum PathNormalization {
        /// One spelling for each path; what has no safe one is refused.
        Strict = "strict",
        /// Paths stay as they came.
        Off = "off",
    }
}

choice! {
    /// The `encoded-slashes` of a listener.
    pub(crate) enum EncodedSlashes {
        /// 400.
        Refuse = "refuse",
        /// They stay as they are.
        Keep = "keep",
        /// They separate segments.
        Decode = "decode",
    }
}

fn one_or_many<S: serde::Serializer>(values: &[Binding], serializer: S) -> Result<S::Ok, S::Error> {
    match values {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}
