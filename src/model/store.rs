//! The store: where bundles live, and which version an alias names.
//!
//! Versions are positive integers, given out in order and never again. A version appears whole or not at all and is
//! never changed afterwards; only aliases move. Everything here blocks: from async code call it by `spawn_blocking`.
//!
//! `store/backend.rs` is the seam: what a place other than a directory has to do.

mod backend;
mod local;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;

use super::Model;
use super::bundle::{self, BundleError, Check, Draft, Files, Manifest};
use super::evaluation::Evaluation;
use super::reference::{ModelRef, ReferenceError, Selector, check_alias, check_name};

use backend::Backend;
use local::Local;

/// The `[store]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct StoreConfig {
    /// The URL for [`Store::open`].
    pub url: String,
    /// Milliseconds between looks at versions and aliases.
    pub poll_ms: u64,
}

/// Where bundles live. Blocking; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

/// What the store can't do, and on what.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL isn't one of a store.
    #[error("store {url:?} can't be opened: {reason}; write file:PATH, file:///ABSOLUTE/PATH or a path")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file system refuses.
    #[error("can't {action} {place}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or directory.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// A name can't be one.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// There is no directory where the store should be.
    #[error("there is no store at {place}: check the path, or publish a first model there")]
    NoStore {
        /// Where it was looked for.
        place: String,
    },
    /// The model has no version.
    #[error("model {name:?} has no version in {place}: check the name and the store, or train and publish it first")]
    NoModel {
        /// The model.
        name: String,
        /// Where it was looked for.
        place: String,
    },
    /// The version isn't there.
    #[error("model {name:?} has no version {version} in {place}: `weir model list` shows those there are")]
    NoVersion {
        /// The model.
        name: String,
        /// The version.
        version: u64,
        /// Where it was looked for.
        place: String,
    },
    /// The version can't be deleted.
    #[error(
        "{name}@{version} is what {} points to: move the alias first, by `weir model promote {name}@OTHER {}`",
        aliases.join(", "), aliases[0]
    )]
    InUse {
        /// The model.
        name: String,
        /// The version.
        version: u64,
        /// The aliases that point to it, at least one.
        aliases: Vec<String>,
    },
    /// The alias isn't there.
    #[error("model {name:?} has no alias {alias:?} in {place}: set it by `weir model promote {name}@VERSION {alias}`")]
    NoAlias {
        /// The model.
        name: String,
        /// The alias.
        alias: String,
        /// Where it was looked for.
        place: String,
    },
    /// The file of the aliases isn't what it should be.
    #[error("{place} is not a file of aliases: correct it by hand, or delete it and promote again")]
    Aliases {
        /// The file.
        place: String,
        /// What is wrong where.
        source: serde_json::Error,
    },
    /// The file of the routes that are paused by hand isn't what it should be.
    #[error("{place} is not a file of paused routes: correct it by hand, or delete it")]
    PausedRoutes {
        /// The file.
        place: String,
        /// What is wrong where.
        source: serde_json::Error,
    },
    /// A version doesn't load.
    #[error("model {name:?} version {version} in {place} can't be used")]
    Bundle {
        /// The model.
        name: String,
        /// The version.
        version: u64,
        /// The store.
        place: String,
        /// Why not.
        source: BundleError,
    },
    /// A version lies in a place of another one.
    #[error(
        "{name:?} version {version} in {place} says it is {found_name:?} version {found_version}: it was copied or \
         renamed by hand; publish it anew"
    )]
    Misplaced {
        /// The model whose directory it is in.
        name: String,
        /// The version whose directory it is in.
        version: u64,
        /// The store.
        place: String,
        /// The name in its manifest.
        found_name: String,
        /// The version in its manifest.
        found_version: u64,
    },
    /// The highest number is taken.
    #[error("{place} has an entry with the highest number there is: remove it")]
    Exhausted {
        /// The model's directory.
        place: String,
    },
    /// A draft can't be published.
    #[error("model {name:?} can't be published")]
    Draft {
        /// The model.
        name: String,
        /// Why not.
        source: BundleError,
    },
}

impl Store {
    /// The store at `file:PATH`, `file:///ABSOLUTE/PATH` or a bare path; the path is taken as it is written. A
    /// directory that doesn't exist is created by the first publication.
    pub fn open(url: &str) -> Result<Store, StoreError> {
        let refuse = |reason| Err(StoreError::Url { url: url.into(), reason });
        let path = match url.split_once(':') {
            Some(("file", rest)) => match rest.strip_prefix("//") {
                Some(absolute) if absolute.starts_with('/') => absolute,
                Some(_) => return refuse("a host in a file URL has no meaning here"),
                None => rest,
            },
            Some((scheme, _)) if !scheme.contains('/') => return refuse("only directories are known"),
            _ => url,
        };
        if path.is_empty() {
            return refuse("the path is empty");
        }
        Ok(Store { backend: Arc::new(Local::new(path)) })
    }

