//! The ABI of `odin:plugin`: a component that exports its interfaces.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod functions;
