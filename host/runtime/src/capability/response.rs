//! `odin:plugin/response`: the head of the response. Must never let a plugin change how its body is framed.

use http::header::HeaderMap;
use http::{StatusCode, response};
use wasmtime::{Result, bail};

use crate::capability::message::{self, Changed, Checked, Message};
use crate::fields::{FieldError, Fields};
use crate::store::{Ctx, Link, StoreData};

const NO_RESPONSE: &str = "there is no response here";

struct Response;

impl Message for Response {
    fn fields(data: &StoreData) -> Result<&HeaderMap> {
        Ok(&head(data)?.headers)
    }

    fn open(data: &mut StoreData) -> Result<Option<Fields<'_>>> {
        let state = &mut *data.state;
        let Some(head) = &mut state.response else { bail!(NO_RESPONSE) };
        Ok(state.response_open.then_some(Fields {
            fields: &mut head.headers,
            size: &mut state.response_size,
            max: state.max_head_bytes,
        }))
    }
}

fn head(data: &StoreData) -> Result<&response::Parts> {
    let Some(head) = &data.state.response else { bail!(NO_RESPONSE) };
    Ok(head)
}

pub(crate) fn link(linker: &mut Link) -> Result<()> {
    let mut response = linker.instance("odin:plugin/response@0.1.0")?;
    message::link_fields::<Response>(&mut response)?;
    message::link_get_many::<Response>(&mut response)?;
    response.func_wrap("status", |store: Ctx<'_>, (): ()| Ok((head(store.data())?.status.as_u16(),)))?;
    response.func_wrap("has-body", |store: Ctx<'_>, (): ()| {
        head(store.data())?;
        Ok((store.data().state.response_has_body,))
    })?;
    response.func_wrap("set-status", |mut store: Ctx<'_>, (status,): (u16,)| -> Changed {
        let state = &mut *store.data_mut().state;
        let Some(head) = &mut state.response else { bail!(NO_RESPONSE) };
        if !state.response_open {
            return Ok((Err(FieldError::TooLate),));
        }
        Ok((replacement(head.status, status).map(|status| head.status = status),))
    })
}

/// Not between codes that have a body, codes that cannot, and 101: what follows the head is framed already.
fn replacement(old: StatusCode, new: u16) -> Checked<StatusCode> {
    // What follows the head: a body, nothing, or another protocol.
    let follows = |status: StatusCode| match status.as_u16() {
        101 => 2,
        204 | 205 | 304 => 1,
        _ => 0,
    };
    match StatusCode::from_u16(new) {
        Ok(status) if (200..=599).contains(&new) && follows(old) == follows(status) => Ok(status),
        _ => Err(FieldError::InvalidValue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_keeps_its_framing() {
        let status = |code| StatusCode::from_u16(code).unwrap();
        assert_eq!(replacement(status(200), 404), Ok(status(404)));
        assert_eq!(replacement(status(304), 204), Ok(status(204)));
        for (old, new) in [(200, 204), (200, 304), (204, 200), (200, 101), (200, 199), (200, 600), (200, 0)] {
            assert_eq!(replacement(status(old), new), Err(FieldError::InvalidValue), "{old} to {new}");
        }
    }
}
