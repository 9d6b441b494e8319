//! The rules for header fields that plugins set: what is a name, what is a value, what frames a message, what is too
//! much. Must never let a plugin change how a message is framed, or split one.

use std::cell::Cell;

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};
use wasmtime::component::{ComponentType, Lower};

/// `field-error` of wit/types.wit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum FieldError {
    #[component(name = "invalid-name")]
    InvalidName,
    #[component(name = "invalid-value")]
    InvalidValue,
    #[component(name = "forbidden")]
    Forbidden,
    #[component(name = "too-large")]
    TooLarge,
}

/// What a field takes beside its name and value: the colon, a space and the line's end.
const FIELD_OVERHEAD: usize = 4;

/// A name that a plugin may change: a token (RFC 9110, section 5.1) that does not frame the message.
pub(crate) fn name(name: &str) -> Result<HeaderName, FieldError> {
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
pub(crate) struct Names([Cell<Option<HeaderName>>; 16]);

impl Names {
    /// The same as [`name`].
    pub(crate) fn get(&self, text: &str) -> Result<HeaderName, FieldError> {
        let (first, last) = (text.as_bytes().first(), text.as_bytes().last());
        let mix = text.len() ^ usize::from(first.copied().unwrap_or(0)) ^ usize::from(last.copied().unwrap_or(0)) << 1;
        let place = &self.0[mix % self.0.len()];
        let name = match place.take() {
            Some(known) if known.as_str() == text => known,
            _ => name(text)?,
        };
        place.set(Some(name.clone()));
        Ok(name)
    }
}

/// A value without control characters (RFC 9110, section 5.5); white space around it is not part of it.
pub(crate) fn value(value: &[u8]) -> Result<HeaderValue, FieldError> {
    let first = value.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(first, |last| last + 1);
    HeaderValue::from_bytes(&value[first..end]).map_err(|_| FieldError::InvalidValue)
}

/// The bytes that a field takes in a head.
pub(crate) fn size(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + FIELD_OVERHEAD
}

/// The fields of a head with their size, which is counted once and kept up to date.
pub(crate) struct Fields<'a> {
    pub(crate) fields: &'a mut HeaderMap,
    /// Bytes of the head; none as long as nobody asked.
    pub(crate) bytes: &'a mut Option<usize>,
    pub(crate) max: usize,
}

impl Fields<'_> {
    /// Replaces every value of the field.
    pub(crate) fn set(self, name: HeaderName, value: HeaderValue) -> Result<(), FieldError> {
        let bytes = self.bytes();
        let added = size(&name, &value);
        match self.fields.try_entry(name).map_err(|_| FieldError::TooLarge)? {
            Entry::Vacant(vacant) => {
                *self.bytes = Some(within(bytes, 0, added, self.max)?);
                vacant.try_insert(value).map_err(|_| FieldError::TooLarge)?;
            }
            Entry::Occupied(mut occupied) => {
                let freed = occupied.iter().map(|old| size(occupied.key(), old)).sum();
                *self.bytes = Some(within(bytes, freed, added, self.max)?);
                occupied.insert(value);
            }
        }
        Ok(())
    }

    /// Adds a value and keeps those that are there.
    pub(crate) fn append(self, name: HeaderName, value: HeaderValue) -> Result<(), FieldError> {
        *self.bytes = Some(within(self.bytes(), 0, size(&name, &value), self.max)?);
        self.fields.try_append(name, value).map_err(|_| FieldError::TooLarge)?;
        Ok(())
    }

    /// Removes every value of the field.
    pub(crate) fn remove(self, name: HeaderName) {
        if let Entry::Occupied(occupied) = self.fields.entry(name) {
            occupied.remove_entry_mult();
            *self.bytes = None;
        }
    }

    fn bytes(&self) -> usize {
        self.bytes.unwrap_or_else(|| self.fields.iter().map(|(name, value)| size(name, value)).sum())
    }
}

/// The new size of a head. One that is too large already may still shrink.
fn within(bytes: usize, freed: usize, added: usize, max: usize) -> Result<usize, FieldError> {
    let total = bytes.saturating_sub(freed).saturating_add(added);
    if total > max && added > freed { Err(FieldError::TooLarge) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &mut HeaderMap, max: usize) -> Fields<'_> {
        // Every test head counts anew.
        Fields { fields, bytes: Box::leak(Box::new(None)), max }
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
        let mut bytes = None;
        let name = HeaderName::from_static("a");
        for text in ["1", "12345", "12"] {
            let head = Fields { fields: &mut fields, bytes: &mut bytes, max: 100 };
            head.set(name.clone(), HeaderValue::from_static(text)).unwrap();
            assert_eq!(bytes, Some(1 + text.len() + FIELD_OVERHEAD));
        }
    }
}
