//! The command line: one file per verb.

pub mod check;
mod console;
pub mod consume;
pub mod data;
pub mod dead_letter;
pub mod demo;
pub mod evaluate;
pub mod init;
mod interrupt;
pub mod model;
pub mod predict;
mod predictions;
pub mod produce;
mod range;
mod reading;
pub mod replay;
pub mod route;
pub mod serve;
mod topics;
pub mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::console::say;
use crate::config::ConfigError;
use crate::logging::chain;
use crate::train::TrainError;

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
    Evaluate(evaluate::Args),
    Predict(predict::Args),
    Init(init::Args),
    Produce(produce::Args),
    Consume(consume::Args),
    /// Pause and resume routes of a running `weir serve`
    #[command(subcommand)]
    Route(route::RouteCommand),
    /// Look at the versions in a store, check them, and move aliases
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Look at rejected records, and send them again
    #[command(subcommand)]
    DeadLetter(dead_letter::DeadLetterCommand),
    Replay(replay::Args),
}

/// Runs the verb that the arguments name. Exit codes: 0 done, or nobody reads any more what it has to say; 1 failed; 2 wrong
/// usage or configuration.
pub fn run() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Demo(args) => demo::run(args),
        Verb::Serve(args) => serve::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Train(args) => train::run(args),
        Verb::Evaluate(args) => evaluate::run(args),
        Verb::Predict(args) => predict::run(args),
        Verb::Init(args) => init::run(args),
        Verb::Produce(args) => produce::run(args),
        Verb::Consume(args) => consume::run(args),
        Verb::Route(command) => route::run(&command),
        Verb::Replay(args) => replay::run(args),
        Verb::DeadLetter(command) => dead_letter::run(command),
        Verb::Model(command) => model::run(&command, &mut console::stdout()).map(|()| ExitCode::SUCCESS),
    };
    let result = match result {
        Ok(_) if console::reader_is_gone() => Ok(ExitCode::SUCCESS),
        Err(error) if console::is_reader_gone(&error) => Ok(ExitCode::SUCCESS),
        result => result,
    };
    result.unwrap_or_else(|error| {
        // Arguments that only make sense, or not, beside what is on the disk.
        if let Some(usage) = error.downcast_ref::<clap::Error>() {
            usage.exit();
        }
        say!("weir: {}", chain(&*error));
        let usage = error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(TrainError::Recipe(_)));
        ExitCode::from(if usage { 2 } else { 1 })
    })
}
