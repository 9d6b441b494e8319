//! The endpoints that `pick` chooses from, and what a balancer often asks beyond the single getters.
//!
//! Nothing here but [`Endpoints::iter_eligible`] asks about endpoints one by one, and only [`Endpoints::address`]
//! allocates.

use crate::host::endpoints as host;
use crate::weights::Weights;
use crate::{Request, heads};

/// What an endpoint is picked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// One exchange: its request can be read, see [`Subject::request`].
    Request,
    /// One TCP connection.
    Connection,
}

impl Subject {
    /// The head of the request; `None` for a TCP connection. Read-only.
    pub fn request(self) -> Option<&'static Request> {
        (self == Self::Request).then_some(heads::REQUEST)
    }
}

/// The endpoints of the cluster, by index. Index and order stay the same until the config changes.
///
/// ```
/// # use odin_sdk::Endpoints;
/// fn least_requests(endpoints: &Endpoints) -> Option<u32> {
///     endpoints.iter_eligible().min_by_key(|index| endpoints.active_requests(*index))
/// }
/// ```
#[derive(Debug)]
pub struct Endpoints(());

pub(crate) const ENDPOINTS: &Endpoints = &Endpoints(());

#[allow(clippy::len_without_is_empty, reason = "a cluster has endpoints; whether one is eligible is the question")]
impl Endpoints {
    /// How many there are, eligible or not.
    pub fn len(&self) -> u32 {
        host::len()
    }

    /// How many are eligible.
    pub fn eligible_len(&self) -> u32 {
        host::eligible_len()
    }

    /// The index of the `n`-th eligible endpoint, counted from zero; `None` when there are fewer.
    pub fn nth_eligible(&self, n: u32) -> Option<u32> {
        host::nth_eligible(n)
    }

    /// The weights of the eligible endpoints, summed up.
    pub fn eligible_weight(&self) -> u64 {
        host::eligible_weight()
    }

    /// The cluster's turn: every call takes one, from all workers and plugins, and none gets the same twice.
    pub fn turn(&self) -> u64 {
        host::turn()
    }

    /// True when all endpoints have the same weight.
    pub fn uniform(&self) -> bool {
        host::uniform()
    }

    /// True unless the endpoint is unhealthy or has already failed for this exchange.
    pub fn eligible(&self, index: u32) -> bool {
        host::eligible(index)
    }

    /// `192.0.2.1:80`. An index past the end traps, here and below.
    pub fn address(&self, index: u32) -> String {
        host::address(index)
    }

    /// The weight from the config; 1 unless set.
    pub fn weight(&self, index: u32) -> u32 {
        host::weight(index)
    }

    /// False after a connect failed or a response did not come in time, until it may be tried again.
    pub fn healthy(&self, index: u32) -> bool {
        host::healthy(index)
    }

    /// Exchanges and connections that are open to it now, from all workers.
    pub fn active_requests(&self, index: u32) -> u32 {
        host::active_requests(index)
    }

    /// The indices of the eligible endpoints, in order. Asks the host as it goes.
    pub fn iter_eligible(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len()).filter(|index| self.eligible(*index))
    }

    /// The weights of the eligible endpoints, to be shared out in turns. One question to the host.
    pub fn weights(&self) -> Weights {
        Weights { total: self.eligible_weight() }
    }

    /// The eligible endpoint whose share of the total weight holds `share`, which runs from 0 to [`Weights::total`].
    /// `None` when no endpoint is eligible.
    ///
    /// A uniformly random `share` makes a weighted random pick, [`Weights::spread`] a weighted round robin.
    pub fn nth_by_weight(&self, share: u64) -> Option<u32> {
        // Health may change between two calls: then a share can lie past the end, and the first will do.
        host::nth_by_weight(share).or_else(|| self.nth_eligible(0))
    }
}
