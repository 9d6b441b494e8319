//! What a script can say. A script is a JSON object, `{"request-headers": ["request.set x-a 1", "read hold"], …}`: in
//! the plugin's config under `hooks`, or in the request field `x-NAME`, where NAME is the plugin's `name` in its config.
//!
//! Each hook's lines run in order up to the first that decides. A line may begin with `end:`, `more:` (not the end),
//! `odd:`, `even:` or a number: the calls of this hook in this exchange that it is for. Every call adds to the context
//! value `trace` a word such as `NAME.request-body(5,end)`, every line with a result `verb=RESULT`.
//!
//! Lines: `request.set|append F V`, `request.remove F`, `request.method|path|authority|scheme V`, the same for
//! `response` (and `response.status N`) and `trailers`; `cluster C`, `rematch`; `remember|remember-on-connection NAME
//! TYPE VALUE`, `recall NAME`, `forget NAME`; `peek`; `length F` and `show F` put the piece's length or the trace into a
//! field; `burn N` counts to N. Decisions: `continue`, `read MODE`, `reply JSON`, `reject W`, `cut W`, `err W`, `trap`, `spin`; for pieces
//! `pass`, `upper`, `replace T`, `append T`, `drop`, `hold`, `skip`; for a connection `skip-data`.

use std::collections::BTreeMap;

use odin_sdk::context::{self, Value};
use odin_sdk::{
    Body, BodyMode, Connect, Data, Decision, FieldError, Piece, Reply, Request, Response, Result, RoutingError,
    Trailers, routing,
};

type Hooks = BTreeMap<String, Vec<String>>;

/// The plugin's config.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    #[serde(default = "default_name")]
    name: String,
    #[serde(default)]
    hooks: Hooks,
    /// What the guest can do beyond this file: a line's first word and its rest, and the result.
    #[serde(skip)]
    pub(crate) more: Option<fn(&str, &str) -> Option<String>>,
}

fn default_name() -> String {
    "script".to_owned()
}

/// What a hook can reach.
#[derive(Default)]
pub(crate) struct Heads<'a> {
    request: Option<&'a Request>,
    response: Option<&'a Response>,
    trailers: Option<&'a Trailers>,
}

impl<'a> Heads<'a> {
    pub(crate) fn of(request: &'a Request) -> Self {
        Heads::when(Some(request))
    }

    pub(crate) fn when(request: Option<&'a Request>) -> Self {
        Heads { request, ..Heads::default() }
    }

    pub(crate) fn and_response(self, response: &'a Response) -> Self {
        Heads { response: Some(response), ..self }
    }

    pub(crate) fn and_trailers(self, trailers: &'a Trailers) -> Self {
        Heads { trailers: Some(trailers), ..self }
    }
}

/// What a script decided; `None` when it ran to its end.
pub(crate) struct Outcome(Option<(String, String)>);

impl Script {
    /// Runs the lines for this hook.
    pub(crate) fn run(&self, hook: &str, heads: &Heads<'_>, piece: Option<&Body>) -> Result<Outcome> {
        let calls = format!("private:calls.{hook}");
        let call = integer(&calls).unwrap_or(0) + 1;
        let _ = context::set(&calls, call);
        let shape = piece.map(|p| format!("({}{})", p.len(), if p.is_end() { ",end" } else { "" }));
        trace(&format!("{}.{hook}{}", self.name, shape.unwrap_or_default()));
        let mine = self.hooks.get(hook).cloned();
        let lines = match (mine, heads.request) {
            (Some(lines), _) => lines,
            (None, Some(request)) => match request.get_str(&format!("x-{}", self.name)) {
                Some(text) => serde_json::from_str::<Hooks>(&text)?.remove(hook).unwrap_or_default(),
                None => Vec::new(),
            },
            (None, None) => Vec::new(),
        };
        for line in &lines {
            let Some(line) = applies(line, call, piece.is_some_and(Body::is_end)) else { continue };
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let done = match self.more.and_then(|more| more(verb, rest)) {
                Some(word) => Some(word),
                None => act(verb, rest, heads, piece)?,
            };
            if let Some(word) = done {
                trace(&format!("{verb}={word}"));
            } else {
                return Ok(Outcome(Some((verb.to_owned(), rest.to_owned()))));
            }
        }
        Ok(Outcome(None))
    }
}

