//! The `#[plugin]` attribute of odin-sdk. It reads two names off an `impl` block and hands them to `odin_sdk::__export!`;
//! what an export looks like is known there alone. No parser crate: two names do not need one.

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// Exports the hook that an `impl` block implements.
///
/// Put it on `impl Hook for Type`, once for each hook that the plugin has. `Type` is a plain name, the same in all
/// of them. A component exports exactly the hooks so marked.
///
/// ```ignore
/// struct Hello;
///
/// #[odin_sdk::plugin]
/// impl RequestHeaders for Hello {
///     fn on_request_headers(_head: &RequestHead) -> Decision {
///         Decision::Continue
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let export = match arguments.into_iter().next() {
        Some(argument) => error("`#[plugin]` takes no arguments", argument.span()),
        None => match hook_and_type(item.clone()) {
            Ok((hook, plugin)) => call("__export", [TokenTree::from(hook), TokenTree::from(plugin)]),
            Err(span) => error("`#[plugin]` belongs on `impl Hook for Type { … }`, with `Type` a plain name", span),
        },
    };
    let mut output = item;
    output.extend(export);
    output
}

/// The last name before `for`, and the one name between `for` and the block.
fn hook_and_type(item: TokenStream) -> Result<(Ident, Ident), Span> {
    let mut tokens = item.into_iter().skip_while(|token| !is_name(token, "impl"));
    let mut last = tokens.next();
    let mut hook = None;
    for token in tokens {
        if let (true, Some(TokenTree::Ident(name))) = (is_name(&token, "for"), &last) {
            hook = Some(name.clone());
        } else if let TokenTree::Group(block) = &token
            && block.delimiter() == Delimiter::Brace
        {
            return match (hook, last) {
                (Some(hook), Some(TokenTree::Ident(plugin))) if plugin.to_string() != "for" => Ok((hook, plugin)),
                _ => Err(block.span_open()),
            };
        }
        last = Some(token);
    }
    Err(Span::call_site())
}

fn is_name(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == name)
}

/// `::odin_sdk::name!(arguments);`
fn call(name: &str, arguments: impl IntoIterator<Item = TokenTree>) -> TokenStream {
    let path = |first: &str| [colon(Spacing::Joint), colon(Spacing::Alone), ident(first)];
    let arguments = Group::new(Delimiter::Parenthesis, arguments.into_iter().collect());
    let mut tokens: Vec<TokenTree> = Vec::new();
    tokens.extend(path("odin_sdk"));
    tokens.extend(path(name));
    tokens.extend([Punct::new('!', Spacing::Alone).into(), arguments.into(), Punct::new(';', Spacing::Alone).into()]);
    tokens.into_iter().collect()
}

/// `::core::compile_error!("…");`, shown at `span`.
fn error(message: &str, span: Span) -> TokenStream {
    let message = Group::new(Delimiter::Parenthesis, TokenTree::from(Literal::string(message)).into());
    let tokens = [
        colon(Spacing::Joint),
        colon(Spacing::Alone),
        ident("core"),
        colon(Spacing::Joint),
        colon(Spacing::Alone),
        ident("compile_error"),
        Punct::new('!', Spacing::Alone).into(),
        message.into(),
        Punct::new(';', Spacing::Alone).into(),
    ];
    tokens
        .into_iter()
        .map(|mut token: TokenTree| {
            token.set_span(span);
            token
        })
        .collect()
}

fn colon(spacing: Spacing) -> TokenTree {
    Punct::new(':', spacing).into()
}

fn ident(name: &str) -> TokenTree {
    Ident::new(name, Span::call_site()).into()
}
