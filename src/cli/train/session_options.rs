//! The options of a training that doesn't begin with nothing: a version to start from, a checkpoint to go on from.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::model::reference::ModelRef;
use crate::model::store::Store;
use crate::train::checkpoint::Checkpoints;
use crate::train::warm::Parent;

#[derive(Debug, clap::Args)]
pub(super) struct SessionArgs {
    /// Start from the weights of this version (warm start): features, preprocessing and shape are then its own.
    #[arg(
        long,
        value_name = "MODEL_REF",
        conflicts_with_all = ["hidden_layer_sizes", "activation", "PreprocessingArgs", "categorical", "numeric", "task"]
    )]
    from: Option<ModelRef>,
    /// Keep the state of the training in this file, from which --resume goes on as if nothing had happened.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// After how many epochs to do so.
    #[arg(long, value_name = "EPOCHS", default_value = "1", requires = "checkpoint")]
    checkpoint_every: NonZeroUsize,
    /// Go on from the checkpoint if there is one; data and options must be the same, but for --max-iter.
    #[arg(long, requires = "checkpoint")]
    resume: bool,
}

impl SessionArgs {
    /// The version to start from.
    pub(super) fn parent(&self, store: &Store) -> anyhow::Result<Option<Parent>> {
        let Some(reference) = &self.from else { return Ok(None) };
        let version = store.resolve(reference)?;
        Ok(Some(Parent::new(store.draft(&reference.name, version)?)?))
    }

    pub(super) fn checkpoints(&self) -> Option<Checkpoints> {
        let path = self.checkpoint.clone()?;
        Some(Checkpoints { path, every: self.checkpoint_every.get(), resume: self.resume })
    }
}
