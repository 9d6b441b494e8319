//! How a component is called: its functions and their types, what they answer, an instance, and why a call failed.
//! What a plugin is (hooks, limits, decisions) is said beside this folder.

pub(crate) mod answer;
pub(crate) mod functions;
pub(crate) mod instance;
pub(crate) mod steer;
pub(crate) mod trap;
