#![no_main]

#[path = "../checks/signed_policy.rs"]
mod signed_policy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| signed_policy::check(bytes));
