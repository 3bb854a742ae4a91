//! The command line: one file per verb.

pub mod check;
pub mod demo;
pub mod model;
pub mod predict;
pub mod serve;
pub mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;

/// A streaming inference worker for Apache Kafka: feature records in, predictions out.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of them in a process")]
enum Verb {
    Demo(demo::Args),
    Serve(serve::Args),
    Check(check::Args),
    Train(train::Args),
    Predict(predict::Args),
    /// Look at the versions in a store, check them, and move aliases
    #[command(subcommand)]
    Model(model::ModelCommand),
}

/// Runs the verb that the arguments name. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
pub fn run() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Demo(args) => demo::run(args),
        Verb::Serve(args) => serve::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Train(args) => train::run(args),
        Verb::Predict(args) => predict::run(args),
        Verb::Model(command) => model::run(&command, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("weir: {error:#}");
        ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
    })
}
