//! Answers one request: a page, or what became of an order.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use odin_runtime::Swap;
use tokio::sync::oneshot;

use super::connections::{Busy, Way};
use super::rights::{self, Rights};
use super::upload::Upload;
use super::{Desk, host, pages, secrets};
use crate::diff::Change;
use crate::life::{Order, Reply};
use crate::prometheus;

const INDEX: &str = "\
/healthz\n/readyz\n/metrics\n/listeners\n/clusters\n/plugins\n/config\n/diff\n/process\n\
POST /reload\nPOST /upgrade\nPOST /plugins/NAME\n";

type Page = Response<Full<Bytes>>;

pub(super) async fn answer(desk: &Desk, way: Way, busy: &Busy, request: Request<Incoming>) -> Page {
    // Who lets others reach the pages gives this host a name for that, and has to say who may.
    if let Some(name) = host::name(&request).filter(|_| way == Way::Tcp && desk.loopback) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            format!("these pages are not those of {name:?}: ask for them by localhost or by an IP address\n"),
        );
    }
    let rights = match rights::of(way, desk.odin.assembly().token.as_ref(), &request) {
        Ok(rights) => rights,
        Err((status, words)) => {
            let mut page = text(status, words);
            if status == StatusCode::UNAUTHORIZED {
                page.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            return page;
        }
    };
    match *request.method() {
        Method::GET | Method::HEAD => show(desk, rights, request.uri().path()).await,
        Method::POST if rights == Rights::All => {
            let _busy = busy.begin();
            obey(desk, request).await
        }
        Method::POST => text(StatusCode::FORBIDDEN, only_read(desk)),
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET a page, or POST an order; / lists both\n"),
    }
}

/// How to give an order instead.
fn only_read(desk: &Desk) -> String {
    let socket = match &desk.places.socket {
        Some(path) => format!("over the unix socket {}", path.display()),
        None => "over the unix socket (`admin-socket`, which is off)".to_owned(),
    };
    format!(
        "these pages only show: orders are taken {socket} (`odin reload`, `odin upgrade`, `odin plugin swap NAME FILE`), \
         or here with the token of `admin-token-file`\n"
    )
}

async fn show(desk: &Desk, rights: Rights, path: &str) -> Page {
    let odin = &desk.odin;
    match path {
        "/" => text(StatusCode::OK, INDEX),
        "/healthz" => match odin.with_proxy(|proxy| proxy.alive()) {
            Some(false) => text(StatusCode::SERVICE_UNAVAILABLE, "a worker has ended\n"),
            _ => text(StatusCode::OK, "ok\n"),
        },
        "/readyz" => match odin.with_proxy(|proxy| proxy.alive()) {
            Some(true) => text(StatusCode::OK, "ready\n"),
            Some(false) => text(StatusCode::SERVICE_UNAVAILABLE, "a worker has ended\n"),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        },
        "/metrics" => page(StatusCode::OK, prometheus::CONTENT_TYPE, prometheus::render(odin)),
        "/listeners" => json(&pages::listeners(odin)),
        "/clusters" => json(&pages::clusters(odin)),
        "/plugins" => json(&pages::plugins(odin)),
        "/process" => json(&pages::process(odin, &desk.places)),
        "/config" => match rights {
            Rights::All => json(&pages::config(odin)),
            Rights::Read => json(&secrets::hidden(pages::config(odin))),
        },
        "/diff" => changed(match rights {
            Rights::All => odin.diff(|config| config).await,
            Rights::Read => odin.diff(secrets::hidden).await,
        }),
        _ => text(StatusCode::NOT_FOUND, "no such page; / lists them\n"),
    }
}

async fn obey(desk: &Desk, request: Request<Incoming>) -> Page {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/reload" => changed(ordered(desk, Order::Reload).await),
        "/upgrade" => match ordered(desk, Order::Upgrade).await {
            Ok(pid) => json(&serde_json::json!({ "pid": pid })),
            Err(error) => refused(&error),
        },
        path => match path.strip_prefix("/plugins/") {
            Some(name) => swap(desk, name, request).await,
            None => text(StatusCode::NOT_FOUND, "no such order; / lists them\n"),
        },
    }
}

/// Hands an order on, and waits until it was obeyed.
async fn ordered<T>(desk: &Desk, order: impl FnOnce(Option<Reply<T>>) -> Order) -> anyhow::Result<T> {
    let (reply, answer) = oneshot::channel();
    // A process that drains takes no orders; then the answer is gone too.
    let _ = desk.orders.send(order(Some(reply)));
    answer.await.unwrap_or_else(|_| Err(anyhow::anyhow!("this process drains")))
}

fn changed(changes: anyhow::Result<Vec<Change>>) -> Page {
    match changes {
        Ok(changes) => json(&serde_json::json!({ "changes": changes })),
        Err(error) => refused(&error),
    }
}

fn refused(error: &anyhow::Error) -> Page {
    text(StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}\n"))
}

async fn swap(desk: &Desk, name: &str, request: Request<Incoming>) -> Page {
    if !desk.odin.assembly().plugins.contains_key(name) {
        return text(StatusCode::NOT_FOUND, format!("no plugin is named {name:?}; GET /plugins lists them\n"));
    }
    let upload = match desk.uploads.receive(request.into_body()).await {
        Ok(upload) => upload,
        Err((status, words)) => return text(status, words),
    };
    let Upload { wasm, turn: _turn } = upload;
    let (generation, swapped) = match desk.odin.swap(name, wasm).await {
        Ok(Swap::Swapped { generation }) => (generation, true),
        Ok(Swap::Unchanged { generation }) => (generation, false),
        Err(error) => {
            tracing::error!(plugin = name, "not swapped, the old generation serves on: {error:#}");
            return text(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("not swapped, the old generation serves on: {error:#}\n"),
            );
        }
    };
    json(&serde_json::json!({ "name": name, "generation": generation, "swapped": swapped }))
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Page {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Page {
    page(status, "text/plain; charset=utf-8", body)
}

fn json(value: &serde_json::Value) -> Page {
    page(StatusCode::OK, "application/json", format!("{value:#}\n"))
}
