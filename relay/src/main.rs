//! Runs a Causeway node.

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway::cli::main()
}
