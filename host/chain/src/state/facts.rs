//! What a hook finds under a name of wit/context.wit: for the `odin.` names what the host knows of the exchange.
//! Must answer none for what is not known.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{HookState, Value};

/// Names that begin so are facts from the host.
pub const FACTS: &str = "odin.";

impl HookState {
    /// The public value of this name as a hook would read it: for the access log.
    pub fn remembers(&self, name: &str) -> Option<Value> {
        // No plugin has an empty name, so no private value shows.
        self.recall("", name)
    }

    /// A fact, or a value of the exchange, or one of its connection, in this order.
    pub fn recall(&self, plugin: &str, name: &str) -> Option<Value> {
        if let Some(fact) = name.strip_prefix(FACTS) {
            return get(self, fact);
        }
        match self.context.get_as(plugin, name) {
            Some(value) => Some(value.clone()),
            None => self.connection.context().get_as(plugin, name).cloned(),
        }
    }
}

/// The fact of this name (without `odin.`), or none.
fn get(state: &HookState, name: &str) -> Option<Value> {
    let facts = &state.facts;
    match name {
        "request-id" => facts.request_id.as_ref().map(|id| text(String::from_utf8_lossy(id.as_bytes()))),
        "client-address" => Some(text(state.connection.peer.to_string())),
        "local-address" => Some(text(state.connection.local.to_string())),
        "listener" => Some(text(&*state.connection.listener)),
        "route" => facts.route.as_deref().map(text),
        "cluster" => facts.cluster.as_deref().map(text),
        "endpoint" => facts.endpoint.map(|endpoint| text(endpoint.to_string())),
        "error" => facts.error.as_deref().map(text),
        "attempt" => (facts.attempt > 0).then(|| Value::Integer(facts.attempt.into())),
        "started" => Some(nanos(*facts.since_1970.get_or_init(|| since_1970(facts.started)))),
        "elapsed" => Some(nanos(facts.started.elapsed())),
        "bytes-received" => Some(integer(facts.bytes_received)),
        "bytes-sent" => Some(integer(facts.bytes_sent)),
        "status" => {
            let status = facts.status.or_else(|| state.response.as_ref().map(|head| head.status.as_u16()));
            status.map(|status| Value::Integer(status.into()))
        }
        "tls" => Some(Value::Boolean(state.connection.tls.is_some())),
        "tls.resumed" => {
            let decrypted = state.connection.tls.as_ref().filter(|tls| !tls.version.is_empty());
            decrypted.map(|tls| Value::Boolean(tls.resumed))
        }
        _ => match name.strip_prefix("tls.") {
            Some(name) => state.connection.tls.as_ref()?.fact(name).map(Value::Text),
            None => state.connection.proxy.as_ref()?.fact(name.strip_prefix("proxy.")?),
        },
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn nanos(time: Duration) -> Value {
    Value::Integer(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

fn since_1970(moment: Instant) -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(moment.elapsed())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderValue, Response};

    use super::*;
    use crate::state::{ConnectionInfo, ProxyFacts, ProxyTls, TlsInfo};

    fn state() -> Box<HookState> {
        let (peer, local) = ("192.0.2.1:5000".parse().unwrap(), "192.0.2.2:80".parse().unwrap());
        HookState::new(Arc::new(ConnectionInfo::new(peer, local, "web".into())), 1024)
    }

    #[test]
    fn what_is_not_known_is_none() {
        let state = state();
        for name in
            ["request-id", "route", "cluster", "endpoint", "error", "attempt", "status", "", "odin.route", "tls.sni"]
        {
            assert_eq!(get(&state, name), None, "{name}");
        }
    }

    #[test]
    fn what_is_known_has_its_type() {
        let mut state = state();
        let mut connection = ConnectionInfo::new(state.connection.peer, state.connection.local, "web".into());
        connection.tls = Some(Box::new(TlsInfo { version: "TLSv1.3", ..TlsInfo::default() }));
        state.connection = Arc::new(connection);
        state.facts.request_id = Some(HeaderValue::from_static("abc"));
        state.facts.route = Some("/".into());
        state.facts.cluster = Some("web".into());
        state.facts.endpoint = Some("192.0.2.9:80".parse().unwrap());
        state.facts.error = Some("connect refused".into());
        state.facts.attempt = 2;
        state.facts.bytes_received = 7;
        state.facts.bytes_sent = u64::MAX;
        let expected = [
            ("request-id", Value::Text("abc".into())),
            ("client-address", Value::Text("192.0.2.1:5000".into())),
            ("local-address", Value::Text("192.0.2.2:80".into())),
            ("listener", Value::Text("web".into())),
            ("route", Value::Text("/".into())),
            ("cluster", Value::Text("web".into())),
            ("endpoint", Value::Text("192.0.2.9:80".into())),
            ("error", Value::Text("connect refused".into())),
            ("attempt", Value::Integer(2)),
            ("bytes-received", Value::Integer(7)),
            ("bytes-sent", Value::Integer(i64::MAX)),
            ("tls", Value::Boolean(true)),
            ("tls.resumed", Value::Boolean(false)),
            ("tls.version", Value::Text("TLSv1.3".into())),
        ];
        for (name, value) in expected {
            assert_eq!(get(&state, name), Some(value), "{name}");
        }
    }

    #[test]
    fn what_a_proxy_told_has_names_of_its_own() {
        let mut state = state();
        assert_eq!((get(&state, "proxy.tls"), get(&state, "proxy.address")), (None, None));
        let tls = ProxyTls { used: true, version: Some("TLSv1.3".into()), ..ProxyTls::default() };
        let facts = ProxyFacts {
            sender: Some(state.connection.local),
            alpn: Some(b"h2".to_vec()),
            authority: Some("a.example".into()),
            unique_id: Some(vec![0xff]),
            tls: Some(tls),
        };
        let mut connection = ConnectionInfo::new(state.connection.peer, state.connection.local, "web".into());
        connection.proxy = Some(Box::new(facts));
        state.connection = Arc::new(connection);
        let expected = [
            ("address", Some(Value::Text("192.0.2.2:80".into()))),
            ("alpn", Some(Value::Text("h2".into()))),
            ("authority", Some(Value::Text("a.example".into()))),
            ("unique-id", Some(Value::Bytes(vec![0xff]))),
            ("tls", Some(Value::Boolean(true))),
            ("tls-verified", Some(Value::Boolean(false))),
            ("tls-version", Some(Value::Text("TLSv1.3".into()))),
            ("tls-client-name", None),
            ("", None),
        ];
        for (name, value) in expected {
            assert_eq!(get(&state, &format!("proxy.{name}")), value, "{name}");
        }
    }

    #[test]
    fn the_status_is_that_of_the_response_until_the_host_knows_better() {
        let mut state = state();
        state.response = Some(Response::builder().status(404).body(()).unwrap().into_parts().0);
        assert_eq!(get(&state, "status"), Some(Value::Integer(404)));
        state.facts.status = Some(502);
        assert_eq!(get(&state, "status"), Some(Value::Integer(502)));
    }

    #[test]
    fn time_is_that_of_the_exchange() {
        let state = state();
        let Some(Value::Integer(started)) = get(&state, "started") else { panic!("an integer") };
        let now = i64::try_from(since_1970(Instant::now()).as_nanos()).unwrap();
        assert!((0..60_000_000_000).contains(&(now - started)));
        assert_eq!(get(&state, "started"), Some(Value::Integer(started)), "it stays");
        assert!(matches!(get(&state, "elapsed"), Some(Value::Integer(0..))));
    }
}
