//! `odin:plugin/context`: what an exchange or connection remembers, and what the host knows of it.

use odin_chain::{ContextFull, FACTS, Value};
use wasmtime::component::{ComponentType, Lift, Lower, WasmStr};

use crate::store::{Ctx, Link, StoreData};

/// `value` of wit/context.wit.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum WitValue {
    #[component(name = "boolean")]
    Boolean(bool),
    #[component(name = "integer")]
    Integer(i64),
    #[component(name = "float")]
    Float(f64),
    #[component(name = "text")]
    Text(String),
    #[component(name = "bytes")]
    Bytes(Vec<u8>),
}

impl From<WitValue> for Value {
    fn from(value: WitValue) -> Self {
        match value {
            WitValue::Boolean(value) => Value::Boolean(value),
            WitValue::Integer(value) => Value::Integer(value),
            WitValue::Float(value) => Value::Float(value),
            WitValue::Text(value) => Value::Text(value),
            WitValue::Bytes(value) => Value::Bytes(value),
        }
    }
}

impl From<Value> for WitValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => WitValue::Boolean(value),
            Value::Integer(value) => WitValue::Integer(value),
            Value::Float(value) => WitValue::Float(value),
            Value::Text(value) => WitValue::Text(value),
            Value::Bytes(value) => WitValue::Bytes(value),
        }
    }
}

/// `context-error` of wit/context.wit.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum ContextError {
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "no-exchange")]
    NoExchange,
    #[component(name = "read-only")]
    ReadOnly,
    #[component(name = "over-share")]
    OverShare,
}

impl From<ContextFull> for ContextError {
    fn from(full: ContextFull) -> Self {
        match full {
            ContextFull::Context => ContextError::TooLarge,
            ContextFull::Share => ContextError::OverShare,
        }
    }
}

/// Offers `odin:plugin/context`.
pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    let mut context = linker.instance("odin:plugin/context@0.1.0")?;
    context.func_wrap("get", |store: Ctx<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        Ok((get(store.data(), &name).map(WitValue::from),))
    })?;
    context.func_wrap("set", |mut store: Ctx<'_>, (name, value): (WasmStr, WitValue)| {
        let name = name.to_str(&store)?.into_owned();
        let data = store.data_mut();
        let settable = settable(data, &name);
        Ok((settable.and_then(|()| Ok(data.state.context.set_as(data.slot.setter(), &name, value.into())?)),))
    })?;
    context.func_wrap("set-on-connection", |store: Ctx<'_>, (name, value): (WasmStr, WitValue)| {
        let name = name.to_str(&store)?;
        let data = store.data();
        let set = |()| Ok(data.state.connection.context().set_as(data.slot.setter(), &name, value.into())?);
        Ok((settable(data, &name).and_then(set),))
    })?;
    context.func_wrap("remove", |mut store: Ctx<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?.into_owned();
        let data = store.data_mut();
        data.state.context.remove_as(&data.slot.spec.name, &name);
        Ok(())
    })
}

fn get(data: &StoreData, name: &str) -> Option<Value> {
    if !data.hook.has_exchange() {
        return None;
    }
    data.state.recall(&data.slot.spec.name, name)
}

fn settable(data: &StoreData, name: &str) -> Result<(), ContextError> {
    if !data.hook.has_exchange() {
        return Err(ContextError::NoExchange);
    }
    if name.starts_with(FACTS) { Err(ContextError::ReadOnly) } else { Ok(()) }
}
