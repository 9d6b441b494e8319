//! What a balancer is told, and what it costs nobody: the answers against those of a plain walk, trials, reloads.

use std::collections::BTreeMap;
use std::sync::Arc;

use odin_chain::Endpoints;

use super::*;
use crate::transport::connector::Protocol;
use crate::upstream::candidates::take_turn;
use crate::upstream::health::Standing;

fn cluster(weights: &[u32]) -> Arc<Cluster> {
    Arc::new(Cluster::new("c", endpoints(weights), None, Protocol::Http1, 1))
}

fn endpoints(weights: &[u32]) -> impl Iterator<Item = (std::net::SocketAddr, u32)> {
    (1..).zip(weights).map(|(port, weight)| (([127, 0, 0, 1], port).into(), *weight))
}

fn fail(cluster: &Cluster, index: usize) {
    cluster.connect_failed(index, cluster.begin(index, 0));
}

/// As if the endpoint's penalty were over.
fn forgive_in_part(cluster: &Cluster, index: usize) {
    cluster.health(index).expire(u64::MAX);
}

#[test]
fn failed_and_unhealthy_endpoints_are_not_eligible() {
    let cluster = cluster(&[1, 1, 1]);
    let all = Candidates::all(cluster.clone());
    assert_eq!((all.eligible_len(), all.nth_eligible(2), all.nth_eligible(3)), (3, Some(2), None));
    fail(&cluster, 0);
    assert_eq!((all.eligible_len(), all.nth_eligible(0), all.eligible(0)), (2, Some(1), false));
    let rest = Candidates::without(cluster.clone(), &[1]);
    assert_eq!((rest.eligible_len(), rest.nth_eligible(0)), (1, Some(2)));
    fail(&cluster, 1);
    fail(&cluster, 2);
    assert_eq!(all.eligible_len(), 3, "a guess beats a certain failure");
    (0..3).for_each(|index| cluster.connected(index));
    assert!(cluster.eligible.all_fine());
}

/// The next of a sequence that looks random and is the same each time.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// What a walk over all endpoints finds eligible.
fn walked(cluster: &Cluster, tried: &[u32]) -> Vec<u32> {
    let untried: Vec<u32> = (0..cluster.endpoints.len() as u32).filter(|index| !tried.contains(index)).collect();
    let standing = |index: &u32| cluster.health(*index as usize).standing();
    let of = |wanted: &dyn Fn(Standing) -> bool| -> Vec<u32> {
        untried.iter().copied().filter(|index| wanted(standing(index))).collect()
    };
    let fine = of(&|standing| standing == Standing::Fine);
    let open = of(&|standing| !matches!(standing, Standing::Out { .. }));
    match (tried.is_empty(), fine.is_empty(), open.is_empty()) {
        (false, false, _) => fine,
        (_, _, false) => open,
        _ => untried,
    }
}

#[test]
fn the_answers_are_those_of_a_walk_over_all_endpoints() {
    let mut state = 7;
    for weights in [vec![1; 1], vec![3; 9], vec![1, 2, 3], (1..=33).collect(), vec![65_535, 1, 1, 9]] {
        let n = weights.len() as u64;
        let cluster = cluster(&weights);
        for _ in 0..400 {
            let index = (next(&mut state) % n) as usize;
            match next(&mut state) % 5 {
                0 | 1 => fail(&cluster, index),
                2 => forgive_in_part(&cluster, index),
                3 => drop(cluster.health(index).try_out()),
                _ => cluster.connected(index),
            }
            let mut tried: Vec<u32> = (0..next(&mut state) % 4).map(|_| (next(&mut state) % n) as u32).collect();
            tried.sort_unstable();
            tried.dedup();
            let expected = walked(&cluster, &tried);
            let candidates = Candidates::without(cluster.clone(), &tried);
            assert_eq!(candidates.eligible_len() as usize, expected.len());
            let nth: Vec<u32> = (0..).map_while(|n| candidates.nth_eligible(n)).collect();
            assert_eq!(nth, expected);
            let eligible: Vec<u32> = (0..n as u32 + 1).filter(|index| candidates.eligible(*index)).collect();
            assert_eq!(eligible, expected);
            let mut point = 0;
            for index in expected {
                let weight = u64::from(weights[index as usize]);
                assert_eq!(candidates.nth_by_weight(point), Some(index));
                assert_eq!(candidates.nth_by_weight(point + weight - 1), Some(index));
                point += weight;
            }
            assert_eq!((candidates.eligible_weight(), candidates.nth_by_weight(point)), (point, None));
        }
    }
}

