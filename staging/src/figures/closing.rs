//! `closing`: what a pool of workers does while some of its peers never acknowledge the end of a
//! stream.
//!
//! Each task opens a stream, writes a small request and ends the stream. A task of a healthy peer
//! is done when its answer is there, which no worker waits for. 20 connections lead to two other
//! processes, tasks go to them in turn, and two of them belong to the process that is frozen in the
//! one half of the measurements and answers in the other. Counted are the tasks of the 18 others in
//! both, so that the two sides differ in the silence alone. Time is real, since what may differ is
//! work: of the reaper, and of QUIC, which sends again. Time that the machine gave to others while
//! the pool was ready is left out.

pub(super) mod peers;
mod pool;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use causeway::{clock, host::WorkerRuntime};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Handle;

use self::pool::{Close, Left, Pool};
use super::{
    Context,
    endpoint::{self, RealEndpoint},
    process::{OwnProcess, own_program},
    role,
    rounds::Rounds,
    row::{Budget, Row},
    timer,
};

/// How the rows are called.
pub const NAME: &str = "closing";

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// This program, whichever program measures.
    pub program: PathBuf,
    /// So many tasks at a time, which is few, and then many.
    pub tasks: [usize; 2],
    /// How many times the few are worked off in a round, whose median counts.
    pub repeats: usize,
    /// How long the pool that it is compared with awaits a close.
    pub patience: Duration,
}

/// Measures as the table promises.
///
/// # Errors
/// A process could not be started, or its peers not be reached.
pub fn measure(context: &mut Context) -> anyhow::Result<Vec<Row>> {
    let plan = Plan {
        program: own_program()?,
        tasks: [200, 20_000],
        // Twenty silent tasks each, and a silent peer grants 1,024 streams.
        repeats: 40,
        patience: Duration::from_secs(10),
    };
    measure_plan(context, &plan)
}

/// Measures as much as `plan` says.
///
/// # Errors
/// As [`measure`].
pub fn measure_plan(context: &mut Context, plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let directory = context.directory.join(NAME);
    fs::create_dir_all(&directory)?;
    endpoint::certify(&directory, "figures", [POOL, PEER])?;
    let mut rows = Vec::new();
    let [few, many] = plan.tasks;
    for (tasks, repeats) in [(few, plan.repeats), (many, 1)] {
        let case = format!("{tasks} tasks, 2 of 20 peers silent");
        let round = |silence| Scene::start(plan, &directory, silence)?.rate(tasks, repeats);
        let rounds = Rounds::alternate(
            context,
            &case,
            |_| round(Silence::Some),
            |_| round(Silence::None),
        )?;
        let budget = Budget::AtLeast(LEAST_RATIO);
        let row = Row::compared(NAME, case, "healthy/s", &rounds, Some(budget));
        rows.push(row);
        if tasks == few {
            context.say("the pool whose workers await each close");
            let awaiting = Scene::start(plan, &directory, Silence::Some)?.awaiting(tasks, plan)?;
            let case = format!(
                "{tasks} tasks, 2 of 20 silent; beside a pool that awaits each close for {:?}",
                plan.patience
            );
            rows.push(Row::stated(NAME, case, "healthy/s", rounds.ours()).beside(awaiting));
        }
    }
    context.say("what is left of the streams");
    rows.extend(Scene::start(plan, &directory, Silence::Some)?.follow_to_the_end(many)?);
    Ok(rows)
}

/// Whether the peers that may fall silent do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    None,
    Some,
}

/// Two processes of peers, and a pool with connections to them.
struct Scene {
    // Before the runtime, on which its tasks run.
    pool: Pool,
    runtime: tokio::runtime::Runtime,
    _peers: [OwnProcess; 2],
}

impl Scene {
    /// When it returns, all peers have answered, and those that are to be silent are.
    fn start(plan: &Plan, directory: &Path, silence: Silence) -> anyhow::Result<Self> {
        let start = || {
            let role = [role::COMMAND.as_ref(), "closing-peers".as_ref()];
            let arguments = role.into_iter().chain([directory.as_os_str()]);
            OwnProcess::start_program(&plan.program, arguments)
        };
        let mut peers = [start()?, start()?];
        let [healthy, silent] = &mut peers;
        let addresses: [SocketAddr; 2] = [healthy.line()?.parse()?, silent.line()?.parse()?];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let pool = runtime.block_on(async {
            let own = RealEndpoint::bind(directory, POOL)?;
            let connections =
                pool::connect(|silent| own.connect(addresses[usize::from(silent)])).await?;
            let runtime = Arc::new(WorkerRuntime::new(Handle::current()));
            let pool = Pool::new(connections, runtime)?;
            pool.run(pool::PEERS * 2, Close::HandOver).await?;
            if silence == Silence::Some {
                freeze(silent).await?;
            }
            anyhow::Ok(pool)
        })?;
        Ok(Self {
            pool,
            runtime,
            _peers: peers,
        })
    }

