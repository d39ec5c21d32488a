//! A node as a process: its threads, its signals and its admin API.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use router::policy::FleetPolicy;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    admin::{self, AdminListener},
    cli::{Failure, PkiCommand, SignPolicy},
    clock,
    config::Config,
    host::{self, WorkerRuntime},
    identity::{Administrator, FileCertificates, Files, RequiredName, pki},
    node::Node,
    policies,
    telemetry::Metrics,
};

/// Runs a node until SIGTERM or ctrl-C, on threads of its own.
///
/// SIGHUP reads the configuration again and takes over its peers and certificates. A second order
/// to end ends at once.
///
/// # Errors
/// The node did not start, or had to abort tasks at its end.
pub fn run(config: Config) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let mut runtimes: Vec<Arc<dyn quinn::Runtime>> = Vec::new();
    let mut threads = Vec::new();
    for index in 0..config.workers() {
        let runtime = single_threaded()?;
        runtimes.push(Arc::new(WorkerRuntime::new(runtime.handle().clone())));
        let stop = stop.clone();
        let thread = thread::Builder::new().name(format!("worker-{index}"));
        threads.push(thread.spawn(move || {
            runtime.block_on(stop.cancelled());
            // A name that is being looked up ends with the process; dropping would wait for it.
            runtime.shutdown_background();
        })?);
    }
    // Administration runs apart, on this thread: a stuck listing delays no packet.
    let administration = single_threaded()?;
    let ended = administration.block_on(serve(config, runtimes));
    administration.shutdown_background();
    stop.cancel();
    threads.into_iter().for_each(join);
    ended
}

/// Does what `causeway pki` was asked to, and tells what it made.
///
/// # Errors
/// As [`pki::init`], [`pki::issue`] and [`pki::issue_administrator`].
pub fn make_certificates(command: PkiCommand) -> Result<String, Failure> {
    let now = host::date();
    match command {
        PkiCommand::Init { trust_domain, dir } => {
            let (certificate, key) = pki::init(&dir, &trust_domain, now)?;
            Ok(format!(
                "made {} and {}",
                certificate.display(),
                key.display()
            ))
        }
        PkiCommand::Issue(issue) => {
            let out = issue.out.as_deref().unwrap_or(&issue.dir);
            let issued = pki::issue(&issue.dir, &issue.region, &issue.name, out, issue.days, now)?;
            let Files {
                certificate,
                key,
                bundle,
            } = issued.files;
            Ok(format!(
                "made {}, {} and {} for {}",
                certificate.display(),
                key.display(),
                bundle.display(),
                issued.id.uri(),
            ))
        }
        PkiCommand::Admin(issue) => {
            let out = issue.out.as_deref().unwrap_or(&issue.dir);
            let issued = pki::issue_administrator(&issue.dir, &issue.name, out, issue.days, now)?;
            Ok(format!(
                "made {} and {} for {}",
                issued.certificate.display(),
                issued.key.display(),
                issued.id.uri(),
            ))
        }
    }
}

/// Signs a policy as `causeway policy sign` was asked to, and tells where it is.
///
/// # Errors
/// As [`Administrator::load`] and [`policies::sign_policy`]; the file cannot be written.
pub fn sign_policy(asked: SignPolicy) -> Result<String, Failure> {
    let administrator = Administrator::load(asked.certificate, asked.key)?;
    let days = Duration::from_secs(u64::from(asked.days) * 86_400);
    let today = host::date().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut weights = BTreeMap::new();
    for (release, weight) in asked.weights {
        if weights.insert(release.clone(), weight).is_some() {
            return Err(format!("{release} is given two weights").into());
        }
    }
    let policy = FleetPolicy {
        epoch: asked.epoch,
        expires: today + days,
        weights,
        condemned: asked.condemned.into_iter().collect(),
    };
    let signed = policies::sign_policy(&administrator, policy)?;
    let out = asked.out.display();
    fs::write(&asked.out, signed).map_err(|error| format!("{out}: {error}"))?;
    let by = administrator.id();
    Ok(format!(
        "made {out}, epoch {} signed by {by}; `causeway policy apply {out}` brings it to a node",
        asked.epoch
    ))
}

fn single_threaded() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        error!("a worker's thread panicked");
    }
}

async fn serve(config: Config, runtimes: Vec<Arc<dyn quinn::Runtime>>) -> Result<(), Failure> {
    // Before anything else: a signal during the start must not be lost.
    let mut signals = Signals::try_new()?;
    let admin = AdminListener::bind(config.admin());
    let admin = admin.map_err(|error| format!("admin.listen: {error}"))?;
    let id = config.id();
    let required = RequiredName {
        trust_domain: Some(id.trust_domain().to_owned()),
        region: Some(id.region().to_owned()),
        name: Some(id.name().to_owned()),
    };
    let paths = config.identity();
    let files = Files {
        certificate: paths.certificate.clone(),
        key: paths.key.clone(),
        bundle: paths.bundle.clone(),
    };
    let certificates = Arc::new(FileCertificates::new(files, required));
    let env = host::env(runtimes, certificates, config.state_dir())?;
    let node = Node::start(config.clone(), env, Metrics::new()).await?;
    let stop = CancellationToken::new();
    let serving = admin::serve(admin, node.view(), stop.clone());
    let work = async {
        until_told_to_end(&node, config.clone(), &mut signals).await;
        let grace = config.shared().shutdown_timeout;
        let overdue = tokio::select! {
            biased;
            () = signals.end() => Err("told to end twice: ended at once".into()),
            overdue = node.shutdown(clock::now() + grace) => Ok(overdue),
        };
        stop.cancel();
        match overdue {
            Ok(overdue) if overdue.is_empty() => Ok(()),
            Ok(overdue) => Err(format!("{} tasks had to be aborted", overdue.len()).into()),
            Err(twice) => Err(twice),
        }
    };
    let ((), ended) = tokio::join!(serving, work);
    ended
}

async fn until_told_to_end(node: &Node, mut config: Config, signals: &mut Signals) {
    loop {
        if signals.next().await == Order::End {
            return;
        }
        // Bounded, so that a reload that hangs does not keep the node from being ended.
        let reloaded = tokio::time::timeout(RELOAD_WITHIN, reload_from_file(node, &mut config));
        if reloaded.await.is_err() {
            error!("the reload did not end in time");
        }
    }
}

/// Reads the configuration again; one that cannot be used changes nothing.
async fn reload_from_file(node: &Node, config: &mut Config) {
    let Some(path) = config.path().map(Path::to_owned) else {
        return;
    };
    match Config::load(&path) {
        Ok(new) => {
            let changes = config.changes_to(&new);
            if !changes.needs_restart.is_empty() {
                let keys = changes.needs_restart.join(", ");
                warn!(keys, "changed keys that need a restart");
            }
            node.reload(&new).await;
            info!(
                added = changes.peers_added.len(),
                removed = changes.peers_removed.len(),
                moved = changes.peers_moved.len(),
                "configuration reloaded"
            );
            *config = new;
        }
        Err(error) => {
            let error = error.one_line();
            error!(
                error,
                "configuration not reloaded, the old one stays in use"
            );
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    End,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn try_new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// The next order. Cancel safe.
    async fn next(&mut self) -> Order {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Order::End,
            _ = self.interrupt.recv() => Order::End,
            _ = self.reload.recv() => Order::Reload,
        }
    }

    /// Resolves at the next order to end. Cancel safe.
    async fn end(&mut self) {
        while self.next().await != Order::End {}
    }
}

const RELOAD_WITHIN: Duration = Duration::from_secs(5);
