//! Checkpoints: a training's state between two epochs, as one file from which it goes on as if nothing had happened.
//!
//! The file is in the safetensors format: parameters, the optimizer's memory, the best parameters and the curves as
//! tensors, the counters in the header's metadata together with what identifies the training. It is written beside its
//! place, synced and renamed, so that whenever the process dies there is a whole one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ndarray::ArrayView2;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::backprop::Truth;
use super::descent::Descent;
use super::optimizer::OptimizerState;
use crate::model::preprocess::Transform;
use crate::model::signature::Signature;

/// The key of the metadata in the header, and what the file is recognised by.
const KEY: &str = "weir_checkpoint";

/// Changes when older files can't be read any more.
const FORMAT: u32 = 1;

/// The only part of a recipe that a resumed training may have another value of.
const FREE: &str = "max_iter";

/// Where a training leaves its state, and whether it goes on from what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    /// The file.
    pub path: PathBuf,
    /// After how many epochs it is written anew; it also is after the last one.
    pub every: usize,
    /// Go on from the file if there is one. Otherwise one of an unfinished training is refused.
    pub resume: bool,
}

/// How far the training of a checkpoint has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointState {
    /// Epochs that are done.
    pub epochs: usize,
    /// Whether there was nothing more to do.
    pub is_finished: bool,
    /// The version that was published from it.
    pub published: Option<PublishedVersion>,
}

/// A version that holds what a finished training has learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedVersion {
    /// The model.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The digest of that version, since another store may have another version of the same number.
    pub digest: String,
}

impl Checkpoints {
    /// What the file says, if it is there and is a checkpoint.
    pub fn state(&self) -> Option<CheckpointState> {
        let is_file = fs::metadata(&self.path).is_ok_and(|found| found.is_file());
        let bytes = is_file.then(|| fs::read(&self.path).ok()).flatten()?;
        let (header, tensors) = open(&bytes).ok()?;
        let epochs = f64s(&tensors, "losses").ok()?.len();
        Some(CheckpointState { epochs, is_finished: header.finished, published: header.published })
    }

    /// Notes that a version holds what the training of the file has learnt, so that it isn't published once more.
    pub fn mark_published(&self, published: PublishedVersion) -> Result<(), CheckpointError> {
        let path = &self.path;
        let bytes = fs::read(path).map_err(|source| CheckpointError::Read { path: path.clone(), source })?;
        let foreign = |reason| CheckpointError::Foreign { path: path.clone(), reason };
        let (header, tensors) = open(&bytes).map_err(foreign)?;
        let header = Header { published: Some(published), ..header };
        let marked = serialize(tensors.iter(), &header).and_then(|bytes| replace(path, &bytes));
        marked.map_err(|source| CheckpointError::Write { path: path.clone(), source })
    }
}

/// Why a checkpoint can't be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file can't be written.
    #[error("can't write the checkpoint {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file can't be read.
    #[error("can't read the checkpoint {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file isn't a checkpoint.
    #[error("{} isn't a checkpoint of this version of weir, or is damaged ({reason}): name another file, or remove it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What shows it.
        reason: String,
    },
    /// There is one already.
    #[error(
        "{} has a training that isn't finished (epoch {epoch}): go on with it (--resume), or remove the file",
        path.display()
    )]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// Its last epoch.
        epoch: usize,
    },
    /// It has come further than the recipe goes.
    #[error("{} has a training of {epochs} epochs, more than --max-iter {max_iter}: give at least {epochs}", path.display())]
    TooManyEpochs {
        /// The file.
        path: PathBuf,
        /// Its epochs.
        epochs: usize,
        /// How many there should be at most.
        max_iter: usize,
    },
    /// It belongs to another recipe.
    #[error(
        "{} is of another training: its --{option} is {theirs}, here it is {ours}; give the same options, or start anew \
         with another --checkpoint",
        path.display()
    )]
    OtherRecipe {
        /// The file.
        path: PathBuf,
        /// The option in which they differ.
        option: String,
        /// Its value in the file.
        theirs: String,
        /// Its value now.
        ours: String,
    },
    /// It belongs to other data.
    #[error(
        "{} is of a training on other data: {theirs}, here it is {ours}; give the same data and split, or start anew \
         with another --checkpoint",
        path.display()
    )]
    OtherData {
        /// The file.
        path: PathBuf,
        /// What the file says of its data.
        theirs: String,
        /// What is here.
        ours: String,
    },
}

/// What a training is, besides how far: a state only fits the very same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Without [`FREE`].
    recipe: Map<String, Value>,
    /// Training rows.
    rows: usize,
    /// Their features.
    features: usize,
    /// Of all that the training makes of them: sha256, in hex.
    digest: String,
}

