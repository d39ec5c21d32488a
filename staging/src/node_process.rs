//! This program as a node: what a fleet starts, one process for each.

use std::{ffi::OsString, io, process::ExitCode, thread, time::Duration};

use rustix::process::{Signal, getpid, kill_process};

/// The first argument that makes this program a node.
pub const COMMAND: &str = "node-process";

/// Does what `causeway` does with `arguments`, and ends when the process that started it is gone.
///
/// The owner holds the other end of standard input and never writes to it. Its end, even by a
/// SIGKILL that leaves it no time to clean up, closes that pipe; so no node is left behind.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    if let Err(error) = thread::Builder::new()
        .name("owner".to_owned())
        .spawn(end_with_owner)
    {
        return refuse(&error);
    }
    causeway::cli::main_from(
        std::iter::once("causeway".into()).chain(arguments),
        causeway::cli::PROGRAM,
    )
}

fn end_with_owner() {
    // Returns at the end of the pipe, or because it cannot be read; nobody is there in both cases.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    // The node's own orderly end, as if the owner had asked for it.
    let _ = kill_process(getpid(), Signal::TERM);
    thread::park_timeout(ORDERLY_END);
    std::process::exit(1);
}

#[expect(clippy::print_stderr, reason = "the node's log is not set up yet")]
fn refuse(error: &io::Error) -> ExitCode {
    eprintln!("the thread that watches the owner could not be started: {error}");
    ExitCode::FAILURE
}

/// Twice what a node's own shutdown takes at most, by default.
const ORDERLY_END: Duration = Duration::from_secs(10);
