//! The fields of a simulated message, with the rules of the host about what a plugin may set.

use crate::bindings::imports::types::FieldError;
use crate::decisions::Field;

/// Names in lower case, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields(pub(crate) Vec<Field>);

const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Fields {
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1.as_slice())
    }

    pub(crate) fn get_all(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.iter().filter(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1.clone()).collect()
    }

    /// Unchecked: what a client or an upstream sends, framing fields too.
    pub(crate) fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_ascii_lowercase(), value.into()));
    }

    pub(crate) fn set(&mut self, name: &str, value: &[u8], max: usize) -> Result<(), FieldError> {
        let (name, value) = (checked_name(name)?, checked_value(value)?);
        let old = self.0.iter().filter(|field| field.0 == name).map(size).sum();
        self.within(old, name.len() + value.len() + OVERHEAD, max)?;
        match self.0.iter().position(|field| field.0 == name) {
            None => self.0.push((name, value)),
            Some(first) => {
                self.0[first].1 = value;
                let mut at = 0;
                self.0.retain(|field| {
                    at += 1;
                    at - 1 <= first || field.0 != name
                });
            }
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, name: &str, value: &[u8], max: usize) -> Result<(), FieldError> {
        let (name, value) = (checked_name(name)?, checked_value(value)?);
        self.within(0, name.len() + value.len() + OVERHEAD, max)?;
        self.0.push((name, value));
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<(), FieldError> {
        let name = checked_name(name)?;
        self.0.retain(|field| field.0 != name);
        Ok(())
    }

    fn within(&self, freed: usize, added: usize, max: usize) -> Result<(), FieldError> {
        let total = self.0.iter().map(size).sum::<usize>() - freed + added;
        if total > max && added > freed { Err(FieldError::TooLarge) } else { Ok(()) }
    }
}

const OVERHEAD: usize = 4;

fn size((name, value): &Field) -> usize {
    name.len() + value.len() + OVERHEAD
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

pub(crate) fn checked_name(name: &str) -> Result<String, FieldError> {
    let name = name.to_ascii_lowercase();
    match (is_token(&name), FRAMING.contains(&name.as_str())) {
        (false, _) => Err(FieldError::InvalidName),
        (true, true) => Err(FieldError::Forbidden),
        (true, false) => Ok(name),
    }
}

fn checked_value(value: &[u8]) -> Result<Vec<u8>, FieldError> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let first = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(first, |last| last + 1);
    let value = &value[first..end];
    let clean = value.iter().all(|byte| *byte == b'\t' || (*byte >= 32 && *byte != 127));
    if clean { Ok(value.to_owned()) } else { Err(FieldError::InvalidValue) }
}

/// Fields of a reply: the first that the host would refuse, in words.
pub(crate) fn check_reply(fields: &[Field]) -> Result<(), String> {
    for (name, value) in fields {
        checked_name(name)
            .map(drop)
            .and_then(|()| checked_value(value).map(drop))
            .map_err(|error| format!("the reply's field {name:?}: {}", error.name()))?;
    }
    Ok(())
}
