//! What plugins cost, as Markdown tables: Odin with and without them, and six of them beside Envoy's external processing.
//!
//! Differences and ratios come from the same rounds; it must never subtract figures of different rounds.

use std::fmt::Write;

use crate::case::Case;
use crate::peers::Kind;
use crate::results::Results;
use crate::table::{absent, short, spread};

/// The cases of Odin alone: title, and what the last column counts by.
const ROWS: [(Case, &str); 4] = [
    (Case::Chain, "ten `headers` plugins in one route, µs/request"),
    (Case::Fresh, "`headers` with `isolation = \"fresh\"`, µs/request"),
    (Case::Stream, "64 MiB through a stream hook, ms/GB"),
    (Case::IdleMemory, "an exchange that waits, six plugins, KB"),
];

/// What the plugins of a case add, by plugin or by call.
pub(crate) fn each(results: &Results, case: Case) -> Option<f64> {
    // A request makes two calls of `headers`.
    let parts = if case == Case::Chain { 10.0 } else { 2.0 };
    Some(results.added(case, Kind::Odin)?.median / parts)
}

/// Odin without and with plugins. None when no such case was run.
pub(crate) fn costs(results: &Results) -> Option<String> {
    let mut text = String::from(
        "| Plugins in Odin | without | with | added (median of the rounds' differences) | |\n|---|---|---|---|---|\n",
    );
    let before = text.len();
    for (case, title) in ROWS {
        let Some(base) = case.base().filter(|_| results.cases.contains(&case)) else { continue };
        let figure = |case| results.cost(case, Kind::Odin).map_or_else(|| absent(results, case, Kind::Odin), spread);
        let added = results.added(case, Kind::Odin).map_or("–".to_owned(), spread);
        let note = match case {
            Case::Chain => each(results, case).map(|each| format!("{} µs for each plugin", short(each))),
            Case::Fresh => each(results, case).map(|each| format!("{} µs for each of two calls", short(each))),
            Case::Stream => rates(results, case, base),
            _ => None,
        };
        let note = note.unwrap_or_default();
        let _ = writeln!(text, "| {title} | {} | {} | {added} | {note} |", figure(base), figure(case));
    }
    (text.len() > before).then_some(text)
}

fn rates(results: &Results, case: Case, base: Case) -> Option<String> {
    let rate = |case| Some(results.median(case, Kind::Odin, |sample| Some(sample.rate))?.median);
    let kept = results.kept(case, Kind::Odin)?.median * 100.0;
    Some(format!("{} GB/s instead of {}: {kept:.0} % kept", short(rate(case)?), short(rate(base)?)))
}

/// Odin's chain of six beside one ext_proc filter and its processor. None when it was not run.
pub(crate) fn digest(results: &Results) -> Option<String> {
    let case = Case::Digest;
    if !results.cases.contains(&case) {
        return None;
    }
    let odin = results.cost(case, Kind::Odin);
    let (whole, alone) = (results.cost(case, Kind::Envoy), results.alone(case, Kind::Envoy));
    let mut text = String::from("| A digest of the request, µs/request | CPU | Odin's part of it |\n|---|---|---|\n");
    let rows = [
        (Kind::Odin, "Odin, chain of six plugins", odin, false),
        (Kind::Envoy, "Envoy alone, one ext_proc filter", alone, true),
        (Kind::Envoy, "its processor, compiled gRPC", results.helper(case, Kind::Envoy), false),
        (Kind::Envoy, "Envoy and its processor", whole, true),
    ];
    for (kind, title, cost, is_compared) in rows {
        let figure = cost.map_or_else(|| absent(results, case, kind), spread);
        let ratio =
            odin.zip(cost).filter(|_| is_compared).map(|(odin, cost)| format!("{:.2}", odin.median / cost.median));
        let _ = writeln!(text, "| {title} | {figure} | {} |", ratio.unwrap_or_default());
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;

    fn results(samples: &[(Case, Kind, f64, Option<f64>, f64)]) -> Results {
        let mut results = Results::new(1);
        for (case, kind, cost, helper, rate) in samples.iter().copied() {
            if !results.cases.contains(&case) {
                results.cases.push(case);
            }
            results.push(case, kind, Sample { cost, helper, rate, busy: 1.0, others: 0.0, p50: None, p99: None });
        }
        results
    }

    #[test]
    fn what_is_added_is_shared_out_among_plugins_and_calls() {
        let text = costs(&results(&[
            (Case::Http1, Kind::Odin, 10.0, None, 1.0),
            (Case::Chain, Kind::Odin, 17.0, None, 1.0),
            (Case::Fresh, Kind::Odin, 30.0, None, 1.0),
            (Case::Download, Kind::Odin, 400.0, None, 2.5),
            (Case::Stream, Kind::Odin, 500.0, None, 2.0),
        ]));
        let text = text.unwrap_or_default();
        for words in
            ["0.70 µs for each plugin", "10.0 µs for each of two calls", "2.00 GB/s instead of 2.50: 80 % kept"]
        {
            assert!(text.contains(words), "{words} is missing:\n{text}");
        }
        assert!(!text.contains("waits"), "{text}");
        assert_eq!(costs(&Results::new(1)), None);
    }

    #[test]
    fn odin_is_compared_with_envoy_alone_and_with_both() {
        let digest = digest(&results(&[
            (Case::Digest, Kind::Odin, 30.0, None, 1.0),
            (Case::Digest, Kind::Envoy, 150.0, Some(50.0), 1.0),
        ]));
        let text = digest.unwrap_or_default();
        for row in
            ["alone, one ext_proc filter | **100** (100–100) | 0.30 |", "its processor | **150** (150–150) | 0.20 |"]
        {
            assert!(text.contains(row), "{row} is missing:\n{text}");
        }
    }
}
