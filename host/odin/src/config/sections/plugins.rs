//! Decodes `plugins`: what each one may reach and what it may cost.
//! Must never load a file: it looks whether it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::super::check::References;
use super::super::decoder::{Field, Table};
use super::super::places::Kind;
use super::super::readers::{self, choice, duration, parsed, size, whole};
use super::super::schema::{BodyOverflow, Breaker, Grant, Isolation, OnFailure, Plugin};
use super::super::units;
use super::set;

/// WebAssembly's page: no memory is smaller, and no other budget is worth having below it.
const LEAST: u64 = 64 << 10;
/// What pools of instances are made for; a plugin that wants more does not fit.
const MOST: u64 = 1 << 30;
/// A guest runs on a worker's stack, which has room for so much of it.
const MOST_STACK: u64 = 1 << 20;
/// The least time that is worth measuring.
const LEAST_TIME: Duration = Duration::from_millis(1);

/// All plugins, by name.
pub(super) fn decode(field: Field<'_>, references: &mut References) -> BTreeMap<String, Plugin> {
    let mut plugins = BTreeMap::new();
    let mut spaces = Spaces::default();
    for (name, line, field) in field.named() {
        references.define(Kind::Plugin, &name, line);
        if let Err(message) = units::check_name(&name) {
            field.report.error(line, &field.path, message);
        }
        if let Some(plugin) = plugin(&name, field, references, &mut spaces) {
            plugins.insert(name, plugin);
        }
    }
    plugins
}

fn plugin(name: &str, field: Field<'_>, references: &mut References, spaces: &mut Spaces) -> Option<Plugin> {
    let mut table = field.table()?;
    let path = table.require("path", r#"for example "lb_rr.wasm""#).and_then(path);
    let mut plugin = Plugin::new(path.clone().unwrap_or_default());
    if let Some(field) = table.take("config") {
        match field.node.to_json() {
            Ok(json) => plugin.config = json,
            Err((line, message)) => field.report.about(line, &field.path, message),
        }
    }
    let failures = [("closed", OnFailure::Closed), ("open", OnFailure::Open)];
    set(&mut plugin.on_failure, &mut table, "on-failure", choice(&failures));
    let isolations = [("pooled", Isolation::Pooled), ("fresh", Isolation::Fresh)];
    set(&mut plugin.isolation, &mut table, "isolation", choice(&isolations));
    budgets(&mut plugin, &mut table);
    plugin.grant = table.take("grant").map(grants).unwrap_or_default();
    reach(name, &mut plugin, &mut table, references, spaces);
    bodies(&mut plugin, &mut table);
    plugin.breaker = table.take("breaker").and_then(breaker).unwrap_or_default();
    table.deny_rest();
    path.map(|_| plugin)
}

fn path(field: Field<'_>) -> Option<PathBuf> {
    let path = field.report.resolve(&field.read(readers::text)?);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => field.fail(&format!("{} is not a file; name a .wasm file", path.display())),
        Err(error) => {
            let help = "the path is relative to the folder of the config file";
            field.fail(&format!("cannot read {}: {error}; {help}", path.display()));
        }
    }
    // Whoever reads the config from another folder shall find the same file.
    Some(std::path::absolute(&path).unwrap_or(path))
}

/// What one instance and one call may use.
fn budgets(plugin: &mut Plugin, table: &mut Table<'_>) {
    set(&mut plugin.timeout, table, "timeout", duration(LEAST_TIME));
    plugin.cpu_budget = table.read("cpu-budget", duration(LEAST_TIME));
    set(&mut plugin.slice, table, "slice", duration(LEAST_TIME));
    set(&mut plugin.memory, table, "memory", size(LEAST..=MOST));
    set(&mut plugin.stack, table, "stack", size(LEAST..=MOST_STACK));
    set(&mut plugin.host_allocation, table, "host-allocation", size(LEAST..=MOST));
    set(&mut plugin.log_rate, table, "log-rate", whole(0..=1_000_000));
    set(&mut plugin.recycle_after, table, "recycle-after", whole(1..=u32::MAX.into()));
}

