//! Columns in the names of folders, as Hive, Spark and pandas write them: `year=2024/month=01/part-0.parquet`.

use std::path::{Component, Path, PathBuf};

/// What Hive calls the folder of a missing value.
const DEFAULT: &str = "__HIVE_DEFAULT_PARTITION__";

/// A column that has the same value in all rows of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Partition {
    pub(super) name: String,
    /// `None` for a missing value.
    pub(super) value: Option<String>,
}

/// The columns that each file has by its path: those that all of them have.
pub(super) fn of(paths: &[PathBuf]) -> Vec<Vec<Partition>> {
    let mut found: Vec<Vec<Partition>> = paths.iter().map(|path| parse(path)).collect();
    let names = |of: &[Partition]| of.iter().map(|partition| partition.name.clone()).collect::<Vec<_>>();
    let Some(mut common) = found.first().map(|first| names(first)) else { return found };
    for other in &found {
        common.retain(|name| other.iter().any(|partition| partition.name == *name));
    }
    found.iter_mut().for_each(|partitions| partitions.retain(|partition| common.contains(&partition.name)));
    found
}

fn parse(path: &Path) -> Vec<Partition> {
    let mut partitions: Vec<Partition> = Vec::new();
    for component in path.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(folder) = component else { continue };
        let Some((name, value)) = folder.to_str().and_then(|folder| folder.split_once('=')) else { continue };
        let (name, value) = (unescaped(name), unescaped(value));
        if !name.is_empty() && partitions.iter().all(|partition| partition.name != name) {
            partitions.push(Partition { name, value: Some(value).filter(|value| value != DEFAULT) });
        }
    }
    partitions
}

/// With `%2F` and the like as what they stand for.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_that_all_paths_have() {
        let paths =
            ["d/year=2024/city=S%C3%A3o%20Paulo/a.csv", "d/year=2025/city=__HIVE_DEFAULT_PARTITION__/x=1/b.csv"];
        let found = of(&paths.map(PathBuf::from));
        let partition =
            |name: &str, value: Option<&str>| Partition { name: name.into(), value: value.map(String::from) };
        assert_eq!(found[0], [partition("year", Some("2024")), partition("city", Some("São Paulo"))]);
        assert_eq!(found[1], [partition("year", Some("2025")), partition("city", None)]);
        assert_eq!(of(&["a=b/x.csv".into(), "y.csv".into()]), [vec![], vec![]]);
        assert_eq!(of(&["a=b.csv".into()]), [vec![]]);
        assert_eq!(unescaped("100%"), "100%");
    }
}
