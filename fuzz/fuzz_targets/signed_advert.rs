#![no_main]

#[path = "../checks/signed_advert.rs"]
mod signed_advert;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| signed_advert::check(bytes));