/// The line without its condition, when that is met.
fn applies(line: &str, call: i64, end: bool) -> Option<&str> {
    let Some((condition, rest)) = line.split_once(": ") else { return Some(line) };
    let met = match condition {
        "end" => end,
        "more" => !end,
        "odd" => call % 2 == 1,
        "even" => call % 2 == 0,
        other => match other.parse::<i64>() {
            Ok(number) => number == call,
            // A colon in the text of a line.
            Err(_) => return Some(line),
        },
    };
    met.then_some(rest)
}

/// Does what a line says; none when it is a decision.
fn act(verb: &str, rest: &str, heads: &Heads<'_>, piece: Option<&Body>) -> Result<Option<String>> {
    let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
    let word = match verb.split_once('.') {
        Some(("request", what)) => {
            let head = heads.request.ok_or("no request here")?;
            match what {
                "method" => field(head.set_method(rest)),
                "path" => field(head.set_path(rest)),
                "authority" => field(head.set_authority(rest)),
                "scheme" => field(head.set_scheme(rest)),
                "set" => field(head.set(name, value)),
                "append" => field(head.append(name, value)),
                "remove" => field(head.remove(name)),
                _ => Err(format!("no such line: {verb}"))?,
            }
        }
        Some(("response", what)) => {
            let head = heads.response.ok_or("no response here")?;
            match what {
                "status" => field(head.set_status(rest.parse()?)),
                "set" => field(head.set(name, value)),
                "append" => field(head.append(name, value)),
                "remove" => field(head.remove(name)),
                _ => Err(format!("no such line: {verb}"))?,
            }
        }
        Some(("trailers", what)) => {
            let head = heads.trailers.ok_or("no trailers here")?;
            match what {
                "set" => field(head.set(name, value)),
                "append" => field(head.append(name, value)),
                "remove" => field(head.remove(name)),
                "recall" => head.get_str(name).unwrap_or_else(|| "none".to_owned()),
                _ => Err(format!("no such line: {verb}"))?,
            }
        }
        _ => match verb {
            "cluster" => routed(routing::set_cluster(rest)),
            "rematch" => routed(routing::rematch()),
            "remember" | "remember-on-connection" => {
                let value = parse(value)?;
                let set = if verb == "remember" { context::set } else { context::set_on_connection };
                set(name, value).map_or_else(|error| error.name().to_owned(), |()| "ok".to_owned())
            }
            "recall" => format!("{name}={}", context::get(name).map_or_else(|| "none".to_owned(), in_words)),
            "forget" => {
                context::remove(name);
                "ok".to_owned()
            }
            "peek" => piece.and_then(Body::text).unwrap_or_else(|| "none".to_owned()),
            "length" => put(heads, rest, &piece.map_or(0, Body::len).to_string()),
            "show" => put(heads, rest, &text("trace").unwrap_or_default()),
            "err" => Err(rest)?,
            #[allow(clippy::panic, reason = "a trap is asked for")]
            "trap" => panic!("as the script says"),
            "burn" => (0..rest.parse::<u64>()?).fold(0u64, |sum, n| std::hint::black_box(sum ^ n)).min(0).to_string(),
            #[allow(clippy::empty_loop, reason = "a loop is asked for")]
            "spin" => loop {},
            _ => return Ok(None),
        },
    };
    Ok(Some(word))
}

/// Into the head of the side that the hook is about, or its trailers.
fn put(heads: &Heads<'_>, name: &str, value: &str) -> String {
    match heads {
        Heads { trailers: Some(trailers), .. } => field(trailers.set(name, value)),
        Heads { response: Some(response), .. } => field(response.set(name, value)),
        Heads { request: Some(request), .. } => field(request.set(name, value)),
        _ => "nowhere".to_owned(),
    }
}

impl Outcome {
    fn parts(self) -> (String, String) {
        self.0.unwrap_or_else(|| ("continue".to_owned(), String::new()))
    }

    pub(crate) fn decision(self) -> Result {
        let (verb, rest) = self.parts();
        Ok(match verb.as_str() {
            "continue" => Decision::Continue,
            "read" => Decision::Read(match rest.as_str() {
                "skip" => BodyMode::Skip,
                "stream" => BodyMode::Stream,
                "buffer" => BodyMode::Buffer,
                "hold" => BodyMode::Hold,
                _ => Err(format!("no such mode: {rest}"))?,
            }),
            "reply" => Decision::Reply(reply(&rest)?),
            "reject" => Decision::Reject(rest),
            "cut" => Decision::Cut(rest),
            _ => Err(format!("no such decision: {verb}"))?,
        })
    }

