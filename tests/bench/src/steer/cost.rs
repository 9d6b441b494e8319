//! The cases `steering-one` and `steering`: what the program costs a new connection, by the kernel's own account, and how
//! evenly it shares connections out among the workers, by Odin's.
//!
//! A connection that did not arrive fails the case: figures must be those of all that were made.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result, bail};

use super::{Counting, PORTS, admin, many};
use crate::case::Case;
use crate::load::visits::{self, Dice};
use crate::options::Options;
use crate::peers::{ForOdin, Installed, Running, Setup};

/// Numbers of workers, one run each.
pub(super) const WORKERS: [usize; 2] = [2, 4];
/// So many that chance alone leaves four workers within 3 % of their mean, and thirty-two with less than 5 %. Not fewer in a
/// quick run: it would miss the limit by chance.
const CONNECTIONS: usize = 40_000;
const WARM_UP: usize = 2000;
/// The network that is steered beside the ports.
const NETWORK: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 0);
const NETWORK_PORT: u16 = 1999;

/// Where the connections of a run go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To the only port.
    Port,
    /// To one of the many ports, another each time.
    Ports,
    /// To one of the addresses of the network, another each time.
    Network,
}

/// One run with so many workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steered {
    pub(crate) target: Target,
    pub(crate) workers: usize,
    /// Time of the program for each of its runs, of which a new connection takes one.
    pub(crate) nanos: f64,
    /// Distance of the worker farthest from the mean, in percent of the mean.
    pub(crate) spread: f64,
}

/// Makes the runs for each number of workers. `setup` has the listener and the admin pages.
pub(crate) fn measure(case: Case, options: &Options, proxy: &Installed, setup: Setup) -> Result<Vec<Steered>> {
    let (mut more, mut targets) = (Vec::new(), vec![Target::Port]);
    if case == Case::Steering {
        more = many();
        more.push(format!("{NETWORK}/16:{NETWORK_PORT}"));
        targets = vec![Target::Ports, Target::Network];
    }
    let _counting = Counting::start()?;
    let mut runs = Vec::new();
    for workers in WORKERS {
        let setup = Setup { more: &more, odin: ForOdin { workers, ..setup.odin }, ..setup };
        let proxy = Running::start(proxy, &setup, options.proxy_cpu())?;
        for target in &targets {
            runs.push(one(*target, &setup, &proxy)?);
        }
    }
    Ok(runs)
}

fn one(target: Target, setup: &Setup, proxy: &Running) -> Result<Steered> {
    let port = setup.odin.admin.context("no admin pages to ask")?;
    let draw = |dice: &mut Dice| target.draw(setup.listen, dice);
    visits::run(WARM_UP, draw).with_context(|| proxy.explain("failed under the warm-up"))?;
    let before = admin::listeners(port)?;
    visits::run(CONNECTIONS, draw).with_context(|| proxy.explain("failed under the load"))?;
    let after = admin::listeners(port)?;

    let accepted: Vec<u64> = after.accepted.iter().zip(&before.accepted).map(|(now, then)| now - then).collect();
    let runs = after.runs - before.runs;
    if accepted.iter().sum::<u64>() != CONNECTIONS as u64 || runs < CONNECTIONS as u64 {
        bail!("of {CONNECTIONS} connections the workers accepted {accepted:?} and the program saw {runs}");
    }
    Ok(Steered {
        target,
        workers: setup.odin.workers,
        nanos: (after.nanos - before.nanos) as f64 / runs as f64,
        spread: spread(&accepted),
    })
}

impl Target {
    fn draw(self, listen: u16, dice: &mut Dice) -> SocketAddrV4 {
        match self {
            Target::Port => SocketAddrV4::new(Ipv4Addr::LOCALHOST, listen),
            Target::Ports => {
                let place = dice.below(u32::from(PORTS.end - PORTS.start)) as u16;
                SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORTS.start + place)
            }
            Target::Network => {
                SocketAddrV4::new(Ipv4Addr::from(u32::from(NETWORK) | dice.below(1 << 16)), NETWORK_PORT)
            }
        }
    }
}

fn spread(accepted: &[u64]) -> f64 {
    let mean = accepted.iter().sum::<u64>() as f64 / accepted.len() as f64;
    accepted.iter().map(|count| (*count as f64 - mean).abs() / mean * 100.0).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_worker_farthest_from_the_mean_counts_on_either_side() {
        assert!((spread(&[100, 100, 112, 88]) - 12.0).abs() < 1e-9);
        assert!((spread(&[90, 105, 105]) - 10.0).abs() < 1e-9);
        assert_eq!(spread(&[7, 7]), 0.0);
    }

    #[test]
    fn draws_are_configured_and_many() {
        let mut dice = Dice::new(1);
        let mut draws = |target: Target| (0..20_000).map(|_| target.draw(12_001, &mut dice)).collect::<BTreeSet<_>>();
        assert_eq!(
            draws(Target::Port).into_iter().collect::<Vec<_>>(),
            [SocketAddrV4::new(Ipv4Addr::LOCALHOST, 12_001)]
        );
        let ports = draws(Target::Ports);
        assert!(ports.len() > 8000 && ports.iter().all(|to| to.ip().is_loopback() && PORTS.contains(&to.port())));
        let network = draws(Target::Network);
        let is_inside = |to: &SocketAddrV4| to.ip().octets().starts_with(&[127, 77]) && to.port() == NETWORK_PORT;
        assert!(network.len() > 16_000 && network.iter().all(is_inside));
    }
}
