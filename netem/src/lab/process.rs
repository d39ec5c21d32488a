//! Processes that are not mistaken for others with the same id.

use std::{fs, io, process};

use serde::{Deserialize, Serialize};

/// One process of this machine. Ids are used again; an id together with its start is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it was started, in the kernel's clock ticks since boot.
    start_ticks: u64,
}

impl Process {
    /// This process.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn current() -> io::Result<Self> {
        Self::of(process::id())
    }

    /// The process that has this id now.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if none has, or if it is a zombie; others if `/proc` cannot be
    /// read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).map_err(|error| match error.raw_os_error() {
            // It ended between open and read.
            Some(ESRCH) => io::ErrorKind::NotFound.into(),
            _ => error,
        })?;
        let (state, start_ticks) = parse(&stat).ok_or(io::ErrorKind::InvalidData)?;
        // Where nobody reaps them, zombies stay for ever.
        if matches!(state, "Z" | "X") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self { pid, start_ticks })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }
}

/// State and start of `/proc/<pid>/stat`, its fields 3 and 22.
///
/// Field 2 is the program's name in parentheses, and may hold spaces and parentheses of its own.
///
/// Source: proc_pid_stat(5).
fn parse(stat: &str) -> Option<(&str, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let start_ticks = fields.nth(22 - 4)?.parse().ok()?;
    Some((state, start_ticks))
}

const ESRCH: i32 = nix::errno::Errno::ESRCH as i32;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) R 1) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 9 9";
        assert_eq!(parse(stat), Some(("S", 4242)));
        assert_eq!(parse("7 (a) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn one_that_started_at_another_time_is_another() {
        let this = Process::current().unwrap();
        assert!(this.is_alive());
        let other = Process {
            start_ticks: this.start_ticks + 1,
            ..this
        };
        assert!(!other.is_alive());
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive());
        child.kill().unwrap();
        // Killed, but not yet waited for: it may still be ending, then it is a zombie.
        while process.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!process.is_alive());
    }
}