    pub(crate) fn piece(self, piece: &Body) -> Result<Piece> {
        let (verb, rest) = self.parts();
        Ok(match verb.as_str() {
            "continue" | "pass" => Piece::Pass,
            "upper" => Piece::Replace(piece.bytes().to_ascii_uppercase()),
            "replace" => Piece::Replace(rest.into_bytes()),
            "drop" => Piece::Replace(Vec::new()),
            "append" => Piece::Append(rest.into_bytes()),
            "hold" => Piece::Hold,
            "skip" => Piece::Skip,
            "reply" => Piece::Reply(reply(&rest)?),
            "reject" => Piece::Reject(rest),
            "cut" => Piece::Cut(rest),
            _ => Err(format!("no such decision: {verb}"))?,
        })
    }

    pub(crate) fn data(self, piece: &Body) -> Result<Data> {
        Ok(match self.piece(piece)? {
            Piece::Pass => Data::Pass,
            Piece::Replace(bytes) => Data::Replace(bytes),
            Piece::Append(bytes) => Data::Append(bytes),
            Piece::Hold => Data::Hold,
            Piece::Skip => Data::Skip,
            Piece::Cut(reason) => Data::Cut(reason),
            Piece::Reply(_) | Piece::Reject(_) => Err("not for a connection")?,
        })
    }

    pub(crate) fn connect(self) -> Result<Connect> {
        let (verb, rest) = self.parts();
        Ok(match verb.as_str() {
            "continue" => Connect::Continue,
            "skip-data" => Connect::SkipData,
            "reject" => Connect::Reject(rest),
            _ => Err(format!("no such decision: {verb}"))?,
        })
    }
}

/// A reply as JSON.
#[derive(serde::Deserialize)]
struct Words {
    status: u16,
    #[serde(default)]
    fields: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    trailers: Vec<(String, String)>,
}

fn reply(json: &str) -> Result<Reply> {
    let words: Words = serde_json::from_str(json)?;
    let mut reply = Reply::new(words.status).with_body(words.body);
    for (name, value) in words.fields {
        reply = reply.with_field(name, value);
    }
    for (name, value) in words.trailers {
        reply = reply.with_trailer(name, value);
    }
    Ok(reply)
}

/// Adds a word to the trace, while there is room.
fn trace(word: &str) {
    let so_far = text("trace").unwrap_or_default();
    if so_far.len() < 16 * 1024 {
        let space = if so_far.is_empty() { "" } else { " " };
        let _ = context::set("trace", format!("{so_far}{space}{word}"));
    }
}

fn text(name: &str) -> Option<String> {
    match context::get(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// A value of the context that is an integer.
pub(crate) fn integer(name: &str) -> Option<i64> {
    match context::get(name) {
        Some(Value::Integer(number)) => Some(number),
        _ => None,
    }
}

/// `TYPE VALUE`.
fn parse(words: &str) -> Result<Value> {
    let (kind, value) = words.split_once(' ').unwrap_or((words, ""));
    Ok(match kind {
        "boolean" => Value::Boolean(value.parse()?),
        "integer" => Value::Integer(value.parse()?),
        "float" => Value::Float(value.parse()?),
        "text" => Value::Text(value.to_owned()),
        "bytes" => Value::Bytes(
            (0..value.len() / 2).map(|at| u8::from_str_radix(&value[at * 2..][..2], 16)).collect::<Result<_, _>>()?,
        ),
        _ => Err(format!("no such type: {kind}"))?,
    })
}

fn in_words(value: Value) -> String {
    match value {
        Value::Boolean(value) => format!("boolean:{value}"),
        Value::Integer(value) => format!("integer:{value}"),
        Value::Float(value) => format!("float:{value}"),
        Value::Text(value) => format!("text:{value}"),
        Value::Bytes(value) => format!("bytes:{}", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

fn field(result: Result<(), FieldError>) -> String {
    result.map_or_else(|error| error.name().to_owned(), |()| "ok".to_owned())
}

fn routed(result: Result<(), RoutingError>) -> String {
    result.map_or_else(|error| error.name().to_owned(), |()| "ok".to_owned())
}
