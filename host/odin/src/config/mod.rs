//! The config: one schema, read from TOML, YAML or JSON by file ending, or made from flags (`cli.rs`).
//! Everything wrong with a file is told at once, each error with its line, its key and what to do about it.
//! Must never start, open or change anything: it reads the file, and looks whether plugin files are there.
//!
//! ```text
//! file ─ syntax::{toml,yaml,json} ─→ Node (values with lines) ─ schema, listeners | fly ─→ Config ─ check ─→ Ok
//! ```
//!
//! A key is one entry of a `section!` in `schema.rs` and its folder; `describe.rs` makes the docs of the entries. Of
//! these, `ODIN_WRITE=1 cargo test --workspace --bin odin made_of_the_keys` writes those that are files of the tree.

mod acme;
mod bindings;
mod check;
mod decoder;
mod describe;
mod error;
mod fly;
mod listeners;
mod nearest;
mod networks;
mod node;
mod places;
mod readers;
mod report;
mod routes;
mod schema;
mod section;
mod sections;
mod shapes;
mod syntax;
#[cfg(test)]
mod tests;
mod tls;
mod units;

use std::path::Path;

pub(crate) use bindings::{collide, takes_admin};
pub(crate) use describe::{example, late, page, schema};
pub(crate) use error::{ConfigError, Errors};
pub(crate) use places::{Places, Section};
#[cfg(test)]
pub(crate) use schema::DEFAULT_ADMIN;
pub(crate) use schema::{
    Acme, BodyOverflow, CertificateFiles, Challenge, ClientAuth, ClientTls, Cluster, Config, Elsewhere, EncodedSlashes,
    Endpoint, EndpointAddress, Grant, HttpRules, Isolation, Limits, Listener, Location, LogFormat, OnFailure,
    PathNormalization, Plugin, ProxyVersion, Roots, Route, ServerTls, Sources, SteeringMode, Timeouts, TlsVersion,
    Traffic, UpstreamProtocol,
};
pub(crate) use section::Choice;
pub(crate) use units::{binding, endpoint_address, socket_address};

use crate::files;
use check::References;
use report::Report;
use syntax::{Lines, Syntax};

/// Reads and checks a config file, and tells where what is in it. The syntax follows from its ending: `.toml`, `.yaml`,
/// `.yml` or `.json`.
pub(crate) fn load(file: &Path) -> Result<(Config, Places), Errors> {
    let fail = |message: String| Errors::from(ConfigError::in_file(file, None, "", message));
    let bytes = files::read(file).map_err(|error| fail(format!("cannot read the file: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, file),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = Lines::of(error.as_bytes()).at(good);
            Err(ConfigError::in_file(file, Some(line), "", "not UTF-8 text; save the file as UTF-8").into())
        }
    }
}

/// Checks the text of a config file. `file` gives the syntax, the name in errors, and the folder that plugin paths
/// are relative to; it need not exist.
fn parse(text: &str, file: &Path) -> Result<(Config, Places), Errors> {
    let Some(syntax) = Syntax::of(file) else {
        let message = "the file's ending does not tell its syntax; name it .toml, .yaml, .yml or .json";
        return Err(ConfigError::in_file(file, None, "", message).into());
    };
    let root = syntax::read(text.trim_start_matches('\u{feff}'), syntax, file)?;
    let report = Report::new(file, syntax);
    let mut references = References::default();
    let config = match fly::is_fly(&root) {
        true => fly::decode(root, &report, &mut references),
        false => {
            let config = sections::decode(root, &report, &mut references);
            references.check(&report);
            config
        }
    };
    report.finish()?;
    // A decoder that answers none has reported why, so this is never reached; an error is still better than a panic.
    let config = config.ok_or_else(|| ConfigError::in_file(file, None, "", "the config could not be read"))?;
    Ok((config, references.places(file)))
}
