//! `odin schema` with a validator of JSON Schema that knows nothing of Odin.

use jsonschema::Validator;
use jsonschema::draft202012;
use serde_json::Value;

use crate::paths;

/// What a config file may be, as Odin tells it.
pub struct Schema(Validator);

impl Schema {
    /// What `odin schema` prints; it is good JSON Schema itself.
    pub fn of_odin() -> Schema {
        let schema = serde_json::from_str(&printed(&["schema"])).unwrap();
        draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
        Schema(draft202012::new(&schema).unwrap())
    }

    /// What is wrong with a config.
    pub fn faults(&self, config: &Value) -> Vec<String> {
        self.0.iter_errors(config).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// The config is one.
    #[track_caller]
    pub fn takes(&self, name: &str, config: &Value) {
        let faults = self.faults(config);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

/// What Odin prints when it is started with these arguments and ends.
pub fn printed(arguments: &[&str]) -> String {
    let output = std::process::Command::new(paths::odin()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
