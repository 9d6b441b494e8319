//! What a process prints, line by line, and a way to wait for a line. Never loses a line and never blocks the process.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;

use crate::wait::DEADLINE;

/// The lines so far of one stream of a process; clones share them.
#[derive(Clone)]
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    /// True once the stream has ended.
    changed: watch::Receiver<bool>,
}

impl Lines {
    pub(crate) fn collect(stream: impl AsyncRead + Unpin + Send + 'static) -> Lines {
        let (sender, changed) = watch::channel(false);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
                kept.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_string());
                sender.send_replace(false);
                line.clear();
            }
            sender.send_replace(true);
        });
        Lines { lines, changed }
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// How many lines there are: pass it to [`Lines::find_from`] to look only at what comes later.
    pub fn len(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    /// True when nothing was printed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first line, from line `from` on, that `wanted` accepts; waits for it. None when the stream has ended, or the
    /// deadline has passed, without it.
    pub async fn find_from(&self, from: usize, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let mut changed = self.changed.clone();
        let mut looked_at = from;
        let search = async {
            loop {
                let ended = *changed.borrow_and_update();
                {
                    let lines = self.lines.lock().unwrap();
                    if let Some(line) = lines[looked_at.min(lines.len())..].iter().find(|line| wanted(line)) {
                        return Some(line.clone());
                    }
                    looked_at = lines.len().max(from);
                }
                if ended || changed.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(DEADLINE, search).await.ok().flatten()
    }

    /// Waits until the stream has ended: then every line is there.
    pub(crate) async fn ended(&self) {
        let mut changed = self.changed.clone();
        let _ = tokio::time::timeout(DEADLINE, changed.wait_for(|ended| *ended)).await;
    }
}
