//! Tells the host what a panic says, and where it happened: WebAssembly itself knows only that unreachable code was
//! executed.

/// Sets the panic hook. For a fresh instance.
#[cfg(target_arch = "wasm32")]
pub(crate) fn report() {
    std::panic::set_hook(Box::new(|panic| crate::bindings::imports::panic::report(&panic.to_string())));
}

/// A plugin's own tests panic as all tests do.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn report() {}
