//! What steering costs and what it saves, as Markdown tables.
//!
//! Ratios come from the same rounds. A spread is told by its largest value: a median would hide the round that missed.

use std::fmt::Write;

use super::cost::{Steered, Target, WORKERS};
use super::ports::Reload;
use crate::case::Case;
use crate::peers::Kind;
use crate::results::Results;
use crate::stats::Summary;
use crate::table::{absent, spread};

/// One round of a case, in words.
pub(crate) fn said(runs: &[Steered]) -> String {
    let one = |run: &Steered| {
        let Steered { target, workers, nanos, spread } = run;
        format!("{nanos:>8.0} ns to {target:?}, {workers} workers within {spread:.2} %")
    };
    runs.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A new connection for each request, bound and steered. None when it was not run.
pub(crate) fn connections(results: &Results) -> Option<String> {
    if !results.cases.contains(&Case::Steered) {
        return None;
    }
    let figure = |case| results.cost(case, Kind::Odin).map_or_else(|| absent(results, case, Kind::Odin), spread);
    let ratio = results.over_base(Case::Steered, Kind::Odin).map_or("–".to_owned(), spread);
    Some(format!(
        "| A new connection per request in Odin, µs/request | bound | steered | steered / bound (of the same round) |\n\
         |---|---|---|---|\n| one port, one worker | {} | {} | {ratio} |\n",
        figure(Case::Bound),
        figure(Case::Steered)
    ))
}

/// What the steering program costs, and how it shares out. None when it was not run.
pub(crate) fn program(results: &Results) -> Option<String> {
    let mut text = String::from("| The steering program | ns for a new connection |");
    for workers in WORKERS {
        let _ = write!(text, " {workers} workers: farthest from their mean, % (largest) |");
    }
    text.push_str("\n|---|---|---|---|\n");
    let before = text.len();
    let rows = [
        (Case::SteeringOne, Target::Port, "to the only port"),
        (Case::Steering, Target::Ports, "to one of 10,000 ports, beside a /16"),
        (Case::Steering, Target::Network, "to an address of the /16, beside 10,000 ports"),
    ];
    for (case, target, title) in rows {
        if !results.cases.contains(&case) {
            continue;
        }
        let nanos = steered(results, target);
        let nanos = nanos.map_or_else(|| absent(results, case, Kind::Odin), spread);
        let _ = write!(text, "| {title} | {nanos} |");
        for workers in WORKERS {
            let share =
                results.steered(case, |run| ((run.target, run.workers) == (target, workers)).then_some(run.spread));
            let share = share.map_or("–".to_owned(), |share| format!("{:.2} ({:.2})", share.median, share.max));
            let _ = write!(text, " {share} |");
        }
        text.push('\n');
    }
    (text.len() > before).then_some(text)
}

/// What a new connection costs, whatever the number of workers.
pub(crate) fn steered(results: &Results, target: Target) -> Option<Summary> {
    let case = if target == Target::Port { Case::SteeringOne } else { Case::Steering };
    results.steered(case, |run| (run.target == target).then_some(run.nanos))
}

/// Of all targets and rounds.
pub(crate) fn largest_spread(results: &Results, workers: usize) -> Option<f64> {
    [Case::SteeringOne, Case::Steering]
        .into_iter()
        .filter_map(|case| results.steered(case, |run| (run.workers == workers).then_some(run.spread)))
        .map(|spread| spread.max)
        .reduce(f64::max)
}

/// Ten thousand ports, added and removed. None when it was not run.
pub(crate) fn reloads(results: &Results) -> Option<String> {
    let mut text = String::from(
        "| A reload for 10,000 ports, ms | added: answered | the last one serves | removed: answered | the last one refuses |\n\
         |---|---|---|---|---|\n",
    );
    let before = text.len();
    let rows = [
        (Case::Ports, Kind::Odin, "Odin, steered"),
        (Case::PortsBound, Kind::Odin, "Odin, bound"),
        (Case::Ports, Kind::Nginx, "nginx"),
        (Case::Ports, Kind::Haproxy, "HAProxy"),
    ];
    let columns: [fn(&Reload) -> Option<f64>; 4] = [
        |reload| reload.added.answer,
        |reload| Some(reload.added.seen),
        |reload| reload.removed.answer,
        |reload| Some(reload.removed.seen),
    ];
    for (case, kind, title) in rows {
        if !results.cases.contains(&case) || !results.proxies.iter().any(|(known, _)| *known == kind) {
            continue;
        }
        let _ = write!(text, "| {title} |");
        for part in columns {
            let figure = results.reload(case, kind, part).map_or_else(|| absent(results, case, kind), spread);
            let _ = write!(text, " {figure} |");
        }
        text.push('\n');
    }
    (text.len() > before).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::peers::Installed;
    use crate::steer::ports::Took;

    #[test]
    fn the_largest_spread_of_each_number_of_workers_is_told() {
        let mut results = Results::new(2);
        results.cases = vec![Case::Steering];
        for (workers, spread) in [(2, 0.5), (4, 1.0), (2, 0.5), (4, 6.0)] {
            results.push_steered(Case::Steering, Steered { target: Target::Ports, workers, nanos: 300.0, spread });
        }
        let text = program(&results).unwrap_or_default();
        assert!(text.contains("| **300** (300–300) | 0.50 (0.50) | 3.50 (6.00) |"), "{text}");
        assert!(!text.contains("only port"), "{text}");
        assert_eq!(largest_spread(&results, 4), Some(6.0));
        assert_eq!(program(&Results::new(1)), None);
    }

    #[test]
    fn a_proxy_that_reports_no_end_has_no_figure_for_it_and_one_that_failed_says_so() {
        let mut results = Results::new(1);
        results.cases = vec![Case::Ports];
        results.proxies = [Kind::Nginx, Kind::Haproxy]
            .map(|kind| (kind, Some(Installed { kind, binary: PathBuf::new(), version: String::new() })))
            .into();
        let took = Took { answer: None, seen: 40.0 };
        results.push_reload(Case::Ports, Kind::Nginx, Reload { added: took, removed: took });
        results.fail(Case::Ports, Kind::Haproxy, "too many".to_owned());
        let text = reloads(&results).unwrap_or_default();
        assert!(text.contains("| nginx | – | **40.0** (40.0–40.0) | – | **40.0** (40.0–40.0) |"), "{text}");
        assert!(text.contains("| HAProxy | failed | failed | failed | failed |"), "{text}");
        assert!(!text.contains("Odin"), "{text}");
    }
}
