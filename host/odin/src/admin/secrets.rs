//! What of a config is shown to whoever may only read: no value that looks like a secret, and no settings of plugins.
//! In place of each stands a hash, which tells whether two values are the same.

use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A key with one of these words in it holds a secret, unless it ends in `file` or `path`.
const WORDS: [&str; 9] =
    ["token", "tokens", "secret", "secrets", "password", "passwd", "key", "credential", "credentials"];

/// The config with hashes in place of secrets.
pub(super) fn hidden(mut config: Value) -> Value {
    for plugin in config.get_mut("plugins").and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut())
    {
        if let Some(settings) = plugin.get_mut("config").filter(|settings| !settings.is_null()) {
            *settings = hash(settings);
        }
    }
    hide(&mut config);
    config
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                match value.is_null() || !looks_secret(key) {
                    true => hide(value),
                    false => *value = hash(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let mut words = key.split(|c: char| !c.is_ascii_alphanumeric());
    let names_a_file = key.ends_with("file") || key.ends_with("path");
    !names_a_file && words.any(|word| WORDS.contains(&word))
}

/// `sha256:` and eight hex digits. Keyed with a random number of this process: a short secret cannot be found by trying.
fn hash(value: &Value) -> Value {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0; 32];
        // It cannot fail for so few bytes; without them the hash would still hide a value that is long enough.
        let _ = rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty());
        key
    });
    let hash = Sha256::new().chain_update(key).chain_update(value.to_string()).finalize();
    let digits: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Value::String(format!("sha256:{digits}…"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_and_settings_of_plugins_are_hashes_and_the_rest_is_as_it_was() {
        let config = json!({
            "admin-token-file": "/etc/odin/token",
            "api-key": "hunter1",
            "tls": [{ "Password": "hunter2", "key-file": "/etc/a.pem", "monkey": "chimp" }],
            "plugins": {
                "a": { "path": "a.wasm", "config": { "open": "hunter3" } },
                "b": { "path": "b.wasm", "config": null },
            },
        });
        let shown = hidden(config);
        assert!(!shown.to_string().contains("hunter"), "{shown}");
        assert_eq!(shown["admin-token-file"], "/etc/odin/token");
        assert_eq!(shown["tls"][0]["key-file"], "/etc/a.pem");
        assert_eq!(shown["tls"][0]["monkey"], "chimp");
        assert_eq!(shown["plugins"]["b"]["config"], Value::Null);
        for hash in [&shown["api-key"], &shown["tls"][0]["Password"], &shown["plugins"]["a"]["config"]] {
            let text = hash.as_str().unwrap_or_default();
            assert!(text.starts_with("sha256:") && text.chars().count() == 16, "{text}");
        }
    }

    #[test]
    fn the_same_value_has_the_same_hash() {
        assert_eq!(hash(&json!("a")), hash(&json!("a")));
        assert_ne!(hash(&json!("a")), hash(&json!("b")));
    }
}