fn grants(field: Field<'_>) -> BTreeSet<Grant> {
    let grant = parsed(r#"a grant such as "log""#, Grant::parse);
    field.distinct("grants", |field| field.read(&grant)).into_iter().collect()
}

/// What lies outside the plugin: clusters that it calls or sends exchanges to, and state that it shares.
fn reach(name: &str, plugin: &mut Plugin, table: &mut Table<'_>, references: &mut References, spaces: &mut Spaces) {
    if let Some(field) = table.take("outbound") {
        plugin.outbound = field.distinct("cluster names", |field| references.read(Kind::Cluster, field));
    }
    if let Some(field) = table.take("clusters") {
        plugin.clusters = field.distinct("cluster names", |field| references.read(Kind::Cluster, field));
    }
    set(&mut plugin.outbound_timeout, table, "outbound-timeout", duration(LEAST_TIME));
    let space = table.take("shared-space");
    set(&mut plugin.shared_size, table, "shared-size", size(LEAST..=MOST));
    if let Some(field) = space {
        plugin.shared_space = field.read(readers::name);
        if let Some(space) = &plugin.shared_space {
            spaces.join(space, name, plugin.shared_size, &field);
        }
    }
}

fn bodies(plugin: &mut Plugin, table: &mut Table<'_>) {
    set(&mut plugin.body_limit, table, "body-limit", size(0..=MOST));
    let overflows = [("reject", BodyOverflow::Reject), ("partial", BodyOverflow::Partial)];
    set(&mut plugin.body_overflow, table, "body-overflow", choice(&overflows));
    set(&mut plugin.body_wait, table, "body-wait", duration(LEAST_TIME));
}

fn breaker(field: Field<'_>) -> Option<Breaker> {
    let mut table = field.table()?;
    let mut breaker = Breaker::default();
    set(&mut breaker.percent, &mut table, "percent", whole(0..=100));
    set(&mut breaker.calls, &mut table, "calls", whole(1..=1_000_000));
    set(&mut breaker.window, &mut table, "window", duration(LEAST_TIME));
    let pause = table.take("pause");
    if let Some(pause) = pause.as_ref().and_then(|field| field.read(duration(LEAST_TIME))) {
        breaker.pause = pause;
    }
    let max_pause = table.take("max-pause");
    if let Some(max_pause) = max_pause.as_ref().and_then(|field| field.read(duration(LEAST_TIME))) {
        breaker.max_pause = max_pause;
    }
    if breaker.pause > breaker.max_pause
        && let Some(field) = pause.or(max_pause)
    {
        let (pause, max_pause) = (units::format_duration(breaker.pause), units::format_duration(breaker.max_pause));
        field.fail(&format!("a `pause` of {pause} is longer than `max-pause`, {max_pause}; change one"));
    }
    table.gone(
        "failures",
        "failures in a row are not counted any more; write which share of how many calls, as \
         `percent = 50, calls = 20`, or `percent = 0` for never",
    );
    table.deny_rest();
    Some(breaker)
}

/// The common spaces by name: how large each is, and which plugin said so first.
#[derive(Default)]
struct Spaces(BTreeMap<String, (u64, String)>);

impl Spaces {
    /// A space has one size, whichever plugin is loaded first.
    fn join(&mut self, space: &str, plugin: &str, size: u64, field: &Field<'_>) {
        let (first, other) = self.0.entry(space.to_owned()).or_insert_with(|| (size, plugin.to_owned()));
        if *first != size {
            let (first, size) = (units::format_size(*first), units::format_size(size));
            field.fail(&format!(
                "the plugin `{other}` gives this space a `shared-size` of {first}, this one {size}; give both the same"
            ));
        }
    }
}
