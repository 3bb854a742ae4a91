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
use crate::model::decision::Decision;
use crate::model::onnx;
use crate::model::reference::ModelRef;

/// What is exported, and to where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// NAME@VERSION, NAME@ALIAS or NAME@latest
    #[arg(value_name = "MODEL_REF")]
    reference: ModelRef,
    /// The ONNX file to write; an existing one is replaced
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
    if let Some(Decision { positive, threshold: Some(threshold) }) = &draft.decision {
        notes.push(format!(
            "weir answers {positive:?} from the probability {threshold} on, the file's label is the more probable class: \
             apply the threshold to the probabilities"
        ));
    }
    notes
}

/// Writes a file whole or not at all: beside its place, then renamed. What is there and isn't a regular file (a link, a
/// device, a pipe) is written through, and not replaced.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // As any file that a program makes; the umask takes from it.
    let permissions = match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return fs::write(path, bytes),
        Ok(found) => found.permissions(),
        Err(_) => Permissions::from_mode(0o666),
    };
    let mut file = tempfile::Builder::new().prefix(".weir-export-").permissions(permissions).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_link_or_a_pipe_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "before").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("new"), at("dangling")).unwrap();
        for (name, target) in [("file", "file"), ("link", "file"), ("dangling", "new"), ("fresh", "fresh")] {
            replace(&at(name), name.as_bytes()).unwrap();
            assert_eq!(fs::read(at(target)).unwrap(), name.as_bytes());
        }
        assert!(at("link").is_symlink() && at("dangling").is_symlink());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 5, "{left:?}");

        // As a device, a pipe is neither a file nor a link; and it needs no rights to make one.
        let pipe = at("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        replace(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
