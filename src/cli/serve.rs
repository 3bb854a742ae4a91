//! `weir serve`: the worker.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::console::say;
use crate::config::Config;
use crate::monitor::metrics::Metrics;
use crate::serve;

/// Serve the routes of a configuration until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  weir serve -c flights.toml")]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    config.log.start();
    // The control plane is idle mostly; the workers have threads of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(async {
        let listen = &config.http.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("http.listen {listen:?}"))?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), http = %listener.local_addr()?, "weir starts");
        let drift = config.routes.iter().map(|route| (route.name.clone(), route.drift.clone())).collect();
        let metrics = Metrics::of_group(&config.kafka.group_id, config.monitor.clone(), drift);
        serve::run(config, metrics, listener, asked_to_stop()?).await?;
        anyhow::Ok(())
    });
    // A question to brokers that don't answer may still be open: nobody waits for it any more.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// Done at the first SIGTERM or SIGINT; a second one ends the process at once.
pub(crate) fn asked_to_stop() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            say!("weir: stopped by a second signal; what was in flight is consumed again");
            std::process::exit(1);
        });
    })
}
