//! `/metrics`: the numbers of all workers, summed, in Prometheus' text format 0.0.4.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use odin_proxy::{DURATION_BUCKETS_MS, ListenerKind, PluginUse, TURNED_AWAY};

use crate::life::Odin;
use crate::plugin_metrics::{self, CpuTime, PluginNumbers};
use crate::sockets::Sockets;

/// What the format is called.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics.
pub(crate) fn render(odin: &Odin) -> String {
    let mut out = Text(String::with_capacity(16 * 1024));
    process(&mut out, odin);
    listeners(&mut out, odin);
    clusters(&mut out, odin);
    plugins(&mut out, odin);
    out.0
}

/// A page in the making.
pub(crate) struct Text(pub(crate) String);

impl Text {
    /// Begins a metric.
    pub(crate) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample; label values are escaped.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if place == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A histogram from buckets that are not cumulative; the last has no bound.
    pub(crate) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], bounds: &[f64], buckets: &[u64], sum: f64) {
        let mut count = 0;
        let mut bounds = bounds.iter();
        for bucket in buckets {
            count += bucket;
            let bound = bounds.next().map_or_else(|| "+Inf".to_owned(), f64::to_string);
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&format!("{name}_bucket"), &labels, count);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }
}

fn process(out: &mut Text, odin: &Odin) {
    out.metric("odin_build_info", "gauge", "The running version.");
    out.sample("odin_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.metric("odin_uptime_seconds", "gauge", "Since the start.");
    out.sample("odin_uptime_seconds", &[], odin.started.elapsed().as_secs_f64());
    out.metric("odin_reloads_total", "counter", "Reloads of the config, by outcome.");
    out.sample("odin_reloads_total", &[("outcome", "applied")], odin.reloads.get());
    out.sample("odin_reloads_total", &[("outcome", "refused")], odin.failed_reloads.get());
    out.metric("odin_access_log_dropped_batches_total", "counter", "Access log batches that nobody read in time.");
    let dropped = odin.with_proxy(|proxy| proxy.access_log_dropped()).unwrap_or(0);
    out.sample("odin_access_log_dropped_batches_total", &[], dropped);
    let acme = odin.acme.borrow().counts.clone();
    out.metric("odin_acme_certificates_total", "counter", "Certificates that authorities have issued.");
    out.sample("odin_acme_certificates_total", &[], acme.got.load(Relaxed));
    out.metric("odin_acme_failures_total", "counter", "Attempts to get a certificate that have failed.");
    out.sample("odin_acme_failures_total", &[], acme.failed.load(Relaxed));
}

fn listeners(out: &mut Text, odin: &Odin) {
    let assembly = odin.assembly();
    let all: Vec<_> = assembly.snapshot.listeners.values().map(|l| (l, l.counters.totals())).collect();
    let mut simple = |name: &str, kind: &str, help: &str, value: &dyn Fn(&odin_proxy::ListenerTotals) -> u64| {
        out.metric(name, kind, help);
        for (listener, totals) in &all {
            out.sample(name, &[("listener", &listener.name)], value(totals));
        }
    };
    simple("odin_connections_total", "counter", "Downstream connections accepted.", &|t| t.accepted);
    simple("odin_connections_open", "gauge", "Downstream connections open now.", &|t| t.open);
    simple("odin_connections_refused_total", "counter", "Connections over limits.connections.", &|t| t.refused);
    simple("odin_tls_handshakes_failed_total", "counter", "TLS handshakes that failed.", &|t| t.handshakes_failed);
    simple("odin_received_bytes_total", "counter", "Body bytes from clients.", &|t| t.received);
    simple("odin_sent_bytes_total", "counter", "Body bytes to clients.", &|t| t.sent);
    out.metric("odin_tls_certificate_expiry_seconds", "gauge", "When a certificate expires, in seconds since 1970.");
    for (listener, tls) in all.iter().filter_map(|(listener, _)| Some((listener, listener.tls.as_ref()?))) {
        for certificate in tls.certificates() {
            let labels = [("listener", listener.name.as_str()), ("names", &certificate.names())];
            out.sample("odin_tls_certificate_expiry_seconds", &labels, certificate.not_after());
        }
    }
    out.metric("odin_connections_turned_away_total", "counter", "Connections closed for their source or PROXY header.");
    for (listener, totals) in all.iter().filter(|(listener, _)| listener.looks_at_sources()) {
        for (reason, count) in TURNED_AWAY.iter().zip(totals.turned_away) {
            let labels = [("listener", listener.name.as_str()), ("reason", reason)];
            out.sample("odin_connections_turned_away_total", &labels, count);
        }
    }
    out.metric(
        "odin_steered_total",
        "counter",
        "Lookups that BPF answered with a worker's socket, or dropped: one for a connection, rarely more.",
    );
    for (listener, (sent, dropped)) in odin.with_sockets(Sockets::steered_totals) {
        out.sample("odin_steered_total", &[("listener", listener.as_str()), ("outcome", "sent")], sent);
        out.sample("odin_steered_total", &[("listener", listener.as_str()), ("outcome", "dropped")], dropped);
    }
    out.metric("odin_requests_total", "counter", "HTTP exchanges, by class of status.");
    for (listener, totals) in all.iter().filter(|(listener, _)| is_http(listener)) {
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(totals.responses) {
            out.sample("odin_requests_total", &[("listener", &listener.name), ("status", class)], count);
        }
    }
    out.metric("odin_request_duration_seconds", "histogram", "HTTP exchanges, from head to last byte.");
    let bounds = DURATION_BUCKETS_MS.map(|ms| ms as f64 / 1e3);
    for (listener, totals) in all.iter().filter(|(listener, _)| is_http(listener)) {
        let labels = [("listener", listener.name.as_str())];
        let sum = totals.duration_nanos as f64 / 1e9;
        out.histogram("odin_request_duration_seconds", &labels, &bounds, &totals.durations, sum);
    }
}

fn is_http(listener: &odin_proxy::Listener) -> bool {
    matches!(listener.kind, ListenerKind::Http { .. } | ListenerKind::Auto(_))
}

fn clusters(out: &mut Text, odin: &Odin) {
    let assembly = odin.assembly();
    let mut simple = |name: &str, kind: &str, help: &str, value: &dyn Fn(&odin_proxy::Endpoint) -> u64| {
        out.metric(name, kind, help);
        for cluster in assembly.clusters() {
            for endpoint in &cluster.endpoints {
                let address = endpoint.address.to_string();
                out.sample(name, &[("cluster", &cluster.name), ("endpoint", &address)], value(endpoint));
            }
        }
    };
    simple("odin_endpoint_healthy", "gauge", "1 unless it has just failed to connect or to answer.", &|e| {
        e.healthy().into()
    });
    simple("odin_endpoint_active", "gauge", "Open exchanges and TCP connections.", &|e| e.totals().active);
    simple("odin_endpoint_requests_total", "counter", "Exchanges and TCP connections.", &|e| e.totals().requests);
    simple("odin_endpoint_connects_total", "counter", "Connections opened.", &|e| e.totals().connects);
    simple("odin_endpoint_connect_failures_total", "counter", "Connects that failed.", &|e| {
        e.totals().connect_failures
    });
}

fn plugins(out: &mut Text, odin: &Odin) {
    let assembly = odin.assembly();
    let numbers: Vec<_> = assembly
        .plugins
        .iter()
        .map(|(name, loaded)| PluginNumbers { name, status: loaded.plugin.status(), stats: loaded.plugin.stats() })
        .collect();
    let mut times: Vec<(&str, String, &PluginUse)> = Vec::new();
    for (listener, section) in &assembly.snapshot.listeners {
        if let ListenerKind::Tcp { plugins, .. } = &section.kind {
            times.extend(plugins.iter().map(|used| (listener.as_str(), String::new(), used)));
        }
        let http = section.kind.http().iter();
        let uses = http.flat_map(|route| route.plugins.iter().map(move |used| (route, used)));
        times.extend(uses.map(|(route, used)| (listener.as_str(), route.name(), used)));
        let tls = section.kind.tls().iter();
        let uses = tls.flat_map(|route| route.plugins.iter().map(move |used| (route, used)));
        times.extend(uses.map(|(route, used)| (listener.as_str(), route.name(), used)));
    }
    let cpu: Vec<_> = times
        .iter()
        .map(|(listener, route, used)| CpuTime { listener, route, plugin: used.plugin.name(), nanos: used.cpu.nanos() })
        .collect();
    plugin_metrics::render(out, &numbers, &cpu);
}
