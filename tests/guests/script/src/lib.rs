//! A plugin that does in every hook what a script says, and writes down in the context value `trace` that it did: with
//! this one guest a test says in its own lines what it is about. The words of a script are in `interpreter.rs`.

mod interpreter;
mod scripted;

const MORE: Option<fn(&str, &str) -> Option<String>> = None;
