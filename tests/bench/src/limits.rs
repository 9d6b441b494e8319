//! The limits that Odin set itself, as a Markdown table.
//!
//! It must never round a miss into a hit: a limit is compared before anything is rounded.

use std::fmt::Write;

use crate::case::Case;
use crate::peers::Kind;
use crate::plugins;
use crate::results::Results;
use crate::steer::cost::Target;
use crate::steer::table::{largest_spread, steered};
use crate::sweep::growth_beside_peers;

/// On which side of its limit a figure has to be.
#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Limit::AtMost(limit) => value <= limit,
            Limit::Below(limit) => value < limit,
            Limit::AtLeast(limit) => value >= limit,
        }
    }

    fn words(self) -> String {
        match self {
            Limit::AtMost(limit) => format!("≤ {limit:.2}"),
            Limit::Below(limit) => format!("< {limit:.2}"),
            Limit::AtLeast(limit) => format!("≥ {limit:.2}"),
        }
    }
}

/// Each limit of the cases that were run, and whether it was held.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("| Limit | | measured | |\n|---|---|---|---|\n");
    for (case, name, limit, measured) in checks(results) {
        if !results.cases.contains(&case) {
            continue;
        }
        let verdict = match measured {
            Some(value) if limit.holds(value) => "hit",
            Some(_) => "**miss**",
            None => "not measured",
        };
        let value = measured.map_or("–".to_owned(), |value| format!("{value:.2}"));
        let _ = writeln!(text, "| {name} | {} | {value} | {verdict} |", limit.words());
    }
    text
}

fn checks(results: &Results) -> [(Case, &'static str, Limit, Option<f64>); 25] {
    use Limit::{AtLeast, AtMost, Below};
    let ratio = |case, to| results.ratio(case, to);
    let odin = Kind::Odin;
    let best = |case| {
        let others = [Kind::Nginx, Kind::Haproxy, Kind::Envoy];
        others.into_iter().filter_map(|kind| results.ratio(case, kind)).max_by(f64::total_cmp)
    };
    let steering = |target| steered(results, target).map(|nanos| nanos.median);
    [
        (Case::Http1, "HTTP/1.1 keep-alive: Odin / nginx", AtMost(1.15), ratio(Case::Http1, Kind::Nginx)),
        (Case::Http1, "HTTP/1.1 keep-alive: Odin / Envoy", AtMost(0.60), ratio(Case::Http1, Kind::Envoy)),
        (
            Case::SweepHttp1,
            "HTTP/1.1, growth from 64 to 1,024 requests at once: Odin / the larger of nginx and HAProxy",
            AtMost(1.0),
            growth_beside_peers(results, Case::SweepHttp1),
        ),
        (
            Case::SweepHttp2,
            "HTTP/2 downstream, growth from 64 to 1,024 requests at once: Odin / the larger of nginx and HAProxy",
            AtMost(1.0),
            growth_beside_peers(results, Case::SweepHttp2),
        ),
        (
            Case::Plugin,
            "one header plugin adds, µs/request",
            AtMost(2.0),
            results.added(Case::Plugin, odin).map(|added| added.median),
        ),
        (Case::Plugin, "with the plugin: Odin / Envoy with Lua", AtMost(0.65), ratio(Case::Plugin, Kind::Envoy)),
        (Case::Chain, "each of ten header plugins adds, µs/request", AtMost(0.8), plugins::each(results, Case::Chain)),
        (Case::Fresh, "a call in a fresh instance adds, µs", AtMost(20.0), plugins::each(results, Case::Fresh)),
        (
            Case::Digest,
            "digest: Odin with six plugins / Envoy and its processor",
            Below(1.0),
            ratio(Case::Digest, Kind::Envoy),
        ),
        (
            Case::Stream,
            "rate that a download keeps through a stream hook",
            AtLeast(0.60),
            results.kept(Case::Stream, odin).map(|kept| kept.median),
        ),
        (
            Case::IdleMemory,
            "a waiting exchange with six plugins, KB",
            AtMost(20.0),
            results.cost(Case::IdleMemory, odin).map(|cost| cost.median),
        ),
        (Case::SteeringOne, "steering to the only port, ns", AtMost(500.0), steering(Target::Port)),
        (Case::Steering, "steering to one of 10,000 ports, ns", AtMost(500.0), steering(Target::Ports)),
        (Case::Steering, "steering to an address of a /16, ns", AtMost(500.0), steering(Target::Network)),
        (
            Case::Steering,
            "farthest of two workers from their mean, any round, %",
            AtMost(5.0),
            largest_spread(results, 2),
        ),
        (
            Case::Steering,
            "farthest of four workers from their mean, any round, %",
            AtMost(5.0),
            largest_spread(results, 4),
        ),
        (
            Case::Ports,
            "10,000 ports added by a reload, until the last serves, ms",
            AtMost(1000.0),
            results.reload(Case::Ports, odin, |reload| Some(reload.added.seen)).map(|seen| seen.median),
        ),
        (Case::Bulk, "TCP bulk: Odin / HAProxy with splice", AtMost(0.60), ratio(Case::Bulk, Kind::Haproxy)),
        (Case::Tls, "TLS 1.3 keep-alive: Odin / nginx", AtMost(0.85), ratio(Case::Tls, Kind::Nginx)),
        (Case::TlsLarge, "TLS 1.3, 64 KiB: Odin / the best of the others", AtMost(0.60), best(Case::TlsLarge)),
        (Case::Handshakes, "TLS handshake: Odin / the best of the others", AtMost(1.10), best(Case::Handshakes)),
        (Case::Resumed, "TLS handshake, resumed: Odin / the best of the others", AtMost(1.0), best(Case::Resumed)),
        (
            Case::IdleTls,
            "an idle TLS connection, KB",
            AtMost(20.0),
            results.cost(Case::IdleTls, odin).map(|cost| cost.median),
        ),
        (
            Case::Passthrough,
            "bulk by SNI: Odin / its plain relay",
            AtMost(1.05),
            results
                .cost(Case::Passthrough, odin)
                .zip(results.cost(Case::Bulk, odin))
                .map(|(sni, plain)| sni.median / plain.median),
        ),
        (Case::PingPong, "TCP ping-pong: Odin / HAProxy", AtMost(1.10), ratio(Case::PingPong, Kind::Haproxy)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;

    #[test]
    fn a_figure_that_only_rounds_to_its_limit_is_a_miss() {
        let sample = |cost, rate| Sample { cost, helper: None, rate, busy: 1.0, others: 0.0, p50: None, p99: None };
        let mut results = Results::new(1);
        results.cases = vec![Case::Http1, Case::Chain, Case::Fresh, Case::Download, Case::Stream];
        results.push(Case::Http1, Kind::Odin, sample(10.0, 1.0));
        results.push(Case::Chain, Kind::Odin, sample(18.004, 1.0));
        results.push(Case::Fresh, Kind::Odin, sample(50.0, 1.0));
        results.push(Case::Download, Kind::Odin, sample(1.0, 1.0));
        results.push(Case::Stream, Kind::Odin, sample(1.0, 0.599));
        let text = table(&results);
        assert!(text.contains("| each of ten header plugins adds, µs/request | ≤ 0.80 | 0.80 | **miss** |"), "{text}");
        assert!(text.contains("| a call in a fresh instance adds, µs | ≤ 20.00 | 20.00 | hit |"), "{text}");
        assert!(
            text.contains("| rate that a download keeps through a stream hook | ≥ 0.60 | 0.60 | **miss** |"),
            "{text}"
        );
        assert!(!text.contains("Lua"), "{text}");
    }
}
