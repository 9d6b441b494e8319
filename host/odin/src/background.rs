//! A thread for what takes long and waits for nothing: a large config is read, built, compared and freed there. The main
//! thread obeys signals and answers the admin pages meanwhile.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::memory;

/// As much as the main thread has: a config file may be nested deeply.
const STACK: usize = 8 * 1024 * 1024;

/// The thread's end of the work; it ends when this is dropped.
pub(crate) struct Background(Sender<Work>);

type Work = Box<dyn FnOnce() + Send>;

impl Background {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, all) = channel::<Work>();
        let body = move || {
            for work in all {
                // The panic hook has logged it, and the caller of `run` gets an error.
                let _ = catch_unwind(AssertUnwindSafe(work));
                // Otherwise the next thread that frees something would do it, and that may be a worker.
                memory::give_back();
            }
        };
        thread::Builder::new().name("config".to_owned()).stack_size(STACK).spawn(body)?;
        Ok(Background(sender))
    }

    /// Runs this after all work that was given earlier, also when the caller stops waiting for it.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let (told, result) = oneshot::channel();
        self.give(move || {
            // If the caller has stopped waiting, the result is freed here.
            let _ = told.send(work());
        });
        result.await.context("it panicked; the log tells more")
    }

    /// Frees something that is large.
    pub(crate) fn free(&self, value: impl Send + 'static) {
        self.give(move || drop(value));
    }

    fn give(&self, work: impl FnOnce() + Send + 'static) {
        // The thread ends with this end of the channel only.
        let _ = self.0.send(Box::new(work));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_works_elsewhere_and_outlives_a_panic() {
        let background = Background::start().unwrap();
        let elsewhere = background.run(|| thread::current().id()).await.unwrap();
        assert_ne!(elsewhere, thread::current().id());
        assert!(background.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(background.run(|| thread::current().id()).await.unwrap(), elsewhere);
    }
}
