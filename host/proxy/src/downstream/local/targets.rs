//! What the routes of a listener stand for on this worker. Made in chunks when one of a chunk's routes is first used, so
//! that neither a new config nor the end of an old one touches every route.

use std::array;
use std::cell::OnceCell;

use crate::upstream::local::Leftover;

/// Values by index, each made when it is first asked for.
pub(super) struct Targets<T> {
    len: usize,
    chunks: Vec<OnceCell<Chunk<T>>>,
}

type Chunk<T> = Box<[OnceCell<T>; CHUNK]>;

/// Values that are allocated together, and freed together.
const CHUNK: usize = 64;

impl<T> Targets<T> {
    /// Room for so many; none is made yet.
    pub(super) fn new(len: usize) -> Self {
        Targets { len, chunks: (0..len.div_ceil(CHUNK)).map(|_| OnceCell::new()).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value at this index; none past the end.
    pub(super) fn get(&self, at: usize, make: impl FnOnce() -> T) -> Option<&T> {
        if at >= self.len {
            return None;
        }
        let chunk = self.chunks[at / CHUNK].get_or_init(|| Box::new(array::from_fn(|_| OnceCell::new())));
        Some(chunk[at % CHUNK].get_or_init(make))
    }

    /// Chunks that were made.
    #[cfg(test)]
    pub(super) fn made(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.get().is_some()).count()
    }
}

impl<T> Leftover for Targets<T> {
    /// The last chunk that was made.
    fn free_some(&mut self) -> bool {
        while let Some(mut chunk) = self.chunks.pop() {
            if chunk.take().is_some() {
                break;
            }
        }
        self.len = self.len.min(self.chunks.len() * CHUNK);
        !self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn only_what_is_asked_for_is_made_and_it_is_freed_in_steps() {
        let value = Rc::new(());
        let mut targets = Targets::new(10 * CHUNK + 1);
        assert_eq!(targets.made(), 0);
        for at in [0, 1, 5 * CHUNK, 10 * CHUNK, 1] {
            assert!(targets.get(at, || value.clone()).is_some());
        }
        assert!(targets.get(10 * CHUNK + 1, || value.clone()).is_none());
        // The one that was asked for twice was made once.
        assert_eq!((targets.made(), Rc::strong_count(&value)), (3, 1 + 4));

        assert!(targets.free_some());
        assert_eq!((targets.made(), Rc::strong_count(&value)), (2, 1 + 3));
        assert!(targets.get(10 * CHUNK, || value.clone()).is_none());
        assert!(targets.free_some());
        assert!(!targets.free_some());
        assert_eq!((targets.made(), Rc::strong_count(&value)), (0, 1));
    }
}
