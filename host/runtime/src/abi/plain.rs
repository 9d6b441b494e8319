//! An ABI for the tests alone: a component that exports bare functions, whose answers are numbers. It says what a second ABI
//! has to say, and nothing outside `abi/` knows that it is there.

use odin_chain::{Decision, Hook, Hooks};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc};

use super::ask::{Body, Configure, Connect, Data, Decide, Pick, Question, Tell, Weigh};
use super::{Mismatch, Refusal, Told};
use crate::store::StoreData;

const ON_REQUEST: &str = "plain-on-request";

/// Its one hook.
pub(crate) struct PlainExports(ComponentExportIndex);

pub(crate) struct PlainFunctions(TypedFunc<(), (u32,)>);

/// How a question is put into numbers; most are not.
pub(crate) trait Numbered: Question {
    fn told(self, number: u32) -> Result<Self::Answer, Refusal>
    where
        Self: Sized,
    {
        let _ = number;
        Err(Refusal::NotExported)
    }
}

impl Numbered for Decide {
    fn told(self, number: u32) -> Result<Decision, Refusal> {
        match number {
            0 => Ok(Decision::Continue),
            403 => Ok(Decision::Reject("a number said so".to_owned())),
            other => Err(Refusal::BadAnswer(format!("the number {other}"))),
        }
    }
}

impl Numbered for Configure {}
impl Numbered for Body {}
impl Numbered for Data {}
impl Numbered for Tell {}
impl Numbered for Connect {}
impl Numbered for Pick {}
impl Numbered for Weigh<'_> {}

impl PlainExports {
    pub(crate) fn check(names: &[String]) -> bool {
        names.iter().any(|name| name == ON_REQUEST)
    }

    pub(crate) fn of(component: &Component) -> Option<Self> {
        component.get_export_index(None, ON_REQUEST).map(PlainExports)
    }

    pub(crate) fn hooks(&self) -> Hooks {
        Hooks::from_iter([Hook::RequestHeaders])
    }

    pub(crate) fn functions(
        &self,
        instance: &Instance,
        store: &mut Store<StoreData>,
    ) -> Result<PlainFunctions, Mismatch> {
        instance.get_typed_func(store, self.0).map(PlainFunctions).map_err(|error| (Hook::RequestHeaders, error))
    }
}

impl PlainFunctions {
    pub(crate) fn ask<Q: Numbered>(&self, question: Q, store: &mut Store<StoreData>) -> Told<Q::Answer> {
        self.0.call(store, ()).map(|(number,)| question.told(number))
    }

    pub(crate) async fn ask_waiting<Q: Numbered>(&self, question: Q, store: &mut Store<StoreData>) -> Told<Q::Answer> {
        self.0.call_async(store, ()).await.map(|(number,)| question.told(number))
    }
}

mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use odin_chain::{ConnectionInfo, HookState};

    use super::*;
    use crate::{CallError, Plugin, PluginSpec, Runtime, RuntimeOptions, WorkerPlugin};

    /// A guest of this ABI whose hook answers this number.
    fn guest(number: u32) -> Vec<u8> {
        let text = format!(
            r#"(component
                (core module $m (func (export "f") (result i32) (i32.const {number})))
                (core instance $i (instantiate $m))
                (func (export "{ON_REQUEST}") (result u32) (canon lift (core func $i "f"))))"#
        );
        wat::parse_str(text).unwrap()
    }

    fn decided(worker: &WorkerPlugin) -> Result<Decision, CallError> {
        let nowhere = ([0, 0, 0, 0], 0).into();
        let mut state = HookState::new(Arc::new(ConnectionInfo::new(nowhere, nowhere, "".into())), 1024);
        let pin = worker.pin();
        match pin!(pin.decide(Hook::RequestHeaders, &mut state)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decided) => decided,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn a_plugin_of_another_abi_is_loaded_called_counted_and_swapped_like_any_other() {
        let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
        let plugin = Plugin::load(&runtime, PluginSpec::new("plain"), &guest(0)).unwrap();
        let worker = WorkerPlugin::new(plugin.clone(), 0, None);
        assert!(matches!(decided(&worker), Ok(Decision::Continue)));
        plugin.swap(&guest(403)).unwrap();
        assert!(matches!(decided(&worker), Ok(Decision::Reject(why)) if why == "a number said so"));
        plugin.swap(&guest(7)).unwrap();
        let words = decided(&worker).unwrap_err().to_string();
        assert_eq!(words, "plugin \"plain\": request-headers gave a bad answer: the number 7");
        assert_eq!(plugin.stats().hook(Hook::RequestHeaders).calls, 3);
    }
}
