//! What wit-bindgen makes of the `odin:plugin` package: the imports once, and one small world for each hook.
//!
//! One world for each hook is what lets a plugin export only the hooks that it names: the component type of a world
//! is linked in where its export macro is used, and the host merges the parts. A new phase is one more `hook_world!`
//! here and one more trait in `hooks`. Plugins use what the other modules make of this, never this module itself.
#![allow(missing_docs, unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated code")]

/// Everything that a plugin may ask of the host. Only what is called is linked in.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "imports",
        generate_unused_types: true,
    });
    pub use odin::plugin::*;
}

macro_rules! hook_world {
    ($module:ident, $world:literal) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "../../wit",
                world: $world,
                with: {
                    "odin:plugin/types@0.1.0": crate::bindings::imports::types,
                    "odin:plugin/context@0.1.0": crate::bindings::imports::context,
                    "odin:plugin/log@0.1.0": crate::bindings::imports::log,
                    "odin:plugin/clock@0.1.0": crate::bindings::imports::clock,
                    "odin:plugin/config@0.1.0": crate::bindings::imports::config,
                    "odin:plugin/shared@0.1.0": crate::bindings::imports::shared,
                    "odin:plugin/metrics@0.1.0": crate::bindings::imports::metrics,
                },
                pub_export_macro: true,
                export_macro_name: "export_hook",
            });
            pub use exports::odin::plugin::*;
        }
    };
}

hook_world!(lifecycle_world, "lifecycle-hook");
hook_world!(balancer_world, "balancer-hook");
hook_world!(request_headers_world, "request-headers-hook");
hook_world!(response_headers_world, "response-headers-hook");
