//! How fast weir trains, beside scikit-learn, and where its time goes.
//!
//! Both train the same network (100,100) with the same solver and minibatches of 200 on the whole year of flights, all
//! columns prepared as in examples/flights, for the same number of epochs, in turns, on the same cores. Then the pieces of
//! a minibatch are timed one by one, and their sum is set against the whole. With the feature `mpi`, one rank and two
//! train on a core each, too.
//!
//!     cargo bench --bench train [--features mpi] -- [--rounds N] [--epochs N] [--solver adam|sgd]

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that can't go on panics, and it prints")]

#[path = "../tests/support/tools.rs"]
#[allow(dead_code, reason = "the benchmark needs a part of what the tests do")]
mod tools;

#[path = "train/pieces.rs"]
mod pieces;

use std::io::{BufRead, BufReader, Lines, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Instant;

use weir::train::dataset::{Columns, Table};
use weir::train::distributed::{Ranks, Workers};
use weir::train::recipe::{BatchSize, Solver};
use weir::train::{Recipe, Session, fit_in};

const BATCH: usize = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |name: &str, default: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].as_str()).to_owned()
    };
    let number = |name: &str, default: &str| argument(name, default).parse::<usize>().unwrap();
    let (rounds, epochs, solver) = (number("--rounds", "3"), number("--epochs", "3"), argument("--solver", "adam"));

    if cfg!(feature = "mpi") && arguments.iter().any(|argument| argument == "--rank") {
        return rank(epochs, number("--batch", "200"), &solver);
    }
    let on_one_thread = beside_scikit_learn(rounds, epochs, &solver);
    pieces::print(BATCH, &solver, on_one_thread);
    if cfg!(feature = "mpi") {
        one_rank_and_two(rounds, epochs, &solver);
    }
}

/// The whole year, in the cache of `scripts/setup test`.
fn year() -> PathBuf {
    let home = std::env::home_dir().unwrap();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    cache.join("weir/flights.csv.gz")
}

fn table() -> Table {
    let columns =
        Columns { target: "late".into(), id: Some("id".into()), time: Some("time".into()), ..Columns::default() };
    Table::read(&[year()], &columns).unwrap()
}

/// Rows per second in the epochs behind the first one, and the last loss.
fn train(table: &Table, epochs: usize, batch: usize, solver: &str, workers: Workers) -> (f64, f64) {
    let recipe = Recipe {
        hidden_layer_sizes: vec![100, 100],
        solver: if solver == "adam" { Solver::Adam } else { Solver::Sgd },
        batch_size: BatchSize::Rows(batch),
        max_iter: epochs,
        tol: 0.0,
        n_iter_no_change: epochs,
        ..Recipe::default()
    };
    let mut ends = Vec::new();
    let session = Session { workers, ..Session::default() };
    let trained = fit_in(session, table, &table.select(&[]), &recipe, &mut |_| {
        ends.push(Instant::now());
        ControlFlow::Continue(())
    });
    let seconds = (*ends.last().unwrap() - ends[0]).as_secs_f64() / (epochs - 1) as f64;
    (table.len() as f64 / seconds, *trained.unwrap().losses.last().unwrap())
}

/// Gives weir's rate on one thread.
fn beside_scikit_learn(rounds: usize, epochs: usize, solver: &str) -> f64 {
    let table = table();
    let cores = thread::available_parallelism().unwrap().get();
    let mut learn = ScikitLearn::start(epochs, solver);
    let mut contenders: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for round in 0..rounds {
        let mut ran = Vec::new();
        for threads in [cores, 1] {
            let workers = Workers { threads, ..Workers::default() };
            ran.push((format!("weir, {threads} threads"), train(&table, epochs, BATCH, solver, workers)));
            for dtype in ["float64", "float32"] {
                ran.push((format!("scikit-learn {dtype}, {threads} threads"), learn.train(dtype, threads)));
            }
        }
        if round == 0 {
            contenders = ran.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
        }
        contenders.iter_mut().zip(ran).for_each(|((_, runs), (_, run))| runs.push(run));
    }
    learn.stop();

    println!("\n{} flights, (100,100), minibatches of {BATCH}, {solver}; medians of {rounds} rounds", table.len());
    println!("{:32}  {:>10}  {:>9}  {:>9}", "", "rows/s", "× sk f64", "last loss");
    let rates: Vec<f64> = contenders.iter().map(|(_, runs)| median(runs.iter().map(|run| run.0))).collect();
    for ((name, runs), rate) in contenders.iter().zip(&rates) {
        println!("{name:32}  {rate:>10.0}  {:>9.2}  {:>9.5}", rate / rates[1], runs[0].1);
    }
    rates[3]
}

/// One of the ranks that `mpirun` has started: the first one prints the rate.
fn rank(epochs: usize, batch: usize, solver: &str) {
    let workers = Workers { threads: 1, ranks: Ranks::join().unwrap() };
    let (rate, _) = train(&table(), epochs, batch, solver, workers.clone());
    if workers.ranks.is_first() {
        println!("{rate}");
    }
}

fn one_rank_and_two(rounds: usize, epochs: usize, solver: &str) {
    let run = |ranks: usize, batch: usize| {
        let mut command = Command::new(tools::tool("mpirun"));
        command.args(["--allow-run-as-root", "--bind-to", "core", "-n", &ranks.to_string()]);
        command.arg(std::env::current_exe().unwrap()).args(["--rank", "--solver", solver]);
        command.args(["--epochs", &epochs.to_string(), "--batch", &batch.to_string()]);
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().parse::<f64>().unwrap()
    };
    println!("\nranks of MPI, each on a core of its own; medians of {rounds} rounds");
    println!("{:>9}  {:>12}  {:>12}  {:>6}", "minibatch", "1 rank", "2 ranks", "×");
    for batch in [200, 1000] {
        let runs: Vec<_> = (0..rounds).map(|_| (run(1, batch), run(2, batch))).collect();
        let (one, two) = (median(runs.iter().map(|run| run.0)), median(runs.iter().map(|run| run.1)));
        println!("{batch:>9}  {one:>10.0}/s  {two:>10.0}/s  {:>6.2}", two / one);
    }
}

/// benches/train.py, in a process that stays.
struct ScikitLearn {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl ScikitLearn {
    fn start(epochs: usize, solver: &str) -> ScikitLearn {
        let mut command = Command::new(tools::tool("python"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/train.py")).arg(year());
        command.args([&epochs.to_string(), &BATCH.to_string(), solver]);
        // What would make its BLAS slower than it is.
        for variable in ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env_remove(variable);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        println!("rows and columns: {}", lines.next().unwrap().unwrap());
        ScikitLearn { child, stdin, lines }
    }

    fn train(&mut self, dtype: &str, threads: usize) -> (f64, f64) {
        writeln!(self.stdin, "{dtype} {threads}").unwrap();
        let line = self.lines.next().unwrap().unwrap();
        let (rate, loss) = line.split_once(' ').unwrap();
        (rate.parse().unwrap(), loss.parse().unwrap())
    }

    fn stop(self) {
        let ScikitLearn { mut child, stdin, .. } = self;
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
