//! The plugin's `config` section: asked for value by value, or (feature `serde`) read into a type at once.

/// The JSON text at a dotted path, or `None`. The empty path gives the whole section. Works in every hook.
///
/// `let burst: Option<u32> = config::get("limits.burst").and_then(|json| json.parse().ok());`
pub fn get(path: &str) -> Option<String> {
    crate::bindings::imports::config::get(path)
}

/// Reads the text that [`Lifecycle::configure`](crate::Lifecycle::configure) got into a type. Needs feature `serde`.
///
/// A config without the section reads as `{}`. The error says what is wrong and where, and is fit to be returned.
///
/// ```
/// use std::sync::OnceLock;
/// use odin_sdk::{Lifecycle, config};
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Settings { limit: u32 }
///
/// static SETTINGS: OnceLock<Settings> = OnceLock::new();
///
/// struct Limiter;
///
/// #[odin_sdk::plugin]
/// impl Lifecycle for Limiter {
///     fn configure(config: &str) -> Result<(), String> {
///         let _ = SETTINGS.set(config::parse(config)?);
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
#[cfg(feature = "serde")]
pub fn parse<T: serde::de::DeserializeOwned>(config: &str) -> Result<T, String> {
    let config = if config == "null" { "{}" } else { config };
    serde_json::from_str(config).map_err(|error| format!("config: {error}"))
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::parse;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        limit: u32,
    }

    #[test]
    fn a_missing_section_reads_as_an_empty_one() {
        assert_eq!(parse::<Settings>("null").map(|settings| settings.limit), Ok(0));
    }

    #[test]
    fn an_error_names_the_key() {
        let error = parse::<Settings>(r#"{"limits": 3}"#).err().unwrap_or_default();
        assert!(error.contains("limits") && error.contains("limit"), "{error}");
    }
}
