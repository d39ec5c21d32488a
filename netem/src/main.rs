//! Runs `netem`.

use std::process::ExitCode;

fn main() -> ExitCode {
    netem::cli::main()
}
