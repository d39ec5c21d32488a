#![no_main]

#[path = "../checks/packet_header.rs"]
mod packet_header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| packet_header::check(bytes));
