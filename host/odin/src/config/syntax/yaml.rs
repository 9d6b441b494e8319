//! YAML 1.2 by the events of `saphyr-parser`, with the core schema's scalars. What would make one text mean two
//! things (anchors, merge keys, tags, several documents, octal-looking numbers) is refused by name.
//! Must never expand anything: the tree is as large as the file.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};

use super::super::node::{Entry, Node, Value};
use super::{Flaw, Lines, MAX_DEPTH, insert, too_deep};

pub(super) fn read(text: &str) -> Result<Node, Flaw> {
    let last = Lines::of(text).at(text.trim_end().len());
    let mut reader = Reader { events: Parser::new_from_str(text), last };
    let mut root = None;
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(root.unwrap_or(Node { line: 1, value: Value::Null })),
            Event::DocumentStart(_) if root.is_some() => {
                return Err(refuse(line, "a second document (`---`)", "one file holds one config"));
            }
            Event::DocumentStart(_) => {
                let (event, line) = reader.next()?;
                root = Some(reader.node(event, line, 0)?);
            }
            _ => {}
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    /// The last line with something on it. Of what is missing at the end the parser tells one more.
    last: u32,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, u32), Flaw> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, (span.start.line() as u32).min(self.last))),
            Some(Err(error)) => Err(self.not_yaml(&error)),
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    /// The value that begins with `event`.
    fn node(&mut self, event: Event<'t>, line: u32, depth: usize) -> Result<Node, Flaw> {
        if depth > MAX_DEPTH {
            return Err(too_deep(line));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                check_plain(line, anchor, tag.is_some())?;
                match style {
                    ScalarStyle::Plain => scalar(&text, line)?,
                    _ => Value::Text(text.into_owned()),
                }
            }
            Event::SequenceStart(anchor, tag) => {
                check_plain(line, anchor, tag.is_some())?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, line) => items.push(self.node(event, line, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, tag) => {
                check_plain(line, anchor, tag.is_some())?;
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break Value::Map(entries),
                        (event, line) => insert(&mut entries, self.entry(event, line, depth)?)?,
                    }
                }
            }
            Event::Alias(_) => return Err(refuse(line, "an alias (`*name`)", "write the value out")),
            _ => return Err(Flaw { line, message: "not valid YAML: a value is missing".to_owned() }),
        };
        Ok(Node { line, value })
    }

    fn not_yaml(&self, error: &ScanError) -> Flaw {
        let (line, column) = (error.marker().line() as u32, error.marker().col() + 1);
        let place = if line > self.last { "at the end of the file".to_owned() } else { format!("column {column}") };
        Flaw { line: line.clamp(1, self.last), message: format!("not valid YAML: {} ({place})", error.info()) }
    }

    fn entry(&mut self, key: Event<'t>, line: u32, depth: usize) -> Result<Entry, Flaw> {
        let key = match key {
            Event::Scalar(text, style, anchor, tag) => {
                check_plain(line, anchor, tag.is_some())?;
                if style == ScalarStyle::Plain && text == "<<" {
                    return Err(refuse(line, "a merge key (`<<`)", "write the keys out"));
                }
                text.into_owned()
            }
            Event::Alias(_) => return Err(refuse(line, "an alias (`*name`)", "write the key out")),
            _ => return Err(refuse(line, "a list or table as a key", "a key is plain text")),
        };
        let (event, value_line) = self.next()?;
        // An empty value is reported where its key is, not where the parser noticed.
        let empty = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty());
        let node = self.node(event, if empty { line } else { value_line }, depth + 1)?;
        Ok(Entry { key, line, node })
    }
}

/// A plain scalar by the core schema (YAML 1.2.2, section 10.3.2).
fn scalar(text: &str, line: u32) -> Result<Value, Flaw> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits && digits.len() > 1 && digits.starts_with('0') {
        let message = format!("`{text}` starts with 0, which some read as octal; drop the zero, or quote it as text");
        return Err(Flaw { line, message });
    }
    let too_large = || Flaw { line, message: format!("the number {text} is too large") };
    let radix = |digits: &str, radix| match digits.chars().all(|digit| digit.is_digit(radix)) && !digits.is_empty() {
        true => i128::from_str_radix(digits, radix).map(Value::Int).map_err(|_| too_large()),
        false => Ok(Value::Text(text.to_owned())),
    };
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        _ if all_digits => Value::Int(text.parse().map_err(|_| too_large())?),
        _ if text.starts_with("0x") => radix(&text[2..], 16)?,
        _ if text.starts_with("0o") => radix(&text[2..], 8)?,
        _ if matches!(digits, ".inf" | ".Inf" | ".INF") => {
            Value::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        _ => match text.parse() {
            // Rust also reads `inf` and `nan`, which are words in YAML.
            Ok(number) if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => Value::Float(number),
            _ => Value::Text(text.to_owned()),
        },
    })
}

fn check_plain(line: u32, anchor: usize, tagged: bool) -> Result<(), Flaw> {
    match (anchor, tagged) {
        (0, false) => Ok(()),
        (0, true) => Err(refuse(line, "a tag (`!name`)", "quote the value if it is text")),
        _ => Err(refuse(line, "an anchor (`&name`)", "write the value out where it is used")),
    }
}

fn refuse(line: u32, what: &str, instead: &str) -> Flaw {
    Flaw { line, message: format!("{what} is YAML that a config does not use; {instead}") }
}
