#![no_main]

#[path = "../checks/control_frame.rs"]
mod control_frame;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| control_frame::check(bytes));
