//! Runs a Causeway node.

fn main() {}
