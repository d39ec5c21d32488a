#![no_main]

#[path = "../checks/netem_words.rs"]
mod netem_words;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netem_words::check(bytes));
