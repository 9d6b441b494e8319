//! `odin:plugin/log`: lines in Odin's own log, marked with the plugin's name.
//! Must never let a plugin forge a line, nor flood the log.

use wasmtime::component::{ComponentType, Lift, WasmStr};

use crate::store::{Ctx, Link};
use crate::words;

/// `level` of wit/log.wit.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests construct it")]
enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    linker.instance("odin:plugin/log@0.1.0")?.func_wrap(
        "write",
        |store: Ctx<'_>, (level, message): (Level, WasmStr)| {
            let data = store.data();
            if enabled(level) {
                let slot = &data.slot;
                if words::may_say(data.stats(), slot.spec.limits.log_lines_per_second, &slot.name) {
                    let message = message.to_str(&store)?;
                    let (told, rest) = words::cut(&message);
                    write(level, &slot.name, &(words::printable(told) + &*rest));
                }
            }
            Ok(())
        },
    )
}

fn enabled(level: Level) -> bool {
    match level {
        Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
    }
}

fn write(level: Level, plugin: &str, message: &str) {
    match level {
        Level::Debug => tracing::debug!(target: "plugin", plugin, "{message}"),
        Level::Info => tracing::info!(target: "plugin", plugin, "{message}"),
        Level::Warn => tracing::warn!(target: "plugin", plugin, "{message}"),
        Level::Error => tracing::error!(target: "plugin", plugin, "{message}"),
    }
}
