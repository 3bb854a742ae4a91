//! The routes and topics that a verb is about.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use clap::error::ErrorKind;

use crate::config::Config;
use crate::kafka::admin::{Admin, Topic};
use crate::logging::chain;
use crate::route::RouteConfig;

/// The routes that are meant: the one of this name, or all.
pub(super) fn routes<'c>(config: &'c Config, name: Option<&str>) -> anyhow::Result<Vec<&'c RouteConfig>> {
    let routes: Vec<_> = config.routes.iter().filter(|route| name.is_none_or(|name| route.name == name)).collect();
    if let (true, Some(name)) = (routes.is_empty(), name) {
        return Err(usage(format!("--route: there is no route {name:?}, there is {}", names(config))));
    }
    Ok(routes)
}

/// The names of all routes.
pub(super) fn names(config: &Config) -> String {
    let names: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    names.join(", ")
}

/// The topic that is meant: the one that was named, or the only one of the configuration's.
pub(super) fn only_topic<'c>(
    named: Option<&'c str>,
    what: &str,
    topics: impl Iterator<Item = &'c str>,
) -> anyhow::Result<&'c str> {
    if let Some(named) = named {
        return Ok(named);
    }
    let topics: BTreeSet<&str> = topics.collect();
    match topics.iter().collect::<Vec<_>>()[..] {
        [only] => Ok(only),
        ref several => {
            let names: Vec<&str> = several.iter().map(|name| **name).collect();
            Err(usage(format!(
                "--topic: the configuration has several {what} topics, name one of {}",
                names.join(", ")
            )))
        }
    }
}

/// What topics are like; what is wrong with any of them is reported at once.
pub(super) fn describe(config: &Config, names: &[String]) -> anyhow::Result<BTreeMap<String, Topic>> {
    let admin = Admin::new(&config.kafka)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(admin.describe(names)).map_err(|errors| {
        let messages: Vec<String> = errors.iter().map(|error| chain(error)).collect();
        anyhow!(messages.join("; "))
    })
}

/// An argument that can't be, beside what the configuration says.
pub(super) fn usage(what: String) -> anyhow::Error {
    clap::Error::raw(ErrorKind::ValueValidation, what + "\n").into()
}
