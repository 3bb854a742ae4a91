//! The driver: it replays what was found before, then changes good inputs in bad ways, from a seed, and watches what the
//! target makes of them.
//!
//! There is no coverage to steer by without a nightly compiler. What a target says of an input steers instead: one that
//! is answered in a way not seen before (another error, mostly) is worth changing further, and joins the seeds.

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Inputs over all targets of a plain `cargo test`, and the variable that asks for more.
const CASES: u64 = 500_000;
const CASES_VARIABLE: &str = "WEIR_FUZZ_CASES";

/// The variable for another seed, which makes other inputs.
const SEED_VARIABLE: &str = "WEIR_FUZZ_SEED";

/// An input that takes longer hangs, however loaded the machine is.
const HANG: Duration = Duration::from_secs(30);

/// The most memory that an input may make a target hold, and how much more per byte of its own.
const MOST_BYTES: u64 = 64 << 20;
const BYTES_PER_BYTE: u64 = 256;

/// Inputs that are kept to be changed further, and the size that they may grow to.
const MOST_KEPT: usize = 2_000;
const MOST_INPUT: usize = 1 << 16;

/// What is fuzzed, and with what.
pub(super) struct Target<'a> {
    /// Names the corpus: `tests/fuzz/corpus/NAME`.
    pub(super) name: &'static str,
    /// Its share of all inputs, in thousandths: the cheaper an input and the more it meets of the world, the larger.
    pub(super) share: u64,
    /// Good inputs.
    pub(super) seeds: Vec<Vec<u8>>,
    /// What its inputs are made of.
    pub(super) words: &'a [&'a [u8]],
    /// Takes an input: how it was answered, or what is wrong with the answer.
    pub(super) run: &'a mut dyn FnMut(&[u8]) -> Result<String, String>,
}

/// What all inputs of JSON and TOML are made of.
pub(super) const TEXT: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud83d",
    b"null",
    b"true",
    b"false",
    b"0",
    b"-",
    b"-0.0",
    b"1e999",
    b"1e-999",
    b"NaN",
    b"18446744073709551616",
    b"9223372036854775807",
    b"4294967296",
    b"0.1",
    b"\"\"",
    b"[]",
    b"{}",
    b"\xff",
    b"\xc3\xa9",
    b"\0",
    b"\n",
    b" ",
];

/// Runs a target; panics if that finds something, with the input kept for the next run.
pub(super) fn fuzz(target: Target<'_>) {
    let (name, started) = (target.name, Instant::now());
    let cases = number(CASES_VARIABLE).unwrap_or(CASES) * target.share / 1_000;
    let seed = number(SEED_VARIABLE).unwrap_or(0);
    match search(target, cases, seed) {
        Ok(ways) => {
            let took = started.elapsed().as_secs_f64();
            eprintln!("fuzz {name}: {cases} inputs from seed {seed} in {took:.1} s, answered in {ways} ways");
        }
        Err(Found { input, wrong }) => {
            panic!("{name}, seed {seed}: {wrong}; the input is {}", keep(name, &input).display())
        }
    }
}

/// An input, and what is wrong with its answer.
pub(super) struct Found {
    pub(super) input: Vec<u8>,
    pub(super) wrong: String,
}

/// Replays the corpus, then tries `cases` inputs; in how many ways they were answered, or the first that shows something.
pub(super) fn search(target: Target<'_>, cases: u64, seed: u64) -> Result<usize, Found> {
    let Target { name, mut seeds, words, run, .. } = target;
    let watch = Watch::start(name);
    let mut run = |input: &[u8]| {
        watch.begin(input);
        let mut answer = None;
        let memory = allocation_counter::measure(|| answer = Some(catch_unwind(AssertUnwindSafe(|| run(input)))));
        watch.end();
        let allowed = MOST_BYTES + BYTES_PER_BYTE * input.len() as u64;
        match answer {
            Some(Err(_)) | None => Err("it panicked, as shown above".into()),
            _ if memory.bytes_max > allowed => Err(format!("it made weir hold {} bytes", memory.bytes_max)),
            Some(Ok(answer)) => answer,
        }
    };
    let mut known = HashSet::new();
    let before = corpus(name).into_iter().map(|path| fs::read(path).unwrap());
    for input in before.chain(seeds.clone()) {
        match run(&input) {
            Ok(answer) => known.insert(class(answer)),
            Err(wrong) => return Err(Found { input, wrong }),
        };
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut input = Vec::new();
    for _ in 0..cases {
        change(&mut input, &seeds, words, &mut random);
        match run(&input) {
            Ok(answer) => {
                if known.insert(class(answer)) && seeds.len() < MOST_KEPT && input.len() < MOST_INPUT {
                    seeds.push(input.clone());
                }
            }
            Err(wrong) => return Err(Found { input, wrong }),
        }
    }
    Ok(known.len())
}

/// What was found before.
fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Writes an input to where the next run will find it.
fn keep(name: &str, input: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("found-{:016x}", hash(input)));
    fs::write(&path, input).unwrap();
    path
}

