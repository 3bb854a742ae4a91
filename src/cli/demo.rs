//! `weir demo`: see the whole of weir without a Kafka.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::demo;
use crate::logging::{LogConfig, LogFormat};

/// Train, serve, swap and watch a model on real flights, on an embedded broker; needs nothing else
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weir demo          until Ctrl-C\n  weir demo --once   half a year of flights, then the account"
)]
pub struct Args {
    /// End after half a year of departures; exit code 1 if the account doesn't add up.
    #[arg(long)]
    once: bool,
    /// Records per second.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    LogConfig { level: "error".into(), format: LogFormat::Text }.start();
    let interrupted = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = {
        let _entered = runtime.enter();
        super::serve::asked_to_stop()?
    };
    let waiting = std::thread::Builder::new().name("demo-signals".into());
    waiting.spawn({
        let interrupted = interrupted.clone();
        move || {
            runtime.block_on(asked);
            interrupted.store(true, Ordering::Release);
            // A second signal ends the process: its handler runs here.
            runtime.block_on(std::future::pending::<()>());
        }
    })?;
    let options = demo::DemoOptions { once: args.once, rate: args.rate };
    let adds_up = demo::run(options, || interrupted.load(Ordering::Acquire), &mut std::io::stdout().lock())?;
    Ok(if adds_up { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
