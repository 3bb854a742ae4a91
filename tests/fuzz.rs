//! What comes from outside, changed at random: no panic, no hang, no mountain of memory, and an answer that makes sense.
//!
//! `cargo test` tries some 200,000 inputs from a fixed seed; `make fuzz` as many as it is asked for, from another. What is found
//! is kept in `tests/fuzz/corpus/`, and replayed first from then on. These run with overflow checks, as all tests do.

mod avro;
mod configuration;
mod data;
mod driver;
mod models;
mod records;

use driver::{Found, Target, search};

#[test]
fn the_driver_finds_what_is_planted() {
    let find = |run: &mut dyn FnMut(&[u8]) -> Result<String, String>| {
        let seeds = vec![br#"{"age":1}"#.to_vec()];
        search(Target { name: "planted", share: 0, seeds, words: driver::TEXT, run }, 100_000, 0)
    };
    assert!(find(&mut |_| Ok("fine".into())).is_ok());
    // An end that is overrun, a wrong answer, and a length that is believed.
    quietly("tests/fuzz.rs", || {
        let Err(Found { input, wrong }) = find(&mut |input| {
            let behind = if input.ends_with(b"{") { input.len() } else { 0 };
            Ok(format!("{:?}", (!input.is_empty()).then(|| input[behind])))
        }) else {
            panic!("the overrun isn't found")
        };
        assert!(input.ends_with(b"{") && wrong.contains("panicked"), "{wrong}");
    });
    let Err(Found { input, .. }) = find(&mut |input| match input.windows(5).any(|part| part == b"1e999") {
        true => Err("another number than serde_json's".into()),
        false => Ok(format!("{} bytes", input.len())),
    }) else {
        panic!("the wrong answer isn't found")
    };
    assert!(String::from_utf8_lossy(&input).contains("1e999"));
    let Err(Found { wrong, .. }) = find(&mut |input| {
        let length = input.iter().take_while(|byte| **byte != b'4').count();
        let room = if length < input.len() { 1 << 28 } else { length };
        Ok(format!("{}", Vec::<u8>::with_capacity(room).len()))
    }) else {
        panic!("the mountain of memory isn't found")
    };
    assert!(wrong.contains("hold"), "{wrong}");
}

/// Shows no panic whose place is in a file or crate of this name while `run` runs: those are expected.
fn quietly(place: &'static str, run: impl FnOnce()) {
    let hook = std::sync::Arc::new(std::panic::take_hook());
    let others = hook.clone();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|at| at.file().contains(place)) {
            others(panic);
        }
    }));
    run();
    std::panic::set_hook(Box::new(move |panic| hook(panic)));
}
