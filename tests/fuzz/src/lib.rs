//! A small fuzzer that runs in `cargo test` on a stable compiler.
//!
//! A target is a test beside the code that it feeds, so nothing inside a crate has to be made public for it:
//!
//! ```no_run
//! #[test]
//! fn fuzz_numbers() {
//!     odin_fuzz::target("numbers").words(&["0x", "-"]).run(|input| {
//!         let text = String::from_utf8_lossy(input);
//!         let number = text.parse::<i64>();
//!         if let Ok(number) = number {
//!             assert_eq!(number.to_string().parse(), Ok(number));
//!         }
//!         number.is_ok()
//!     });
//! }
//! ```
//!
//! The seeds are the files of `tests/fuzz/corpus/NAME`. Every seed runs first, and then changed ones until the time is
//! over. What the target answers is its *outcome*: an input with an outcome that was not seen before becomes a seed of
//! this run. So the outcome should tell which way the code took, such as the words of its error.
//!
//! `ODIN_FUZZ_SECONDS` is the time for each target, 1 unless set; `make fuzz` sets more. `ODIN_FUZZ_SEED` repeats a run:
//! a failure tells its seed, and the smallest input that fails. The seed is also in `target/fuzz/NAME-seed`, for what
//! ends the process.

mod mutate;
mod quiet;

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mutate::Mutator;
use quiet::quietly;

/// Seeds of one run, at most: more are not worth their memory.
const MAX_SEEDS: usize = 5_000;
/// For how long a failing input is made smaller.
const SHRINKING: Duration = Duration::from_secs(5);

/// A target, before it runs.
pub struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    longest: usize,
}

/// The target of that name. The files of `tests/fuzz/corpus/NAME`, if there are any, are its first seeds.
pub fn target(name: &'static str) -> Target {
    let target = Target { name, seeds: Vec::new(), words: Vec::new(), longest: 4096 };
    let corpus = folder().join("corpus").join(name);
    if corpus.is_dir() { target.seeds_in(&corpus) } else { target }
}

/// This crate's folder, in which the corpora are.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Target {
    /// The files of a folder as seeds; fails when there are none.
    pub fn seeds_in(mut self, folder: &Path) -> Target {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        // The same order everywhere, so that a run can be repeated by its seed.
        files.sort();
        let before = self.seeds.len();
        self.seeds.extend(files.iter().filter(|file| file.is_file()).filter_map(|file| std::fs::read(file).ok()));
        assert!(self.seeds.len() > before, "no seeds in {}", folder.display());
        self
    }

    /// One more seed.
    pub fn seed(mut self, bytes: impl Into<Vec<u8>>) -> Target {
        self.seeds.push(bytes.into());
        self
    }

    /// What is put into inputs beside single bytes: the words of the grammar.
    pub fn words<W: AsRef<[u8]>>(mut self, words: &[W]) -> Target {
        self.words.extend(words.iter().map(|word| word.as_ref().to_vec()));
        self
    }

    /// The longest input, in bytes; 4096 unless said.
    pub fn longest(mut self, bytes: usize) -> Target {
        self.longest = bytes;
        self
    }

    /// Runs the check on the seeds, and then on changed ones until the time is over. A check fails by a panic.
    pub fn run<Outcome: Hash>(mut self, check: impl Fn(&[u8]) -> Outcome) {
        let random = variable("ODIN_FUZZ_SEED").unwrap_or_else(some_number);
        let time = Duration::from_secs(variable("ODIN_FUZZ_SECONDS").unwrap_or(1));
        let mut mutator = Mutator::new(random, std::mem::take(&mut self.words), self.longest);
        let (mut seen, mut inputs) = (HashSet::new(), 0u64);
        let fails = |input: &[u8]| match catch_unwind(AssertUnwindSafe(|| check(input))) {
            Ok(outcome) => Ok(hash(&outcome)),
            Err(panic) => Err(words_of(&*panic)),
        };
        self.keep("seed", random.to_string().as_bytes());
        assert!(!self.seeds.is_empty(), "{}: no seed to begin with", self.name);
        let begun = Instant::now();
        for seed in &self.seeds {
            inputs += 1;
            seen.insert(fails(seed).unwrap_or_else(|why| self.fail(seed, why, random, &fails)));
        }
        while begun.elapsed() < time {
            inputs += 1;
            let input = mutator.change(&self.seeds);
            let outcome = fails(&input).unwrap_or_else(|why| self.fail(&input, why, random, &fails));
            if seen.insert(outcome) && self.seeds.len() < MAX_SEEDS {
                self.seeds.push(input);
            }
        }
        let (name, took) = (self.name, begun.elapsed().as_secs_f64());
        println!("{name}: {inputs} inputs in {took:.1} s, {} outcomes; ODIN_FUZZ_SEED={random}", seen.len());
    }

    /// Makes the input smaller as long as it fails, keeps it in a file, and fails the test.
    fn fail(&self, input: &[u8], why: String, random: u64, fails: &dyn Fn(&[u8]) -> Result<u64, String>) -> ! {
        let (input, why) = quietly(|| shrink(input.to_vec(), why, fails));
        let file = self.keep(&format!("{:016x}", hash(&input)), &input);
        panic!(
            "{name}: {why}\ninput: b\"{shown}\"\nin the file {file}: copy it to tests/fuzz/corpus/{name} when it is \
             mended\nrepeat the run with ODIN_FUZZ_SEED={random}",
            name = self.name,
            file = file.display(),
            shown = input.escape_ascii(),
        );
    }

    /// Writes a file of this target into `target/fuzz`.
    fn keep(&self, what: &str, content: &[u8]) -> PathBuf {
        let kept = folder().join("../../target/fuzz");
        let file = kept.join(format!("{}-{what}", self.name));
        let written = std::fs::create_dir_all(&kept).and_then(|()| std::fs::write(&file, content));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        file
    }
}

/// Leaves out what the failure does not need: halves first, then single bytes.
fn shrink(mut input: Vec<u8>, mut why: String, fails: &dyn Fn(&[u8]) -> Result<u64, String>) -> (Vec<u8>, String) {
    let begun = Instant::now();
    let mut length = input.len();
    while length > 0 {
        length = length.div_ceil(2).min(input.len());
        let (mut at, mut shorter) = (0, false);
        while at < input.len() && begun.elapsed() < SHRINKING {
            let end = input.len().min(at + length);
            let candidate = [&input[..at], &input[end..]].concat();
            match fails(&candidate) {
                Err(words) => (input, why, shorter) = (candidate, words, true),
                Ok(_) => at = end,
            }
        }
        if length <= 1 && !shorter {
            break;
        }
    }
    (input, why)
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")))
}

fn some_number() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    hash(&(now, std::process::id()))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_found_by_its_outcomes_and_made_small() {
        let numbers = || target("example").words(&["fuzz"]);
        // Each letter that is right is an outcome of its own.
        let right = |input: &[u8]| input.iter().zip(b"fig").take_while(|(a, b)| a == b).count();
        let found =
            quietly(|| catch_unwind(|| numbers().run(|input| (assert!(right(input) < 3, "found"), right(input)))));
        let told = words_of(&*found.expect_err("a second is enough to find three letters"));
        assert!(told.starts_with("example: found\ninput: b\"fig\"\n"), "{told}");
        numbers().run(right);
    }
}
