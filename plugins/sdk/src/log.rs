//! Lines in Odin's own log. Granted by `grant = ["log"]`; a plugin that logs nothing does not import it.

use std::fmt::Arguments;

use crate::host::log as host;

pub use crate::bindings::imports::log::Level;

/// Writes one line at a level; the macros [`debug!`](crate::debug!), [`info!`](crate::info!),
/// [`warn!`](crate::warn!) and [`error!`](crate::error!) are the usual way to call it.
///
/// The host marks the line with the plugin's name, escapes control characters and cuts it at 1 KiB.
///
/// ```
/// # fn f(count: u32) {
/// odin_sdk::info!("the table has {count} entries");
/// odin_sdk::log(odin_sdk::Level::Warn, format_args!("that is a lot"));
/// # }
/// ```
pub fn log(level: Level, message: Arguments<'_>) {
    match message.as_str() {
        Some(text) => host::write(level, text),
        None => host::write(level, &message.to_string()),
    }
}

/// Logs at level debug: `debug!("cache holds {count} entries")`.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log($crate::Level::Debug, ::core::format_args!($($message)+)) };
}

/// Logs at level info: `info!("configured for {tenant}")`.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log($crate::Level::Info, ::core::format_args!($($message)+)) };
}

/// Logs at level warn: `warn!("no rule for {path}")`.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log($crate::Level::Warn, ::core::format_args!($($message)+)) };
}

/// Logs at level error: `error!("the rules do not parse: {reason}")`.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log($crate::Level::Error, ::core::format_args!($($message)+)) };
}
