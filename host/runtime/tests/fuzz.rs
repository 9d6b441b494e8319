//! The fuzz target of loading: whatever the file holds, it is refused or loads, soon, and nothing panics.
//!
//! The seeds are small guests, as a module and as a component, that have a hook or are nested. See `tests/fuzz`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::*;
use odin_runtime::Plugin;

/// For one load of a file of some kilobytes, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of components: the preamble, and the ids of sections with their sizes.
const WORDS: &[&[u8]] = &[
    b"\0asm\x01\0\0\0",
    b"\0asm\x0d\0\x01\0",
    b"\x00\x05",
    b"\x01\x08\0asm\x01\0\0\0",
    b"\x04\x08\0asm\x0d\0\x01\0",
    b"\x0b",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x08",
    b"odin:plugin/request-headers@0.1.0",
    b"odin:plugin/",
    b"cabi_realloc",
    b"memory",
    b"component-type",
];

#[test]
fn fuzz_plugin_loading() {
    let seeds = [
        guest(&["request-headers"], &noop()),
        guest(&["balancer"], &round_robin()),
        guest(&["lifecycle", "request-headers"], &(configure("") + &noop())),
        guest(&["request-headers"], &format!("(func $f (loop $l (br $l))) (start $f) {}", noop())),
    ];
    let component = wit_component::ComponentEncoder::default().module(&seeds[0]).unwrap().encode().unwrap();
    let nested = "(component (component $a (core module $m (memory 1)) (core instance (instantiate $m)))
                    (instance (instantiate $a)) (instance (instantiate $a)))";
    let target = odin_fuzz::target("plugin_load").words(WORDS).longest(8 * 1024);
    let target = target.seed(component).seed(wat::parse_str(nested).unwrap()).seed(*b"\0asm");
    let target = seeds.into_iter().fold(target, odin_fuzz::Target::seed);

    let runtime = runtime();
    target.run(|wasm| {
        let begun = Instant::now();
        let loaded = Plugin::load(&runtime, spec("test"), wasm);
        assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
        match loaded {
            Ok(plugin) => format!("{:?}", plugin.hooks()),
            // What it says before the first name or offset.
            Err(error) => {
                let told = error.to_string();
                told.split(['`', '"', '(', '0']).next().unwrap_or_default().chars().take(60).collect()
            }
        }
    });
}
