//! A store in a directory: `<store>/<model>/<version>/`, and `<store>/<model>/aliases.json`.
//!
//! A version is written into a hidden directory beside its place, synced, and renamed into it. A rename onto a version
//! that another publisher has just made fails, and the next number is tried. Readers take no lock and see a version
//! whole or not at all; the hidden directory that a killed publisher leaves behind is nothing to them.
//!
//! Any entry whose name is a number takes that number: the empty directory that a deleted version leaves keeps it from
//! being given out again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::backend::Backend;
use crate::model::bundle::{MANIFEST, WEIGHTS};
use crate::model::reference::{check_name, parse_version};

const ALIASES: &str = "aliases.json";
/// Held while aliases are read, changed and written, so that no change of another process is lost.
const ALIASES_LOCK: &str = ".aliases.lock";
const ALIASES_NEW: &str = ".aliases.new";

/// In the store itself: by consumer group, the routes that are paused by hand.
const PAUSED_ROUTES: &str = "paused-routes.json";
const PAUSED_ROUTES_LOCK: &str = ".paused-routes.lock";
const PAUSED_ROUTES_NEW: &str = ".paused-routes.new";

/// The largest JSON file of a version that is read.
const MOST_JSON_BYTES: u64 = 1 << 30;

#[derive(Clone, Debug)]
pub(super) struct Local {
    root: PathBuf,
}

impl Local {
    pub(super) fn new(root: impl Into<PathBuf>) -> Local {
        Local { root: root.into() }
    }

    fn no_version(&self, name: &str, version: u64) -> StoreError {
        StoreError::NoVersion { name: name.into(), version, place: self.to_string() }
    }

    /// The numbers that are taken, in no order.
    fn taken(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        Ok(entries(&self.model(name))?.iter().filter_map(|entry| parse_version(entry)).collect())
    }

    fn model(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn version(&self, name: &str, version: u64) -> PathBuf {
        self.model(name).join(version.to_string())
    }
}

impl Backend for Local {
    fn exists(&self) -> bool {
        self.root.is_dir()
    }

    fn models(&self) -> Result<Vec<String>, StoreError> {
        let mut models = Vec::new();
        for name in entries(&self.root)? {
            if check_name(&name).is_ok() && self.root.join(&name).is_dir() && !self.versions(&name)?.is_empty() {
                models.push(name);
            }
        }
        models.sort_unstable();
        Ok(models)
    }

    fn versions(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        let mut versions = Vec::new();
        for version in self.taken(name)? {
            if self.has(name, version)? {
                versions.push(version);
            }
        }
        versions.sort_unstable();
        Ok(versions)
    }

    fn has(&self, name: &str, version: u64) -> Result<bool, StoreError> {
        let path = self.version(name, version).join(MANIFEST);
        match path.try_exists() {
            // A file that is called like a version is none.
            Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
            result => result.map_err(refused("look for", &path)),
        }
    }

    fn read(&self, name: &str, version: u64, file: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.version(name, version).join(file);
        let bytes = self.file_bytes(name, version, file)?;
        if file != WEIGHTS && bytes > MOST_JSON_BYTES {
            let problem = format!("it has {bytes} bytes, and {MOST_JSON_BYTES} are the most that is read");
            let source = io::Error::new(ErrorKind::FileTooLarge, problem);
            return Err(refused("read", &path)(source));
        }
        on("read", &path, fs::read)
    }

    /// What isn't a regular file is an error: opening a FIFO would wait for a writer.
    fn file_bytes(&self, name: &str, version: u64, file: &str) -> Result<u64, StoreError> {
        let path = self.version(name, version).join(file);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
            Ok(_) => {
                let source = io::Error::new(ErrorKind::InvalidInput, "it is no regular file");
                Err(refused("read", &path)(source))
            }
            Err(source) => Err(refused("read", &path)(source)),
        }
    }

    fn publish(
        &self,
        name: &str,
        files: &[(&str, &[u8])],
        manifest: &mut dyn FnMut(u64) -> Result<Vec<u8>, StoreError>,
    ) -> Result<u64, StoreError> {
        let model = self.model(name);
        on("create", &model, fs::create_dir_all)?;
        on("sync", &self.root, sync_dir)?;
        let mut staging = Staging::create(&model)?;
        for (file, bytes) in files {
            on("write", &staging.path.join(file), |path| write_synced(path, bytes))?;
        }
        loop {
            let highest = self.taken(name)?.into_iter().max().unwrap_or(0);
            let version = highest.checked_add(1).ok_or_else(|| StoreError::Exhausted { place: printed(&model) })?;
            let bytes = manifest(version)?;
            on("write", &staging.path.join(MANIFEST), |path| write_synced(path, &bytes))?;
            on("sync", &staging.path, sync_dir)?;
            let place = self.version(name, version);
            match staging.rename(&place) {
                Ok(()) => {
                    on("sync", &model, sync_dir)?;
                    return Ok(version);
                }
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {}
                Err(source) => return Err(refused("create", &place)(source)),
            }
        }
    }

    /// Creates and removes a directory where the next version would be written, or in the nearest folder above it that
    /// exists.
    fn expect_writable(&self, name: &str) -> Result<(), StoreError> {
        let model = self.model(name);
        let place = model.ancestors().find(|place| place.exists()).filter(|place| !place.as_os_str().is_empty());
        let probed = Staging::create(place.unwrap_or(Path::new(".")));
        probed.map(drop).map_err(|error| match error {
            StoreError::Io { source, .. } => refused("write a version of a model to", &model)(source),
            error => error,
        })
    }

