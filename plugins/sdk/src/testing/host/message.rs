//! Heads, bodies and trailers.

use crate::bindings::imports::types::FieldError;
use crate::testing::fields::{Fields, is_token};
use crate::testing::host::trap;
use crate::testing::scene::{RequestHead, ResponseHead, SCENE, bodiless};

macro_rules! fields {
    () => {
        pub(crate) fn has(name: &str) -> bool {
            read(|fields| fields.get(name).is_some())
        }

        pub(crate) fn get(name: &str) -> Option<Vec<u8>> {
            read(|fields| fields.get(name).map(<[u8]>::to_vec))
        }

        pub(crate) fn get_all(name: &str) -> Vec<Vec<u8>> {
            read(|fields| fields.get_all(name))
        }

        pub(crate) fn fields() -> Vec<crate::Field> {
            read(|fields| fields.0.clone())
        }

        pub(crate) fn set(name: &str, value: &[u8]) -> Result<(), FieldError> {
            change(|fields, max| fields.set(name, value, max))
        }

        pub(crate) fn append(name: &str, value: &[u8]) -> Result<(), FieldError> {
            change(|fields, max| fields.append(name, value, max))
        }

        pub(crate) fn remove(name: &str) -> Result<(), FieldError> {
            change(|fields, _| fields.remove(name))
        }
    };
}

pub(crate) mod request {
    use super::*;

    fn head<T>(ask: impl FnOnce(&RequestHead) -> T) -> T {
        SCENE.with_borrow(|scene| match &scene.request {
            Some(head) => ask(head),
            None => trap("there is no request here"),
        })
    }

    fn open(change: impl FnOnce(&mut RequestHead, usize) -> Result<(), FieldError>) -> Result<(), FieldError> {
        SCENE.with_borrow_mut(|scene| match (scene.request.as_mut(), scene.request_open) {
            (None, _) => trap("there is no request here"),
            (Some(_), false) => Err(FieldError::TooLate),
            (Some(head), true) => change(head, scene.max_head_bytes),
        })
    }

    fn read<T>(ask: impl FnOnce(&Fields) -> T) -> T {
        head(|head| ask(&head.fields))
    }

    fn change(change: impl FnOnce(&mut Fields, usize) -> Result<(), FieldError>) -> Result<(), FieldError> {
        open(|head, max| change(&mut head.fields, max))
    }

    fields!();

    pub(crate) fn get_many(names: &[String]) -> Vec<Option<Vec<u8>>> {
        names.iter().map(|name| get(name)).collect()
    }

    pub(crate) fn has_body() -> bool {
        head(|head| head.has_body)
    }

    pub(crate) fn method() -> String {
        head(|head| head.method.clone())
    }

    pub(crate) fn set_method(method: &str) -> Result<(), FieldError> {
        let good = is_token(method) && method != "CONNECT";
        replace(good, method, |head| &mut head.method)
    }

    pub(crate) fn path() -> String {
        head(|head| head.path.clone())
    }

    pub(crate) fn set_path(path: &str) -> Result<(), FieldError> {
        let good = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        replace(good, path, |head| &mut head.path)
    }

    pub(crate) fn scheme() -> String {
        head(|head| head.scheme.clone())
    }

    pub(crate) fn set_scheme(scheme: &str) -> Result<(), FieldError> {
        replace(matches!(scheme, "http" | "https"), scheme, |head| &mut head.scheme)
    }

    pub(crate) fn authority() -> String {
        head(|head| head.authority.clone())
    }

    pub(crate) fn set_authority(authority: &str) -> Result<(), FieldError> {
        let good = !authority.is_empty()
            && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]!$&'()*+,;=%".contains(&byte));
        replace(good, authority, |head| &mut head.authority)
    }

    fn replace(good: bool, value: &str, place: fn(&mut RequestHead) -> &mut String) -> Result<(), FieldError> {
        open(|head, _| match good {
            true => {
                *place(head) = value.to_owned();
                Ok(())
            }
            false => Err(FieldError::InvalidValue),
        })
    }
}

pub(crate) mod response {
    use super::*;

    fn head<T>(ask: impl FnOnce(&ResponseHead) -> T) -> T {
        SCENE.with_borrow(|scene| match &scene.response {
            Some(head) => ask(head),
            None => trap("there is no response yet"),
        })
    }

    fn open(change: impl FnOnce(&mut ResponseHead, usize) -> Result<(), FieldError>) -> Result<(), FieldError> {
        SCENE.with_borrow_mut(|scene| match (scene.response.as_mut(), scene.response_open) {
            (None, _) => trap("there is no response yet"),
            (Some(_), false) => Err(FieldError::TooLate),
            (Some(head), true) => change(head, scene.max_head_bytes),
        })
    }

    fn read<T>(ask: impl FnOnce(&Fields) -> T) -> T {
        head(|head| ask(&head.fields))
    }

    fn change(change: impl FnOnce(&mut Fields, usize) -> Result<(), FieldError>) -> Result<(), FieldError> {
        open(|head, max| change(&mut head.fields, max))
    }

    fields!();

    pub(crate) fn get_many(names: &[String]) -> Vec<Option<Vec<u8>>> {
        names.iter().map(|name| get(name)).collect()
    }

    pub(crate) fn has_body() -> bool {
        head(|head| head.has_body)
    }

    pub(crate) fn status() -> u16 {
        head(|head| head.status)
    }

    pub(crate) fn set_status(status: u16) -> Result<(), FieldError> {
        open(|head, _| match (200..=599).contains(&status) && bodiless(status) == bodiless(head.status) {
            true => {
                head.status = status;
                Ok(())
            }
            false => Err(FieldError::InvalidValue),
        })
    }
}

pub(crate) mod trailers {
    use super::*;

    fn read<T>(ask: impl FnOnce(&Fields) -> T) -> T {
        SCENE.with_borrow(|scene| ask(scene.trailers.as_ref().unwrap_or(&Fields::default())))
    }

    fn change(change: impl FnOnce(&mut Fields, usize) -> Result<(), FieldError>) -> Result<(), FieldError> {
        SCENE.with_borrow_mut(|scene| match &mut scene.trailers {
            Some(trailers) => change(trailers, scene.max_head_bytes),
            None => Err(FieldError::TooLate),
        })
    }

    fields!();
}

pub(crate) mod body {
    use super::SCENE;

    pub(crate) fn read(offset: u32, length: u32) -> Vec<u8> {
        SCENE.with_borrow(|scene| {
            let start = (offset as usize).min(scene.piece.len());
            let end = start.saturating_add(length as usize).min(scene.piece.len());
            scene.piece[start..end].to_vec()
        })
    }
}
