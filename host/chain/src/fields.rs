//! The rules for header fields that plugins set: what is a name, what is a value, what frames a message, what is too
//! much. Must never let a plugin change how a message is framed, or split one.

use std::cell::RefCell;

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};

/// `field-error` of wit/types.wit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it; the contract is wit/types.wit")]
pub enum FieldError {
    InvalidName,
    InvalidValue,
    Forbidden,
    TooLarge,
    TooLate,
}

impl FieldError {
    /// Why a field was refused, for an operator.
    pub fn in_words(self) -> &'static str {
        match self {
            FieldError::InvalidName => "the name is not a token",
            FieldError::InvalidValue => "the value holds a control character",
            FieldError::Forbidden => "the host frames the message",
            FieldError::TooLarge => "too large",
            FieldError::TooLate => "too late",
        }
    }
}

/// The bytes of a head, counted when a plugin first changes it and kept up to date. The host may change a head between
/// two hooks: then the number of its fields gives that away, nearly always, and it is counted anew.
#[derive(Clone, Copy, Default)]
pub struct Size {
    bytes: usize,
    /// How many fields there were when `bytes` was counted.
    fields: usize,
}

/// What a field takes beside its name and value: the colon, a space and the line's end.
const FIELD_OVERHEAD: usize = 4;

/// A name that a plugin may change: a token (RFC 9110, section 5.1) that does not frame the message.
pub fn name(name: &str) -> Result<HeaderName, FieldError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| FieldError::InvalidName)?;
    match name.as_str() {
        "connection" | "content-length" | "host" | "keep-alive" | "proxy-connection" | "te" | "trailer"
        | "transfer-encoding" | "upgrade" => Err(FieldError::Forbidden),
        _ => Ok(name),
    }
}

/// The names that an instance has changed lately. A plugin names the same few fields again and again, and to clone a
/// name costs a third of what it costs to check it and allocate it anew.
#[derive(Default)]
pub struct Names([RefCell<Option<HeaderName>>; 16]);

impl Names {
    /// The same as [`name`].
    pub fn get(&self, text: &str) -> Result<HeaderName, FieldError> {
        let (first, last) = (text.as_bytes().first(), text.as_bytes().last());
        let mix = text.len() ^ usize::from(first.copied().unwrap_or(0)) ^ usize::from(last.copied().unwrap_or(0)) << 1;
        let place = &self.0[mix % self.0.len()];
        if let Some(known) = &*place.borrow()
            && known.as_str() == text
        {
            return Ok(known.clone());
        }
        let name = name(text)?;
        place.replace(Some(name.clone()));
        Ok(name)
    }
}

/// A value without control characters (RFC 9110, section 5.5); white space around it is not part of it.
pub fn value(value: &[u8]) -> Result<HeaderValue, FieldError> {
    let first = value.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(first, |last| last + 1);
    HeaderValue::from_bytes(&value[first..end]).map_err(|_| FieldError::InvalidValue)
}

/// The bytes that a field takes in a head.
pub fn size(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + FIELD_OVERHEAD
}

/// The fields of a head with their size.
pub struct Fields<'a> {
    pub(crate) fields: &'a mut HeaderMap,
    pub(crate) size: &'a mut Size,
    pub(crate) max: usize,
}

impl Fields<'_> {
    /// Replaces every value of the field.
    pub fn set(self, name: HeaderName, value: HeaderValue) -> Result<(), FieldError> {
        let bytes = self.bytes();
        let added = size(&name, &value);
        let bytes = match self.fields.try_entry(name).map_err(|_| FieldError::TooLarge)? {
            Entry::Vacant(vacant) => {
                let bytes = within(bytes, 0, added, self.max)?;
                vacant.try_insert(value).map_err(|_| FieldError::TooLarge)?;
                bytes
            }
            Entry::Occupied(mut occupied) => {
                let freed = occupied.iter().map(|old| size(occupied.key(), old)).sum();
                let bytes = within(bytes, freed, added, self.max)?;
                occupied.insert(value);
                bytes
            }
        };
        *self.size = Size { bytes, fields: self.fields.len() };
        Ok(())
    }

    /// Adds a value and keeps those that are there.
    pub fn append(self, name: HeaderName, value: HeaderValue) -> Result<(), FieldError> {
        let bytes = within(self.bytes(), 0, size(&name, &value), self.max)?;
        self.fields.try_append(name, value).map_err(|_| FieldError::TooLarge)?;
        *self.size = Size { bytes, fields: self.fields.len() };
        Ok(())
    }

    /// Removes every value of the field.
    pub fn remove(self, name: HeaderName) {
        if let Entry::Occupied(occupied) = self.fields.entry(name) {
            occupied.remove_entry_mult();
            *self.size = Size::default();
        }
    }

    fn bytes(&self) -> usize {
        if self.size.fields == self.fields.len() {
            return self.size.bytes;
        }
        self.fields.iter().map(|(name, value)| size(name, value)).sum()
    }
}

