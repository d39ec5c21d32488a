#![no_main]

#[path = "../checks/netem_topology.rs"]
mod netem_topology;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netem_topology::check(bytes));
