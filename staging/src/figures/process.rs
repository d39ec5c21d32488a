//! Processes that a figure needs beside its own, and what they use.

use std::{
    ffi::OsStr,
    fmt::Display,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};

/// This program, started again. Dropping it kills it.
///
/// Should this process be killed, the other finds its standard input closed and ends by itself:
/// see [`end_with_owner`].
#[derive(Debug)]
pub struct OwnProcess {
    child: Child,
    lines: BufReader<ChildStdout>,
    _lifeline: ChildStdin,
}

impl OwnProcess {
    /// Starts this program with `arguments`.
    ///
    /// # Errors
    /// The process could not be started.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> anyhow::Result<Self> {
        Self::start_program(&own_program()?, arguments)
    }

    /// As [`OwnProcess::start`], for tests, whose own program is another.
    ///
    /// # Errors
    /// The process could not be started.
    pub fn start_program<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("a process could not be started")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (lifeline, output) = pipes.context("a process without its pipes")?;
        let lines = BufReader::new(output);
        Ok(Self {
            child,
            lines,
            _lifeline: lifeline,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line that it prints, without its end.
    ///
    /// # Errors
    /// It has ended, and says why on standard error.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("process {} ended before it was done", self.pid());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.pid())
    }
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for, so that none is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file of this program.
///
/// # Errors
/// The operating system does not say.
pub fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program does not know its own file")
}

/// Prints a line for the process that started this one: see [`OwnProcess::line`].
///
/// # Errors
/// It is gone.
pub fn tell(line: &impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Time on a processor, of all threads that live.
    pub cpu: Duration,
    /// Memory that is resident.
    pub resident_bytes: u64,
}

impl Usage {
    /// Of a running process.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut cpu = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end in between.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            cpu += Duration::from_nanos(field(&text, 0)?);
        }
        let pages = field(&fs::read_to_string(format!("/proc/{pid}/statm"))?, 1)?;
        Ok(Self {
            cpu,
            resident_bytes: pages * rustix::param::page_size() as u64,
        })
    }
}

/// The number at `index` of a line of numbers.
fn field(text: &str, index: usize) -> io::Result<u64> {
    let field = text.split_whitespace().nth(index);
    field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not as Linux writes it"))
}

/// Ends this process when the one that started it is gone. For what [`OwnProcess`] starts.
///
/// # Errors
/// The thread that watches could not be started.
pub fn end_with_owner() -> io::Result<()> {
    let watch = || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(1);
    };
    let watcher = std::thread::Builder::new().name("owner".to_owned());
    watcher.spawn(watch).map(drop)
}
