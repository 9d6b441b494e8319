//! Listeners with thousands of addresses, and a plugin that tells which of them the client has dialled.

use serde_json::Value;

use crate::Target;
use crate::builder::Builder;
use crate::dial::{below, one_of};
use crate::odin::Odin;
use crate::script::Script;
use crate::tcp::TcpPeer;

/// 5,000 ports, alone and in ranges, of all addresses and of some, and the networks 192.0.2.0/24 and 2001:db8:0:1::/64.
pub fn bindings() -> Vec<String> {
    let both = (10_000..14_000).step_by(2).map(|port| format!("[::]:{port}"));
    let only_ipv4 = (14_000..16_000).step_by(2).map(|port| format!("0.0.0.0:{port}"));
    let rest = ["[::]:20000-20999", "127.0.0.1:21500-21999", "[::1]:22500-22999"];
    let networks = ["192.0.2.0/24:80", "[2001:db8:0:1::/64]:80"];
    both.chain(only_ipv4).chain(rest.into_iter().chain(networks).map(str::to_string)).collect()
}

/// Some address that they are for, and the one of them.
pub fn somewhere() -> (String, String) {
    let local = ["127.0.0.1", "127.9.8.7", "198.51.100.5", "[::1]", "[2001:db8:ffff::5]"];
    let (host, port) = (below(256), 2 * below(1_000));
    match below(6) {
        0 => (format!("{}:{}", one_of(&local), 10_000 + port), format!("[::]:{}", 10_000 + port)),
        1 => (format!("{}:{}", one_of(&local[..3]), 14_000 + port), format!("0.0.0.0:{}", 14_000 + port)),
        2 => (format!("{}:{}", one_of(&local), 20_000 + below(1_000)), "[::]:20000-20999".to_string()),
        3 => match below(2) {
            0 => (format!("127.0.0.1:{}", 21_500 + below(500)), "127.0.0.1:21500-21999".to_string()),
            _ => (format!("[::1]:{}", 22_500 + below(500)), "[::1]:22500-22999".to_string()),
        },
        4 => (format!("192.0.2.{host}:80"), "192.0.2.0/24:80".to_string()),
        _ => (format!("[2001:db8:0:1::{:x}]:80", 1 + host), "[2001:db8:0:1::/64]:80".to_string()),
    }
}

/// Next to what is configured, and not configured.
pub const NOWHERE: [&str; 14] = [
    "127.0.0.1:10001",
    "[::1]:10001",
    "127.0.0.1:16000",
    "[::1]:14000",
    "[2001:db8::1]:15998",
    "127.0.0.1:19999",
    "[::1]:21000",
    "127.0.0.2:21500",
    "[::1]:21500",
    "127.0.0.1:22500",
    "192.0.2.9:81",
    "198.51.100.1:80",
    "[2001:db8:0:1::1]:81",
    "[2001:db8:0:2::1]:80",
];

/// The listener `name` with these addresses in front of this backend, which the plugin `dialled` tells what the client
/// has dialled.
pub fn listener(name: &str, protocol: &str, addresses: &[impl AsRef<str>], backend: &impl Target) -> String {
    let addresses: Vec<&str> = addresses.iter().map(AsRef::as_ref).collect();
    format!(
        "[[listeners]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = {addresses:?}\ncluster = \"{name}\"\n\
         plugins = [\"dialled\"]\n[clusters.{name}]\nendpoints = [\"{}\"]\n",
        backend.address()
    )
}

/// Fails unless so many connections were counted where so many were dialled: each of them once. A packet that comes too
/// late may be counted as well, as the docs say; where nobody has dialled there is none.
#[track_caller]
pub fn has_counted(counted: u64, dialled: u64) {
    let late = if dialled == 0 { 0 } else { 1 + dialled / 100 };
    assert!((dialled..=dialled + late).contains(&counted), "{counted} counted, {dialled} dialled");
}

/// Odin with these listeners, and an access log that tells what the plugin was told.
pub fn with(workers: usize, steering: &str, listeners: &[String]) -> Builder {
    let top = format!("workers = {workers}\nadmin = \"127.0.0.1:0\"\nsteering = \"{steering}\"\n");
    let dialled = Script::new()
        .on("request-headers", &["recall odin.local-address", "show x-saw"])
        .on("connect", &["recall odin.local-address"]);
    let log = "[access-log]\nformat = \"json\"\ncontext = [\"trace\"]\n";
    Odin::builder().with_config(top + &listeners.concat() + log).plugin_file(dialled.plugin("dialled"))
}

/// Odin with the TCP listener `web` at these addresses.
pub fn web(steering: &str, addresses: &[&str], backend: &TcpPeer) -> Builder {
    Odin::builder().with_config(web_config("", steering, addresses, backend))
}

/// The config of [`web`], with these lines at its top.
pub fn web_config(top: &str, steering: &str, addresses: &[&str], backend: &TcpPeer) -> String {
    format!(
        "workers = 2\nadmin = \"127.0.0.1:0\"\nsteering = \"{steering}\"\n{top}[[listeners]]\nname = \"web\"\nprotocol = \"tcp\"\n\
         address = {addresses:?}\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"{}\"]\n",
        backend.address()
    )
}

/// What `/listeners` says.
pub struct Steering(pub Value);

impl Steering {
    /// `bpf` or `bind`.
    pub fn mode(&self) -> &str {
        self.0["steering"]["mode"].as_str().expect("a mode")
    }

    /// The listener with this name.
    #[track_caller]
    pub fn listener(&self, name: &str) -> &Value {
        let listeners = self.0["listeners"].as_array().expect("listeners");
        listeners.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no listener {name} in {}", self.0))
    }

    /// The binding of a listener, by its address as in the config.
    #[track_caller]
    pub fn binding(&self, listener: &str, address: &str) -> &Value {
        let bindings = self.listener(listener)["bindings"].as_array().expect("bindings");
        let found = bindings.iter().find(|binding| binding["address"] == address);
        found.unwrap_or_else(|| panic!("no binding {address} in {}", self.listener(listener)))
    }

    /// How many connections a binding of a listener has got.
    #[track_caller]
    pub fn steered_to(&self, listener: &str, address: &str) -> u64 {
        let binding = self.binding(listener, address);
        binding["steered"].as_u64().unwrap_or_else(|| panic!("nothing is steered by {binding}"))
    }

    /// How many connections the bindings of a listener have got, all together.
    pub fn steered(&self, listener: &str) -> u64 {
        let bindings = self.listener(listener)["bindings"].as_array().expect("bindings");
        bindings.iter().map(|binding| binding["steered"].as_u64().unwrap_or(0)).sum()
    }
}
