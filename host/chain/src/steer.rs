//! What the steer hook is asked and answers. Must never let an answer out that cannot be put into the steering table as it
//! is.

use std::collections::HashSet;

/// An answer holds at most so many weights.
const MAX_WEIGHTS: usize = 4_096;
/// The name of a listener in an answer is at most so long, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// One address of a listener, as the steer hook is asked about it.
#[derive(Clone, Copy, Debug)]
pub struct SteerBinding<'a> {
    /// As it stands in the config: `0.0.0.0:5001`, `192.0.2.0/24:80`, `[::]:7000-7999`.
    pub address: &'a str,
    /// The listener that it belongs to.
    pub listener: &'a str,
    /// How many workers there are.
    pub workers: u32,
    /// Every listener of the config that is steered, this one included.
    pub listeners: &'a [&'a str],
}

/// A share of the new connections of a binding. What is named twice gets both shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteerWeight {
    /// One of [`SteerBinding::listeners`].
    pub listener: String,
    /// One of its workers, below [`SteerBinding::workers`]; none: evenly over all of them.
    pub worker: Option<u32>,
    /// Against the sum of all weights, which is not 0.
    pub weight: u32,
}

/// The answer of the hook, or what is wrong with it.
pub fn checked_weights(answer: Vec<SteerWeight>, binding: &SteerBinding<'_>) -> Result<Vec<SteerWeight>, String> {
    if answer.len() > MAX_WEIGHTS {
        return Err(format!("{} weights, which is more than {MAX_WEIGHTS}", answer.len()));
    }
    let known: HashSet<&str> = binding.listeners.iter().copied().collect();
    for SteerWeight { listener, worker, .. } in &answer {
        if listener.len() > MAX_NAME_BYTES {
            let bytes = listener.len();
            return Err(format!("the name of a listener of {bytes} bytes, which is more than {MAX_NAME_BYTES}"));
        }
        if !known.contains(listener.as_str()) {
            return Err(format!("the listener {listener:?}, which is none that is steered"));
        }
        if let Some(worker) = worker.filter(|&worker| worker >= binding.workers) {
            let workers = binding.workers;
            return Err(format!("worker {worker} of the listener {listener:?} is past the end: there are {workers}"));
        }
    }
    if !answer.is_empty() && answer.iter().all(|weight| weight.weight == 0) {
        return Err("weights that add up to 0".to_owned());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: SteerBinding<'_> =
        SteerBinding { address: "0.0.0.0:80", listener: "web", workers: 2, listeners: &["web", "canary"] };

    fn weight(listener: &str, worker: Option<u32>, weight: u32) -> SteerWeight {
        SteerWeight { listener: listener.to_owned(), worker, weight }
    }

    fn refusal(answer: Vec<SteerWeight>) -> String {
        checked_weights(answer, &BINDING).unwrap_err()
    }

    #[test]
    fn a_good_answer_stays_as_it_is() {
        let answer =
            vec![weight("web", None, u32::MAX), weight("canary", Some(1), 0), weight("web", Some(0), u32::MAX)];
        let checked_answer = checked_weights(answer, &BINDING).unwrap();
        assert_eq!(checked_answer.len(), 3);
        let second = SteerWeight { listener: "canary".to_owned(), worker: Some(1), weight: 0 };
        assert_eq!(checked_answer[1], second);
        assert_eq!(checked_weights(Vec::new(), &BINDING), Ok(Vec::new()));
    }

    #[test]
    fn what_there_is_not_is_named() {
        assert_eq!(refusal(vec![weight("wep", None, 1)]), "the listener \"wep\", which is none that is steered");
        assert_eq!(
            refusal(vec![weight("web", Some(1), 1), weight("web", Some(2), 1)]),
            "worker 2 of the listener \"web\" is past the end: there are 2"
        );
        assert_eq!(refusal(vec![weight("web", None, 0), weight("canary", None, 0)]), "weights that add up to 0");
    }

    #[test]
    fn an_answer_has_bounds() {
        let many = |count| (0..count).map(|_| weight("web", None, 1)).collect();
        assert!(checked_weights(many(4_096), &BINDING).is_ok());
        assert_eq!(refusal(many(4_097)), "4097 weights, which is more than 4096");
        let long = refusal(vec![weight(&"x".repeat(257), None, 1)]);
        assert_eq!(long, "the name of a listener of 257 bytes, which is more than 256");
    }
}
