//! An `impl Plugin for Type { … }` block, read as far as names go: the type, the methods, the associated type.

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use crate::tokens;

/// What is wrong with the block, and where.
pub(crate) struct Misuse {
    pub(crate) message: String,
    pub(crate) span: Span,
}

impl Misuse {
    pub(crate) fn new(message: impl Into<String>, span: Span) -> Self {
        Self { message: message.into(), span }
    }
}

/// The block.
pub(crate) struct Block {
    /// All before the braces.
    head: Vec<TokenTree>,
    body: TokenStream,
    braces: Span,
    /// The name of the type.
    pub(crate) plugin: Ident,
    /// The names of the methods, in order.
    pub(crate) methods: Vec<Ident>,
    /// The name `Config`, where the block has it.
    pub(crate) config: Option<Ident>,
}

impl Block {
    pub(crate) fn read(item: TokenStream) -> Result<Self, Misuse> {
        let misplaced =
            |span| Misuse::new("`#[plugin]` belongs on `impl Plugin for Type { … }`, with `Type` a plain name", span);
        let mut head: Vec<TokenTree> = item.into_iter().collect();
        let Some(TokenTree::Group(braces)) = head.pop() else {
            return Err(misplaced(Span::call_site()));
        };
        let plugin =
            plugin_name(&head).ok_or_else(|| misplaced(head.first().map_or(braces.span(), TokenTree::span)))?;
        if braces.delimiter() != Delimiter::Brace {
            return Err(misplaced(braces.span()));
        }
        let mut block =
            Self { head, body: braces.stream(), braces: braces.span(), plugin, methods: Vec::new(), config: None };
        let tokens: Vec<TokenTree> = braces.stream().into_iter().collect();
        for pair in tokens.windows(2) {
            let [TokenTree::Ident(keyword), TokenTree::Ident(name)] = pair else { continue };
            match keyword.to_string().as_str() {
                "fn" => block.methods.push(name.clone()),
                "type" if name.to_string() == "Config" => block.config = Some(name.clone()),
                _ => {}
            }
        }
        Ok(block)
    }

    pub(crate) fn has_method(&self, name: &str) -> bool {
        self.methods.iter().any(|method| method.to_string() == name)
    }

    /// Adds an item; what is wrong with it is shown at the name of the type.
    pub(crate) fn add(&mut self, item: &str) {
        self.body.extend(tokens::located(tokens::parse(item), self.plugin.span()));
    }

    pub(crate) fn into_tokens(self) -> TokenStream {
        let mut braces = Group::new(Delimiter::Brace, self.body);
        braces.set_span(self.braces);
        self.head.into_iter().chain([TokenTree::Group(braces)]).collect()
    }
}

/// `Type` in `impl path::Plugin for Type`.
fn plugin_name(head: &[TokenTree]) -> Option<Ident> {
    let is = |token: &TokenTree, name: &str| matches!(token, TokenTree::Ident(ident) if ident.to_string() == name);
    match head {
        [before @ .., plugin, keyword, TokenTree::Ident(name)]
            if is(plugin, "Plugin") && is(keyword, "for") && before.iter().any(|token| is(token, "impl")) =>
        {
            Some(name.clone())
        }
        _ => None,
    }
}
