//! What loads, and what is refused with which words.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use odin_chain::{Hook, Hooks};
use odin_runtime::{Grants, LoadError, Plugin};

fn refusal(wasm: &[u8]) -> String {
    match load(wasm) {
        Ok(_) => panic!("it loads"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_core_module_with_a_component_type_loads_and_tells_its_hooks() {
    let plugin = load(&guest(&["request-headers"], &noop())).unwrap();
    assert_eq!(plugin.hooks(), Hooks::from_iter([Hook::RequestHeaders]));
    let status = plugin.status();
    assert_eq!((status.generation, status.hash.len(), status.swaps, status.last_error), (1, 16, 0, None));
}

#[test]
fn a_component_loads_as_it_is() {
    let module = guest(&["balancer"], &round_robin());
    let component = wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    let plugin = load(&component).unwrap();
    assert_eq!(plugin.hooks(), Hooks::from_iter([Hook::Balancer]));
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
            let _ = Plugin::load(&runtime, spec("test"), &wasm);
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
             (func (export "odin:plugin/request-headers@0.1.0#on-request-headers") (result i32) unreachable)
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
fn invalid_code_is_refused() {
    // Its names are good: they are looked at before it is compiled.
    let component = r#"(component (core module $m (func (result i32)))
        (instance $none) (export "odin:plugin/request-body@0.1.0" (instance $none)))"#;
    assert!(refusal(&wat::parse_str(component).unwrap()).starts_with("the component is not valid: "));
}

#[test]
fn configure_refuses_with_the_plugins_own_words() {
    let code = configure(&answering(&[1, 1152, 9])) + &noop();
    let wasm = guest(&["lifecycle", "request-headers"], &code);
    assert_eq!(refusal(&wasm), "configure refused: no thanks");
}

#[test]
fn a_trap_in_configure_refuses_the_load() {
    let wasm = guest(&["lifecycle"], &configure("unreachable"));
    assert_eq!(refusal(&wasm), "no instance of it starts: configure trapped: unreachable executed");
    let wasm = guest(&["lifecycle"], &configure("(loop $l (br $l)) unreachable"));
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
    let mut spec = spec("test");
    spec.limits.memory_bytes = 1000;
    let error = Plugin::load(&runtime(), spec, &guest(&["request-headers"], &noop())).err().unwrap();
    assert_eq!(error.to_string(), "no instance of it starts: it needs more memory than its limit of 0 KiB");
}

#[test]
fn configure_gets_the_config_and_may_ask_for_parts() {
    // Traps unless `configure` got 22 bytes, and `config.get` answers 5 for `limits.burst`.
    let code = configure(
        &(expect("(local.get $len)", 22)
            + "(call $config-get (i32.const 1120) (i32.const 12) (i32.const 64))"
            + &expect("(i32.load8_u (i32.load (i32.const 68)))", 53)),
    );
    let mut spec = spec("test");
    spec.config = r#"{"limits":{"burst":5}}"#.to_owned();
    Plugin::load(&runtime(), spec.clone(), &guest(&["lifecycle"], &code)).unwrap();
    spec.config = "{".to_owned();
    let error = Plugin::load(&runtime(), spec, &guest(&["lifecycle"], &code)).err().unwrap();
    assert!(matches!(error, LoadError::Config(_)));
}

#[test]
fn what_the_config_does_not_grant_is_refused() {
    let wasm = guest(&["request-headers"], &on_request("(drop (call $now)) (drop (call $random))"));
    let mut spec = spec("door");
    spec.grants = Grants::default();
    let error = Plugin::load(&runtime(), spec.clone(), &wasm).err().unwrap();
    assert_eq!(
        error.to_string(),
        "it imports `odin:plugin/clock` and `odin:plugin/random`, which its config does not grant: add grant = \
         [\"clock\", \"random\"] to [plugins.door]"
    );
    // What it does not import needs no grant, and what it may but does not import is not told.
    spec.grants = common::spec("door").grants;
    let plugin = Plugin::load(&runtime(), spec, &wasm).unwrap();
    let status = plugin.status();
    assert_eq!(status.imports, ["clock", "random"]);
    assert_eq!(status.grants, ["log", "clock", "random", "config", "metrics", "shared"]);
}

#[test]
fn each_size_of_stack_has_an_engine() {
    let runtime = runtime();
    for stack_bytes in [64 << 10, 256 << 10, 1 << 20] {
        let mut spec = spec("test");
        spec.limits.stack_bytes = stack_bytes;
        Plugin::load(&runtime, spec, &guest(&["request-headers"], &noop())).unwrap();
    }
}
