//! Compiles control frames and signed statements; needs no protoc on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(
        [
            "proto/advert.proto",
            "proto/control.proto",
            "proto/policy.proto",
        ],
        ["proto"],
    )?;
    prost_build::Config::new()
        // A hash map would encode labels in another order in each process.
        .btree_map(["."])
        .compile_fds(files)?;
    Ok(())
}
