//! Fields as `request`, `response` and `trailers` offer them: one implementation for the three.
//! A getter copies only what was asked for; a setter of a message that is closed changes nothing.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use odin_chain::FieldError;
use odin_chain::fields::{self, Fields};
use wasmtime::component::{ComponentType, LinkerInstance, Lower, WasmList, WasmStr};
use wasmtime::{Result, ensure};

use crate::store::{Ctx, StoreData};

/// The functions of one interface.
pub(crate) type Interface<'a> = LinkerInstance<'a, StoreData>;
/// A change that was made, or what is wrong with it.
type Checked = std::result::Result<(), FieldError>;
/// What a setter answers, or a trap.
type Changed = Result<(std::result::Result<(), WitFieldError>,)>;

/// `field-error` of wit/types.wit.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WitFieldError {
    #[component(name = "invalid-name")]
    InvalidName,
    #[component(name = "invalid-value")]
    InvalidValue,
    #[component(name = "forbidden")]
    Forbidden,
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "too-late")]
    TooLate,
}

/// What a setter answers, as the guest sees it.
pub(crate) fn answer(changed: Checked) -> Changed {
    Ok((changed.map_err(|error| match error {
        FieldError::InvalidName => WitFieldError::InvalidName,
        FieldError::InvalidValue => WitFieldError::InvalidValue,
        FieldError::Forbidden => WitFieldError::Forbidden,
        FieldError::TooLarge => WitFieldError::TooLarge,
        FieldError::TooLate => WitFieldError::TooLate,
    }),))
}

/// What has fields.
pub(crate) trait Message: 'static {
    /// The fields, to read. Traps where there is no such message.
    fn fields(data: &StoreData) -> Result<&HeaderMap>;
    /// The fields, to change; none when it is too late. Traps where there is no such message.
    fn open(data: &mut StoreData) -> Result<Option<Fields<'_>>>;
}

/// Links the functions that all messages have.
pub(crate) fn link_fields<M: Message>(interface: &mut Interface<'_>) -> Result<()> {
    interface.func_wrap("has", |store: Ctx<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        Ok((M::fields(store.data())?.contains_key(&*name),))
    })?;
    interface.func_wrap("get", |store: Ctx<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        Ok((M::fields(store.data())?.get(&*name).map(|value| value.as_bytes().to_vec()),))
    })?;
    interface.func_wrap("get-all", |store: Ctx<'_>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        let values = M::fields(store.data())?.get_all(&*name);
        Ok((values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>(),))
    })?;
    interface.func_wrap("fields", |store: Ctx<'_>, (): ()| {
        let fields = M::fields(store.data())?.iter();
        Ok((fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect::<Vec<_>>(),))
    })?;
    interface.func_wrap("set", |store: Ctx<'_>, (name, value): (WasmStr, WasmList<u8>)| {
        change::<M>(store, &name, &value, |fields, name, value| fields.set(name, value))
    })?;
    interface.func_wrap("append", |store: Ctx<'_>, (name, value): (WasmStr, WasmList<u8>)| {
        change::<M>(store, &name, &value, |fields, name, value| fields.append(name, value))
    })?;
    interface.func_wrap("remove", |mut store: Ctx<'_>, (name,): (WasmStr,)| -> Changed {
        let name = store.data().names.get(&name.to_str(&store)?);
        let Some(fields) = M::open(store.data_mut())? else { return answer(Err(FieldError::TooLate)) };
        answer(name.map(|name| fields.remove(name)))
    })
}

/// Links `get-many`, which heads have beside the rest.
pub(crate) fn link_get_many<M: Message>(interface: &mut Interface<'_>) -> Result<()> {
    interface.func_wrap("get-many", |mut store: Ctx<'_>, (names,): (WasmList<WasmStr>,)| {
        Ok((get_many::<M>(&mut store, &names)?,))
    })
}

fn change<M: Message>(
    mut store: Ctx<'_>,
    name: &WasmStr,
    value: &WasmList<u8>,
    with: fn(Fields<'_>, HeaderName, HeaderValue) -> Checked,
) -> Changed {
    let name = store.data().names.get(&name.to_str(&store)?);
    let value = fields::value(value.as_le_slice(&store));
    let Some(fields) = M::open(store.data_mut())? else { return answer(Err(FieldError::TooLate)) };
    answer(match (name, value) {
        (Ok(name), Ok(value)) => with(fields, name, value),
        (Err(error), _) | (_, Err(error)) => Err(error),
    })
}

/// A guest may name one large field many times: what is copied for it is capped like what it passes in.
fn get_many<M: Message>(store: &mut Ctx<'_>, names: &WasmList<WasmStr>) -> Result<Vec<Option<Vec<u8>>>> {
    let mut left = store.data().slot.spec.limits.host_allocation_bytes;
    let mut values = Vec::with_capacity(names.len());
    for at in 0..names.len() {
        let Some(name) = names.get(&mut *store, at) else { break };
        let name = name?;
        let name = name.to_str(&*store)?;
        let value = M::fields(store.data())?.get(&*name).map(|value| value.as_bytes().to_vec());
        let size = size_of::<Option<Vec<u8>>>() + value.as_ref().map_or(0, Vec::len);
        ensure!(size <= left, "get-many answers more than the plugin's host-allocation limit");
        left -= size;
        values.push(value);
    }
    Ok(values)
}
