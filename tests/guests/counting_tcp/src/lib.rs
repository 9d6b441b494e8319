//! Upper-cases what the client of a TCP connection sends, and counts the bytes both ways into the context.
//!
//! Context values: `client` (the address, at the beginning), `received`, `sent` (so far), `closed` (at the end). A
//! piece that begins with `CUT` ends the connection; one that begins with `HOLD` is held back; `SKIP` passes the rest as
//! it is. `config = { cluster = "…" }` sends connections there.

use odin_sdk::{Body, Connect, Data, Plugin, Result, context::Key, facts, routing};

static CLIENT: Key<String> = Key::new("client");
static RECEIVED: Key<u64> = Key::new("received");
static SENT: Key<u64> = Key::new("sent");
static CLOSED: Key<bool> = Key::new("closed");

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where connections go; where the listener says unless set.
    #[serde(default)]
    cluster: Option<String>,
}

struct CountingTcp {
    settings: Settings,
}

#[odin_sdk::plugin]
impl Plugin for CountingTcp {
    type Config = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self { settings })
    }

    fn on_connect(&self) -> Result<Connect> {
        if let Some(address) = facts::client_address() {
            CLIENT.set(&address.to_string())?;
        }
        if let Some(cluster) = &self.settings.cluster {
            routing::set_cluster(cluster)?;
        }
        Ok(Connect::Continue)
    }

    fn on_downstream_data(&self, data: &Body) -> Result<Data> {
        let bytes = data.bytes();
        if bytes.starts_with(b"HOLD") && !data.is_end() {
            return Ok(Data::Hold);
        }
        count(&RECEIVED, data)?;
        if bytes.starts_with(b"CUT") {
            return Ok(Data::cut("asked to"));
        }
        Ok(if bytes.starts_with(b"SKIP") { Data::Skip } else { Data::replace(bytes.to_ascii_uppercase()) })
    }

    fn on_upstream_data(&self, data: &Body) -> Result<Data> {
        count(&SENT, data)?;
        Ok(Data::Pass)
    }

    fn on_close(&self) -> Result<()> {
        CLOSED.set(&true)
    }
}

fn count(key: &Key<u64>, data: &Body) -> Result<()> {
    key.set(&(key.get().unwrap_or(0) + data.len() as u64))
}

#[cfg(test)]
mod tests {
    use odin_sdk::context::Value;
    use odin_sdk::testing::Connection;

    use super::*;

    #[test]
    fn bytes_are_changed_and_counted() {
        let connection = Connection::new::<CountingTcp>(serde_json::json!({ "cluster": "there" }));
        let relayed = connection.from_client(["abc", "HOLD", "de"]).from_endpoint(["xyz"]).run();
        assert_eq!((relayed.to_endpoint.as_slice(), relayed.to_client.as_slice()), (&b"ABCHOLDDE"[..], &b"xyz"[..]));
        assert_eq!(relayed.cluster.as_deref(), Some("there"));
        for (name, value) in
            [("received", Value::Integer(9)), ("sent", Value::Integer(3)), ("closed", Value::Boolean(true))]
        {
            assert_eq!(relayed.context(name), Some(&value), "{name}");
        }
    }

    #[test]
    fn a_word_cuts_or_skips() {
        let connection = |first: &'static str| Connection::new::<CountingTcp>(()).from_client([first, "rest"]).run();
        assert_eq!(connection("CUT").closed.as_deref(), Some("asked to"));
        assert_eq!(connection("SKIP").to_endpoint, b"SKIPrest");
    }
}