impl Identity {
    /// `rows` are the decoded training rows, `truth` what they should be answered.
    pub(super) fn new(
        mut recipe: Map<String, Value>,
        signature: &Signature,
        preprocessing: &[Transform],
        rows: ArrayView2<'_, f64>,
        truth: &Truth,
    ) -> Identity {
        recipe.remove(FREE);
        let mut digest = Sha256::new();
        let meaning = serde_json::to_vec(&(signature, preprocessing));
        digest.update(meaning.unwrap_or_else(|_| unreachable!("both are written into every model.json")));
        for row in rows.rows() {
            let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
            digest.update(bytes);
        }
        match truth {
            Truth::Classes(classes) => classes.iter().for_each(|&class| digest.update((class as u64).to_le_bytes())),
            Truth::Numbers(numbers) => numbers.iter().for_each(|number| digest.update(number.to_le_bytes())),
        }
        let digest = format!("{:x}", digest.finalize());
        Identity { recipe, rows: rows.nrows(), features: rows.ncols(), digest }
    }

    /// A number that distinguishes trainings of so many epochs.
    pub(super) fn fingerprint(&self, max_iter: usize) -> u64 {
        let meaning = serde_json::to_vec(&(self, max_iter));
        let digest = Sha256::digest(meaning.unwrap_or_else(|_| unreachable!("it is written into every checkpoint")));
        digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    fn expect(&self, theirs: &Identity, path: &Path) -> Result<(), CheckpointError> {
        let keys = self.recipe.keys().chain(theirs.recipe.keys());
        let differs = keys.into_iter().find(|&key| self.recipe.get(key) != theirs.recipe.get(key));
        if let Some(key) = differs {
            let value = |recipe: &Map<String, Value>| match recipe.get(key) {
                None | Some(Value::Null) => "not given".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
            };
            return Err(CheckpointError::OtherRecipe {
                path: path.into(),
                option: key.replace('_', "-"),
                theirs: value(&theirs.recipe),
                ours: value(&self.recipe),
            });
        }
        if self != theirs {
            let describe = |of: &Identity| {
                let digest = of.digest.get(..12).unwrap_or_default();
                format!("{} training rows of {} features with digest {digest}", of.rows, of.features)
            };
            return Err(CheckpointError::OtherData {
                path: path.into(),
                theirs: describe(theirs),
                ours: describe(self),
            });
        }
        Ok(())
    }
}

/// The metadata of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    identity: Identity,
    /// Whether there was nothing more to do.
    finished: bool,
    converged: bool,
    without_improvement: usize,
    best_figure: Option<f64>,
    rate: f64,
    steps: i32,
    /// How far the generator has come, in words; a decimal number beyond JSON's.
    generator: String,
    /// The version that was published from a finished training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<PublishedVersion>,
}

