//! The order of the runs: round by round, and in each round one proxy after the other.
//!
//! Interleaving spreads whatever else the machine does over all of them alike. Every run starts its proxy anew and must not
//! share it with the next.

use std::cell::Cell;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::case::{Case, Measure, Shape, Steering};
use crate::cpu;
use crate::load::h2load::H2load;
use crate::load::wrk::Wrk;
use crate::load::{Done, download, tcp, tls, waiting};
use crate::options::Options;
use crate::origin::{LARGE, Origin};
use crate::peers::{ForOdin, Installed, Kind, Running, Setup, Used};
use crate::results::{Results, Sample};
use crate::sandbox::Inside;
use crate::steer::{self, Counting};
use crate::sweep;

/// Long enough for a proxy to have closed what the load left, and for the scheduler to have written its account.
const SETTLE: Duration = Duration::from_millis(30);
/// Exchanges that wait at the same time, each with two connections at the proxy.
const WAITING: usize = 2000;

/// Runs everything that was asked for. A proxy that fails a case is out of that case only.
pub(crate) fn all(options: &Options, inside: &Inside) -> Result<Results> {
    let mut results = Results::new(options.rounds());
    for kind in Kind::ALL.into_iter().filter(|kind| options.wants_peer(*kind)) {
        let found = kind.find()?;
        match &found {
            Some(proxy) => eprintln!("{} {}: {}", kind.name(), proxy.version, proxy.binary.display()),
            None => eprintln!("{} {}", kind.name(), kind.install_hint()),
        }
        results.proxies.push((kind, found));
    }
    // Left out aloud rather than failed: all else can be measured without.
    let no_steering = Counting::start().err();
    if let Some(error) = &no_steering {
        eprintln!("odin-bench: nothing is measured that needs steering, for which it has to be root: {error:#}");
    }
    let bench = Bench { options, inside, origin: Origin::start()? };
    for group in Case::GROUPS {
        let cases: Vec<Case> = group
            .iter()
            .copied()
            .filter(|case| case.steering() != Steering::Bpf || no_steering.is_none())
            .filter(|case| results.proxies.iter().any(|(kind, _)| options.wants(*case, *kind)))
            .collect();
        results.cases.extend(&cases);
        for round in 1..=options.rounds() {
            for case in &cases {
                bench.round(*case, round, &mut results);
            }
        }
    }
    Ok(results)
}

struct Bench<'a> {
    options: &'a Options,
    inside: &'a Inside,
    origin: Origin,
}

