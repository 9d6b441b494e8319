//! What was measured: every sample of every case and proxy, and what can be asked of them.
//!
//! It keeps failures beside figures: a proxy that failed a case must show up as failed, not as absent.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::load::Done;
use crate::peers::{Installed, Kind, Used};
use crate::stats::Summary;
use crate::steer::cost::Steered;
use crate::steer::ports::Reload;
use crate::sweep::Step;

/// One measured run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU time of the proxy per operation, its helper's too, in the case's unit. Memory where that is measured.
    pub(crate) cost: f64,
    /// The helper's part of it.
    pub(crate) helper: Option<f64>,
    /// Operations a second, in the case's unit.
    pub(crate) rate: f64,
    /// Share of its CPU that the proxy used, 0 to 1.
    pub(crate) busy: f64,
    /// Share of that CPU that everything else used meanwhile.
    pub(crate) others: f64,
    /// Microseconds.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Sample {
    pub(crate) fn new(case: Case, used: Used, others_nanos: u64, done: Done) -> Sample {
        let operations = done.operations as f64 / if case.counts_bytes() { 1e9 } else { 1.0 };
        let each = |amount: u64| amount as f64 / case.unit_size() / operations;
        let cpu = used.sum();
        Sample {
            cost: each(if case.is_memory() { done.grown.unwrap_or(0) } else { cpu }),
            helper: used.helper.map(each),
            rate: operations / done.seconds,
            busy: cpu as f64 / 1e9 / done.seconds,
            others: others_nanos as f64 / 1e9 / done.seconds,
            p50: done.p50,
            p99: done.p99,
        }
    }

    /// A sample of nothing but a cost.
    #[cfg(test)]
    pub(crate) fn of(cost: f64) -> Sample {
        Sample { cost, helper: None, rate: 1.0, busy: 1.0, others: 0.0, p50: None, p99: None }
    }
}

/// All of a run of the benchmark.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) cases: Vec<Case>,
    /// The proxies that take part, the missing ones too.
    pub(crate) proxies: Vec<(Kind, Option<Installed>)>,
    pub(crate) rounds: usize,
    samples: BTreeMap<(Case, Kind), Vec<Sample>>,
    /// What steering did, by case.
    steered: BTreeMap<Case, Vec<Steered>>,
    /// How long reloads took.
    reloads: BTreeMap<(Case, Kind), Vec<Reload>>,
    /// What requests cost as more of them were open at once: all steps of all rounds.
    steps: BTreeMap<(Case, Kind), Vec<Step>>,
    failures: BTreeMap<(Case, Kind), String>,
}

impl Results {
    pub(crate) fn new(rounds: usize) -> Results {
        Results { rounds, ..Results::default() }
    }

    pub(crate) fn push(&mut self, case: Case, kind: Kind, sample: Sample) {
        self.samples.entry((case, kind)).or_default().push(sample);
    }

    pub(crate) fn push_steered(&mut self, case: Case, steered: Steered) {
        self.steered.entry(case).or_default().push(steered);
    }

    pub(crate) fn push_reload(&mut self, case: Case, kind: Kind, reload: Reload) {
        self.reloads.entry((case, kind)).or_default().push(reload);
    }

    pub(crate) fn push_step(&mut self, case: Case, kind: Kind, step: Step) {
        self.steps.entry((case, kind)).or_default().push(step);
    }

    pub(crate) fn fail(&mut self, case: Case, kind: Kind, why: String) {
        self.failures.insert((case, kind), why);
    }

    pub(crate) fn failure(&self, case: Case, kind: Kind) -> Option<&str> {
        self.failures.get(&(case, kind)).map(String::as_str)
    }

    pub(crate) fn any_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// None after a failure, or when nothing was measured.
    pub(crate) fn samples(&self, case: Case, kind: Kind) -> Option<&[Sample]> {
        // Odin adds the forwarding fields in every case: one figure stands for both.
        let case = if (case, kind) == (Case::Forwarded, Kind::Odin) { Case::Http1 } else { case };
        if self.failures.contains_key(&(case, kind)) {
            return None;
        }
        self.samples.get(&(case, kind)).map(Vec::as_slice)
    }

