//! What `/metrics` tells about plugins: how they do, and the numbers that they count themselves.
//! Must never let a name that a plugin chose make the page invalid: a family has one kind, and no two share a line.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use odin_chain::Hook;
use odin_runtime::{BUCKETS_NANOS, BreakerState, CustomMetric, CustomValue, PluginStatus, StatsSnapshot};

use crate::plugin_spec::breaker_state;
use crate::prometheus::Text;

/// One plugin, as of now.
pub(crate) struct PluginNumbers<'a> {
    pub(crate) name: &'a str,
    pub(crate) status: PluginStatus,
    pub(crate) stats: StatsSnapshot,
}

/// Time that a plugin computed for one route (for a TCP listener: the empty one).
pub(crate) struct CpuTime<'a> {
    pub(crate) listener: &'a str,
    pub(crate) route: &'a str,
    pub(crate) plugin: &'a str,
    pub(crate) nanos: u64,
}

/// All metrics of all plugins. Of two times with the same labels (two workers) the sum is told.
pub(crate) fn render(out: &mut Text, plugins: &[PluginNumbers<'_>], cpu: &[CpuTime<'_>]) {
    life(out, plugins);
    calls(out, plugins);
    cpu_seconds(out, cpu);
    let custom: Vec<_> = plugins.iter().map(|plugin| (plugin.name, plugin.stats.custom.as_slice())).collect();
    custom_metrics(out, &custom);
}