/// Keeps one training's state in its file.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    checkpoints: &'a Checkpoints,
    identity: Identity,
    max_iter: usize,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(checkpoints: &'a Checkpoints, identity: Identity, max_iter: usize) -> Keeper<'a> {
        Keeper { checkpoints, identity, max_iter }
    }

    /// Whether the state is to be kept after this epoch.
    pub(super) fn is_due(&self, epoch: usize) -> bool {
        epoch.is_multiple_of(self.checkpoints.every.max(1))
    }

    /// Reads the file, if there is one.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, CheckpointError> {
        let path = &self.checkpoints.path;
        // A pipe would be waited for, and a device replaced by a file.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
            return Err(CheckpointError::Read { path: path.clone(), source });
        }
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.expect_folder().map(|()| None),
            Err(source) => Err(CheckpointError::Read { path: path.clone(), source }),
        }
    }

    /// Brings a training that hasn't begun to where the file left it, if that is wanted. `bytes` are its content.
    pub(super) fn resume(&self, bytes: &[u8], descent: &mut Descent) -> Result<(), CheckpointError> {
        let path = &self.checkpoints.path;
        let foreign = |reason| CheckpointError::Foreign { path: path.clone(), reason };
        let (header, tensors) = open(bytes).map_err(foreign)?;
        let losses: Vec<f64> = f64s(&tensors, "losses").map_err(foreign)?;
        if !self.checkpoints.resume {
            if header.finished {
                return Ok(());
            }
            return Err(CheckpointError::Unfinished { path: path.clone(), epoch: losses.len() });
        }
        self.identity.expect(&header.identity, path)?;
        if losses.len() > self.max_iter {
            let (epochs, max_iter) = (losses.len(), self.max_iter);
            return Err(CheckpointError::TooManyEpochs { path: path.clone(), epochs, max_iter });
        }

        let like = |name, model: &[f32]| match f32s(&tensors, name) {
            Ok(values) if values.len() == model.len() => Ok(values),
            Ok(values) => Err(foreign(format!("{} numbers in {name:?}, {} expected", values.len(), model.len()))),
            Err(reason) => Err(foreign(reason)),
        };
        let parameters = like("parameters", &descent.network.parameters)?;
        let first = like("first", &descent.optimizer.memory.first)?;
        let second = like("second", &descent.optimizer.memory.second)?;
        let best = like("best", &descent.best)?;
        let scores = f64s(&tensors, "scores").map_err(foreign)?;
        let position = header.generator.parse().map_err(|_| foreign("no position of the generator".into()))?;

        descent.network.parameters = parameters;
        descent.optimizer.memory = OptimizerState { rate: header.rate, steps: header.steps, first, second };
        descent.rng.set_word_pos(position);
        descent.losses = losses;
        descent.scores = scores;
        // None: no score was above the beginning's minus infinity.
        descent.best_figure = header.best_figure.unwrap_or(descent.best_figure);
        descent.best = best;
        descent.without_improvement = header.without_improvement;
        descent.converged = header.converged;
        Ok(())
    }

    /// What can fail at once must not fail after the first epoch.
    fn expect_folder(&self) -> Result<(), CheckpointError> {
        let path = &self.checkpoints.path;
        match fs::metadata(folder(path)) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(CheckpointError::Write { path: path.clone(), source: io::ErrorKind::NotADirectory.into() }),
            Err(source) => Err(CheckpointError::Write { path: path.clone(), source }),
        }
    }

    /// Writes the state; whole, or the file stays as it was.
    pub(super) fn keep(&self, descent: &Descent) -> Result<(), CheckpointError> {
        let path = &self.checkpoints.path;
        let written = self.encode(descent).and_then(|bytes| replace(path, &bytes));
        written.map_err(|source| CheckpointError::Write { path: path.clone(), source })
    }

    fn encode(&self, descent: &Descent) -> io::Result<Vec<u8>> {
        let OptimizerState { rate, steps, first, second } = &descent.optimizer.memory;
        let header = Header {
            format: FORMAT,
            identity: self.identity.clone(),
            finished: descent.converged || descent.losses.len() >= self.max_iter,
            converged: descent.converged,
            without_improvement: descent.without_improvement,
            best_figure: Some(descent.best_figure).filter(|figure| figure.is_finite()),
            rate: *rate,
            steps: *steps,
            generator: descent.rng.get_word_pos().to_string(),
            published: None,
        };
        let numbers = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let curve = |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let tensors = [
            ("parameters", Dtype::F32, numbers(&descent.network.parameters)),
            ("first", Dtype::F32, numbers(first)),
            ("second", Dtype::F32, numbers(second)),
            ("best", Dtype::F32, numbers(&descent.best)),
            ("losses", Dtype::F64, curve(&descent.losses)),
            ("scores", Dtype::F64, curve(&descent.scores)),
        ];
        let views = tensors.iter().map(|(name, dtype, bytes)| {
            let width = if *dtype == Dtype::F32 { 4 } else { 8 };
            Ok((*name, TensorView::new(*dtype, vec![bytes.len() / width], bytes).map_err(io::Error::other)?))
        });
        serialize(views.collect::<io::Result<Vec<_>>>()?, &header)
    }
}

fn serialize<'a>(
    tensors: impl IntoIterator<Item = (impl AsRef<str> + Ord + std::fmt::Display, TensorView<'a>)>,
    header: &Header,
) -> io::Result<Vec<u8>> {
    let metadata = HashMap::from([(KEY.to_owned(), serde_json::to_string(header)?)]);
    safetensors::serialize(tensors, Some(metadata)).map_err(io::Error::other)
}

/// Writes a file whole, or it stays as it was.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays a link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let new = path.with_file_name(format!(".{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The rename must last, too.
    File::open(folder(path))?.sync_all()
}

/// Where a file lies.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn open(bytes: &[u8]) -> Result<(Header, SafeTensors<'_>), String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let header: Header =
        serde_json::from_str(header.ok_or("another kind of safetensors file")?).map_err(|error| error.to_string())?;
    if header.format != FORMAT {
        return Err(format!("format {}", header.format));
    }
    Ok((header, SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?))
}

fn f32s(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f32>, String> {
    let (values, _) = data(tensors, name, Dtype::F32)?.as_chunks();
    Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

fn f64s(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f64>, String> {
    let (values, _) = data(tensors, name, Dtype::F64)?.as_chunks();
    Ok(values.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
}

fn data<'a>(tensors: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<&'a [u8], String> {
    let tensor = tensors.tensor(name).map_err(|error| error.to_string())?;
    if tensor.dtype() != dtype {
        return Err(format!("tensor {name:?} is {}", tensor.dtype()));
    }
    Ok(tensor.data())
}

#[cfg(test)]
mod tests;
