//! The sweep as a Markdown table, and as a line for the terminal.

use std::fmt::Write;

use super::{AT_ONCE, CASES, GROWTH, Step, growth};
use crate::results::Results;
use crate::stats::Summary;
use crate::table::{absent, short, spread, thousands};

/// One round of a case, in words.
pub(crate) fn said(steps: &[Step]) -> String {
    let one = |step: &Step| {
        let Step { at_once, sample, connects } = step;
        format!("{at_once}: {:.2} µs and {connects:.4} connects, {:.0} % busy", sample.cost, sample.busy * 100.0)
    };
    steps.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Every proxy at every step. None when no sweep was run.
pub(crate) fn costs(results: &Results) -> Option<String> {
    let mut text = String::from("| CPU per request by requests at once, µs | |");
    for at_once in AT_ONCE {
        let _ = write!(text, " {} |", thousands(at_once as f64));
    }
    let (few, many) = (thousands(GROWTH.0 as f64), thousands(GROWTH.1 as f64));
    let steps = AT_ONCE.map(|at_once| thousands(at_once as f64)).join(" · ");
    let _ = writeln!(
        text,
        " {many} / {few} (of the same round) | upstream connects per 1,000 requests at {steps} |\n|---|---|---|---|---|---|---|---|"
    );
    let before = text.len();
    for case in CASES.into_iter().filter(|case| results.cases.contains(case)) {
        for (kind, _) in results.proxies.iter().filter(|(kind, _)| case.takes(*kind)) {
            let _ = write!(text, "| {} | {} |", case.title(), kind.name());
            let lacking = || absent(results, case, *kind);
            for at_once in AT_ONCE {
                let cost = results.step(case, *kind, at_once, |step| step.sample.cost);
                let _ = write!(text, " {} |", cost.map_or_else(lacking, spread));
            }
            let growth = growth(results, case, *kind).map_or("–".to_owned(), spread);
            let connects = AT_ONCE.map(|at_once| {
                let connects: Option<Summary> = results.step(case, *kind, at_once, |step| step.connects * 1e3);
                connects.map_or("–".to_owned(), |connects| short(connects.median))
            });
            let _ = writeln!(text, " {growth} | {} |", connects.join(" · "));
        }
    }
    (text.len() > before).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::case::Case;
    use crate::peers::{Installed, Kind};
    use crate::results::Sample;

    #[test]
    fn a_row_has_each_step_its_growth_and_its_connects() {
        let mut results = Results::new(1);
        assert_eq!(costs(&results), None);
        results.cases = vec![Case::SweepHttp1];
        results.proxies = [Kind::Odin, Kind::Nginx, Kind::Envoy]
            .map(|kind| (kind, Some(Installed { kind, binary: PathBuf::new(), version: String::new() })))
            .into();
        for (at_once, cost, connects) in [(16, 9.0, 0.0), (64, 10.0, 0.001), (256, 11.0, 0.0), (1024, 12.5, 0.25)] {
            results.push_step(Case::SweepHttp1, Kind::Odin, Step { at_once, sample: Sample::of(cost), connects });
        }
        results.fail(Case::SweepHttp1, Kind::Nginx, "refused".to_owned());
        let text = costs(&results).unwrap_or_default();
        assert!(text.contains("| **12.5** (12.5–12.5) | **1.25** (1.25–1.25) | 0.00 · 1.00 · 0.00 · 250 |"), "{text}");
        assert!(text.contains("| HTTP/1.1 | nginx | failed | failed | failed | failed | – |"), "{text}");
        assert!(!text.contains("Envoy"), "{text}");
    }
}
