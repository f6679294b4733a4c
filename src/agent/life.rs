//! The life of the process: what is started in which order, and how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::time::timeout;
use tracing::{info, warn};

use super::AgentError;
use super::engine::{Ending, Engine};
use super::systemd::Supervisor;
use super::worker::Worker;
use crate::config::Config;
use crate::operate::{OperateError, Operator};
use crate::render::Templates;

/// Where the agent works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file; read again at a reload.
    pub config: PathBuf,
    /// The state folder.
    pub state_dir: PathBuf,
}

/// How long systemd is asked to be patient when the state is opened: mending applies what was switched to.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a command that a killed run left behind is waited for.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// Runs until a signal ends it. The configuration was loaded from `options.config`, and logging is set up.
pub fn run(options: Options, config: Config) -> Result<(), AgentError> {
    let supervisor = Supervisor::new();
    let templates = Templates::load(&config)?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "starting");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Parsing what a feed brought; everything else that blocks has a thread of its own.
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(AgentError::Runtime)?;
    // Opening the state may take a while. What is asked meanwhile is done afterwards; that it should stop needs no waiting.
    let signals = {
        let _inside = runtime.enter();
        Signals::new([SIGHUP, SIGUSR1]).map_err(AgentError::Signals)?
    };
    let operator = open(&options, supervisor)?;
    if let Some(mended) = operator.mended() {
        warn!(mended, "an earlier run was interrupted");
    }
    let ended = runtime.block_on(live(options, config, templates, operator, supervisor, signals));
    // What still blocks after the grace period is not waited for.
    runtime.shutdown_background();
    ended
}

/// Opens the state folder. A run that was killed may have left a command behind that is still at work (`nft`, say): it holds
/// the lock, so that nothing is changed beside it, and is waited for.
fn open(options: &Options, supervisor: Supervisor) -> Result<Operator, OperateError> {
    supervisor.status("opening the state folder");
    supervisor.extend(PATIENCE);
    let began = Instant::now();
    let mut told = false;
    loop {
        match Operator::open(&options.state_dir, "tagwall run") {
            Err(error) if error.is_left_behind() && began.elapsed() < LEFT_BEHIND => {
                if !told {
                    warn!(error = %error, "waiting for what an earlier run left behind");
                    supervisor.status("waiting for a command that an earlier run left behind");
                    told = true;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            opened => return opened,
        }
    }
}

async fn live(
    options: Options,
    config: Config,
    templates: Templates,
    operator: Operator,
    supervisor: Supervisor,
    mut signals: Signals,
) -> Result<(), AgentError> {
    for signal in [SIGTERM, SIGINT] {
        signals.handle().add_signal(signal).map_err(AgentError::Signals)?;
    }
    let worker = Worker::start(operator)?;
    let mut engine =
        Engine::start(options, Arc::new(config), Arc::new(templates), worker, supervisor).await?;
    let ending = engine.turn(&mut signals).await;
    let (grace, worker, serving, notifying) = engine.end();
    match ending {
        Ending::Signal(name) => {
            info!(signal = name, "stopping");
            supervisor.stopping("stopping: waiting for what is under way");
            let stopping = tokio::task::spawn_blocking(move || worker.stop());
            let (served, told) = (serving.stop(grace), notifying.finish(grace / 2));
            let stopped = async { tokio::join!(stopping, served, told).0 };
            tokio::select! {
                ended = timeout(grace, stopped) => if ended.is_ok() {
                    info!("stopped");
                } else {
                    warn!("stopped after the grace period: what was under way is mended at the next start");
                },
                () = another(&mut signals) => {
                    warn!("stopped at once by a second signal: what was under way is mended at the next start");
                }
            }
            Ok(())
        }
        Ending::Lost => Err(AgentError::Lost),
    }
}

/// Waits for another signal to stop.
async fn another(signals: &mut Signals) {
    while let Some(signal) = signals.next().await {
        if matches!(signal, SIGTERM | SIGINT) {
            return;
        }
    }
    std::future::pending::<()>().await;
}