impl Bench<'_> {
    fn round(&self, case: Case, round: usize, results: &mut Results) {
        let proxies: Vec<Installed> = results.proxies.iter().filter_map(|(_, found)| found.clone()).collect();
        for proxy in proxies {
            let kind = proxy.kind;
            let is_out = !self.options.wants(case, kind) || results.failure(case, kind).is_some();
            if is_out || (case, kind) == (Case::Forwarded, Kind::Odin) {
                continue;
            }
            let said = format!("{:<11} {round}/{} {:<7}", case.name(), self.options.rounds(), kind.name());
            match self.measure(case, &proxy, results) {
                Ok(figures) => eprintln!("{said} {figures}"),
                Err(error) => {
                    eprintln!("{said} failed: {error:#}");
                    results.fail(case, kind, format!("{error:#}"));
                }
            }
        }
    }

    /// Measures once, keeps the figures, and puts them into words.
    fn measure(&self, case: Case, proxy: &Installed, results: &mut Results) -> Result<String> {
        let kind = proxy.kind;
        let dir = self.inside.dir.join(format!("{}-{}", case.name(), kind.name().to_lowercase()));
        fs::create_dir_all(&dir)?;
        let listen = self.inside.free_port()?;
        let admin = match case.measure() {
            Measure::Load | Measure::Sweep => None,
            Measure::Steering | Measure::Reload => Some(self.inside.free_port_above(listen)?),
        };
        let http2_upstream = case == Case::SweepHttp2Upstream;
        let setup = Setup {
            shape: case.shape(),
            variant: case.variant(),
            listen,
            more: &[],
            odin: ForOdin { steering: case.steering(), admin, http2_upstream, ..ForOdin::default() },
            upstream: match case {
                Case::Bulk | Case::Passthrough => self.origin.sink,
                Case::PingPong => self.origin.echo,
                Case::Download | Case::Stream => self.origin.download,
                Case::SweepHttp2Upstream => self.origin.http2,
                _ => self.origin.http,
            },
            uncapped_pool: case.measure() == Measure::Sweep,
            dir: &dir,
        };
        Ok(match case.measure() {
            Measure::Load => {
                let sample =
                    self.spent(case, proxy, &setup, |running, warm_up| self.load(case, &setup, running, warm_up))?;
                results.push(case, kind, sample);
                format!(
                    "{:>8.2} {} at {:.1} {}, {:.0} % busy, others {:.0} %",
                    sample.cost,
                    case.unit(),
                    sample.rate,
                    case.rate_unit(),
                    sample.busy * 100.0,
                    sample.others * 100.0
                )
            }
            Measure::Sweep => {
                let steps = sweep::AT_ONCE.map(|at_once| self.step(case, proxy, &setup, at_once));
                let steps = steps.into_iter().collect::<Result<Vec<_>>>()?;
                steps.iter().for_each(|step| results.push_step(case, kind, *step));
                sweep::table::said(&steps)
            }
            Measure::Steering => {
                let runs = steer::cost::measure(case, self.options, proxy, setup)?;
                runs.iter().for_each(|run| results.push_steered(case, *run));
                steer::table::said(&runs)
            }
            Measure::Reload => {
                let reload = steer::ports::measure(self.options, proxy, setup)?;
                results.push_reload(case, kind, reload);
                format!("{:>8.2} ms to add, {:.2} ms to remove", reload.added.seen, reload.removed.seen)
            }
        })
    }

    /// One step of a sweep.
    fn step(&self, case: Case, proxy: &Installed, setup: &Setup, at_once: usize) -> Result<sweep::Step> {
        let setup = Setup { listen: self.inside.free_port()?, ..*setup };
        let connects = Cell::new(0.0);
        let sample = self.spent(case, proxy, &setup, |_, warm_up| {
            let before = self.origin.accepted();
            let done = sweep::load(&setup, at_once, self.seconds(warm_up), self.amount(80_000, warm_up))?;
            connects.set((self.origin.accepted() - before) as f64 / done.operations as f64);
            Ok(done)
        })?;
        Ok(sweep::Step { at_once, sample, connects: connects.get() })
    }

    /// What the proxy spends under a load, which is told whether it is the warm-up.
    fn spent(
        &self,
        case: Case,
        proxy: &Installed,
        setup: &Setup,
        load: impl Fn(&Running, bool) -> Result<Done>,
    ) -> Result<Sample> {
        let proxy = Running::start(proxy, setup, self.options.proxy_cpu())?;
        load(&proxy, true).with_context(|| proxy.explain("failed under the warm-up"))?;
        thread::sleep(SETTLE);
        let (before, machine) = (proxy.used()?, cpu::busy_nanos(self.options.proxy_cpu()));
        let done = load(&proxy, false).with_context(|| proxy.explain("failed under the load"))?;
        thread::sleep(SETTLE);
        let used = proxy.used()?.since(before);
        if matches!(used, Used { proxy: 0, .. } | Used { helper: Some(0), .. }) {
            bail!(proxy.explain("or its helper seems to have used no CPU at all: its account was not found"));
        }
        let machine =
            cpu::busy_nanos(self.options.proxy_cpu()).zip(machine).map_or(0, |(after, before)| after - before);
        Ok(Sample::new(case, used, machine.saturating_sub(used.sum()), done))
    }

    fn amount(&self, full: u64, warm_up: bool) -> u64 {
        if warm_up { self.options.scale(full) / 10 } else { self.options.scale(full) }
    }

    fn seconds(&self, warm_up: bool) -> u64 {
        if warm_up { 1 } else { self.options.seconds() }
    }

    fn load(&self, case: Case, setup: &Setup, proxy: &Running, warm_up: bool) -> Result<Done> {
        let port = setup.listen;
        let (amount, seconds) = (|full| self.amount(full, warm_up), self.seconds(warm_up));
        match (case, setup.shape) {
            (Case::Bulk, _) => tcp::bulk(port, 4, amount(5_000_000_000), &[]),
            (Case::Passthrough, _) => tcp::bulk(port, 4, amount(5_000_000_000), &tls::hello()?),
            (Case::Handshakes | Case::Resumed, _) => tls::handshakes(port, seconds, case == Case::Resumed),
            (Case::IdleTls, _) => {
                let count = if warm_up { WAITING / 100 } else { WAITING };
                tls::idle(port, count, || proxy.resident_bytes())
            }
            (Case::PingPong, _) => tcp::ping_pong(port, 16, amount(120_000)),
            (Case::Download | Case::Stream, _) => download::run(port, 4, seconds),
            (Case::IdleBare | Case::IdleMemory, _) => {
                // Few: what they free again would serve for those that are measured.
                let count = if warm_up { WAITING / 100 } else { WAITING };
                waiting::run(port, &self.origin.stalled, count, || proxy.resident_bytes())
            }
            (_, Shape::Http2) => H2load { port, requests: amount(80_000), connections: 8, streams: 8 }.run(setup.dir),
            _ => {
                let close = matches!(case, Case::Connections | Case::Bound | Case::Steered);
                let put = case == Case::Digest;
                let (tls, path) = (setup.shape == Shape::Https, if case == Case::TlsLarge { LARGE } else { "/bench" });
                Wrk { port, connections: 32, seconds, close, put, tls, path }.run(setup.dir)
            }
        }
    }
}