/// Which generation serves, and whether it is in the path.
fn life(out: &mut Text, plugins: &[PluginNumbers<'_>]) {
    out.metric("odin_plugin_swaps_total", "counter", "Swaps, by outcome.");
    for PluginNumbers { name, status, .. } in plugins {
        out.sample("odin_plugin_swaps_total", &[("plugin", name), ("outcome", "swapped")], status.swaps);
        out.sample("odin_plugin_swaps_total", &[("plugin", name), ("outcome", "refused")], status.failed_swaps);
    }
    let mut each = |name: &str, kind: &str, help: &str, value: &dyn Fn(&PluginNumbers<'_>) -> u64| {
        out.metric(name, kind, help);
        for plugin in plugins {
            out.sample(name, &[("plugin", plugin.name)], value(plugin));
        }
    };
    each("odin_plugin_generation", "gauge", "The generation that serves, from 1.", &|p| p.status.generation);
    each("odin_plugin_instances_total", "counter", "Instances created.", &|p| p.stats.instances_created);
    let state = "Of its hooks and routes the worst: 0 closed: called; 1 half-open: a share is; 2 open: paused.";
    each("odin_plugin_breaker_state", "gauge", state, &|p| match breaker_state(&p.status.breaker) {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen { .. } => 1,
        BreakerState::Open { .. } => 2,
    });
    each("odin_plugin_breaker_trips_total", "counter", "Pauses begun.", &|p| p.stats.breaker_trips);
    each("odin_plugin_paused_total", "counter", "Calls not made, because the hook was paused on the route.", &|p| {
        p.stats.paused
    });
    let too_many = "Calls not made, because too many waited on the worker.";
    each("odin_plugin_too_many_calls_total", "counter", too_many, &|p| p.stats.too_many);
    each("odin_plugin_waiting_calls", "gauge", "Calls that wait now, or give way to others.", &|p| p.stats.open);
    let share = "How many calls of the plugin may wait at once on one worker: its share.";
    each("odin_plugin_waiting_calls_limit", "gauge", share, &|p| p.stats.open_limit);
    each("odin_plugin_traps_total", "counter", "Calls that ended in a trap.", &|p| p.stats.traps);
    each("odin_plugin_timeouts_total", "counter", "Calls that overran their time.", &|p| p.stats.timeouts);
    each("odin_plugin_refused_total", "counter", "Calls that the plugin answered with an error.", &|p| p.stats.refused);
    each("odin_plugin_outbound_calls_total", "counter", "Requests made by plugins.", &|p| p.stats.outbound_calls);
    each("odin_plugin_outbound_failures_total", "counter", "Of these, those without an answer.", &|p| {
        p.stats.outbound_failures
    });
}

/// Calls by hook: of the hooks that the plugin exports, or exported before a swap.
fn calls(out: &mut Text, plugins: &[PluginNumbers<'_>]) {
    let told = || {
        plugins.iter().flat_map(|plugin| {
            let hooks = Hook::ALL.into_iter().map(|hook| (hook, plugin.stats.hook(hook)));
            let told = hooks.filter(|(hook, stats)| stats.calls > 0 || plugin.status.hooks.has(*hook));
            told.map(|(hook, stats)| ([("plugin", plugin.name), ("hook", hook.name())], stats))
        })
    };
    out.metric("odin_plugin_failures_total", "counter", "Calls that failed, by hook.");
    for (labels, stats) in told() {
        out.sample("odin_plugin_failures_total", &labels, stats.failures);
    }
    out.metric("odin_plugin_call_seconds", "histogram", "Time in hooks.");
    let bounds = BUCKETS_NANOS.map(|nanos| nanos as f64 / 1e9);
    for (labels, stats) in told() {
        let sum = stats.nanos_total as f64 / 1e9;
        out.histogram("odin_plugin_call_seconds", &labels, &bounds, &stats.histogram, sum);
    }
}

fn cpu_seconds(out: &mut Text, cpu: &[CpuTime<'_>]) {
    let mut sums: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for time in cpu {
        *sums.entry((time.plugin, time.listener, time.route)).or_default() += time.nanos;
    }
    out.metric("odin_plugin_cpu_seconds_total", "counter", "Time that plugins computed, without waiting.");
    for ((plugin, listener, route), nanos) in sums {
        let labels = [("plugin", plugin), ("listener", listener), ("route", route)];
        out.sample("odin_plugin_cpu_seconds_total", &labels, nanos as f64 / 1e9);
    }
}

/// One name with the values of all plugins that use it as the same kind.
struct Family<'a> {
    kind: &'static str,
    values: Vec<(&'a str, &'a CustomValue)>,
}

/// The plugins' own numbers. The first plugin that uses a name decides its kind; what does not fit is left out.
fn custom_metrics(out: &mut Text, plugins: &[(&str, &[CustomMetric])]) {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let mut lines: BTreeSet<String> = BTreeSet::new();
    for (plugin, metrics) in plugins {
        for CustomMetric { name, value } in *metrics {
            let kind = kind(value);
            let fits = match families.entry(name) {
                Entry::Occupied(mut family) if family.get().kind == kind => {
                    family.get_mut().values.push((plugin, value));
                    true
                }
                Entry::Occupied(_) => false,
                Entry::Vacant(place) => {
                    let own = line_names(name, kind);
                    let free = own.iter().all(|line| !lines.contains(line));
                    if free {
                        lines.extend(own);
                        place.insert(Family { kind, values: vec![(plugin, value)] });
                    }
                    free
                }
            };
            if !fits {
                tracing::debug!(plugin, metric = name, kind, "left out of /metrics: another metric has its name");
            }
        }
    }
    for (name, family) in families {
        let name = format!("odin_custom_{name}");
        out.metric(&name, family.kind, "A plugin's own.");
        for (plugin, value) in family.values {
            let labels = [("plugin", plugin)];
            match value {
                CustomValue::Counter(count) => out.sample(&name, &labels, count),
                CustomValue::Gauge(value) => out.sample(&name, &labels, number(*value)),
                CustomValue::Histogram { bounds, buckets, sum } => {
                    out.histogram(&name, &labels, bounds, buckets, *sum);
                }
            }
        }
    }
}

fn kind(value: &CustomValue) -> &'static str {
    match value {
        CustomValue::Counter(_) => "counter",
        CustomValue::Gauge(_) => "gauge",
        CustomValue::Histogram { .. } => "histogram",
    }
}

/// The names at the beginning of a family's lines: those of a histogram `x` begin like those of a counter `x_count`.
fn line_names(name: &str, kind: &str) -> Vec<String> {
    match kind {
        "histogram" => ["", "_bucket", "_sum", "_count"].iter().map(|end| format!("{name}{end}")).collect(),
        _ => vec![name.to_owned()],
    }
}

/// A number as the format writes it.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(name: &str, count: u64) -> CustomMetric {
        CustomMetric { name: name.to_owned(), value: CustomValue::Counter(count) }
    }

    fn page(plugins: &[(&str, &[CustomMetric])]) -> String {
        let mut out = Text(String::new());
        custom_metrics(&mut out, plugins);
        out.0
    }

    #[test]
    fn one_name_of_two_plugins_is_one_family() {
        let expected = "# HELP odin_custom_hits A plugin's own.\n# TYPE odin_custom_hits counter\n\
                        odin_custom_hits{plugin=\"a\"} 1\nodin_custom_hits{plugin=\"b\"} 2\n";
        assert_eq!(page(&[("a", &[counter("hits", 1)]), ("b", &[counter("hits", 2)])]), expected);
    }

    #[test]
    fn a_name_of_another_kind_is_left_out_and_so_is_one_that_looks_like_a_histograms_line() {
        let gauge = CustomMetric { name: "hits".to_owned(), value: CustomValue::Gauge(f64::NEG_INFINITY) };
        let value = CustomValue::Histogram { bounds: vec![0.5, 2.0], buckets: vec![1, 0, 2], sum: 9.5 };
        let sizes = CustomMetric { name: "size".to_owned(), value };
        let page = page(&[
            ("a", &[gauge, sizes.clone()]),
            ("b", &[counter("hits", 2), counter("size_count", 1), counter("size_total", 3)]),
            ("c", &[sizes]),
        ]);
        let told: Vec<&str> = page.lines().filter(|line| !line.starts_with("# HELP")).collect();
        let expected = [
            "# TYPE odin_custom_hits gauge",
            "odin_custom_hits{plugin=\"a\"} -Inf",
            "# TYPE odin_custom_size histogram",
            "odin_custom_size_bucket{plugin=\"a\",le=\"0.5\"} 1",
            "odin_custom_size_bucket{plugin=\"a\",le=\"2\"} 1",
            "odin_custom_size_bucket{plugin=\"a\",le=\"+Inf\"} 3",
            "odin_custom_size_sum{plugin=\"a\"} 9.5",
            "odin_custom_size_count{plugin=\"a\"} 3",
            "odin_custom_size_bucket{plugin=\"c\",le=\"0.5\"} 1",
            "odin_custom_size_bucket{plugin=\"c\",le=\"2\"} 1",
            "odin_custom_size_bucket{plugin=\"c\",le=\"+Inf\"} 3",
            "odin_custom_size_sum{plugin=\"c\"} 9.5",
            "odin_custom_size_count{plugin=\"c\"} 3",
            "# TYPE odin_custom_size_total counter",
            "odin_custom_size_total{plugin=\"b\"} 3",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn times_of_two_workers_are_summed() {
        let time = |nanos| CpuTime { listener: "web", route: "api", plugin: "a", nanos };
        let mut out = Text(String::new());
        cpu_seconds(&mut out, &[time(1_000_000_000), time(500_000_000)]);
        let labels = r#"{plugin="a",listener="web",route="api"}"#;
        assert!(out.0.ends_with(&format!("odin_plugin_cpu_seconds_total{labels} 1.5\n")), "{}", out.0);
    }
}
