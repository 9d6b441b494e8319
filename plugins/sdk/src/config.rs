//! The plugin's `config` section, asked for value by value. Granted by `grant = ["config"]`.
//!
//! A plugin that has a type for its config needs no grant: see [`Plugin::Config`](crate::Plugin::Config).

/// The JSON text at a dotted path, or `None`. The empty path gives the whole section. Works in every hook.
///
/// ```
/// # use odin_sdk::config;
/// # fn f() {
/// let burst: Option<u32> = config::get("limits.burst").and_then(|json| json.parse().ok());
/// # }
/// ```
pub fn get(path: &str) -> Option<String> {
    crate::host::config::get(path)
}

/// The value at a dotted path as a type; `None` when it is missing or of another type.
///
/// ```
/// # use odin_sdk::config;
/// # fn f() {
/// let hosts: Vec<String> = config::get_as("hosts").unwrap_or_default();
/// # }
/// ```
pub fn get_as<T: serde::de::DeserializeOwned>(path: &str) -> Option<T> {
    serde_json::from_str(&get(path)?).ok()
}
