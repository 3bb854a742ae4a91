//! `weir route`: makes the records of a route wait, or go on.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::config::Config;

/// What can be done with a route.
#[derive(Debug, clap::Subcommand)]
pub enum RouteCommand {
    /// Let the route's records wait on their topics
    ///
    /// The store keeps that: every process of the consumer group that has this store pauses the route, and the next one
    /// begins with it paused. Where the process can't write the store, it pauses alone, until it ends.
    #[command(after_help = "Example:\n  weir route pause flights -c flights.toml")]
    Pause(Args),
    /// Go on with them, after a pause or after too many rejections
    #[command(after_help = "Examples:\n  weir route resume flights -c flights.toml\n  \
        kubectl exec POD -- weir route resume flights -c /etc/weir/weir.toml")]
    Resume(Args),
}

/// Which route of which process.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The route's name.
    #[arg(value_name = "ROUTE")]
    route: String,
    /// The configuration of the process (TOML): its http.listen says where it is, its http.tokens has the token.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Where the process is, if not on this host.
    #[arg(long, value_name = "HOST:PORT")]
    at: Option<String>,
}

/// Runs the verb.
pub fn run(command: &RouteCommand) -> anyhow::Result<ExitCode> {
    let (action, args) = match command {
        RouteCommand::Pause(args) => ("pause", args),
        RouteCommand::Resume(args) => ("resume", args),
    };
    let config = Config::load(&args.config)?;
    let Some(token) = config.http.tokens.first() else {
        bail!("http.tokens is empty: set a token for the process and for this command, such as by WEIR__HTTP__TOKENS");
    };
    let at = args.at.clone().unwrap_or_else(|| reachable(&config.http.listen));
    let url = format!("http://{at}/admin/routes/{}/{action}", args.route);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent
        .post(&url)
        .header("Authorization", format!("Bearer {token}"))
        .send_empty()
        .with_context(|| format!("no answer from weir at {at}"))?;
    let answer: Value = response.body_mut().read_json().with_context(|| format!("no answer of weir's from {at}"))?;
    if let Some(error) = answer["error"].as_str() {
        bail!("weir at {at}: {error}");
    }
    let state = if answer["paused"] == true { "is paused" } else { "goes on" };
    let was = if answer["changed"] == true { "" } else { ", as it was before" };
    let until =
        if answer["lasting"] == false { "; until that process ends, since it can't write the store" } else { "" };
    writeln!(super::console::stdout(), "route {} at {at} {state}{was}{until}", args.route)?;
    Ok(ExitCode::SUCCESS)
}

/// Where to reach what listens on any address: this host.
fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0" | "[::]", port)) => format!("127.0.0.1:{port}"),
        _ => listen.to_owned(),
    }
}
