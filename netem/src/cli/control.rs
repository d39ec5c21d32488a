//! `netem set`, `cut`, `heal` and `show`: what is said to an emulator that runs.

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{Stop, text, write_json};
use crate::{
    control::{Answer, Client, ClientError, Command, Paths},
    model::PairModel,
};

/// Which emulator.
#[derive(Debug, Args)]
pub(super) struct Emulator {
    /// Control socket of the proxy.
    #[arg(long, env = "NETEM_SOCKET", value_name = "PATH", default_value_os_t = default_socket())]
    socket: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SetArguments {
    #[command(flatten)]
    pub(super) paths: Between,
    /// What the paths do from now on, in place of all that they did: "delay 80ms 5ms loss 1%".
    netem: String,
}

#[derive(Debug, Args)]
pub(super) struct Between {
    /// A host.
    from: String,
    /// Another.
    to: String,
    /// Only the way from the first to the second, and not back.
    #[arg(long)]
    one_way: bool,
}

#[derive(Debug, Args)]
pub(super) struct Format {
    /// Prints JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

impl Emulator {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

impl Between {
    fn paths(&self) -> Paths {
        Paths {
            from: self.from.clone(),
            to: self.to.clone(),
            one_way: self.one_way,
        }
    }
}

impl SetArguments {
    /// The command, if its words are such.
    pub(super) fn command(&self) -> Result<Command, Stop> {
        let model: PairModel = self.netem.parse().map_err(Stop::usage)?;
        Ok(Command::Set {
            paths: self.paths.paths(),
            netem: model.to_string(),
        })
    }
}

pub(super) fn cut(between: &Between) -> Command {
    Command::Cut(between.paths())
}

pub(super) fn heal(between: &Between) -> Command {
    Command::Heal(between.paths())
}

pub(super) fn show() -> Command {
    Command::Show
}

/// Asks, and shows the answer.
pub(super) fn ask(
    client: &Client,
    command: &Command,
    format: &Format,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let answer = client.ask(command).map_err(|error| match error {
        ClientError::Refused { .. } => Stop::usage(error),
        ClientError::Absent { .. } | ClientError::Failed { .. } => Stop::failed(error),
    })?;
    write(&answer, format, out)
}

/// Shows an answer.
pub(super) fn write(answer: &Answer, format: &Format, out: &mut dyn Write) -> Result<(), Stop> {
    match (answer, format.json) {
        (Answer::Done(paths), false) => Ok(out.write_all(text::paths(paths).as_bytes())?),
        (Answer::Done(paths), true) => write_json(paths, out),
        (Answer::Report(report), false) => Ok(out.write_all(text::report(report).as_bytes())?),
        (Answer::Report(report), true) => write_json(report, out),
        // The client makes it an error.
        (Answer::Refused { .. }, _) => Ok(()),
    }
}

/// In the user's own runtime directory, or where everybody may write, with the user's number.
pub(super) fn default_socket() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("netem-proxy.sock"),
        None => format!(
            "/tmp/netem-proxy-{}.sock",
            rustix::process::getuid().as_raw()
        )
        .into(),
    }
}
