//! Heads, bodies and trailers, by the rules of `odin-chain`.

use http::HeaderMap;
use odin_chain::fields::{self, Fields};

use crate::bindings::imports::types::FieldError;
use crate::testing::host::trap;
use crate::testing::scene::{SCENE, list};

type Checked = Result<(), odin_chain::FieldError>;

fn answer(changed: Checked) -> Result<(), FieldError> {
    changed.map_err(|error| match error {
        odin_chain::FieldError::InvalidName => FieldError::InvalidName,
        odin_chain::FieldError::InvalidValue => FieldError::InvalidValue,
        odin_chain::FieldError::Forbidden => FieldError::Forbidden,
        odin_chain::FieldError::TooLarge => FieldError::TooLarge,
        odin_chain::FieldError::TooLate => FieldError::TooLate,
    })
}

macro_rules! fields {
    () => {
        pub(crate) fn has(name: &str) -> bool {
            read(|fields| fields.contains_key(name))
        }

        pub(crate) fn get(name: &str) -> Option<Vec<u8>> {
            read(|fields| fields.get(name).map(|value| value.as_bytes().to_vec()))
        }

        pub(crate) fn get_all(name: &str) -> Vec<Vec<u8>> {
            read(|fields| fields.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect())
        }

        pub(crate) fn fields() -> Vec<crate::Field> {
            read(list)
        }

        pub(crate) fn set(name: &str, value: &[u8]) -> Result<(), FieldError> {
            change(|open| open.set(fields::name(name)?, fields::value(value)?))
        }

        pub(crate) fn append(name: &str, value: &[u8]) -> Result<(), FieldError> {
            change(|open| open.append(fields::name(name)?, fields::value(value)?))
        }

        pub(crate) fn remove(name: &str) -> Result<(), FieldError> {
            change(|open| Ok(open.remove(fields::name(name)?)))
        }
    };
}

/// The fields of a head, and what else both heads have.
macro_rules! head {
    ($head:ident, $open:ident, $missing:literal) => {
        fn head<T>(ask: impl FnOnce(&http::$head::Parts) -> T) -> T {
            SCENE.with_borrow(|scene| match &scene.state.$head {
                Some(head) => ask(head),
                None => trap($missing),
            })
        }

        fn read<T>(ask: impl FnOnce(&HeaderMap) -> T) -> T {
            head(|head| ask(&head.headers))
        }

        fn change(change: impl FnOnce(Fields<'_>) -> Checked) -> Result<(), FieldError> {
            head(|_| ());
            answer(SCENE.with_borrow_mut(|scene| match scene.state.$open() {
                Some(fields) => change(fields),
                None => Err(odin_chain::FieldError::TooLate),
            }))
        }

        fields!();

        pub(crate) fn get_many(names: &[String]) -> Vec<Option<Vec<u8>>> {
            names.iter().map(|name| get(name)).collect()
        }
    };
}

pub(crate) mod request {
    use odin_chain::HookState;

    use super::*;

    head!(request, open_request, "there is no request here");

    pub(crate) fn has_body() -> bool {
        state(|state| state.request_has_body)
    }

    pub(crate) fn method() -> String {
        head(|head| head.method.to_string())
    }

    pub(crate) fn set_method(method: &str) -> Result<(), FieldError> {
        replace(|state| state.set_method(method))
    }

    pub(crate) fn path() -> String {
        head(|head| head.uri.path_and_query().map(ToString::to_string).unwrap_or_default())
    }

    pub(crate) fn set_path(path: &str) -> Result<(), FieldError> {
        replace(|state| state.set_path(path))
    }

    pub(crate) fn scheme() -> String {
        state(|state| state.scheme.to_string())
    }

    pub(crate) fn set_scheme(scheme: &str) -> Result<(), FieldError> {
        replace(|state| state.set_scheme(scheme))
    }

    pub(crate) fn authority() -> String {
        state(|state| String::from_utf8_lossy(state.authority.as_bytes()).into_owned())
    }

    pub(crate) fn set_authority(authority: &str) -> Result<(), FieldError> {
        replace(|state| state.set_authority(authority))
    }

    fn state<T>(ask: impl FnOnce(&HookState) -> T) -> T {
        head(|_| ());
        SCENE.with_borrow(|scene| ask(&scene.state))
    }

    fn replace(change: impl FnOnce(&mut HookState) -> Checked) -> Result<(), FieldError> {
        head(|_| ());
        answer(SCENE.with_borrow_mut(|scene| change(&mut scene.state)))
    }
}

pub(crate) mod response {
    use super::*;

    head!(response, open_response, "there is no response yet");

    pub(crate) fn has_body() -> bool {
        head(|_| ());
        SCENE.with_borrow(|scene| scene.state.response_has_body)
    }

    pub(crate) fn status() -> u16 {
        head(|head| head.status.as_u16())
    }

    pub(crate) fn set_status(status: u16) -> Result<(), FieldError> {
        head(|_| ());
        answer(SCENE.with_borrow_mut(|scene| scene.state.set_status(status)))
    }
}

pub(crate) mod trailers {
    use super::*;

    fn read<T>(ask: impl FnOnce(&HeaderMap) -> T) -> T {
        SCENE.with_borrow(|scene| if scene.at_trailers { ask(&scene.state.trailers) } else { ask(&HeaderMap::new()) })
    }

    fn change(change: impl FnOnce(Fields<'_>) -> Checked) -> Result<(), FieldError> {
        answer(SCENE.with_borrow_mut(|scene| match scene.at_trailers {
            true => change(scene.state.open_trailers()),
            false => Err(odin_chain::FieldError::TooLate),
        }))
    }

    fields!();
}

pub(crate) mod body {
    use super::SCENE;

    pub(crate) fn read(offset: u32, length: u32) -> Vec<u8> {
        SCENE.with_borrow(|scene| {
            let piece = &scene.state.piece;
            let start = (offset as usize).min(piece.len());
            let end = start.saturating_add(length as usize).min(piece.len());
            piece[start..end].to_vec()
        })
    }
}
