//! Sends a part of the new connections to another listener: `config = { to = "canary", percent = 5 }`, in steps of a
//! tenth of a percent. For listeners that BPF steers and that name it in `steer`; those who come to the other listener
//! by its own address stay there.

use odin_sdk::steer::{Binding, Weight};
use odin_sdk::{Plugin, Result};

/// What 100 % are: a tenth of a percent is a whole weight.
const ALL: u32 = 1_000;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The listener that gets the part.
    to: String,
    /// 0 to 100, with one digit behind the point.
    percent: f64,
}

struct Canary {
    to: String,
    tenths: u32,
}

#[odin_sdk::plugin]
impl Plugin for Canary {
    type Config = Settings;

    fn new(Settings { to, percent }: Settings) -> Result<Self> {
        if to.is_empty() {
            Err("config: to must name a listener")?;
        }
        Ok(Self { to, tenths: tenths(percent)? })
    }

    fn steer(&self, binding: &Binding) -> Result<Vec<Weight>> {
        if binding.listener == self.to {
            return Ok(Vec::new());
        }
        if !binding.has_listener(&self.to) {
            Err(format!("there is no steered listener {:?}: there are {}", self.to, binding.listeners.join(", ")))?;
        }
        let own = Weight::listener(&binding.listener, ALL - self.tenths);
        Ok(vec![own, Weight::listener(&self.to, self.tenths)])
    }
}

/// Of the percentage, when it is one and that many.
fn tenths(percent: f64) -> Result<u32> {
    let tenths = percent * 10.0;
    // No comparison with what is not a number is true.
    if !(0.0..=f64::from(ALL)).contains(&tenths) {
        Err(format!("config: percent must be 0 to 100, not {percent}"))?;
    }
    // 0.3 * 10 is not quite 3.
    if (tenths - tenths.round()).abs() > 1e-6 {
        Err(format!("config: percent goes in steps of 0.1, and {percent} is between two"))?;
    }
    Ok(tenths.round() as u32)
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing;
    use serde_json::{Value, json};

    use super::*;

    const LISTENERS: [&str; 3] = ["web", "canary", "other"];

    fn weights(percent: impl Into<Value>) -> Vec<Weight> {
        let config = json!({ "to": "canary", "percent": percent.into() });
        testing::steer::<Canary>(config, &testing::binding("0.0.0.0:80", &LISTENERS)).unwrap_or_default()
    }

    fn shares(own: u32, canary: u32) -> [Weight; 2] {
        [Weight::listener("web", own), Weight::listener("canary", canary)]
    }

    #[test]
    fn the_other_listener_gets_its_percentage() {
        assert_eq!(weights(5), shares(950, 50));
        assert_eq!(weights(0.1), shares(999, 1));
        assert_eq!(weights(0.3), shares(997, 3));
        assert_eq!(weights(99.9), shares(1, 999));
        assert_eq!((weights(0), weights(100)), (shares(1000, 0).to_vec(), shares(0, 1000).to_vec()));
    }

    #[test]
    fn a_binding_of_the_other_listener_is_left_alone() {
        let config = json!({ "to": "web", "percent": 5 });
        assert_eq!(testing::steer::<Canary>(config, &testing::binding("0.0.0.0:80", &LISTENERS)), Ok(Vec::new()));
    }

    #[test]
    fn a_listener_that_there_is_not_is_a_failure_that_names_it() {
        let config = json!({ "to": "cannary", "percent": 5 });
        let error = testing::steer::<Canary>(config, &testing::binding("0.0.0.0:80", &LISTENERS)).unwrap_err();
        assert!(error.contains("\"cannary\": there are web, canary, other"), "{error}");
    }

    #[test]
    fn a_bad_config_is_refused_with_a_reason() {
        let refusal = |config: Value| testing::configure::<Canary>(config).unwrap_err();
        let with = |percent: Value| refusal(json!({ "to": "canary", "percent": percent }));
        assert_eq!(with(json!(100.1)), "config: percent must be 0 to 100, not 100.1");
        assert_eq!(with(json!(-1)), "config: percent must be 0 to 100, not -1");
        assert_eq!(with(json!(0.25)), "config: percent goes in steps of 0.1, and 0.25 is between two");
        assert!(with(json!("5")).contains("invalid type"));
        assert_eq!(refusal(json!({ "to": "", "percent": 5 })), "config: to must name a listener");
        assert!(refusal(json!({ "to": "canary" })).contains("missing field `percent`"));
        assert!(refusal(json!({ "to": "a", "percent": 5, "form": "b" })).contains("unknown field `form`"));
        assert!(refusal(Value::Null).contains("missing field"));
    }
}