    fn aliases(&self, name: &str) -> Result<BTreeMap<String, u64>, StoreError> {
        let path = self.model(name).join(ALIASES);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(refused("read", &path)(source)),
        };
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Aliases { place: printed(&path), source })
    }

    fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<Option<u64>, StoreError> {
        let model = self.model(name);
        let _lock = lock(&model.join(ALIASES_LOCK))?;
        if !self.has(name, version)? {
            return Err(self.no_version(name, version));
        }
        let mut aliases = self.aliases(name)?;
        let before = aliases.insert(alias.into(), version);
        let path = model.join(ALIASES);
        let bytes = serde_json::to_vec_pretty(&aliases)
            .map_err(|source| StoreError::Aliases { place: printed(&path), source })?;
        replace(&path, &model.join(ALIASES_NEW), bytes)?;
        Ok(before)
    }

    fn paused_routes(&self) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
        let path = self.root.join(PAUSED_ROUTES);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(refused("read", &path)(source)),
        };
        serde_json::from_slice(&bytes).map_err(|source| StoreError::PausedRoutes { place: printed(&path), source })
    }

    fn pause_route(&self, group: &str, route: &str, is_paused: bool) -> Result<(), StoreError> {
        let is_kept = |paused: &BTreeMap<String, BTreeSet<String>>| {
            paused.get(group).is_some_and(|routes| routes.contains(route)) == is_paused
        };
        // So a store that can't be written is none in the way of what it says already.
        if is_kept(&self.paused_routes()?) {
            return Ok(());
        }
        let _lock = lock(&self.root.join(PAUSED_ROUTES_LOCK))?;
        let mut paused = self.paused_routes()?;
        let routes = paused.entry(group.into()).or_default();
        if is_paused {
            routes.insert(route.into())
        } else {
            routes.remove(route)
        };
        paused.retain(|_, routes| !routes.is_empty());
        let path = self.root.join(PAUSED_ROUTES);
        let bytes = serde_json::to_vec_pretty(&paused)
            .map_err(|source| StoreError::PausedRoutes { place: printed(&path), source })?;
        replace(&path, &self.root.join(PAUSED_ROUTES_NEW), bytes)
    }

    /// Its empty directory stays and keeps the number from being given out again.
    fn delete(&self, name: &str, version: u64) -> Result<u64, StoreError> {
        // While the lock is held nobody can point an alias to it.
        let _lock = lock(&self.model(name).join(ALIASES_LOCK))?;
        if !self.has(name, version)? {
            return Err(self.no_version(name, version));
        }
        let aliases = self.aliases(name)?;
        let pointing: Vec<String> =
            aliases.into_iter().filter(|&(_, target)| target == version).map(|(alias, _)| alias).collect();
        if !pointing.is_empty() {
            return Err(StoreError::InUse { name: name.into(), version, aliases: pointing });
        }
        let freed = self.size(name, version)?;
        let place = self.version(name, version);
        // Without its manifest it is no version any more, so whoever is interrupted here leaves no half one.
        on("remove", &place.join(MANIFEST), fs::remove_file)?;
        on("sync", &place, sync_dir)?;
        for file in entries(&place)? {
            on("remove", &place.join(file), fs::remove_file)?;
        }
        on("sync", &place, sync_dir)?;
        Ok(freed)
    }

    fn size(&self, name: &str, version: u64) -> Result<u64, StoreError> {
        let place = self.version(name, version);
        let size = |file| on("look at", &place.join(file), fs::metadata).map(|metadata| metadata.len());
        entries(&place)?.into_iter().map(size).sum()
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.display().fmt(f)
    }
}

/// The hidden directory in which a version is written; removed unless it was renamed.
struct Staging {
    path: PathBuf,
    renamed: bool,
}

impl Staging {
    fn create(model: &Path) -> Result<Staging, StoreError> {
        // The process id alone isn't enough: publishers in two containers may have the same.
        let mut attempt = 0_u32;
        loop {
            let path = model.join(format!(".new-{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Staging { path, renamed: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
                Err(source) => return Err(refused("create", &path)(source)),
            }
        }
    }

    fn rename(&mut self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After the rename the path is free for another publisher's directory, which is not ours to remove.
        if !self.renamed {
            // If it can't be removed it lies there and harms nobody.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The names of a directory's entries; none if there is no such directory.
fn entries(directory: &Path) -> Result<Vec<String>, StoreError> {
    let read = |directory: &Path| -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            // A name that isn't UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    match read(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(refused("list", directory)),
    }
}

/// Unlocked when the file is dropped, also by the death of the process.
fn lock(path: &Path) -> Result<File, StoreError> {
    let lock = on("create", path, File::create)?;
    on("lock", path, |_| lock.lock())?;
    Ok(lock)
}

/// Replaces a file by these bytes and a line end, whole or not at all; `new` is where they are written first.
fn replace(path: &Path, new: &Path, mut bytes: Vec<u8>) -> Result<(), StoreError> {
    bytes.push(b'\n');
    on("write", new, |new| write_synced(new, &bytes))?;
    on("replace", path, |path| fs::rename(new, path))?;
    match path.parent() {
        Some(directory) => on("sync", directory, sync_dir),
        None => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the creations and renames in a directory last.
fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Does something on a path; the error says what and on which.
fn on<'a, T>(
    action: &'static str,
    path: &'a Path,
    work: impl FnOnce(&'a Path) -> io::Result<T>,
) -> Result<T, StoreError> {
    work(path).map_err(refused(action, path))
}

/// The error of something that was tried on a path.
fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let place = printed(path);
    move |source| StoreError::Io { action, place, source }
}

/// A path as a message shows it.
fn printed(path: &Path) -> String {
    path.display().to_string()
}