fn shares(cluster: &Arc<Cluster>, turns: u64) -> BTreeMap<u32, u64> {
    let mut shares = BTreeMap::new();
    for _ in 0..turns {
        *shares.entry(take_turn(cluster).unwrap()).or_default() += 1;
    }
    shares
}

#[test]
fn the_built_in_turn_goes_by_weight() {
    let cluster = cluster(&[3, 1, 2]);
    assert_eq!(shares(&cluster, 600), BTreeMap::from([(0, 300), (1, 100), (2, 200)]));
    fail(&cluster, 0);
    assert_eq!(shares(&cluster, 600), BTreeMap::from([(1, 200), (2, 400)]));
    fail(&cluster, 1);
    fail(&cluster, 2);
    assert_eq!(shares(&cluster, 600), BTreeMap::from([(0, 300), (1, 100), (2, 200)]), "all failed: none is better");
}

#[test]
fn one_burst_of_failures_is_one_failure() {
    let cluster = cluster(&[1, 1]);
    let burst = [(); 6].map(|()| cluster.begin(0, 0));
    burst.into_iter().for_each(|began| cluster.connect_failed(0, began));
    let Standing::Out { until } = cluster.health(0).standing() else { panic!("it failed") };
    assert!(until <= crate::transport::clock::millis() + 1_000, "the first penalty is a second");
    fail(&cluster, 0);
    let Standing::Out { until: doubled } = cluster.health(0).standing() else { panic!("it failed again") };
    assert!(doubled > until + 500, "an attempt that began after the penalty counts");
}

#[test]
fn after_its_penalty_one_exchange_tries_an_endpoint() {
    let cluster = cluster(&[1, 1]);
    let all = Candidates::all(cluster.clone());
    fail(&cluster, 0);
    forgive_in_part(&cluster, 0);
    assert_eq!(all.eligible_len(), 2);
    let retry = Candidates::without(cluster.clone(), &[]);
    assert!(retry.eligible(0));
    assert!(cluster.health(0).try_out(), "the first that picks it");
    assert!(!cluster.health(0).try_out(), "and no other");
    assert_eq!((all.eligible_len(), all.eligible(0)), (1, false));
    cluster.health(0).end_trial();
    assert!(all.eligible(0), "the client went away before anything was known");
    assert!(cluster.health(0).try_out());
    cluster.connected(0);
    cluster.health(0).end_trial();
    assert!(cluster.eligible.all_fine());
}

#[test]
fn a_retry_goes_to_endpoints_that_are_fine() {
    let cluster = cluster(&[1, 1, 1, 1]);
    (0..2).for_each(|index| fail(&cluster, index));
    (0..2).for_each(|index| forgive_in_part(&cluster, index));
    let retry = Candidates::without(cluster.clone(), &[2]);
    assert_eq!((retry.eligible_len(), retry.nth_eligible(0)), (1, Some(3)));
    let nothing_better = Candidates::without(cluster.clone(), &[2, 3]);
    assert_eq!((nothing_better.eligible_len(), nothing_better.nth_eligible(0)), (2, Some(0)));
}

#[test]
fn an_endpoint_that_hangs_comes_back_with_an_answer() {
    let cluster = cluster(&[1, 1]);
    let began = cluster.begin(0, 0);
    cluster.answered(0, 0);
    cluster.timed_out(0, 0, began);
    assert!(cluster.eligible.all_fine(), "it answered another meanwhile");
    cluster.timed_out(0, 0, cluster.begin(0, 0));
    cluster.connected(0);
    assert!(!cluster.endpoints[0].healthy(), "that it takes connections was never in doubt");
    cluster.answered(0, 0);
    assert!(cluster.eligible.all_fine());
}

#[test]
fn what_the_clusters_before_and_after_a_reload_learn_both_know() {
    let before = cluster(&[1, 1, 1]);
    fail(&before, 1);
    let turned = endpoints(&[1, 1, 1]).skip(1).map(|(address, _)| (address, 5));
    let after = Arc::new(Cluster::new("c", turned, None, Protocol::Http1, 1).after(&before));
    let (old, new) = (Candidates::all(before.clone()), Candidates::all(after.clone()));
    assert_eq!((new.eligible_len(), new.eligible_weight(), new.nth_eligible(0)), (1, 5, Some(1)));
    after.connected(0);
    assert_eq!((old.eligible_len(), new.eligible_len()), (3, 2));
    fail(&before, 2);
    fail(&before, 0);
    assert_eq!((old.nth_eligible(0), old.eligible_len()), (Some(1), 1));
    assert_eq!((new.nth_eligible(0), new.eligible_len()), (Some(0), 1));
}
