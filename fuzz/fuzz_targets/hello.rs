#![no_main]

#[path = "../checks/hello.rs"]
mod hello;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hello::check(bytes));
