//! Memory and tables of one instance, counted and capped as they grow.
//! Must remember a refusal, so that the trap that follows is reported as what it is.

use wasmtime::ResourceLimiter;

use crate::spec::Limits;

/// See the module.
pub(crate) struct Meter {
    memory_limit: usize,
    table_limit: usize,
    memory: usize,
    table: usize,
    refused: bool,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Meter {
            memory_limit: limits.memory_bytes,
            table_limit: limits.table_elements,
            memory: 0,
            table: 0,
            refused: false,
        }
    }

    /// Bytes of all memories of the instance.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// Whether growth was refused since [`Meter::begin_call`].
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn begin_call(&mut self) {
        self.refused = false;
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        let allowed = total <= self.memory_limit;
        if allowed {
            self.memory = total;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table.saturating_add(desired.saturating_sub(current));
        let allowed = total <= self.table_limit;
        if allowed {
            self.table = total;
        }
        Ok(allowed)
    }
}
