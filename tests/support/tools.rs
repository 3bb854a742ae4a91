//! Programs that `scripts/setup test` has put into its cache, or has found on PATH.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where a program is; `python` is the one with tests/requirements.txt.
pub(crate) fn tool(name: &str) -> PathBuf {
    let home = std::env::home_dir().unwrap();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from).join("weir");
    let path = std::env::var_os("PATH").unwrap();
    // Any python would do, were it sure to have the packages.
    let folders = match name {
        "python" => vec![cache.join("python/bin")],
        _ => [cache.join("bin")].into_iter().chain(std::env::split_paths(&path)).collect(),
    };
    let mut candidates = folders.iter().map(|folder| folder.join(name));
    candidates.find(|file| file.is_file()).unwrap_or_else(|| panic!("{name} is missing: run `scripts/setup test`"))
}

/// Runs tests/python/`script`, which reads one JSON value from standard input and prints one.
pub(crate) fn python(script: &str, arguments: &[&str], input: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let mut command = Command::new(tool("python"));
    // The tests run beside each other: a pool of threads per process would only make them wait for each other.
    command.arg(path).args(arguments).env("OMP_NUM_THREADS", "1").env("OPENBLAS_NUM_THREADS", "1");
    run_json(&mut command, input.to_string())
}

/// Feeds a program and reads the JSON value that it prints.
pub(crate) fn run_json(command: &mut Command, input: String) -> Value {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Beside the reading: a program that prints before it has read all would otherwise wait for ever. One that ends
    // before has said why on standard error.
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
