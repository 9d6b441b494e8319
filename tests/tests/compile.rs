//! Compiling a plugin holds up nothing else, is bounded, and is done once for the same bytes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use odin_tests::{Builder, DEADLINE, HttpBackend, Odin, PluginEntry, Protocol, body, paths, process, until, within};
use rustix::process::Signal;

/// A component that exports a hook and is never called.
const COMPONENT: &str = r#"(component
    (core module $m (func (export "f")))
    INSIDE
    (core instance $i (instantiate $m))
    (func $f (canon lift (core func $i "f")))
    (instance $hook (export "on-request-headers" (func $f)))
    (export "odin:plugin/request-headers@0.1.0" (instance $hook)))"#;

/// A component of a few hundred bytes that asks for 2^20 instances.
fn nested() -> Vec<u8> {
    let mut inside = "(component $c0)".to_string();
    for level in 1..=20 {
        let twice = format!("(instance (instantiate $c{0})) (instance (instantiate $c{0}))", level - 1);
        inside = format!("(component $c{level} {inside} {twice})");
    }
    wat::parse_str(COMPONENT.replace("INSIDE", &format!("{inside} (instance (instantiate $c20))"))).unwrap()
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        match number {
            0 => {
                bytes.push(low);
                return bytes;
            }
            _ => bytes.push(low | 0x80),
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

/// A component with so many functions, each of some thousand instructions: seconds of compiling.
fn heavy(functions: usize) -> Vec<u8> {
    const LOCALS: u8 = 60;
    let mut code = vec![1, LOCALS, 0x7e];
    for step in 0..1500_usize {
        let local = |of: usize| (of % usize::from(LOCALS)) as u8;
        // local.get a, local.get b, i64.mul, local.set c
        code.extend([0x20, local(step), 0x20, local(step * 7 + 1), 0x7e, 0x21, local(step * 13 + 2)]);
    }
    code.push(0x0b);
    let code = [leb(code.len()), code].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[leb(functions), vec![0; functions]].concat()),
        section(7, &[1, 1, b'f', 0, 0]),
        section(10, &[leb(functions), code.repeat(functions)].concat()),
    ]
    .concat();
    // The module is the first section of the component.
    let small = wat::parse_str(COMPONENT.replace("INSIDE", "")).unwrap();
    let (header, rest) = small.split_at(8);
    assert!(rest[0] == 1 && rest[1] < 0x80, "the module comes first, and is small");
    let after = &rest[2 + usize::from(rest[1])..];
    [header, &section(1, &module), after].concat()
}

async fn serving() -> (Builder, HttpBackend) {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let builder = Odin::builder().target(&backend).plugin("headers").plugin("pass");
    (builder.top("compile-cache = \"off\""), backend)
}

/// Waits for the process that compiles, and stops it where it is.
async fn frozen_compiler(odin: &Odin) -> u32 {
    // Its first thread only reads and sets limits.
    let compiles = |pid: &u32| process::is_running(*pid) && process::threads(*pid).len() > 1;
    let compiler = until("a process compiles", async || process::children(odin.pid()).into_iter().find(compiles)).await;
    process::signal(compiler, Signal::STOP);
    until("it stands still", async || process::threads(compiler).iter().all(|thread| thread.stopped).then_some(()))
        .await;
    compiler
}

#[tokio::test]
async fn a_plugin_that_compiles_for_ever_holds_up_nothing() {
    let (builder, _backend) = serving().await;
    let odin = builder.start().await;
    let mut admin = odin.connect_admin().await;
    let request = http::Request::post("/plugins/headers").body(body::full(heavy(2000))).unwrap();
    let swap = tokio::spawn(async move { admin.patient().try_send(request).await });
    let compiler = frozen_compiler(&odin).await;
    for _ in 0..3 {
        odin.get("/").await.has_status(200);
        odin.admin("/healthz").await.has_status(200);
        odin.connect_admin().await.get("/plugins").await.has_status(200);
    }
    // Another swap, a reload with a new plugin, a file that changes.
    odin.post_plugin("pass", paths::plugin_bytes("headers")).await.has_status(200);
    let config = fs::read_to_string(odin.config_file()).unwrap();
    odin.reload(&format!("{config}[timeouts]\nconnect = \"7s\"\n")).await.has_status(200);
    fs::write(odin.plugin_file("pass"), paths::plugin_bytes("probe")).unwrap();
    odin.log_contains(&["not swapped", "plugin=\"pass\""]).await;
    assert!(process::is_running(compiler) && !swap.is_finished(), "it compiles all the time");
    // And the end.
    odin.stop().await;
    until("the compiler is gone", async || (!process::is_running(compiler)).then_some(())).await;
    assert!(!matches!(within("an answer", swap).await.unwrap(), Ok(answer) if answer.status == 200));
}

