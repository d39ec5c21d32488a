//! Shell scripts that touch nothing of the machine.

use std::process::Command;

/// Runs a shell script in a network namespace and a /run of its own.
pub(crate) fn run(commands: &str) -> (bool, String) {
    let commands = format!("exec 2>&1\nmount -t tmpfs none /run\n{commands}");
    let shell = ["--net", "--mount", "sh", "-c", &commands];
    let output = Command::new("unshare").args(shell).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), said)
}