/// FNV-1a: only for names.
fn hash(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// An answer without its numbers and names, so that answers of one kind are one.
fn class(answer: String) -> String {
    let mut class = String::new();
    let mut quoted = false;
    for character in answer.chars().take(400) {
        match character {
            '"' => quoted = !quoted,
            '0'..='9' => {}
            _ if quoted => {}
            _ => class.push(character),
        }
    }
    class
}

/// Makes the next input: a seed with one to four changes.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]], random: &mut ChaCha8Rng) {
    input.clear();
    input.extend_from_slice(seeds.choose(random).unwrap());
    for _ in 0..random.random_range(1..=4) {
        let length = input.len();
        let at = random.random_range(0..=length);
        let end = at + random.random_range(0..=(length - at).min(64));
        match random.random_range(0..10) {
            0 | 1 if at < length => input[at] ^= 1 << random.random_range(0..8),
            2 if at < length => input[at] = random.random(),
            3 => drop(input.drain(at..end)),
            4 => input.truncate(at),
            5 | 6 => {
                let word = words.choose(random).copied().unwrap_or_default();
                let over = if random.random() { at } else { end };
                input.splice(at..over, word.iter().copied());
            }
            7 if length < MOST_INPUT => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            8 => {
                // The rest of another one: the fields of both, in one.
                let other = seeds.choose(random).unwrap();
                let from = random.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            9 => {
                // A number becomes another: of eight bytes where it is binary, of its digits where it is text.
                match input[at..].iter().position(u8::is_ascii_digit) {
                    Some(digit) if random.random() => {
                        let numbers =
                            [&b"0"[..], b"-1", b"1e308", b"4294967295", b"18446744073709551615", b"9999999999999"];
                        let digits = input[at + digit..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                        let number = *numbers.choose(random).unwrap();
                        input.splice(at + digit..at + digit + digits, number.iter().copied());
                    }
                    _ if at + 8 <= length => {
                        let numbers = [0, 1, u64::MAX, u64::from(u32::MAX), 1 << 62, i64::MAX as u64];
                        input[at..at + 8].copy_from_slice(&numbers.choose(random).unwrap().to_le_bytes());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, not a number")))
}

/// Ends the process, with the input kept, when a target hangs: nothing else can stop it.
struct Watch(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    /// `None` between two inputs.
    since: Option<Instant>,
    input: Vec<u8>,
}

impl Watch {
    fn start(name: &'static str) -> Watch {
        let watch = Watch(Arc::default());
        let running = Arc::downgrade(&watch.0);
        std::thread::spawn(move || {
            while let Some(running) = running.upgrade() {
                let looked_at = running.lock().unwrap();
                if looked_at.since.is_some_and(|since| since.elapsed() > HANG) {
                    eprintln!("{name} hangs: the input is {}", keep(name, &looked_at.input).display());
                    std::process::abort();
                }
                drop(looked_at);
                drop(running);
                std::thread::park_timeout(Duration::from_secs(1));
            }
        });
        watch
    }

    fn begin(&self, input: &[u8]) {
        let mut running = self.0.lock().unwrap();
        running.since = Some(Instant::now());
        running.input.clear();
        running.input.extend_from_slice(input);
    }

    fn end(&self) {
        self.0.lock().unwrap().since = None;
    }
}
