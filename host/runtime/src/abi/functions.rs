//! The functions of a component, with their types: one field for each entry of the table of hooks.

use odin_chain::{Hook, for_each_hook};
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, ComponentType, Instance, Lift, Lower, TypedFunc};

use crate::abi::answer::{WitConnectDecision, WitDataDecision, WitDecision, WitPieceDecision};
use crate::abi::steer::{WitBinding, WitWeight};
use crate::generation::Exports;
use crate::store::StoreData;

/// What every hook answers: its decision, or the plugin's own words.
pub(crate) type Answer<R> = (Result<R, Box<str>>,);
/// A hook that takes `P` (a tuple) and decides `R`.
pub(crate) type Function<P, R> = TypedFunc<P, Answer<R>>;
/// A body or data hook: the length of the piece, and whether it is the last.
pub(crate) type PieceFunction<R> = Function<(u32, bool), R>;

/// A hook whose types are not those of the contract, and what wasmtime says about it.
type Mismatch = (Hook, wasmtime::Error);

/// `subject` of wit/balancer.wit.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Subject {
    /// An exchange.
    #[component(name = "request")]
    Request,
    /// A TCP connection.
    #[component(name = "connection")]
    Connection,
}

macro_rules! functions {
    ($($hook:ident: $name:literal, $role:ident, decides $decides:literal,
        $interface:literal, $function:literal, { $field:ident: $type:ty };)*) => {
        /// The hooks of an instance; none for what the component does not export.
        pub(crate) struct Functions {
            $(pub(crate) $field: Option<$type>,)*
        }

        impl Functions {
            pub(crate) fn of(
                instance: &Instance,
                exports: &Exports,
                store: &mut Store<StoreData>,
            ) -> Result<Self, Mismatch> {
                Ok(Functions { $($field: function(instance, exports, store, Hook::$hook)?,)* })
            }
        }
    };
}
for_each_hook!(functions);

fn function<P, R>(
    instance: &Instance,
    exports: &Exports,
    store: &mut Store<StoreData>,
    hook: Hook,
) -> Result<Option<TypedFunc<P, R>>, Mismatch>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let Some(index) = exports.of(hook) else { return Ok(None) };
    instance.get_typed_func(store, index).map(Some).map_err(|error| (hook, error))
}
