//! Which files, and what is in them: patterns are resolved, compression is recognised by the first bytes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::DatasetError;

/// The first bytes of gzip, <https://www.rfc-editor.org/rfc/rfc1952>.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// The first bytes of Zstandard, <https://www.rfc-editor.org/rfc/rfc8878>.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Bytes per read of a file.
const BUFFER: usize = 1 << 16;

/// The files that arguments name: each is a path, or a pattern such as `data/*.parquet`, whose files come in the order
/// of their names.
///
/// An argument that is the path of a file is that file, whatever it looks like.
pub fn files(arguments: &[String]) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = Vec::new();
    for argument in arguments {
        let path = PathBuf::from(argument);
        if !argument.contains(['*', '?', '[']) || path.exists() {
            files.push(path);
            continue;
        }
        let start = files.len();
        let found = glob::glob(argument);
        for path in found.map_err(|source| DatasetError::Pattern { pattern: argument.clone(), source })? {
            let unreadable = |e: glob::GlobError| DatasetError::Read { path: e.path().into(), source: e.into() };
            files.push(path.map_err(unreadable)?);
        }
        if files.len() == start {
            return Err(DatasetError::NoMatch { pattern: argument.clone() });
        }
    }
    let mut seen = HashSet::new();
    for path in &files {
        let unreadable = |source| DatasetError::Read { path: path.clone(), source };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(DatasetError::Directory { path: path.clone() });
        }
        if !metadata.is_file() {
            return Err(DatasetError::Pipe { path: path.clone() });
        }
        let real = path.canonicalize().map_err(unreadable)?;
        if !seen.insert(real) {
            return Err(DatasetError::Repeated { path: path.clone() });
        }
    }
    Ok(files)
}

/// Opens a file for reading; one that starts with the magic number of gzip or Zstandard is decompressed on the way.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
    let start = file.fill_buf()?;
    if start.starts_with(GZIP) {
        Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))))
    } else if start.starts_with(ZSTD) {
        Ok(Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(file)?)))
    } else {
        Ok(Box::new(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_resolved_in_the_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.txt", "d[1].csv"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let names = |arguments: &[String]| {
            let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            files(arguments).map(|paths| paths.into_iter().map(name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[at("c.txt"), at("[ab].csv")]).unwrap(), ["c.txt", "a.csv", "b.csv"]);
        assert_eq!(names(&[at("d[1].csv")]).unwrap(), ["d[1].csv"]);
        assert!(matches!(names(&[at("*.parquet")]), Err(DatasetError::NoMatch { .. })));
        assert!(matches!(names(&[at("a[")]), Err(DatasetError::Pattern { .. })));
        assert!(matches!(names(&[at("nowhere.csv")]), Err(DatasetError::Read { .. })));
        assert!(matches!(names(&[at("*.csv"), at("a.csv")]), Err(DatasetError::Repeated { .. })));
        assert!(matches!(names(&[at("")]), Err(DatasetError::Directory { .. })));
        // Opening it would wait until a process writes to it.
        assert!(std::process::Command::new("mkfifo").arg(at("pipe.csv")).status().unwrap().success());
        assert!(matches!(names(&[at("pipe.csv")]), Err(DatasetError::Pipe { .. })));
    }
}
