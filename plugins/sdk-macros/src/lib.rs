//! The `#[plugin]` attribute of odin-sdk. It reads names off an `impl` block, fills in what the block leaves out, and
//! hands the names of the hooks to `odin_sdk::__export!`; what an export looks like is known there alone.
//!
//! No parser crate: the names at the top of a block do not need one. It must never look into a method.

mod block;
mod tokens;

use proc_macro::TokenStream;

use block::{Block, Misuse};

/// Methods of `Plugin`, each with the hook interface that it belongs to.
const HOOKS: [(&str, &str); 13] = [
    ("on_request_headers", "RequestHeaders"),
    ("on_request_body", "RequestBody"),
    ("on_request_trailers", "RequestTrailers"),
    ("on_response_headers", "ResponseHeaders"),
    ("on_response_body", "ResponseBody"),
    ("on_response_trailers", "ResponseTrailers"),
    ("on_exchange_end", "ExchangeEnd"),
    ("pick", "Balancer"),
    ("on_connect", "Connection"),
    ("on_downstream_data", "DownstreamData"),
    ("on_upstream_data", "UpstreamData"),
    ("on_close", "Connection"),
    ("steer", "Steer"),
];

/// Exports the hooks that an `impl Plugin for Type` block has, and no others.
///
/// `type Config = ()` and `fn new`, which then is `Self::default()`, may be left out. With either of them the plugin
/// gets its `config` section, by the hook `configure`.
///
/// ```ignore
/// #[derive(Default)]
/// struct Hello;
///
/// #[odin_sdk::plugin]
/// impl Plugin for Hello {
///     fn on_request_headers(&self, request: &Request) -> Result {
///         request.set("x-hello", "yes")?;
///         Ok(Decision::Continue)
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if let Some(argument) = arguments.into_iter().next() {
        return tokens::error("`#[plugin]` takes no arguments", argument.span());
    }
    match Block::read(item).and_then(expand) {
        Ok(output) => output,
        Err(Misuse { message, span }) => tokens::error(&message, span),
    }
}

fn expand(mut block: Block) -> Result<TokenStream, Misuse> {
    let mut exports: Vec<&str> = Vec::new();
    for method in &block.methods {
        let name = method.to_string();
        match HOOKS.iter().find(|(known, _)| *known == name) {
            Some((_, interface)) if exports.contains(interface) => {}
            Some((_, interface)) => exports.push(interface),
            None if name == "new" => {}
            None => return Err(unknown(&name, method.span())),
        }
    }
    if exports.is_empty() {
        return Err(Misuse::new(format!("a plugin has at least one hook: {}", hook_names()), block.plugin.span()));
    }

    let (has_new, has_config) = (block.has_method("new"), block.config.is_some());
    if let (Some(config), false) = (&block.config, has_new) {
        let message = "a plugin with a `Config` makes itself from it: `fn new(config: Self::Config) -> Result<Self>`";
        return Err(Misuse::new(message, config.span()));
    }
    let configured = if has_new { "Configured" } else { "Unconfigured" };
    if has_new {
        exports.push("Lifecycle");
    }
    if !has_config {
        block.add("type Config = ();");
    }
    if !has_new {
        block.add(
            "fn new(_: ()) -> ::odin_sdk::Result<Self> {
                ::core::result::Result::Ok(<Self as ::core::default::Default>::default())
            }",
        );
    }
    let export = format!("::odin_sdk::__export! {{ {}, {configured}; {} }}", block.plugin, exports.join(" "));
    let mut output = block.into_tokens();
    output.extend(tokens::parse(&export));
    Ok(output)
}

fn unknown(name: &str, span: proc_macro::Span) -> Misuse {
    let near = HOOKS.iter().map(|(known, _)| *known).find(|known| {
        let bare = |text: &str| text.replace("on_", "").replace('_', "").trim_end_matches('s').to_owned();
        bare(known) == bare(name)
    });
    let hint = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
    let message = format!(
        "`{name}` is not a hook{hint}; the hooks are {}; other functions belong in an `impl` block of their own",
        hook_names()
    );
    Misuse::new(message, span)
}

fn hook_names() -> String {
    HOOKS.map(|(name, _)| format!("`{name}`")).join(", ")
}
