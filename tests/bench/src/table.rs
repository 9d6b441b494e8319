//! The results as Markdown tables.
//!
//! It must never round a miss into a hit: limits are compared before anything is rounded.

use std::fmt::Write;

use crate::case::Case;
use crate::peers::Kind;
use crate::results::Results;
use crate::stats::Summary;

const PEERS: [Kind; 3] = [Kind::Nginx, Kind::Haproxy, Kind::Envoy];

/// CPU per operation, with Odin's ratio to each peer.
pub(crate) fn costs(results: &Results) -> String {
    let mut text = String::from(
        "| CPU of the proxy | Odin | nginx | HAProxy | Envoy | Odin / nginx | Odin / HAProxy | Odin / Envoy |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for case in results.cases.iter().filter(|case| case.compares()) {
        let _ = write!(text, "| {}, {} |", case.title(), case.unit());
        for kind in Kind::ALL {
            let cell = results.cost(*case, kind).map_or_else(|| absent(results, *case, kind), spread);
            let _ = write!(text, " {cell} |");
        }
        for peer in PEERS {
            let cell = results.ratio(*case, peer).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

/// What a plugin that reads one field and sets two adds to each proxy.
pub(crate) fn plugin(results: &Results) -> Option<String> {
    if !results.cases.contains(&Case::Plugin) {
        return None;
    }
    let mut text = String::from(
        "| A header plugin, µs/request | bare | with it | added (median of the rounds' differences) |\n|---|---|---|---|\n",
    );
    for (kind, _) in &results.proxies {
        let bare = results.cost(Case::Http1, *kind).map_or_else(|| absent(results, Case::Http1, *kind), spread);
        let with = results.cost(Case::Plugin, *kind).map_or_else(|| absent(results, Case::Plugin, *kind), spread);
        let added = results.added(Case::Plugin, *kind).map_or("–".to_owned(), spread);
        let _ = writeln!(text, "| {}, {} | {bare} | {with} | {added} |", kind.name(), kind.plugin_language());
    }
    Some(text)
}

/// Rates and latencies: side figures, taken with a load and a backend that share one CPU.
pub(crate) fn rates(results: &Results) -> String {
    let mut text = String::from("| | | rate | p50 µs | p99 µs | proxy's CPU busy |\n|---|---|---|---|---|---|\n");
    for case in results.cases.iter().filter(|case| !case.is_memory()) {
        for (kind, _) in &results.proxies {
            if (*case, *kind) == (Case::Forwarded, Kind::Odin) {
                continue;
            }
            let median = |part: fn(&crate::results::Sample) -> Option<f64>| {
                results.median(*case, *kind, part).map(|summary| summary.median)
            };
            let Some(rate) = median(|sample| Some(sample.rate)) else { continue };
            let rate = if case.counts_bytes() { format!("{rate:.2}") } else { thousands(rate) };
            let micros = |value: Option<f64>| value.map_or("–".to_owned(), thousands);
            let busy = median(|sample| Some(sample.busy)).unwrap_or_default() * 100.0;
            let _ = writeln!(
                text,
                "| {} | {} | {rate} {} | {} | {} | {busy:.0} % |",
                case.title(),
                kind.name(),
                case.rate_unit(),
                micros(median(|sample| sample.p50)),
                micros(median(|sample| sample.p99)),
            );
        }
    }
    text
}

/// Why there is no figure.
pub(crate) fn absent(results: &Results, case: Case, kind: Kind) -> String {
    if !case.takes(kind) {
        return "–".to_owned();
    }
    match results.proxies.iter().find(|(known, _)| *known == kind) {
        None => "–".to_owned(),
        Some((_, None)) => kind.install_hint().to_owned(),
        Some(_) if results.failure(case, kind).is_some() => "failed".to_owned(),
        Some(_) => "–".to_owned(),
    }
}

pub(crate) fn spread(summary: Summary) -> String {
    let Summary { median, min, max } = summary;
    format!("**{}** ({}–{})", short(median), short(min), short(max))
}

/// Three significant digits, more or less.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(thousands(999.0), "999");
        assert_eq!((short(123.4), short(12.34), short(1.234)), ("123".into(), "12.3".into(), "1.23".into()));
    }
}
