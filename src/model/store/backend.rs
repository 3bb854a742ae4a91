//! What a backend does: it keeps the files of versions, gives out their numbers, and keeps two small tables beside them. What is
//! the same on every backend, such as references, manifests and checks, is in [`Store`](super::Store).
//!
//! Several processes use a store at the same time. So each change here happens as a whole or not at all, and no change of
//! another process is lost by it. Everything blocks. `tests/conformance.rs` holds each backend to all of this.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};

use super::StoreError;

/// Where a store is. It prints as its place, for messages. Names of models are checked before they come here.
pub(super) trait Backend: Debug + Display + Send + Sync {
    /// Whether there is a store at this place.
    fn exists(&self) -> bool;

    /// The models that have a version, in order of name. Whatever else lies there is ignored.
    fn models(&self) -> Result<Vec<String>, StoreError>;

    /// Complete versions, ascending; none for a model that doesn't exist.
    fn versions(&self, name: &str) -> Result<Vec<u64>, StoreError>;

    /// Whether a version is there, complete.
    fn has(&self, name: &str, version: u64) -> Result<bool, StoreError>;

    /// A file of a version. One that is larger than it can be is an error before it is read.
    fn read(&self, name: &str, version: u64, file: &str) -> Result<Vec<u8>, StoreError>;

    /// The size of a file of a version, in bytes.
    fn file_bytes(&self, name: &str, version: u64, file: &str) -> Result<u64, StoreError>;

    /// The bytes of a version's files.
    fn size(&self, name: &str, version: u64) -> Result<u64, StoreError>;

    /// Writes a version under a number that no version has or had, above all of them, and returns it. Until it is complete, no
    /// reader sees it. `manifest` gives the bytes of `model.json` under a number. It is called again when another publisher
    /// took that number first.
    fn publish(
        &self,
        name: &str,
        files: &[(&str, &[u8])],
        manifest: &mut dyn FnMut(u64) -> Result<Vec<u8>, StoreError>,
    ) -> Result<u64, StoreError>;

    /// Whether a version could be written now. Leaves nothing in the store.
    fn expect_writable(&self, name: &str) -> Result<(), StoreError>;

    /// Removes a version that no alias points to, and returns how many bytes that freed. Its number stays taken.
    fn delete(&self, name: &str, version: u64) -> Result<u64, StoreError>;

    /// The aliases of a model and the version of each.
    fn aliases(&self, name: &str) -> Result<BTreeMap<String, u64>, StoreError>;

    /// Points an alias to a version that is there, and returns the version that it pointed to before.
    fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<Option<u64>, StoreError>;

    /// The routes that are paused by hand, by consumer group.
    fn paused_routes(&self) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError>;

    /// Adds a route of a consumer group to those that are paused by hand, or removes it.
    fn pause_route(&self, group: &str, route: &str, is_paused: bool) -> Result<(), StoreError>;
}
