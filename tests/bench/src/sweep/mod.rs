//! The sweep: what a request costs as more of them are open at once, and how many upstream connections are opened for it.
//!
//! Each step starts its proxy anew, so that no step meets the connections that the one before left idle.

pub(crate) mod plot;
pub(crate) mod table;

use anyhow::Result;

use crate::case::{Case, Shape};
use crate::load::Done;
use crate::load::h2load::H2load;
use crate::load::wrk::Wrk;
use crate::peers::{Kind, Setup};
use crate::results::{Results, Sample};
use crate::stats::Summary;

/// The steps. A connection is one request over HTTP/1.1; for HTTP/2 see `connections`.
pub(crate) const AT_ONCE: [usize; 4] = [16, 64, 256, 1024];
/// What a request costs may grow from the first to the second of these.
const GROWTH: (usize, usize) = (64, 1024);
/// The peers that take part.
const PEERS: [Kind; 2] = [Kind::Nginx, Kind::Haproxy];
/// The cases, in the order in which they are shown.
pub(crate) const CASES: [Case; 3] = [Case::SweepHttp1, Case::SweepHttp2, Case::SweepHttp2Upstream];

/// One step of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at_once: usize,
    pub(crate) sample: Sample,
    /// Connections that the backend accepted for each request.
    pub(crate) connects: f64,
}

/// HTTP/2 connections that carry so many requests at once.
fn connections(at_once: usize) -> usize {
    match at_once {
        ..=16 => 4,
        17..=64 => 8,
        65..=256 => 16,
        _ => 64,
    }
}

/// Asks with so many requests at once: for `seconds` over HTTP/1.1, `requests` times over HTTP/2.
pub(crate) fn load(setup: &Setup, at_once: usize, seconds: u64, requests: u64) -> Result<Done> {
    let Setup { listen: port, dir, .. } = *setup;
    if setup.shape == Shape::Http2 {
        let connections = connections(at_once);
        return H2load { port, requests, connections, streams: at_once / connections }.run(dir);
    }
    Wrk { port, connections: at_once, seconds, close: false, put: false, tls: false, path: "/bench" }.run(dir)
}

/// What a request costs at the upper end of `GROWTH` over what it costs at the lower one, in the same round.
fn growth(results: &Results, case: Case, kind: Kind) -> Option<Summary> {
    let costs = |at_once| {
        let steps = results.steps(case, kind)?.iter().filter(move |step| step.at_once == at_once);
        Some(steps.map(|step| step.sample.cost))
    };
    Summary::of(costs(GROWTH.1)?.zip(costs(GROWTH.0)?).map(|(many, few)| many / few))
}

/// Odin's growth over the larger one of nginx and HAProxy. None unless all three were measured.
pub(crate) fn growth_beside_peers(results: &Results, case: Case) -> Option<f64> {
    let [nginx, haproxy] = PEERS.map(|peer| growth(results, case, peer));
    Some(growth(results, case, Kind::Odin)?.median / nginx?.median.max(haproxy?.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_as_many_streams_as_it_says() {
        for at_once in AT_ONCE {
            assert_eq!(at_once % connections(at_once), 0);
            // No proxy allows more than 100 by default.
            assert!(at_once / connections(at_once) <= 100);
        }
    }

    #[test]
    fn growth_is_taken_within_rounds_and_beside_the_larger_of_the_peers() {
        let mut results = Results::new(2);
        let mut push = |kind, rounds: [(f64, f64); 2]| {
            for (few, many) in rounds {
                for (at_once, cost) in [(64, few), (1024, many)] {
                    results.push_step(
                        Case::SweepHttp1,
                        kind,
                        Step { at_once, sample: Sample::of(cost), connects: 0.0 },
                    );
                }
            }
        };
        push(Kind::Odin, [(10.0, 12.0), (20.0, 24.0)]);
        push(Kind::Nginx, [(10.0, 11.0), (10.0, 11.0)]);
        push(Kind::Haproxy, [(5.0, 8.0), (10.0, 16.0)]);
        assert_eq!(growth(&results, Case::SweepHttp1, Kind::Odin).map(|growth| growth.median), Some(1.2));
        assert_eq!(growth_beside_peers(&results, Case::SweepHttp1), Some(1.2 / 1.6));
        results.fail(Case::SweepHttp1, Kind::Nginx, "refused".to_owned());
        assert_eq!(growth_beside_peers(&results, Case::SweepHttp1), None);
    }
}
