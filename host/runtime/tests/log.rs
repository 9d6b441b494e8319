//! A plugin's lines in Odin's own log.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use common::*;
use odin_chain::Hook;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps what is logged at `info` and above with the target `plugin`.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "plugin" && *metadata.level() <= Level::INFO
    }
    fn event(&self, event: &Event<'_>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.0 += &format!(" {field}={value:?}");
            }
        }
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn lines_carry_the_plugins_name_and_a_flood_is_cut() {
    // One line at each level, then a thousand more.
    let hook = on_request(
        "(local $n i32)
          (call $log (i32.const 0) (i32.const 2000) (i32.const 8))
          (call $log (i32.const 1) (i32.const 2000) (i32.const 8))
          (call $log (i32.const 2) (i32.const 2000) (i32.const 8))
          (call $log (i32.const 3) (i32.const 2000) (i32.const 8))
          (loop $more
            (call $log (i32.const 1) (i32.const 1072) (i32.const 4))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const 1000))))",
    );
    let code = format!("(data (i32.const 2000) \"one\\nline\") {hook}");
    let mut spec = spec("test");
    spec.limits.log_lines_per_second = 50;
    let worker = worker(spec, &guest(&["request-headers"], &code));
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
    });
    let lines = lines.0.lock().unwrap();
    let first: Vec<&str> = lines.iter().take(3).map(String::as_str).collect();
    assert_eq!(
        first,
        [
            r#"INFO message=one\nline plugin="test""#,
            r#"WARN message=one\nline plugin="test""#,
            r#"ERROR message=one\nline plugin="test""#
        ]
    );
    // A second may end in between: then as many again.
    assert!((51..=102).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().any(|line| line.contains("the rest is dropped")));
}
