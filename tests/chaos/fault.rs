//! What can go wrong, and how a seed makes a sequence of it.
//!
//! The whole sequence is drawn before it begins: the same seed and number give the same faults, whatever happens.

use std::fmt;
use std::time::Duration;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cluster::{NAMES, SESSION_TIMEOUT_MS};

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `kill -9` of a process, and a restart.
    Kill,
    /// SIGTERM to a process, which must end with 0, and a restart.
    Terminate,
    /// One more process.
    Join,
    /// One process less, by SIGTERM.
    Leave,
    /// A process joins while another gets SIGTERM.
    Handover,
    /// `kill -9` of a broker, and a restart on the same data.
    Broker,
    /// SIGSTOP of a process until its session is lost, then SIGCONT: a zombie.
    Freeze,
    /// A process loses its connections, and gets no new ones for a while.
    Refuse,
    /// Nothing passes between a process and the brokers for a while, and all of it later.
    Hold,
    /// A slow network.
    Slow,
    /// Brokers that take no produce requests for a while.
    Stall,
    /// The same, until the process is killed and started again.
    StallKill,
    /// The alias moves to another version.
    Swap,
    /// The alias moves to a broken version, and back.
    Broken,
    /// READ on the input denied to all processes for a while.
    Deny,
    /// The route of a process paused by hand, and resumed.
    Pause,
    /// The small input of the second route deleted, and created again.
    Recreate,
    /// The large input of the second route deleted, and created again.
    RecreateLarge,
    /// One partition more for the small input of the second route.
    Grow,
    /// Records that the output of the second route refuses.
    Refused,
}

impl Kind {
    /// The name in tables.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Kill => "kill -9 of a process, restart",
            Kind::Terminate => "SIGTERM of a process, restart",
            Kind::Join => "a process joins",
            Kind::Leave => "a process leaves (SIGTERM)",
            Kind::Handover => "SIGTERM of a process while another joins",
            Kind::Broker => "kill -9 of a broker, restart",
            Kind::Freeze => "SIGSTOP beyond the session, SIGCONT",
            Kind::Refuse => "connections closed and refused",
            Kind::Hold => "network holds everything back",
            Kind::Slow => "slow network",
            Kind::Stall => "no produce request taken",
            Kind::StallKill => "no produce request taken, then kill -9, restart",
            Kind::Swap => "model swap",
            Kind::Broken => "broken version promoted",
            Kind::Deny => "READ on the input denied, granted again",
            Kind::Pause => "route paused by hand, resumed",
            Kind::Recreate => "input topic deleted and created again",
            Kind::RecreateLarge => "input topic of 100 partitions deleted and created again",
            Kind::Grow => "partition added to an input topic",
            Kind::Refused => "records that the output refuses",
        }
    }
}

/// How often each kind is among twenty faults. Joins and leaves take turns, whichever is possible.
const DECK: [(Kind, usize); 19] = [
    (Kind::Kill, 2),
    (Kind::Terminate, 1),
    (Kind::Join, 1),
    (Kind::Handover, 1),
    (Kind::Broker, 1),
    (Kind::Freeze, 1),
    (Kind::Refuse, 1),
    (Kind::Hold, 1),
    (Kind::Slow, 1),
    (Kind::Stall, 1),
    (Kind::StallKill, 1),
    (Kind::Swap, 1),
    (Kind::Broken, 1),
    (Kind::Deny, 1),
    (Kind::Pause, 1),
    (Kind::Recreate, 1),
    (Kind::RecreateLarge, 1),
    (Kind::Grow, 1),
    (Kind::Refused, 1),
];

/// A fault, with all that was drawn for it. A process is its place in [`NAMES`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The process that it meets.
    pub(crate) process: usize,
    /// The process that joins, in a handover.
    pub(crate) joins: usize,
    /// The broker that it meets.
    pub(crate) node: usize,
    /// The model version that it brings: its place among the sound ones.
    pub(crate) version: usize,
    /// How long it lasts.
    pub(crate) hold: Duration,
    /// Whether the next fault waits until all partitions have outputs again.
    pub(crate) all_partitions: bool,
    /// How many outputs it waits for, as a share of the records that there are for a fault.
    pub(crate) outputs: f64,
}

