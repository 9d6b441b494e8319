//! What a balancer often asks of its endpoints beyond the single getters of `wit/types.wit`.
//!
//! Each helper asks the host once or twice for each endpoint, and allocates nothing.

use crate::Endpoints;
use crate::weights::{Weights, holder};

impl Endpoints {
    /// The indices of the eligible endpoints, in order. Asks the host as it goes.
    ///
    /// `endpoints.iter_eligible().min_by_key(|index| endpoints.active_requests(*index))` is least-requests.
    pub fn iter_eligible(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len()).filter(|index| self.eligible(*index))
    }

    /// The weights of the eligible endpoints, summed up.
    pub fn weights(&self) -> Weights {
        if self.uniform() {
            return Weights::even(self.eligible_len());
        }
        Weights::sum(self.iter_eligible().map(|index| self.weight(index)))
    }

    /// The eligible endpoint whose share of the total weight holds `share`, which runs from 0 to [`Weights::total`].
    /// `None` when no endpoint is eligible.
    ///
    /// A uniformly random `share` makes a weighted random pick, [`Weights::spread`] a weighted round robin.
    pub fn nth_by_weight(&self, share: u64) -> Option<u32> {
        // Health may change between two calls: then a share can lie past the end, and the first will do.
        holder(self.iter_eligible().map(|index| (index, self.weight(index))), share).or_else(|| self.nth_eligible(0))
    }
}
