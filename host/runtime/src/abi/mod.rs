//! How a guest is called. An ABI knows which hooks a file exports, finds their functions in an instance, and asks them what
//! the host wants to know; nothing outside this folder knows how it does. `component` is the first one. `plain`, which is
//! there for the tests alone, shows that another needs no change elsewhere.

pub(crate) mod ask;
mod component;
#[cfg(test)]
mod plain;
pub(crate) mod trap;

use odin_chain::{Hook, Hooks};
use wasmtime::Store;
use wasmtime::component::{Component, Instance};

use crate::error::LoadError;
use crate::store::StoreData;
use component::ask::Typed;

/// A question that every ABI knows how to ask.
#[cfg(not(test))]
pub(crate) trait Ask: Typed {}
#[cfg(not(test))]
impl<Q: Typed> Ask for Q {}

/// A question that every ABI knows how to ask.
#[cfg(test)]
pub(crate) trait Ask: Typed + plain::Numbered {}
#[cfg(test)]
impl<Q: Typed + plain::Numbered> Ask for Q {}

/// Where a file has its hooks.
#[cfg_attr(test, allow(clippy::large_enum_variant, reason = "the small one is there for the tests alone"))]
pub(crate) enum Exports {
    Component(component::functions::Exports),
    #[cfg(test)]
    Plain(plain::Exports),
}

/// The hooks of an instance.
#[cfg_attr(test, allow(clippy::large_enum_variant, reason = "the small one is there for the tests alone"))]
pub(crate) enum Functions {
    Component(component::functions::Functions),
    #[cfg(test)]
    Plain(plain::Functions),
}

/// What became of a question that did not trap.
pub(crate) type Told<T> = wasmtime::Result<Result<T, Refusal>>;

/// Why there is no answer.
pub(crate) enum Refusal {
    /// The plugin's own words.
    Words(Box<str>),
    /// What is wrong with the answer.
    BadAnswer(String),
    /// There is no such hook, though the exports said that there is one.
    NotExported,
}

/// A hook whose types are not those of its ABI, and what wasmtime says about it.
pub(crate) type Mismatch = (Hook, wasmtime::Error);

impl Exports {
    /// An error unless these names of exports are those of a plugin. Told before the file is compiled.
    pub(crate) fn check(names: &[String]) -> Result<(), LoadError> {
        #[cfg(test)]
        if plain::Exports::check(names) {
            return Ok(());
        }
        match component::functions::Exports::check(names)? {
            true => Ok(()),
            false => Err(LoadError::NoHook { exports: names.to_vec() }),
        }
    }

    pub(crate) fn of(component: &Component) -> Self {
        #[cfg(test)]
        if let Some(exports) = plain::Exports::of(component) {
            return Exports::Plain(exports);
        }
        Exports::Component(component::functions::Exports::of(component))
    }

    pub(crate) fn hooks(&self) -> Hooks {
        match self {
            Exports::Component(exports) => exports.hooks(),
            #[cfg(test)]
            Exports::Plain(exports) => exports.hooks(),
        }
    }

    /// The functions of an instance of the file.
    pub(crate) fn functions(&self, instance: &Instance, store: &mut Store<StoreData>) -> Result<Functions, Mismatch> {
        match self {
            Exports::Component(exports) => exports.functions(instance, store).map(Functions::Component),
            #[cfg(test)]
            Exports::Plain(exports) => exports.functions(instance, store).map(Functions::Plain),
        }
    }
}

impl Functions {
    /// Asks on this thread's stack: the guest must not wait.
    #[inline]
    pub(crate) fn ask<Q: Ask>(&self, question: Q, store: &mut Store<StoreData>) -> Told<Q::Answer> {
        match self {
            Functions::Component(functions) => functions.ask(question, store),
            #[cfg(test)]
            Functions::Plain(functions) => functions.ask(question, store),
        }
    }

    /// Asks on a stack of its own: the guest may wait.
    pub(crate) async fn ask_waiting<Q: Ask>(&self, question: Q, store: &mut Store<StoreData>) -> Told<Q::Answer> {
        match self {
            Functions::Component(functions) => functions.ask_waiting(question, store).await,
            #[cfg(test)]
            Functions::Plain(functions) => functions.ask_waiting(question, store).await,
        }
    }
}