impl Fault {
    /// A fault of this kind that lasts so long, to a process.
    pub(crate) fn new(kind: Kind, process: usize, hold: Duration) -> Fault {
        Fault { kind, process, joins: 0, node: 0, version: 0, hold, all_partitions: true, outputs: 0.0 }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (process, joins) = (NAMES[self.process], NAMES[self.joins]);
        write!(f, "{}: ", self.kind.as_str())?;
        let seconds = self.hold.as_secs_f64();
        match self.kind {
            Kind::Join | Kind::Leave => f.write_str(process),
            Kind::Handover => write!(f, "{process}, {seconds:.1} s after {joins} has started"),
            Kind::Broker => write!(f, "{}, {seconds:.1} s", self.node + 1),
            Kind::Swap => write!(f, "version {}", self.version + 1),
            Kind::Broken => f.write_str("refused"),
            Kind::Deny | Kind::Recreate | Kind::RecreateLarge => write!(f, "{seconds:.1} s"),
            Kind::Grow | Kind::Refused => f.write_str("second route"),
            Kind::Kill
            | Kind::Terminate
            | Kind::Freeze
            | Kind::Refuse
            | Kind::Hold
            | Kind::Slow
            | Kind::Stall
            | Kind::StallKill
            | Kind::Pause => write!(f, "{process}, {seconds:.1} s"),
        }
    }
}

/// Draws `count` faults for `brokers` brokers and as many sound versions. `running` processes are there at the start.
pub(crate) fn draw(seed: u64, count: usize, running: usize, brokers: usize, versions: usize) -> Vec<Fault> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut running, mut version) = ((0..running).collect::<Vec<_>>(), 0);
    let mut deck = Vec::new();
    let mut faults = Vec::with_capacity(count);
    while faults.len() < count {
        if deck.is_empty() {
            deck = DECK.iter().flat_map(|&(kind, times)| std::iter::repeat_n(kind, times)).collect();
            deck.shuffle(&mut rng);
        }
        let mut kind = deck.pop().expect("it was filled");
        let free: Vec<_> = (0..NAMES.len()).filter(|process| !running.contains(process)).collect();
        match kind {
            Kind::Join if free.is_empty() || running.len() > 1 && rng.random_bool(0.4) => kind = Kind::Leave,
            // No name is free for the one that joins: one of the others makes room first.
            Kind::Handover if free.is_empty() => {
                deck.push(kind);
                kind = Kind::Leave;
            }
            // Nobody is there who could take over, which is the point of it.
            Kind::Freeze | Kind::Hold | Kind::Stall | Kind::StallKill if running.len() == 1 => {
                deck.push(kind);
                kind = Kind::Join;
            }
            _ => {}
        }
        let mut fault = Fault {
            process: *running.choose(&mut rng).expect("one runs at least"),
            joins: *free.choose(&mut rng).unwrap_or(&0),
            node: rng.random_range(0..brokers),
            hold: hold(kind, brokers, &mut rng),
            all_partitions: rng.random_bool(0.6),
            outputs: rng.random_range(0.02..0.4),
            ..Fault::new(kind, 0, Duration::ZERO)
        };
        match kind {
            Kind::Join => {
                fault.process = fault.joins;
                running.push(fault.joins);
            }
            Kind::Leave => running.retain(|&process| process != fault.process),
            Kind::Handover => {
                running.retain(|&process| process != fault.process);
                running.push(fault.joins);
            }
            Kind::Swap => {
                version = (version + rng.random_range(1..versions)) % versions;
                fault.version = version;
            }
            _ => {}
        }
        faults.push(fault);
    }
    faults
}

/// How long a fault lasts.
fn hold(kind: Kind, brokers: usize, rng: &mut ChaCha8Rng) -> Duration {
    let session = u64::from(SESSION_TIMEOUT_MS);
    let milliseconds = match kind {
        Kind::Kill | Kind::Terminate => 0..1_000,
        // From before it has joined to after.
        Kind::Handover => 0..2_500,
        // Others become leaders after six seconds; an only broker is needed sooner.
        Kind::Broker if brokers > 1 => 500..12_000,
        Kind::Broker => 0..1_000,
        // Transactions live for ten seconds: a zombie that wakes after its session, and before their end, is the worst.
        Kind::Freeze => session + 1_000..session + 4_000,
        // Shorter than the session, or longer.
        Kind::Refuse | Kind::Hold | Kind::Stall | Kind::StallKill => 1_000..session + 3_000,
        Kind::Slow => 2_000..5_000,
        Kind::Deny => 0..4_000,
        Kind::Pause => 500..4_000,
        Kind::Recreate | Kind::RecreateLarge => 0..2_000,
        Kind::Join | Kind::Leave | Kind::Swap | Kind::Broken | Kind::Grow | Kind::Refused => return Duration::ZERO,
    };
    Duration::from_millis(rng.random_range(milliseconds))
}
