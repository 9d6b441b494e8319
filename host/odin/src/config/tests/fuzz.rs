//! Fuzz targets of the config: no text makes it panic, each error is at a line of the file, and the same content is the
//! same config in each syntax.
//!
//! The seeds are files of `configs/` and the bad texts of `cases/`. See `tests/fuzz`.

use std::path::Path;

use odin_fuzz::Target;

use super::super::error::{Errors, Place};
use super::super::node::{Entry, Node, Value};
use super::super::parse;
use super::super::syntax::{self, Syntax};
use super::Folder;
use super::cases::cases;

/// Values of a config, and what means something in one of the syntaxes. Spaces part them; the keys come to them.
const WORDS: &str = "Apps Name Ports Targets 127.0.0.1:80 [::1]:80 0.0.0.0:80-90 a:1 lb.wasm 10s 1KiB true null {} [] \
    \"\" \" ' \\u0000 [[ ]] &a *a << !t --- 1e999 0x10 1_0 .inf \u{feff}";
const SPACES: [&str; 9] = ["\n", "\r", ": ", " = ", "- ", "# ", "|\n", "\u{85}", "\u{2028}"];

fn words() -> Vec<&'static str> {
    let keys = include_str!("../../../../../configs/full.toml").lines().filter_map(|line| line.split_once(" = "));
    let keys = keys.map(|(key, _)| key.trim_start_matches("# ")).filter(|key| !key.contains(' '));
    keys.chain(["listeners", "routes", "clusters", "plugins", "timeouts", "limits", "access-log", "breaker"])
        .chain(WORDS.split(' ').filter(|word| !word.is_empty()))
        .chain(SPACES)
        .collect()
}

macro_rules! configs {
    ($($name:literal),*) => { [$(include_str!(concat!("../../../../../configs/", $name))),*] };
}

/// The texts of a table of bad configs.
fn bad(table: &str) -> Vec<String> {
    cases(table).into_iter().map(|(text, _)| text).collect()
}

/// A config with the stand-in plugin in the place of those that it names.
fn with_stand_in(text: &'static str) -> String {
    let part = |part: &'static str| if part.ends_with(".wasm") { "lb.wasm" } else { part };
    text.split('"').map(part).collect::<Vec<_>>().join("\"")
}

fn target(name: &'static str, good: &[&'static str], bad: Vec<String>) -> Target {
    let seeds = good.iter().map(|text| with_stand_in(text)).chain(bad);
    seeds.fold(odin_fuzz::target(name).words(&words()).longest(16 * 1024), Target::seed)
}

#[test]
fn fuzz_config_toml() {
    let good = configs!("full.toml", "demo.toml", "steering.toml", "headers.toml", "processors.toml");
    let tables = [include_str!("cases/toml.txt"), include_str!("cases/values.txt"), include_str!("cases/plugins.txt")];
    all_errors_have_lines("a.toml", target("config_toml", &good, tables.map(bad).concat()));
}

#[test]
fn fuzz_config_yaml() {
    let bad = bad(include_str!("cases/yaml.txt"));
    all_errors_have_lines("a.yaml", target("config_yaml", &configs!("http2.yaml"), bad));
}

#[test]
fn fuzz_config_json() {
    let bad = bad(include_str!("cases/json.txt"));
    all_errors_have_lines("a.json", target("config_json", &configs!("fly.json"), bad));
}

fn all_errors_have_lines(file: &str, target: Target) {
    let folder = Folder::new(&format!("fuzz-{file}"));
    target.run(|input| {
        let text = String::from_utf8_lossy(input);
        match parse(&text, &folder.path(file)) {
            Ok((config, _)) => format!("{} {}", config.listeners.len().min(3), config.plugins.len().min(3)),
            Err(errors) => {
                is_in_the_file(&errors, &text);
                shape(&errors)
            }
        }
    });
}

/// Where an editor would find each of them.
#[track_caller]
fn is_in_the_file(errors: &Errors, text: &str) {
    // YAML ends a line at a lone CR, too.
    let ends = text.bytes().zip(text.bytes().skip(1).chain([0]));
    let lines = 1 + ends.filter(|(byte, next)| *byte == b'\n' || (*byte == b'\r' && *next != b'\n')).count();
    for error in errors.iter() {
        let Place::File { line: Some(line), .. } = &error.place else { panic!("without a line: {error}") };
        assert!((1..=lines).contains(&(*line as usize)), "{lines} lines, and an error in line {line}: {error}");
    }
}

/// The errors without what they quote.
fn shape(errors: &Errors) -> String {
    let plain = |message: &str| {
        // What stands before and behind the first quoted word; others may hold quotes of their own.
        let outside = message.split(['`', '"']).step_by(2).take(2);
        outside.flat_map(str::chars).filter(|c| !c.is_numeric()).take(40).collect::<String>()
    };
    errors.iter().take(2).map(|error| plain(&error.message)).collect()
}

#[test]
fn fuzz_config_same_in_each_syntax() {
    let folder = Folder::new("fuzz-same");
    let good = configs!("full.toml", "steering.toml", "headers.toml", "decorated.toml", "ctx.toml").map(|text| {
        let node = syntax::read(&with_stand_in(text), Syntax::Toml, Path::new("a.toml")).unwrap();
        node.to_json().unwrap().to_string()
    });
    let target = target("config_same", &configs!("fly.json"), bad(include_str!("cases/json.txt")));
    good.into_iter().fold(target, Target::seed).run(|input| {
        let text = String::from_utf8_lossy(input);
        let Ok(root) = syntax::read(&text, Syntax::Json, Path::new("a.json")) else { return "no JSON".to_owned() };
        // TOML has no null.
        let (Value::Map(entries), false) = (&root.value, has_null(&root)) else { return "no TOML".to_owned() };
        let lines = |between: &str| {
            let line = |entry: &Entry| format!("{}{between}{}\n", quoted(&entry.key), inline(&entry.node, between));
            entries.iter().map(line).collect::<String>()
        };
        let read = |text: &str, file: &str| {
            parse(text, &folder.path(file)).map(|(config, _)| config).map_err(|errors| {
                let mut keys: Vec<String> = errors.iter().map(|error| error.key.clone()).collect();
                keys.sort();
                (keys, shape(&errors))
            })
        };
        let json = read(&text, "a.json");
        for (text, file) in [(lines(" = "), "a.toml"), (lines(": "), "a.yaml")] {
            match (&json, read(&text, file)) {
                // The words differ, as the syntax does; not the keys that they are about.
                (Err((keys, _)), Err((others, told))) => assert_eq!(*keys, others, "{told} in {file}:\n{text}"),
                (json, other) => assert_eq!(*json, other, "{file}:\n{text}"),
            }
        }
        json.map_or_else(|(_, shape)| shape, |config| format!("{} {}", config.listeners.len(), config.plugins.len()))
    });
}

fn has_null(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::List(items) => items.iter().any(has_null),
        Value::Map(entries) => entries.iter().any(|entry| has_null(&entry.node)),
        _ => false,
    }
}

/// A value on one line, as TOML and YAML both take it; `between` is what stands between a key and its value.
fn inline(node: &Node, between: &str) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) => quoted(text),
        Value::List(items) => format!("[{}]", joined(items.iter().map(|item| inline(item, between)).collect())),
        Value::Map(entries) => {
            let pair = |entry: &Entry| format!("{}{between}{}", quoted(&entry.key), inline(&entry.node, between));
            format!("{{{}}}", joined(entries.iter().map(pair).collect()))
        }
    }
}

/// A text as all three write it.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap().replace('\u{7f}', "\\u007f")
}