    /// The median rate of so many batches.
    fn rate(self, tasks: usize, repeats: usize) -> anyhow::Result<f64> {
        let mut rates = Rounds::default();
        for _ in 0..repeats {
            let batch = self
                .runtime
                .block_on(self.pool.run(tasks, Close::HandOver))?;
            rates.push(batch.rate(), 1.0);
        }
        Ok(rates.ours())
    }

    /// The rate of a pool whose workers await each close.
    fn awaiting(self, tasks: usize, plan: &Plan) -> anyhow::Result<f64> {
        let close = Close::Await(plan.patience);
        Ok(self.runtime.block_on(self.pool.run(tasks, close))?.rate())
    }

    /// Works off `tasks` and follows every stream to its end.
    fn follow_to_the_end(self, tasks: usize) -> anyhow::Result<Vec<Row>> {
        let Self { pool, runtime, .. } = self;
        let (batch, left) = runtime.block_on(async {
            let batch = pool.run(tasks, Close::HandOver).await?;
            anyhow::Ok((batch, pool.end().await?))
        })?;
        let Left {
            counts,
            most_in_reaper,
            tasks: left_tasks,
            open_streams,
        } = left;
        // With those that went out before the silence, all of which ended well.
        let silent = (0..tasks).filter(|task| pool::is_silent(*task)).count();
        let ended_well = (pool::PEERS * 2 + tasks - silent) as f64;
        let reset = (counts.reset_deadline + counts.reset_overflow) as f64;
        let left = left_tasks + open_streams + counts.current;
        let stated = |case: &str, unit, value| {
            Row::stated(
                NAME,
                format!("{tasks} tasks, {silent} silent: {case}"),
                unit,
                value,
            )
        };
        let healthy = stated(
            "healthy and not well ended",
            "streams",
            (ended_well - counts.finished as f64) + batch.broken as f64,
        );
        let healthy = healthy.promised(Budget::AtMost(0.0));
        // Peers that are not run for long enough are silent too, whatever the figure calls them.
        let healthy = match timer::lateness() > LATE {
            true => healthy.unsure(),
            false => healthy,
        };
        let room = pool::room() as f64;
        Ok(vec![
            stated(
                "most in the reaper at once",
                "streams",
                most_in_reaper as f64,
            )
            .promised(Budget::AtMost(room)),
            stated(
                "reset by the bound",
                "streams",
                counts.reset_overflow as f64,
            ),
            stated(
                "reset by the deadline",
                "streams",
                counts.reset_deadline as f64,
            ),
            stated("silent and not reset", "streams", silent as f64 - reset)
                .promised(Budget::AtMost(0.0)),
            healthy,
            stated("tasks and streams left", "", left as f64).promised(Budget::AtMost(0.0)),
        ])
    }
}

/// Stops a process, and waits until it is.
async fn freeze(process: &OwnProcess) -> anyhow::Result<()> {
    let raw = i32::try_from(process.pid()).ok().and_then(Pid::from_raw);
    kill_process(raw.context("a process without an id")?, Signal::STOP)?;
    let deadline = endpoint::soon();
    let path = format!("/proc/{}/stat", process.pid());
    // Behind the name, which ends with the last bracket, is the state; T is stopped.
    while !fs::read_to_string(&path)?.contains(") T ") {
        ensure!(clock::now() < deadline, "a process that does not stop");
        clock::sleep_until(Some(clock::now() + Duration::from_millis(1))).await;
    }
    Ok(())
}

/// A tenth of the peers may fall silent.
const SILENT_EVERY: usize = 10;
/// What is promised of the rate.
const LEAST_RATIO: f64 = 0.95;
/// Timers that are later than this mean that the machine has no time for the peers either.
const LATE: Duration = Duration::from_millis(5);
const POOL: &str = "pool";
const PEER: &str = "peer";
