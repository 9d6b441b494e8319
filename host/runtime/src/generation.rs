//! One loaded version of a plugin's file: bytes in, a linked component out, or words that say what is wrong.

use std::borrow::Cow;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::SystemTime;

use odin_chain::Hooks;
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre};
use wit_component::ComponentEncoder;

use crate::abi::Exports;
use crate::compile;
use crate::engine::stack_class;
use crate::error::LoadError;
use crate::failure;
use crate::grants;
use crate::runtime::Runtime;
use crate::spec::PluginSpec;
use crate::store::StoreData;
use crate::words;

/// What every WebAssembly file begins with, and the versions that follow it.
const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];

/// One loaded version of a plugin's file.
pub(crate) struct Generation {
    /// Counted from 1.
    pub(crate) number: u64,
    /// The first 16 hex digits of the SHA-256 of the file.
    pub(crate) hash: String,
    pub(crate) loaded_at: SystemTime,
    pub(crate) pre: InstancePre<StoreData>,
    /// Held for plugins that are made of the same bytes.
    _component: Arc<Component>,
    pub(crate) exports: Exports,
    pub(crate) hooks: Hooks,
    /// What it imports of that which must be granted.
    pub(crate) imports: Vec<&'static str>,
    /// It imports `outbound`: its calls may wait, and run on the async side.
    pub(crate) waits: bool,
}

impl Generation {
    /// Compiles and links.
    pub(crate) fn load(runtime: &Runtime, spec: &PluginSpec, wasm: &[u8], number: u64) -> Result<Self, LoadError> {
        let hash = hash(wasm);
        let bytes = component(wasm)?;
        // What can be refused without compiling is refused before.
        let scanned = compile::scan(&bytes)?;
        let imports = scanned.imports.iter().map(String::as_str);
        let imports = grants::check(imports, spec, runtime.granting())?;
        let waits = imports.contains(&grants::OUTBOUND);
        Exports::check(&scanned.exports)?;
        let stack_bytes = spec.limits.stack_bytes;
        let engine = runtime.engine(stack_bytes)?;
        let component = runtime.compilation().component(&engine, stack_class(stack_bytes), &bytes)?;
        let exports = Exports::of(&component);
        let hooks = exports.hooks();
        if hooks == Hooks::default() {
            return Err(LoadError::NoHook { exports: scanned.exports });
        }
        let pre = engine
            .linker(waits)
            .instantiate_pre(&component)
            .map_err(|error| LoadError::ImportMismatch(failure::one_line(&error)))?;
        let loaded_at = SystemTime::now();
        Ok(Generation { number, hash, loaded_at, pre, _component: component, exports, hooks, imports, waits })
    }
}

/// The first 16 hex digits of the SHA-256.
pub(crate) fn hash(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A component as it is, or a core module with an embedded component type made one.
fn component(wasm: &[u8]) -> Result<Cow<'_, [u8]>, LoadError> {
    let Some(rest) = wasm.strip_prefix(MAGIC) else {
        return Err(LoadError::NotWasm { begins_with: beginning(wasm) });
    };
    match rest.get(..4) {
        Some(COMPONENT) => Ok(Cow::Borrowed(wasm)),
        // The encoder was made for the output of toolchains: a file made to be odd may panic it.
        Some(CORE_MODULE) => match catch_unwind(|| encode(wasm)) {
            Ok(encoded) => encoded.map(Cow::Owned),
            Err(_) => Err(LoadError::Encode("the encoder gave up on it".to_owned())),
        },
        _ => Err(LoadError::Invalid("it is cut short or of an unknown binary version".to_owned())),
    }
}

fn encode(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let words = |error| LoadError::Encode(words::one_line(&format!("{error:#}")));
    // Before anything looks inside: wit-component panics on a module that is cut short.
    let whole = wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(module);
    whole.map_err(|error| LoadError::Invalid(words::one_line(&error.to_string())))?;
    let (embedded, _) = wit_component::metadata::decode(module).map_err(words)?;
    if embedded.is_none() {
        return Err(LoadError::NoComponentType);
    }
    // Not validated here: compiling does.
    ComponentEncoder::default().validate(false).module(module).and_then(|mut encoder| encoder.encode()).map_err(words)
}

fn beginning(bytes: &[u8]) -> String {
    match bytes.get(..24).unwrap_or(bytes) {
        [] => "nothing: the file is empty".to_owned(),
        some => format!("\"{}\"", some.escape_ascii()),
    }
}
