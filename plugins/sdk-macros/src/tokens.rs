//! Making tokens: text parsed, and errors shown where they belong. Must never panic: text that does not parse would be
//! this crate's own mistake, and becomes a compile error.

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// The tokens of a text written here.
pub(crate) fn parse(text: &str) -> TokenStream {
    text.parse().unwrap_or_else(|_| error("odin-sdk-macros wrote what does not parse", Span::call_site()))
}

/// The same tokens, shown at `span` when something is wrong with them.
pub(crate) fn located(tokens: TokenStream, span: Span) -> TokenStream {
    let relocated = tokens.into_iter().map(|token| match token {
        TokenTree::Group(group) => {
            let mut group = Group::new(group.delimiter(), located(group.stream(), span));
            group.set_span(Span::call_site().located_at(span));
            TokenTree::Group(group)
        }
        mut other => {
            other.set_span(Span::call_site().located_at(span));
            other
        }
    });
    relocated.collect()
}

/// `::core::compile_error!("…");`, shown at `span`.
pub(crate) fn error(message: &str, span: Span) -> TokenStream {
    let colon = |spacing| TokenTree::from(Punct::new(':', spacing));
    let name = |name| TokenTree::from(Ident::new(name, span));
    let message = Group::new(Delimiter::Parenthesis, TokenTree::from(Literal::string(message)).into());
    let tokens = [
        colon(Spacing::Joint),
        colon(Spacing::Alone),
        name("core"),
        colon(Spacing::Joint),
        colon(Spacing::Alone),
        name("compile_error"),
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
