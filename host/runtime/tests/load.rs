//! What loads, and what is refused with which words.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use odin_runtime::{Hook, Hooks, LoadError, Plugin, PluginSpec};

fn refusal(wasm: &[u8]) -> String {
    match load(wasm) {
        Ok(_) => panic!("it loads"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_core_module_with_a_component_type_loads_and_tells_its_hooks() {
    let plugin = load(&guest(&["request-headers"], &noop())).unwrap();
    assert_eq!(plugin.hooks(), Hooks { request_headers: true, ..Hooks::default() });
    let status = plugin.status();
    assert_eq!((status.generation, status.hash.len(), status.swaps, status.last_error), (1, 16, 0, None));
}

#[test]
fn a_component_loads_as_it_is() {
    let module = guest(&["balancer"], &round_robin());
    let component = wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    let plugin = load(&component).unwrap();
    assert_eq!(plugin.hooks(), Hooks { balancer: true, ..Hooks::default() });
}

#[test]
fn a_text_file_is_no_webassembly() {
    assert_eq!(refusal(b"hello\nworld"), "not a WebAssembly file: it begins with \"hello\\nworld\"");
    assert_eq!(refusal(b""), "not a WebAssembly file: it begins with nothing: the file is empty");
}

#[test]
fn a_file_cut_short_is_refused() {
    assert!(refusal(b"\0asm").contains("cut short"));
    let mut wasm = guest(&["request-headers"], &noop());
    wasm.truncate(wasm.len() / 2);
    assert!(matches!(load(&wasm), Err(LoadError::Invalid(_))));
}

#[test]
fn a_damaged_file_is_refused_or_loads_but_never_panics() {
    let wasm = guest(&["request-headers"], &noop());
    let runtime = runtime();
    for at in (8..wasm.len()).step_by(wasm.len() / 150) {
        for damage in [0x01, 0x80] {
            let mut wasm = wasm.clone();
            wasm[at] ^= damage;
            let _ = Plugin::load(&runtime, PluginSpec::new("test"), &wasm);
        }
    }
}

#[test]
fn a_plain_core_module_lacks_a_component_type() {
    let error = refusal(&wat::parse_str("(module)").unwrap());
    assert!(error.contains("without a component type"), "{error}");
}

#[test]
fn a_component_of_another_world_is_told_by_its_import() {
    let wasm = embed(
        r#"(module (import "other:house/door" "open" (func)) (memory (export "memory") 1)
             (func (export "odin:plugin/request-headers@0.1.0#on-request-headers") (param i32) (result i32) unreachable)
             (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#,
        "package other:house; interface door { open: func(); }
         world other { import door; export odin:plugin/request-headers@0.1.0; }",
        "other",
    );
    assert_eq!(refusal(&wasm), "it imports `other:house/door`, which Odin does not offer to plugins");
}

#[test]
fn a_component_without_hooks_is_told_what_it_exports() {
    let wasm = embed(
        r#"(module (func (export "other:house/door#open")))"#,
        "package other:house; interface door { open: func(); } world other { export door; }",
        "other",
    );
    assert_eq!(refusal(&wasm), "it exports no hook of odin:plugin@0.1.0 (it exports other:house/door)");
    let empty = wat::parse_str("(component)").unwrap();
    assert_eq!(refusal(&empty), "it exports no hook of odin:plugin@0.1.0 (it exports nothing)");
}

#[test]
fn a_hook_that_this_version_does_not_know_is_refused() {
    let wasm =
        wat::parse_str(r#"(component (instance $none) (export "odin:plugin/request-body@0.2.0" (instance $none)))"#);
    assert!(refusal(&wasm.unwrap()).contains("the hook `odin:plugin/request-body@0.2.0`"));
}

#[test]
fn a_hook_of_another_signature_is_refused() {
    let component = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $hook (export "on-request-headers" (func $f)))
        (export "odin:plugin/request-headers@0.1.0" (instance $hook)))"#;
    match load(&wat::parse_str(component).unwrap()) {
        Err(LoadError::HookMismatch { hook: Hook::RequestHeaders, .. }) => {}
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn invalid_code_is_refused() {
    let component = r#"(component (core module $m (func (result i32))))"#;
    assert!(refusal(&wat::parse_str(component).unwrap()).starts_with("the component is not valid: "));
}

/// `configure` that answers with an error in these words (of the prelude's strings).
fn configure_error() -> String {
    format!(
        "{CONFIGURE} (i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 1152))
         (i32.store (i32.const 8) (i32.const 9)) (i32.const 0))"
    )
}

#[test]
fn configure_refuses_with_the_plugins_own_words() {
    let wasm = guest(&["lifecycle", "request-headers"], &(configure_error() + &noop()));
    assert_eq!(refusal(&wasm), "configure refused: no thanks");
}

#[test]
fn a_trap_in_configure_refuses_the_load() {
    let wasm = guest(&["lifecycle"], &format!("{CONFIGURE} unreachable)"));
    assert_eq!(refusal(&wasm), "no instance of it starts: configure trapped: unreachable executed");
    let wasm = guest(&["lifecycle"], &format!("{CONFIGURE} (loop $l (br $l)) unreachable)"));
    assert_eq!(refusal(&wasm), "no instance of it starts: configure overran its time limit of 100ms");
}

#[test]
fn a_start_function_is_bound_too() {
    let wasm = guest(&["request-headers"], &format!("(func $f (loop $l (br $l))) (start $f) {}", noop()));
    let error = refusal(&wasm);
    assert!(error.contains("overran its time limit"), "{error}");
}

#[test]
fn more_memory_than_the_limit_is_refused() {
    let mut spec = PluginSpec::new("test");
    spec.limits.memory_bytes = 1000;
    let error = Plugin::load(&runtime(), spec, &guest(&["request-headers"], &noop())).err().unwrap();
    assert_eq!(error.to_string(), "no instance of it starts: it needs more memory than its limit of 0 KiB");
}

#[test]
fn configure_gets_the_config_and_may_ask_for_parts() {
    // Traps unless `configure` got 23 bytes, and `config.get` answers 5 for `limits.burst`.
    let code = format!(
        "{CONFIGURE}
          (if (i32.ne (local.get $len) (i32.const 22)) (then unreachable))
          (call $config-get (i32.const 1120) (i32.const 12) (i32.const 64))
          (if (i32.ne (i32.load8_u (i32.load (i32.const 68))) (i32.const 53)) (then unreachable))
          {ZERO}"
    );
    let mut spec = PluginSpec::new("test");
    spec.config = r#"{"limits":{"burst":5}}"#.to_owned();
    Plugin::load(&runtime(), spec.clone(), &guest(&["lifecycle"], &code)).unwrap();
    spec.config = "{".to_owned();
    let error = Plugin::load(&runtime(), spec, &guest(&["lifecycle"], &code)).err().unwrap();
    assert!(matches!(error, LoadError::Config(_)));
}
