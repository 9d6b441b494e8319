//! Networks of addresses, as lists of listeners have them.
//! Must never take an address for a network that is larger than what was written.

use ipnet::IpNet;
use serde_json::json;

use super::readers::parsed;
use super::shapes::{self, Shape, described};

/// A list of networks.
pub(super) fn list() -> Shape<Vec<IpNet>> {
    shapes::list("networks", network())
}

fn network() -> Shape<IpNet> {
    let schema = || json!({ "type": "string", "pattern": r"^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" });
    let form = move || described(schema(), "network, such as `\"10.0.0.0/8\"`");
    Shape::value(form, parsed(r#"a network such as "10.0.0.0/8""#, to_network))
}

/// `10.0.0.0/8`, or an address, which is a network of one.
fn to_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(IpNet::from(address));
    }
    match text.parse::<IpNet>() {
        Ok(network) if network == network.trunc() => Ok(network),
        Ok(network) => {
            let (whole, one) = (network.trunc(), network.addr());
            Err(format!(r#"`{text}` has bits behind its prefix; write "{whole}", or "{one}" for one address"#))
        }
        Err(_) => Err(format!(r#"`{text}` is not a network; write one such as "10.0.0.0/8" or "2001:db8::/32""#)),
    }
}