    /// The models that have a version, in order of name. A store that isn't there is an error: its path may be wrong, or its
    /// volume not be mounted.
    pub fn models(&self) -> Result<Vec<String>, StoreError> {
        if self.backend.exists() { self.backend.models() } else { Err(StoreError::NoStore { place: self.place() }) }
    }

    /// Complete versions, ascending; none for a model that doesn't exist.
    pub fn versions(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        check_name(name)?;
        self.backend.versions(name)
    }

    /// The aliases and the version of each.
    pub fn aliases(&self, name: &str) -> Result<BTreeMap<String, u64>, StoreError> {
        check_name(name)?;
        self.backend.aliases(name)
    }

    /// What `model.json` of a version says; the other files aren't looked at.
    pub fn manifest(&self, name: &str, version: u64) -> Result<Manifest, StoreError> {
        self.expect_version(name, version)?;
        let bytes = self.backend.read(name, version, bundle::MANIFEST)?;
        let manifest = Manifest::from_json(&bytes).map_err(|source| self.broken(name, version, source))?;
        self.expect_in_place(name, version, &manifest)?;
        Ok(manifest)
    }

    /// How good a version was found to be when it was made, if it says so.
    pub fn evaluation(&self, name: &str, version: u64) -> Result<Option<Evaluation>, StoreError> {
        let manifest = self.manifest(name, version)?;
        if !manifest.lists(bundle::EVALUATION) {
            return Ok(None);
        }
        let bytes = self.backend.read(name, version, bundle::EVALUATION)?;
        manifest.evaluation(&bytes).map(Some).map_err(|source| self.broken(name, version, source))
    }

    /// The digest of a version: the sha256 of its `model.json`, 64 hex digits.
    pub fn digest(&self, name: &str, version: u64) -> Result<String, StoreError> {
        self.expect_version(name, version)?;
        Ok(bundle::sha256(&self.backend.read(name, version, bundle::MANIFEST)?))
    }

    /// The version that a reference names now. It exists; whether it loads is another question.
    pub fn resolve(&self, reference: &ModelRef) -> Result<u64, StoreError> {
        let name = &reference.name;
        let version = match &reference.selector {
            Selector::Version(version) => *version,
            Selector::Latest => {
                let latest = self.versions(name)?.last().copied();
                return latest.ok_or_else(|| self.no_model(name));
            }
            Selector::Alias(alias) => {
                let version = self.aliases(name)?.get(alias).copied();
                version.ok_or_else(|| match self.backend.exists() {
                    true => StoreError::NoAlias { name: name.clone(), alias: alias.clone(), place: self.place() },
                    false => StoreError::NoStore { place: self.place() },
                })?
            }
        };
        self.expect_version(name, version)?;
        Ok(version)
    }

    /// Reads a version, checks digests and shapes, runs the goldens, which warms it up.
    pub fn load(&self, name: &str, version: u64) -> Result<Model, StoreError> {
        self.expect_version(name, version)?;
        let files = self.files(name, version)?;
        self.model(name, version, &files, |_| {})
    }

    /// [`Store::load`] that checks also what a worker has no need of; `passed` hears of each check as it passes.
    pub fn verify(&self, name: &str, version: u64, passed: impl FnMut(Check)) -> Result<Model, StoreError> {
        let manifest = self.manifest(name, version)?;
        let mut files = self.files(name, version)?;
        if manifest.lists(bundle::EVALUATION) {
            files.evaluation = Some(self.backend.read(name, version, bundle::EVALUATION)?);
        }
        self.model(name, version, &files, passed)
    }

    /// The files of a version, none larger than it can be: a sparse file is all holes on the disk, but not in memory.
    fn files(&self, name: &str, version: u64) -> Result<Files, StoreError> {
        let most = self.manifest(name, version)?.network.most_weight_bytes();
        let found = self.backend.file_bytes(name, version, bundle::WEIGHTS)?;
        if found > most {
            let reason = format!("it has {found} bytes, more than the network in {} can have", bundle::MANIFEST);
            return Err(self.broken(name, version, BundleError::Invalid { file: bundle::WEIGHTS, reason }));
        }
        Files::read(|file| self.backend.read(name, version, file))
    }

