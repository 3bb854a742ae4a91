//! `weir model export`: a version as a file for another runtime.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::HumanBytes;

use super::StoreOption;
use crate::engine::{Dtype, Int8Input, Weights};
use crate::model::bundle::Draft;
use crate::model::onnx;
use crate::model::reference::ModelRef;

/// What is exported, and to where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// NAME@VERSION, NAME@ALIAS or NAME@latest
    #[arg(value_name = "MODEL_REF")]
    reference: ModelRef,
    /// The ONNX file to write; one that is there already is replaced
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Where the models are.
    #[command(flatten)]
    store: StoreOption,
}

/// Writes the file; what was done goes to `out`.
pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let Args { reference, onnx: path, store } = args;
    let store = store.open()?;
    let version = store.resolve(reference)?;
    let draft = store.draft(&reference.name, version)?;
    let name = format!("{} version {version}", draft.name);
    let file = onnx::write(&draft, version).with_context(|| format!("{name} can't be exported"))?;
    replace(path, &file.bytes).with_context(|| format!("can't write {}", path.display()))?;
    let (inputs, size) = (draft.signature.features.len(), HumanBytes(file.bytes.len() as u64));
    let inputs = if inputs == 1 { "1 input".into() } else { format!("{inputs} inputs") };
    writeln!(out, "{name}: {} ({size}), {inputs}, outputs {}", path.display(), file.outputs.join(", "))?;
    for note in notes(&draft) {
        writeln!(out, "  {note}")?;
    }
    Ok(())
}

/// What the file doesn't do as the version does.
fn notes(draft: &Draft) -> Vec<String> {
    let has = |is: fn(&Weights) -> bool| draft.layers.iter().any(|layer| is(&layer.weights));
    let narrow = Dtype::ALL.iter().filter(|&&dtype| dtype != Dtype::F32);
    let narrow = narrow.filter(|&&dtype| draft.layers.iter().any(|layer| layer.weights.dtype() == dtype));
    let mut notes: Vec<_> =
        narrow.map(|dtype| format!("its {dtype} weights are written as the f32 values that they stand for")).collect();
    if has(|weights| matches!(weights, Weights::Int8 { input: Int8Input::Dynamic | Int8Input::Range { .. }, .. })) {
        notes.push("weir rounds the inputs of int8 layers to 7 bits, the file doesn't: answers differ a little".into());
    }
    notes
}

/// Writes a file whole or not at all: beside its place, then renamed.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // As any file that a program makes; the umask takes from it.
    let permissions = match fs::metadata(path) {
        Ok(before) => before.permissions(),
        Err(_) => Permissions::from_mode(0o666),
    };
    let mut file = tempfile::Builder::new().prefix(".weir-export-").permissions(permissions).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
