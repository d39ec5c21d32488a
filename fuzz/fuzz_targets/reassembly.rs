#![no_main]

#[path = "../checks/reassembly.rs"]
mod reassembly;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reassembly::check(bytes));
