//! `odin:plugin/config`: the plugin's config section, value by value.

use serde_json::Value;
use wasmtime::component::WasmStr;

use crate::store::{Ctx, Link};

pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    let mut config = linker.instance("odin:plugin/config@0.1.0")?;
    config.func_wrap("get", |store: Ctx<'_>, (path,): (WasmStr,)| {
        let path = path.to_str(&store)?;
        Ok((at(&store.data().slot.config, &path).map(Value::to_string),))
    })
}

/// The value at a dotted path; a list is stepped into by index. The empty path is the whole.
fn at<'a>(config: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(config);
    }
    path.split('.').try_fold(config, |value, step| match value {
        Value::Object(map) => map.get(step),
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let config = serde_json::json!({"limits": {"burst": 3}, "names": ["a", "b"]});
        assert_eq!(at(&config, "limits.burst").map(Value::to_string), Some("3".into()));
        assert_eq!(at(&config, "names.1").map(Value::to_string), Some("\"b\"".into()));
        assert_eq!(at(&config, "limits.rate"), None);
        assert_eq!(at(&config, "limits.burst.more"), None);
        assert_eq!(at(&config, ""), Some(&config));
        assert_eq!(at(&Value::Null, "").map(Value::to_string), Some("null".into()));
    }
}
