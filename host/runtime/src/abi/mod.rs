//! How a guest is called. An ABI knows which hooks a file exports, finds their functions in an instance, and asks them what
//! the host wants to know; nothing outside this folder knows how it does. `component` is the first one. `plain`, which is
//! there for the tests alone, shows that another needs no change elsewhere.

pub(crate) mod ask;
mod component;
#[cfg(test)]
mod plain;
pub(crate) mod trap;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use odin_chain::{Hook, Hooks};
use wasmtime::Store;
use wasmtime::component::{Component, Instance};

use crate::error::LoadError;
use crate::store::StoreData;
use component::ask::Typed;
use component::functions::{ComponentExports, ComponentFunctions};
#[cfg(test)]
use plain::{PlainExports, PlainFunctions};

/// A question that every ABI knows how to ask.
pub(crate) trait Ask: Typed + Others {}
impl<Q: Typed + Others> Ask for Q {}

/// What ABIs beside the component's want of a question: there is one in the tests alone.
#[cfg(test)]
use plain::Numbered as Others;
#[cfg(not(test))]
pub(crate) trait Others {}
#[cfg(not(test))]
impl<Q> Others for Q {}

/// Where a file has its hooks.
#[cfg_attr(test, allow(clippy::large_enum_variant, reason = "the small one is there for the tests alone"))]
pub(crate) enum Exports {
    Component(ComponentExports),
    #[cfg(test)]
    Plain(PlainExports),
}

/// The hooks of an instance.
#[cfg_attr(test, allow(clippy::large_enum_variant, reason = "the small one is there for the tests alone"))]
pub(crate) enum Functions {
    Component(ComponentFunctions),
    #[cfg(test)]
    Plain(PlainFunctions),
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
        if PlainExports::check(names) {
            return Ok(());
        }
        match ComponentExports::check(names)? {
            true => Ok(()),
            false => Err(LoadError::NoHook { exports: names.to_vec() }),
        }
    }

    pub(crate) fn of(component: &Component) -> Self {
        #[cfg(test)]
        if let Some(exports) = PlainExports::of(component) {
            return Exports::Plain(exports);
        }
        Exports::Component(ComponentExports::of(component))
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

    /// Asks where nothing can be waited for: outside the hooks of an exchange `outbound` answers at once. `waits` says that
    /// the guest's calls run on a stack of their own.
    pub(crate) fn ask_at_once<Q: Ask>(
        &self,
        question: Q,
        waits: bool,
        store: &mut Store<StoreData>,
    ) -> Told<Q::Answer> {
        if waits { at_once(self.ask_waiting(question, store)) } else { self.ask(question, store) }
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

/// Drives a future that has nothing to wait for.
pub(crate) fn at_once<R>(future: impl Future<Output = wasmtime::Result<R>>) -> wasmtime::Result<R> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => wasmtime::bail!("it waits where nothing can be waited for"),
    }
}
