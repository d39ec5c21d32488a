//! `cargo demo`: a mesh of real nodes on this machine, and what crosses it.

mod cut;
mod mesh;
mod run;

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use causeway::clock;
use clap::Args;

use self::{
    cut::SHORTEST_RUN,
    run::{Ended, Run},
};
use crate::{
    report::{End, Outcome, Report},
    screen::Screen,
    signals::Signals,
};

/// What can be asked of the demo.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// How many seconds packets and the stream are sent for, 1 to 3600; below 20, no link is cut.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// Leave all links up.
    #[arg(long)]
    pub no_cut: bool,
    /// Where to write the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the demo to its end, whatever that is, and cleans up.
///
/// The exit code is 0 if every peer was up, packets crossed each way, the stream arrived with the
/// same SHA-256, and the packets between the ends of the link that was cut took another path and
/// came back; 128 and the signal's number after a signal; else 1.
#[expect(clippy::print_stderr, reason = "this is the program's own surface")]
pub fn run(options: &Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started");
    match runtime.and_then(|runtime| runtime.block_on(demo(options))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(options: &Options) -> anyhow::Result<ExitCode> {
    // Before there is anything to clean up.
    let mut signals = Signals::install().context("signals cannot be handled")?;
    let json = options.json.as_ref().map(|path| {
        let file = File::create(path);
        file.with_context(|| format!("{} could not be written", path.display()))
    });
    let json = json.transpose()?;
    let mut screen = Screen::stdout();

    let total = Duration::from_secs(options.seconds);
    let cuts = !options.no_cut && total >= SHORTEST_RUN;
    let mut attempts_left = ATTEMPTS;
    let (report, end) = loop {
        attempts_left -= 1;
        let mut run = Run::start(total, cuts).await?;
        let ended = run.drive(&mut signals, &mut screen).await;
        let last = run.snapshot(clock::now());
        let stopped = run.stop(&last, &mut signals, &mut screen).await;
        let end = match ended {
            Ended::PortTaken { .. } if attempts_left > 0 => {
                screen.say("another program took a port in between; starting again with others")?;
                continue;
            }
            Ended::PortTaken { reason } => End::Failed(reason),
            Ended::For(end) => end,
        };
        let network = stopped.network.as_ref();
        let report = Report::new(&last, &end, stopped.not_in_order, network);
        break (report, end);
    };

    tell(&mut screen, &report)?;
    if let Some(file) = json {
        write_json(file, &report).context("the JSON could not be written")?;
    }
    Ok(match (end, report.outcome) {
        (End::Interrupted(signal), _) => ExitCode::from(128 + u8::try_from(signal).unwrap_or(0)),
        (_, Outcome::Passed) => ExitCode::SUCCESS,
        (_, Outcome::Failed | Outcome::Interrupted) => ExitCode::FAILURE,
    })
}

/// Prints the result: what crossed to the screen, what was wrong to standard error.
#[expect(clippy::print_stderr, reason = "this is the program's own surface")]
fn tell(screen: &mut Screen<io::Stdout>, report: &Report) -> io::Result<()> {
    let said = match report.packets.sent {
        0 => Ok(()),
        _ => {
            let mut lines = report.sentence();
            if let Some(failover) = &report.failover {
                lines += "\n";
                lines += &failover.sentence;
            }
            if let Some(emulator) = &report.emulator {
                lines += "\n";
                lines += &emulator.sentences();
            }
            screen.say(&lines)
        }
    };
    for problem in &report.problems {
        eprintln!("error: {problem}");
    }
    // Who closed the pipe that it was shown on does not want to hear of that.
    said.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

fn write_json(file: File, report: &Report) -> anyhow::Result<()> {
    let mut file = io::BufWriter::new(file);
    serde_json::to_writer_pretty(&mut file, report)?;
    writeln!(file)?;
    file.flush()?;
    Ok(())
}

/// How often ports are chosen anew because another program took one of them in between.
const ATTEMPTS: u32 = 3;
