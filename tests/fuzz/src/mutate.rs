//! Changes inputs: bytes, ranges, words of the grammar, numbers, and parts of other seeds.

/// Bytes that mean something in most grammars.
const BYTES: &[u8] = b"\0\t\n\r \"#%&'*+,-./0:;<=>?@A[\\]_`az{|}~\x7f\x80\xbf\xc3\xff";
/// Numbers around the limits of their types.
const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "-1",
    "00",
    "127",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "1e309",
];

/// Makes new inputs of old ones.
pub(crate) struct Mutator {
    state: u64,
    words: Vec<Vec<u8>>,
    longest: usize,
}

impl Mutator {
    pub(crate) fn new(seed: u64, words: Vec<Vec<u8>>, longest: usize) -> Mutator {
        Mutator { state: seed, words, longest }
    }

    /// A seed with a few changes.
    pub(crate) fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(seeds).clone();
        // Mostly one change or two: with many, little of the seed is left.
        let mut changes = 1 + self.below(2);
        while self.below(3) == 0 {
            changes += 1;
        }
        for _ in 0..changes {
            self.change_once(&mut input, seeds);
        }
        input.truncate(self.longest);
        input
    }

    fn change_once(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let (start, end) = self.range(input.len());
        match self.below(12) {
            0 => input.truncate(end),
            1 | 2 => drop(input.drain(start..end)),
            3 => {
                if let Some(byte) = input.get_mut(start) {
                    *byte ^= 1 << self.below(8);
                }
            }
            4 => {
                let byte = self.byte();
                if let Some(place) = input.get_mut(start) {
                    *place = byte;
                }
            }
            5 | 6 => input.insert(start, self.byte()),
            7 => {
                let (copied, at) = (input[start..end].to_vec(), self.below(input.len() + 1));
                insert(input, at, at, &copied);
            }
            8 => {
                let other = self.one_of(seeds).clone();
                let (from, to) = self.range(other.len());
                insert(input, start, end, &other[from..to]);
            }
            9 => {
                let digits = |byte: &u8| byte.is_ascii_digit();
                if let Some(first) = input[start..].iter().position(digits).map(|at| start + at) {
                    let length = input[first..].iter().take_while(|byte| digits(byte)).count();
                    let number = self.one_of(&NUMBERS).as_bytes();
                    insert(input, first, first + length, number);
                }
            }
            _ if self.words.is_empty() => input.insert(start, self.byte()),
            choice => {
                let word = self.below(self.words.len());
                // Put in, or in the place of something else.
                let end = if choice == 10 { start } else { end };
                input.splice(start..end, self.words[word].iter().copied());
            }
        }
    }

    fn byte(&mut self) -> u8 {
        if self.below(4) == 0 { self.next() as u8 } else { *self.one_of(BYTES) }
    }

    /// A part of what has this length: short, mostly.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length + 1);
        let longest = if self.below(4) == 0 { length } else { 16 };
        let end = length.min(start + self.below(longest + 1));
        (start, end)
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// From zero to this, without it.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

fn insert(into: &mut Vec<u8>, start: usize, end: usize, bytes: &[u8]) {
    into.splice(start..end, bytes.iter().copied());
}
