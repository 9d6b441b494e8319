//! State that outlives an exchange, one copy for all workers and generations of a plugin.
//! Counters take no lock; a value takes the lock of its shard for as long as it is copied.

mod counters;
mod space;

pub(crate) use counters::Opened;
pub(crate) use space::{Condition, Owner, Refused, Space, Spaces};