    fn model(&self, name: &str, version: u64, files: &Files, passed: impl FnMut(Check)) -> Result<Model, StoreError> {
        let model = Model::load(files, passed).map_err(|source| self.broken(name, version, source))?;
        self.expect_in_place(name, version, &model.manifest)?;
        Ok(model)
    }

    /// A version taken apart again, to make another one from it: it passed the checks of [`Store::load`] and is the
    /// draft's parent.
    pub fn draft(&self, name: &str, version: u64) -> Result<Draft, StoreError> {
        self.load(name, version)?;
        let files = self.files(name, version)?;
        Draft::of(&files).map_err(|source| self.broken(name, version, source))
    }

    /// The rows that a version keeps to check itself with: training rows, where it was trained by weir.
    pub fn golden_rows(&self, name: &str, version: u64) -> Result<Vec<Vec<f64>>, StoreError> {
        let manifest = self.manifest(name, version)?;
        let bytes = self.backend.read(name, version, bundle::GOLDEN)?;
        bundle::golden_rows(&bytes, &manifest.signature).map_err(|source| self.broken(name, version, source))
    }

    /// Writes a bundle under the next free version, whole or not at all, and gives that version. What wouldn't load
    /// isn't written.
    pub fn publish(&self, draft: &Draft) -> Result<u64, StoreError> {
        let name = &draft.name;
        check_name(name)?;
        let unfit = |source| StoreError::Draft { name: name.clone(), source };
        let created = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let (mut manifest, files) = draft.bundle(1, created).map_err(unfit)?;
        self.backend.publish(name, &files.described().collect::<Vec<_>>(), &mut |version| {
            manifest.version = version;
            manifest.to_json().map_err(unfit)
        })
    }

    /// Whether [`Store::publish`] could write a version of this model now. Nothing stays behind.
    pub fn expect_writable(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.backend.expect_writable(name)
    }

    /// Moves an alias to a version that exists; gives the version that it named before. Aliases that others move at
    /// the same time aren't lost.
    pub fn promote(&self, name: &str, alias: &str, version: u64) -> Result<Option<u64>, StoreError> {
        check_alias(alias)?;
        self.expect_version(name, version)?;
        self.backend.set_alias(name, alias, version)
    }

    /// Deletes a version that no alias points to; gives how many bytes that freed. Its number isn't given out again.
    pub fn delete(&self, name: &str, version: u64) -> Result<u64, StoreError> {
        self.expect_version(name, version)?;
        self.backend.delete(name, version)
    }

    /// The routes of a consumer group that are paused by hand.
    pub fn paused_routes(&self, group: &str) -> Result<BTreeSet<String>, StoreError> {
        Ok(self.backend.paused_routes()?.remove(group).unwrap_or_default())
    }

    /// Keeps that a route of a consumer group is paused by hand, or isn't any more.
    pub fn pause_route(&self, group: &str, route: &str, is_paused: bool) -> Result<(), StoreError> {
        self.backend.pause_route(group, route, is_paused)
    }

    /// The bytes of a version's files.
    pub fn size(&self, name: &str, version: u64) -> Result<u64, StoreError> {
        self.expect_version(name, version)?;
        self.backend.size(name, version)
    }

    /// Where this store is, for messages.
    pub fn place(&self) -> String {
        self.backend.to_string()
    }

    fn expect_version(&self, name: &str, version: u64) -> Result<(), StoreError> {
        check_name(name)?;
        if self.backend.has(name, version)? {
            return Ok(());
        }
        if self.backend.versions(name)?.is_empty() {
            return Err(self.no_model(name));
        }
        Err(StoreError::NoVersion { name: name.into(), version, place: self.place() })
    }

    fn no_model(&self, name: &str) -> StoreError {
        let (name, place) = (name.into(), self.place());
        if self.backend.exists() { StoreError::NoModel { name, place } } else { StoreError::NoStore { place } }
    }

    fn expect_in_place(&self, name: &str, version: u64, manifest: &Manifest) -> Result<(), StoreError> {
        if manifest.name == name && manifest.version == version {
            return Ok(());
        }
        Err(StoreError::Misplaced {
            name: name.into(),
            version,
            place: self.place(),
            found_name: manifest.name.clone(),
            found_version: manifest.version,
        })
    }

    fn broken(&self, name: &str, version: u64, source: BundleError) -> StoreError {
        StoreError::Bundle { name: name.into(), version, place: self.place(), source }
    }
}

#[cfg(test)]
mod tests;
