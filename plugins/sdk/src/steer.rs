//! What the hook `steer` is asked about, and what it answers: shares of the new connections of a binding.

/// One address of a listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// As it stands in the config: `0.0.0.0:5001`, `192.0.2.0/24:80`, `[::]:7000-7999`.
    pub address: String,
    /// The listener that it belongs to.
    pub listener: String,
    /// How many workers there are; each has a slot in every listener.
    pub workers: u32,
    /// Every listener of the config that is steered, this one included.
    pub listeners: Vec<String>,
}

impl Binding {
    /// Whether there is a steered listener of this name.
    pub fn has_listener(&self, name: &str) -> bool {
        self.listeners.iter().any(|listener| listener == name)
    }
}

/// A share of the new connections. What is named twice gets both shares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Weight {
    /// One of [`Binding::listeners`]: it serves the connection, whichever address the client dialled.
    pub listener: String,
    /// One of its workers, below [`Binding::workers`]; `None`: evenly over all of them.
    pub worker: Option<u32>,
    /// Against the sum of all weights; 0 is no connection at all.
    pub weight: u32,
}

impl Weight {
    /// For a listener, evenly over its workers.
    pub fn listener(name: impl Into<String>, weight: u32) -> Self {
        Self { listener: name.into(), worker: None, weight }
    }

    /// For one worker of a listener.
    pub fn worker(listener: impl Into<String>, worker: u32, weight: u32) -> Self {
        Self { listener: listener.into(), worker: Some(worker), weight }
    }
}
