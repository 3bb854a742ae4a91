//! `weir dead-letter`: rejected records, to be looked at and to be sent again.

mod list;
mod redrive;

use std::collections::BTreeMap;
use std::process::ExitCode;

use crate::route::RouteConfig;

/// Look at rejected records, and send them again.
#[derive(Debug, clap::Subcommand)]
pub enum DeadLetterCommand {
    /// Count the dead letters by reason, and show some of them.
    ///
    /// Nothing is committed. Times are those of the input records, which dead letters keep.
    #[command(after_help = list::EXAMPLES)]
    List(list::Args),
    /// Send dead letters again, to where they came from or to another topic.
    ///
    /// A letter goes out as the record that it was, without its weir-error- headers; weir-attempt says which attempt it is.
    /// Without --execute nothing is sent.
    ///
    /// What has been sent is remembered, so that the next run goes on there: as commits of a consumer group called like
    /// kafka.group_id with ".redrive" behind it. Letters that a run leaves because of their reason or route are still
    /// there for the next one. With --from nothing is looked up and nothing remembered. Kafka forgets commits 7 days after
    /// the last run, so a run that finds nothing remembered sends only with --first-run.
    #[command(after_help = redrive::EXAMPLES)]
    Redrive(redrive::Args),
}

/// Runs the verb.
pub fn run(command: DeadLetterCommand) -> anyhow::Result<ExitCode> {
    let mut out = super::console::stdout();
    match command {
        DeadLetterCommand::List(args) => list::run(args, &mut out),
        DeadLetterCommand::Redrive(args) => redrive::run(args, &mut out),
    }
}

/// The routes by the topic that their dead letters go to.
fn by_topic<'c>(routes: &[&'c RouteConfig]) -> BTreeMap<&'c str, Vec<&'c RouteConfig>> {
    let mut topics: BTreeMap<&str, Vec<&RouteConfig>> = BTreeMap::new();
    for route in routes {
        topics.entry(&route.dead_letter.topic).or_default().push(route);
    }
    topics
}