/// The new size of a head. One that is too large already may still shrink.
fn within(bytes: usize, freed: usize, added: usize, max: usize) -> Result<usize, FieldError> {
    let total = bytes.saturating_sub(freed).saturating_add(added);
    if total > max && added > freed { Err(FieldError::TooLarge) } else { Ok(total) }
}

/// What is wrong with a list of fields.
#[derive(Debug)]
pub enum Refused<'a> {
    /// This field.
    Field(&'a str, FieldError),
    /// All of them together.
    TooLarge,
}

/// The fields that a guest lists, by the rules for those that it sets.
pub fn checked(list: &[(String, Vec<u8>)], max_bytes: usize) -> Result<HeaderMap, Refused<'_>> {
    let mut fields = HeaderMap::with_capacity(list.len().min(64));
    let mut bytes = 0;
    for (name, value) in list {
        let refused = |error| Refused::Field(name, error);
        let (name, value) = (self::name(name).map_err(refused)?, self::value(value).map_err(refused)?);
        bytes += size(&name, &value);
        if bytes > max_bytes || fields.try_append(name, value).is_err() {
            return Err(Refused::TooLarge);
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &mut HeaderMap, max: usize) -> Fields<'_> {
        // Every test head counts anew.
        Fields { fields, size: Box::leak(Box::new(Size::default())), max }
    }

    #[test]
    fn framing_fields_are_forbidden_in_any_case() {
        for forbidden in ["Content-Length", "transfer-encoding", "HOST", "te", "Trailer", "upgrade", "Keep-Alive"] {
            assert_eq!(name(forbidden), Err(FieldError::Forbidden), "{forbidden}");
        }
        assert_eq!(name("Proxy-Connection"), Err(FieldError::Forbidden));
        assert!(name("x-odin").is_ok());
    }

    #[test]
    fn known_names_are_told_apart() {
        let names = Names::default();
        for text in ["x-odin", "x-odin", "x-odix", "X-Odin", "x-odin", "accept", "x-bbbbn", "x-odin"] {
            assert_eq!(names.get(text).unwrap().as_str(), text.to_ascii_lowercase());
            assert_eq!(names.get("host"), Err(FieldError::Forbidden));
            assert_eq!(names.get(""), Err(FieldError::InvalidName));
        }
    }

    #[test]
    fn names_are_tokens() {
        for bad in ["", "a b", "a:b", ":path", "a\r\nb", "é"] {
            assert_eq!(name(bad), Err(FieldError::InvalidName), "{bad:?}");
        }
    }

    #[test]
    fn values_hold_no_control_characters_and_are_trimmed() {
        for bad in ["a\rb", "a\nb", "a\0b", "\r\n", "a\x7f"] {
            assert_eq!(value(bad.as_bytes()), Err(FieldError::InvalidValue), "{bad:?}");
        }
        assert_eq!(value(b" \ta b\t ").unwrap(), "a b");
        assert_eq!(value(b"  ").unwrap(), "");
        assert_eq!(value(b"\xff").unwrap().as_bytes(), b"\xff");
    }

    #[test]
    fn a_head_grows_to_its_limit_and_may_always_shrink() {
        let mut fields = HeaderMap::new();
        let (a, b) = (HeaderName::from_static("a"), HeaderName::from_static("b"));
        head(&mut fields, 10).set(a.clone(), HeaderValue::from_static("12345")).unwrap();
        let over = head(&mut fields, 10).append(b.clone(), HeaderValue::from_static(""));
        assert_eq!(over, Err(FieldError::TooLarge));
        let over = head(&mut fields, 10).set(a.clone(), HeaderValue::from_static("123456"));
        assert_eq!(over, Err(FieldError::TooLarge));
        assert_eq!(fields["a"], "12345");
        head(&mut fields, 1).set(a.clone(), HeaderValue::from_static("1")).unwrap();
        head(&mut fields, 1).remove(a);
        head(&mut fields, 100).append(b.clone(), HeaderValue::from_static("1")).unwrap();
        head(&mut fields, 100).append(b.clone(), HeaderValue::from_static("2")).unwrap();
        head(&mut fields, 100).set(b, HeaderValue::from_static("3")).unwrap();
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn the_count_is_kept_up_to_date() {
        let mut fields = HeaderMap::new();
        let mut size = Size::default();
        let name = HeaderName::from_static("a");
        for text in ["1", "12345", "12"] {
            let head = Fields { fields: &mut fields, size: &mut size, max: 100 };
            head.set(name.clone(), HeaderValue::from_static(text)).unwrap();
            assert_eq!(size.bytes, 1 + text.len() + FIELD_OVERHEAD);
        }
        // The host adds one.
        fields.append("b", HeaderValue::from_static("1"));
        Fields { fields: &mut fields, size: &mut size, max: 100 }.set(name, HeaderValue::from_static("1")).unwrap();
        assert_eq!(size.bytes, 2 * (2 + FIELD_OVERHEAD));
    }
}
