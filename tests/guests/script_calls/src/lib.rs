//! As `script`, with one line more: `call CLUSTER PATH [MILLISECONDS]` makes an outbound call, in whichever hook it stands. Its
//! result is the answer's status, or the error's name.

use std::time::Duration;

#[path = "../../script/src/interpreter.rs"]
mod interpreter;
#[path = "../../script/src/scripted.rs"]
mod scripted;

use odin_sdk::outbound::{self, OutboundError};

const MORE: Option<fn(&str, &str) -> Option<String>> = Some(call);

fn call(verb: &str, rest: &str) -> Option<String> {
    let mut words = rest.split(' ');
    let (cluster, path) = (words.next()?, words.next()?);
    if verb != "call" {
        return None;
    }
    let mut request = outbound::Request::get(cluster, path);
    if let Some(milliseconds) = words.next().and_then(|word| word.parse().ok()) {
        request = request.with_timeout(Duration::from_millis(milliseconds));
    }
    Some(match request.send() {
        Ok(answer) => answer.status.to_string(),
        Err(OutboundError::NotGranted) => "not-granted".to_owned(),
        Err(OutboundError::Timeout) => "timeout".to_owned(),
        Err(OutboundError::TooMany) => "too-many".to_owned(),
        Err(OutboundError::Unreachable(_)) => "unreachable".to_owned(),
        Err(_) => "other".to_owned(),
    })
}
