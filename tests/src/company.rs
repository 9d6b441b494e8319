//! Exchanges that are under way while something else happens: half of them over HTTP/1.1, half on one HTTP/2 connection,
//! each with half of its body at the backend. Whoever disturbs one of them fails the test when they go on.

use http::Request;
use tokio::task::JoinSet;

use crate::assert::Response;
use crate::backend::HttpBackend;
use crate::body::{self, BodySender};
use crate::odin::Odin;
use crate::wait::within;

/// Exchanges under way.
pub struct Company {
    feeds: Vec<BodySender>,
    responses: JoinSet<Response>,
}

impl Company {
    /// Begins so many exchanges with an echo backend, and waits until all of them are there.
    pub async fn begin(odin: &Odin, backend: &HttpBackend, count: usize) -> Company {
        let before = backend.requests();
        let (mut feeds, mut responses) = (Vec::new(), JoinSet::new());
        let mut shared = odin.connect_http2().await;
        for number in 0..count {
            let (feed, content) = body::by_hand();
            let request = Request::post(format!("/company/{number}")).body(content).expect("a request");
            if number % 2 == 0 {
                let mut own = odin.connect().await;
                responses.spawn(async move { own.patient().send(request).await });
            } else {
                responses.spawn(shared.begin(request).await);
            }
            assert!(feed.send(format!("{number} begun, ")).await, "the request is under way");
            feeds.push(feed);
        }
        backend.has_seen(before + count).await;
        Company { feeds, responses }
    }

    /// Sends the rest of every body; fails unless every exchange is complete and untouched.
    pub async fn goes_on(mut self) {
        for (number, feed) in self.feeds.into_iter().enumerate() {
            assert!(feed.send(format!("{number} ended")).await, "exchange {number} is still under way");
        }
        while let Some(response) = within("the exchanges under way end", self.responses.join_next()).await {
            let seen = response.expect("no panic").has_status(200).json();
            let path = seen["path"].as_str().expect("an echo has a path").to_string();
            let number = path.strip_prefix("/company/").expect("the path that was asked for");
            assert_eq!(seen["body"], format!("{number} begun, {number} ended"), "{path}");
            assert_eq!(seen["complete"], true, "{path}");
        }
    }
}
