//! The functions of a component, with their types: one field for each entry of the table of hooks. Which of them a file
//! exports is known before it is compiled.

use odin_chain::{Hook, Hooks, for_each_hook};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, TypedFunc};

use super::answer::{WitConnectDecision, WitDataDecision, WitDecision, WitPieceDecision};
use super::ask::{Typed, WitBinding, WitSubject, WitWeight};
use crate::abi::{Mismatch, Refusal, Told};
use crate::error::LoadError;
use crate::store::StoreData;

/// What every hook answers: its decision, or the plugin's own words.
pub(crate) type Answer<R> = (Result<R, Box<str>>,);
/// A hook that takes `P` (a tuple) and decides `R`.
pub(crate) type Function<P, R> = TypedFunc<P, Answer<R>>;
/// A body or data hook: the length of the piece, and whether it is the last.
pub(crate) type PieceFunction<R> = Function<(u32, bool), R>;

/// Where the hooks are, by [`Hook::index`].
pub(crate) struct ComponentExports([Option<ComponentExportIndex>; Hook::ALL.len()]);

impl ComponentExports {
    /// Whether the names are those of interfaces with hooks; an error if one of them is no hook of this version.
    pub(crate) fn check(names: &[String]) -> Result<bool, LoadError> {
        let known = |interface: &str| Hook::ALL.iter().any(|hook| hook.interface() == interface);
        let ours = |name: &String| {
            let (interface, version) = name.strip_prefix("odin:plugin/")?.split_once('@')?;
            Some(known(interface) && version.starts_with("0.1."))
        };
        match names.iter().find(|name| ours(name) == Some(false)) {
            Some(export) => Err(LoadError::UnknownHook { export: export.clone() }),
            None => Ok(names.iter().any(|name| ours(name).is_some())),
        }
    }

    pub(crate) fn of(component: &Component) -> Self {
        let find = |hook: Hook| {
            let instance = component.get_export_index(None, format!("odin:plugin/{}@0.1.0", hook.interface()))?;
            component.get_export_index(Some(&instance), hook.function())
        };
        ComponentExports(Hook::ALL.map(find))
    }

    pub(crate) fn hooks(&self) -> Hooks {
        Hook::ALL.into_iter().filter(|&hook| self.0[hook.index()].is_some()).collect()
    }

    pub(crate) fn functions(
        &self,
        instance: &Instance,
        store: &mut Store<StoreData>,
    ) -> Result<ComponentFunctions, Mismatch> {
        ComponentFunctions::of(instance, self, store)
    }
}

impl ComponentFunctions {
    #[inline]
    pub(crate) fn ask<Q: Typed>(&self, question: Q, store: &mut Store<StoreData>) -> Told<Q::Answer> {
        let Some(function) = question.function(self) else { return Ok(Err(Refusal::NotExported)) };
        let params = question.params();
        function.call(store, params).map(|answer| told(question, answer))
    }

    pub(crate) async fn ask_waiting<Q: Typed>(&self, question: Q, store: &mut Store<StoreData>) -> Told<Q::Answer> {
        let Some(function) = question.function(self) else { return Ok(Err(Refusal::NotExported)) };
        let params = question.params();
        function.call_async(store, params).await.map(|answer| told(question, answer))
    }
}

/// The answer in the host's words.
#[inline]
fn told<Q: Typed>(question: Q, (answer,): Answer<Q::Return>) -> Result<Q::Answer, Refusal> {
    match answer {
        Ok(answer) => question.told(answer).map_err(Refusal::BadAnswer),
        Err(words) => Err(Refusal::Words(words)),
    }
}

macro_rules! functions {
    ($($hook:ident: $name:literal, $role:ident, decides $decides:literal,
        $interface:literal, $function:literal, { $field:ident: $type:ty };)*) => {
        /// The hooks of an instance; none for what the component does not export.
        pub(crate) struct ComponentFunctions {
            $(pub(crate) $field: Option<$type>,)*
        }

        impl ComponentFunctions {
            fn of(
                instance: &Instance,
                exports: &ComponentExports,
                store: &mut Store<StoreData>,
            ) -> Result<Self, Mismatch> {
                Ok(ComponentFunctions { $($field: function(instance, exports, store, Hook::$hook)?,)* })
            }
        }
    };
}
for_each_hook!(functions);

fn function<P, R>(
    instance: &Instance,
    exports: &ComponentExports,
    store: &mut Store<StoreData>,
    hook: Hook,
) -> Result<Option<TypedFunc<P, R>>, Mismatch>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let Some(index) = &exports.0[hook.index()] else { return Ok(None) };
    instance.get_typed_func(store, index).map(Some).map_err(|error| (hook, error))
}
