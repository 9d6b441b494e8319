//! What wit-bindgen makes of the `odin:plugin` package: the imports once, and one small world for each hook.
//!
//! One world for each hook is what lets a plugin export only the hooks that it has: the component type of a world is
//! linked in where its export macro is used, and the host merges the parts. A new hook interface is one more line of
//! `hook_worlds!` here and one more `Guest` in `export.rs`. Plugins use what the other modules make of this, never this
//! module itself.
#![allow(missing_docs, unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated code")]

/// Everything that a plugin may ask of the host. Only what is called is linked in.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "imports",
        generate_unused_types: true,
        additional_derives: [PartialEq],
    });
    pub use odin::plugin::*;
}

/// The hook interfaces, each with a world that has this hook and nothing else. The worlds are written here, and not taken
/// from `wit/worlds.wit`, because each world leaves a description of all its imports in every module, wanted or not: a
/// dozen times all imports are 50 KB.
macro_rules! hook_worlds {
    ($($hook:ident: $world:literal $(, $types:literal)?;)*) => {
        /// The hook interfaces, as `wit/worlds.wit` names them.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Hook {
            $($hook,)*
        }

        $(
            #[cfg(target_arch = "wasm32")]
            #[allow(non_snake_case, reason = "its name is that of the hook: `__export!` has no other")]
            pub mod $hook {
                wit_bindgen::generate!({
                    inline: $world,
                    path: "../../wit",
                    with: {
                        $($types: crate::bindings::imports::types,)?
                    },
                    generate_all,
                    pub_export_macro: true,
                    export_macro_name: "export_hook",
                });
                pub use exports::odin::plugin::*;
            }
        )*
    };
}

hook_worlds! {
    RequestHeaders: "package odin:sdk; world request-headers-hook { export odin:plugin/request-headers@0.1.0; }",
        "odin:plugin/types@0.1.0";
    RequestBody: "package odin:sdk; world request-body-hook { export odin:plugin/request-body@0.1.0; }",
        "odin:plugin/types@0.1.0";
    RequestTrailers: "package odin:sdk; world request-trailers-hook { export odin:plugin/request-trailers@0.1.0; }",
        "odin:plugin/types@0.1.0";
    ResponseHeaders: "package odin:sdk; world response-headers-hook { export odin:plugin/response-headers@0.1.0; }",
        "odin:plugin/types@0.1.0";
    ResponseBody: "package odin:sdk; world response-body-hook { export odin:plugin/response-body@0.1.0; }",
        "odin:plugin/types@0.1.0";
    ResponseTrailers: "package odin:sdk; world response-trailers-hook { export odin:plugin/response-trailers@0.1.0; }",
        "odin:plugin/types@0.1.0";
    ExchangeEnd: "package odin:sdk; world exchange-end-hook { export odin:plugin/exchange-end@0.1.0; }";
    Balancer: "package odin:sdk; world balancer-hook { export odin:plugin/balancer@0.1.0; }";
    Connection: "package odin:sdk; world connection-hook { export odin:plugin/connection@0.1.0; }";
    DownstreamData: "package odin:sdk; world downstream-data-hook { export odin:plugin/downstream-data@0.1.0; }";
    UpstreamData: "package odin:sdk; world upstream-data-hook { export odin:plugin/upstream-data@0.1.0; }";
    Steer: "package odin:sdk; world steer-hook { export odin:plugin/steer@0.1.0; }";
    Lifecycle: "package odin:sdk; world lifecycle-hook { export odin:plugin/lifecycle@0.1.0; }";
}
