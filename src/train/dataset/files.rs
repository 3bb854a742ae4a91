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

/// The files that arguments name: each is a path, a folder, or a pattern such as `data/*.parquet`. The files of a folder,
/// with those in folders within, and of a pattern come in the order of their names.
///
/// An argument that is the path of a file is that file, whatever it looks like.
pub fn files(arguments: &[String]) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = Vec::new();
    for argument in arguments {
        let path = PathBuf::from(argument);
        if !argument.contains(['*', '?', '[']) || path.exists() {
            add(path, &mut files)?;
            continue;
        }
        let start = files.len();
        let found = glob::glob(argument);
        for path in found.map_err(|source| DatasetError::Pattern { pattern: argument.clone(), source })? {
            let unreadable = |e: glob::GlobError| DatasetError::Read { path: e.path().into(), source: e.into() };
            add(path.map_err(unreadable)?, &mut files)?;
        }
        if files.len() == start {
            return Err(DatasetError::NoMatch { pattern: argument.clone() });
        }
    }
    let mut seen = HashSet::new();
    for path in &files {
        let unreadable = |source| DatasetError::Read { path: path.clone(), source };
        let metadata = fs::metadata(path).map_err(unreadable)?;
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

/// Adds a file, or the files of a folder.
fn add(path: PathBuf, files: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    if !path.is_dir() {
        files.push(path);
        return Ok(());
    }
    let start = files.len();
    add_folder(&path, files).map_err(|source| DatasetError::Read { path: path.clone(), source })?;
    if files.len() == start { Err(DatasetError::Directory { path }) } else { Ok(()) }
}

/// Adds what is in a folder. Names that begin so are those of marks and checksums, as Spark writes them.
fn add_folder(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort_unstable();
    for entry in entries {
        let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(['.', '_']) {
            continue;
        }
        // A link may lead to a folder that it is in.
        if entry.is_dir() && !entry.is_symlink() {
            add_folder(&entry, files)?;
        } else if !entry.is_dir() {
            files.push(entry);
        }
    }
    Ok(())
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
        fs::create_dir_all(folder.path().join("empty/.hidden")).unwrap();
        assert!(matches!(names(&[at("empty")]), Err(DatasetError::Directory { .. })));
        for name in ["year=2024/b.csv", "year=2023/z.csv", "year=2024/.b.csv.crc", "_SUCCESS", "_delta_log/1.json"] {
            let path = folder.path().join("table").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        assert_eq!(names(&[at("table")]).unwrap(), ["z.csv", "b.csv"]);
        // Opening it would wait until a process writes to it.
        assert!(std::process::Command::new("mkfifo").arg(at("pipe.csv")).status().unwrap().success());
        assert!(matches!(names(&[at("pipe.csv")]), Err(DatasetError::Pipe { .. })));
    }
}