#[tokio::test]
async fn a_plugin_that_takes_too_long_to_compile_is_refused() {
    let (builder, _backend) = serving().await;
    let odin = builder.top("compile-timeout = \"1s\"").start().await;
    let words = "not swapped, the old generation serves on: it was not compiled: it takes longer than \
                 `compile-timeout`, 1 s of CPU time";
    let answer = async |wasm| {
        let mut admin = odin.connect_admin().await;
        let request = http::Request::post("/plugins/headers").body(body::full(wasm)).unwrap();
        tokio::time::timeout(DEADLINE * 3, admin.patient().send(request)).await.expect("an answer")
    };
    answer(heavy(4000)).await.has_status(422).mentions(words);
    // Also when it makes no progress at all.
    let (answer, _) = tokio::join!(answer(heavy(500)), frozen_compiler(&odin));
    answer.has_status(422).mentions(words);
    assert_eq!(odin.plugin_status("headers").await["generation"], 1);
    odin.post_plugin("headers", paths::plugin_bytes("pass")).await.has_status(200);
    odin.stop().await;
}

#[tokio::test]
async fn a_plugin_that_takes_too_much_memory_to_compile_is_refused() {
    let (builder, _backend) = serving().await;
    let odin = builder.top("compile-memory = \"64MiB\"").start().await;
    odin.forget_peak();
    let before = odin.resident_bytes();
    let wasm = heavy(4000);
    let size = wasm.len() as u64;
    let mut admin = odin.connect_admin().await;
    let request = http::Request::post("/plugins/headers").body(body::full(wasm)).unwrap();
    let answer = tokio::time::timeout(DEADLINE * 3, admin.patient().send(request)).await.expect("an answer");
    answer.has_status(422).mentions("more memory than `compile-memory`, 64 MiB");
    let grown = odin.peak_resident_bytes().saturating_sub(before);
    assert!(grown < 4 * size, "{} MiB in the serving process", grown >> 20);
    odin.get("/").await.has_status(200);
    odin.stop().await;
}

#[tokio::test]
async fn a_few_bytes_that_ask_for_a_million_instances_are_refused_before_they_cost_anything() {
    let (builder, _backend) = serving().await;
    let odin = builder.start().await;
    odin.forget_peak();
    let before = odin.resident_bytes();
    let wasm = nested();
    assert!(wasm.len() < 2000, "{} bytes", wasm.len());
    let answer = odin.post_plugin("headers", wasm).await.has_status(422);
    answer.mentions("it is too large to compile: it asks for").mentions("instances");
    let grown = odin.peak_resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{} MiB", grown >> 20);
    odin.stop().await;
}

/// Many plugins of one file, with a cache in this folder.
fn many(backend: &HttpBackend, cache: &str) -> Builder {
    let builder = Odin::builder().target(backend).top(&format!("compile-cache = \"{cache}\""));
    let builder = builder.environment("RUST_LOG", "info,odin_runtime=debug");
    (0..30).fold(builder, |builder, number| {
        builder.plugin(PluginEntry::new("headers").called(&format!("headers{number}")))
    })
}

/// How often a plugin was compiled.
fn compiled(odin: &Odin) -> usize {
    odin.log().all().iter().filter(|line| line.contains("compiled a plugin")).count()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn the_same_bytes_are_compiled_once_and_kept() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let start = async |cache: &str| {
        let odin = many(&backend, cache).start().await;
        odin.get("/").await.has_status(200);
        let compiled = compiled(&odin);
        let log = odin.log().all();
        odin.stop().await;
        (compiled, log)
    };
    let shown = cache.to_str().unwrap();
    assert_eq!(start("off").await.0, 1);
    assert_eq!(start(shown).await.0, 1);
    let kept = files(&cache);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(start(shown).await.0, 0);
    // What somebody has changed is not used.
    let mut bytes = fs::read(&kept[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&kept[0], bytes).unwrap();
    let (again, log) = start(shown).await;
    assert_eq!(again, 1);
    assert!(log.iter().any(|line| line.contains("is not used: its checksum is another")), "{log:#?}");
    assert_eq!(start(shown).await.0, 0);
    // Nor is a folder where others can write, and the log says why.
    fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
    let (again, log) = start(shown).await;
    assert_eq!(again, 1);
    assert!(log.iter().any(|line| line.contains("not kept") && line.contains("others may write it")), "{log:#?}");
}
