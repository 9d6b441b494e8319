//! Who has which numbers of a map: ids, sockets' indices, ranges of slots. A number that comes free rests until the next
//! plan, and then waits for its turn behind all others: a connection that is just being steered may still go by it.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges of numbers, given out in turn.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Free ranges, by their start; neighbours are joined.
    free: BTreeMap<u32, u32>,
    /// Where the search goes on.
    cursor: u32,
    /// Given back since the last [`Numbers::wake`].
    resting: Vec<Range<u32>>,
}

impl Numbers {
    /// All of these are free.
    pub(crate) fn new(all: Range<u32>) -> Numbers {
        Numbers { cursor: all.start, free: BTreeMap::from([(all.start, all.end)]), resting: Vec::new() }
    }

    /// Takes a range that is known to be in use.
    pub(crate) fn occupy(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        let Some((&start, &end)) = self.free.range(..=range.start).next_back() else { return };
        if end < range.end {
            return;
        }
        self.free.remove(&start);
        if start < range.start {
            self.free.insert(start, range.start);
        }
        if range.end < end {
            self.free.insert(range.end, end);
        }
        self.cursor = self.cursor.max(range.end);
    }

    /// A free range of this length.
    pub(crate) fn take(&mut self, length: u32) -> Option<u32> {
        // The range that the cursor is in, those behind it, those before it.
        let inside = self
            .free
            .range(..self.cursor)
            .next_back()
            .and_then(|(_, &end)| (self.cursor < end && end - self.cursor >= length).then_some(self.cursor));
        let fits = |(&start, &end): (&u32, &u32)| (end - start >= length).then_some(start);
        let start = inside
            .or_else(|| self.free.range(self.cursor..).find_map(fits))
            .or_else(|| self.free.range(..self.cursor).find_map(fits))?;
        self.cursor = start;
        self.occupy(start..start + length);
        self.cursor = start + length;
        Some(start)
    }

    /// These are no longer used; they rest.
    pub(crate) fn give_back(&mut self, range: Range<u32>) {
        if !range.is_empty() {
            self.resting.push(range);
        }
    }

    /// What rested can be taken again.
    pub(crate) fn wake(&mut self) {
        for Range { mut start, mut end } in std::mem::take(&mut self.resting) {
            if let Some((&before, &before_end)) = self.free.range(..start).next_back()
                && before_end == start
            {
                self.free.remove(&before);
                start = before;
            }
            if let Some(behind_end) = self.free.remove(&end) {
                end = behind_end;
            }
            self.free.insert(start, end);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_rests_and_comes_last() {
        let mut numbers = Numbers::new(0..10);
        assert_eq!(numbers.take(4), Some(0));
        numbers.give_back(0..4);
        assert_eq!(numbers.take(4), Some(4));
        assert_eq!(numbers.take(4), None, "the first four still rest");
        numbers.wake();
        assert_eq!(numbers.take(2), Some(8), "the cursor goes on");
        assert_eq!(numbers.take(4), Some(0), "then begins anew");
        assert_eq!(numbers.take(1), None);
    }

    #[test]
    fn neighbours_join() {
        let mut numbers = Numbers::new(0..12);
        let starts: Vec<_> = (0..4).map(|_| numbers.take(3).unwrap()).collect();
        for start in [starts[1], starts[3], starts[2], starts[0]] {
            numbers.give_back(start..start + 3);
            numbers.wake();
        }
        assert_eq!(numbers.free, BTreeMap::from([(0, 12)]));
        assert_eq!(numbers.take(12), Some(0));
    }

    #[test]
    fn what_is_occupied_is_not_given_out() {
        let mut numbers = Numbers::new(1..8);
        numbers.occupy(3..5);
        numbers.occupy(1..2);
        let mut rest: Vec<_> = std::iter::from_fn(|| numbers.take(1)).collect();
        rest.sort_unstable();
        assert_eq!(rest, [2, 5, 6, 7]);
    }
}