    pub(crate) fn cost(&self, case: Case, kind: Kind) -> Option<Summary> {
        self.median(case, kind, |sample| Some(sample.cost))
    }

    pub(crate) fn median(&self, case: Case, kind: Kind, part: impl Fn(&Sample) -> Option<f64>) -> Option<Summary> {
        Summary::of(self.samples(case, kind)?.iter().filter_map(part))
    }

    /// Some part of what steering did. None after a failure, or when nothing was measured.
    pub(crate) fn steered(&self, case: Case, part: impl Fn(&Steered) -> Option<f64>) -> Option<Summary> {
        if self.failure(case, Kind::Odin).is_some() {
            return None;
        }
        Summary::of(self.steered.get(&case)?.iter().filter_map(part))
    }

    /// Some part of how long reloads took. None after a failure, or when nothing was measured.
    pub(crate) fn reload(&self, case: Case, kind: Kind, part: impl Fn(&Reload) -> Option<f64>) -> Option<Summary> {
        if self.failure(case, kind).is_some() {
            return None;
        }
        Summary::of(self.reloads.get(&(case, kind))?.iter().filter_map(part))
    }

    /// All steps of a sweep. None after a failure, or when nothing was measured.
    pub(crate) fn steps(&self, case: Case, kind: Kind) -> Option<&[Step]> {
        if self.failure(case, kind).is_some() {
            return None;
        }
        self.steps.get(&(case, kind)).map(Vec::as_slice)
    }

    /// Some part of one step of a sweep.
    pub(crate) fn step(&self, case: Case, kind: Kind, at_once: usize, part: impl Fn(&Step) -> f64) -> Option<Summary> {
        Summary::of(self.steps(case, kind)?.iter().filter(|step| step.at_once == at_once).map(part))
    }

    /// Share of the proxies' CPU that other programs used in each run.
    pub(crate) fn others(&self) -> Option<Summary> {
        let steps = self.steps.values().flatten().map(|step| &step.sample);
        Summary::of(self.samples.values().flatten().chain(steps).map(|sample| sample.others))
    }

    /// What a case costs more than its base, round by round.
    pub(crate) fn added(&self, case: Case, kind: Kind) -> Option<Summary> {
        let base = self.samples(case.base()?, kind)?;
        Summary::of(self.samples(case, kind)?.iter().zip(base).map(|(with, without)| with.cost - without.cost))
    }

    /// What a case keeps of its base's rate, round by round, 0 to 1.
    pub(crate) fn kept(&self, case: Case, kind: Kind) -> Option<Summary> {
        let base = self.samples(case.base()?, kind)?;
        Summary::of(self.samples(case, kind)?.iter().zip(base).map(|(with, without)| with.rate / without.rate))
    }

    /// A case's cost over that of its base, round by round.
    pub(crate) fn over_base(&self, case: Case, kind: Kind) -> Option<Summary> {
        let base = self.samples(case.base()?, kind)?;
        Summary::of(self.samples(case, kind)?.iter().zip(base).map(|(with, without)| with.cost / without.cost))
    }

    /// Odin's cost over that of another and its helper, medians.
    pub(crate) fn ratio(&self, case: Case, to: Kind) -> Option<f64> {
        Some(self.cost(case, Kind::Odin)?.median / self.cost(case, to)?.median)
    }

    /// What the proxy itself costs, without its helper.
    pub(crate) fn alone(&self, case: Case, kind: Kind) -> Option<Summary> {
        self.median(case, kind, |sample| Some(sample.cost - sample.helper.unwrap_or(0.0)))
    }

    pub(crate) fn helper(&self, case: Case, kind: Kind) -> Option<Summary> {
        self.median(case, kind, |sample| sample.helper)
    }
}
