//! Who works at a training: threads of this process, and with MPI other processes, the ranks.
//!
//! All ranks do the same: they read the data, fit the preprocessing, draw the order of the rows, and move the parameters.
//! They share one thing, the rows of each minibatch: the gradient and the loss are summed over all ranks and are then the
//! same on each. Whatever ends or changes the training is decided by such common values alone, so that no rank goes on
//! without the others. The first rank alone speaks, and writes checkpoints and the model.

#[cfg(feature = "mpi")]
mod mpi;

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

/// The variables by which a launcher of MPI programs lets a process know that it is one of several.
const LAUNCHED: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE"];

/// The threads and processes that train one model together.
#[derive(Clone, Debug)]
pub struct Workers {
    /// Threads of each process, at least 1. How many makes no difference to the bits of the result.
    pub threads: usize,
    /// The processes.
    pub ranks: Ranks,
}

impl Default for Workers {
    /// One thread of this process.
    fn default() -> Workers {
        Workers { threads: 1, ranks: Ranks::alone() }
    }
}

/// Why a process can't be a rank.
#[derive(Debug, thiserror::Error)]
pub enum RanksError {
    /// It was started by a launcher that it can't talk to.
    #[error(
        "started by mpirun, but this weir is built without MPI: build it with `cargo build --release --features mpi`"
    )]
    WithoutMpi,
    /// The MPI library is in use already.
    #[error("MPI is in use already in this process")]
    InUse,
}

/// Another rank can't go on, and has said why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rank {0} has failed")]
pub struct OtherRank(pub usize);

/// The processes that train one model together, as one of them sees it. Cheap to clone.
#[derive(Clone)]
pub struct Ranks {
    /// `None` where there are no others.
    others: Option<Rc<dyn Collective>>,
    /// The rank on which, as all know, the training has failed.
    failed: Rc<Cell<Option<usize>>>,
}

/// What all ranks do at the same place of the program, with the same result for each. Who does it waits for the others.
trait Collective {
    fn rank(&self) -> usize;
    fn count(&self) -> usize;
    /// How many of the ranks are on this machine.
    fn here(&self) -> usize;
    /// The sums of each number over all ranks.
    fn sum(&self, mine: &[f32], sums: &mut [f32]);
    fn total(&self, mine: f64) -> f64;
    fn least(&self, mine: u64) -> u64;
    /// Overwrites the bytes by the first rank's, who gives as many.
    fn of_first(&self, bytes: &mut [u8]);
    /// Ends all ranks.
    fn abort(&self) -> !;
}

impl Ranks {
    /// This process alone.
    pub fn alone() -> Ranks {
        Ranks { others: None, failed: Rc::default() }
    }

    /// This process and those that were started with it by `mpirun` or another launcher; alone if it wasn't.
    ///
    /// Only for the main thread.
    pub fn join() -> Result<Ranks, RanksError> {
        if LAUNCHED.iter().all(|variable| std::env::var_os(variable).is_none()) {
            return Ok(Ranks::alone());
        }
        #[cfg(feature = "mpi")]
        return Ok(Ranks::of(mpi::World::join()?));
        #[cfg(not(feature = "mpi"))]
        Err(RanksError::WithoutMpi)
    }

    #[cfg(any(feature = "mpi", test))]
    fn of(collective: impl Collective + 'static) -> Ranks {
        let others: Option<Rc<dyn Collective>> = (collective.count() > 1).then(|| Rc::new(collective) as _);
        Ranks { others, failed: Rc::default() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.others.as_ref().map_or(1, |others| others.count())
    }

    /// How many of them are on this machine.
    pub fn here(&self) -> usize {
        self.others.as_ref().map_or(1, |others| others.here())
    }

    /// Whether this is the rank that speaks and writes for all.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    fn rank(&self) -> usize {
        self.others.as_ref().map_or(0, |others| others.rank())
    }

    /// Where all ranks have come to this point, or one of them has failed: then all fail, the lowest of those that have
    /// by its own error and the others by [`OtherRank`].
    pub fn agree<T, E: From<OtherRank>>(&self, mine: Result<T, E>) -> Result<T, E> {
        let Some(others) = &self.others else { return mine };
        let here = if mine.is_err() { others.rank() } else { others.count() };
        let failed = others.least(here as u64) as usize;
        if failed == others.count() {
            return mine;
        }
        self.failed.set(Some(failed));
        if failed == others.rank() { mine } else { Err(OtherRank(failed).into()) }
    }

    /// Whether it is so on any rank.
    pub fn any(&self, mine: bool) -> bool {
        self.others.as_ref().map_or(mine, |others| others.least(u64::from(!mine)) == 0)
    }

    /// Whether all ranks have the same number.
    pub(super) fn have_same(&self, mine: u64) -> bool {
        let Some(others) = &self.others else { return true };
        let (least, most) = (others.least(mine), !others.least(!mine));
        least == most
    }

    /// The first rank's number.
    pub(super) fn of_first(&self, mine: f64) -> f64 {
        let Some(others) = &self.others else { return mine };
        let mut bytes = mine.to_le_bytes();
        others.of_first(&mut bytes);
        f64::from_le_bytes(bytes)
    }

    /// What the first rank has read; the others may give anything.
    pub(super) fn bytes_of_first(&self, mine: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Some(others) = &self.others else { return mine };
        let mut length = mine.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes();
        others.of_first(&mut length);
        let length = u64::from_le_bytes(length);
        (length < u64::MAX).then(|| {
            let mut bytes = mine.unwrap_or_default();
            bytes.resize(length as usize, 0);
            others.of_first(&mut bytes);
            bytes
        })
    }

    /// This rank's share of a minibatch: as many rows as the others have, or one more.
    pub(super) fn share<'a>(&self, rows: &'a [usize]) -> &'a [usize] {
        let (rank, count) = (self.rank(), self.count());
        let (each, more) = (rows.len() / count, rows.len() % count);
        let start = rank * each + rank.min(more);
        &rows[start..start + each + usize::from(rank < more)]
    }

    /// Makes of each rank's numbers the sums over all ranks; `spare` is memory for that.
    pub(super) fn sum(&self, numbers: &mut Vec<f32>, spare: &mut Vec<f32>) {
        let Some(others) = &self.others else { return };
        spare.resize(numbers.len(), 0.0);
        others.sum(numbers, spare);
        std::mem::swap(numbers, spare);
    }

    /// The sum over all ranks.
    pub(super) fn total(&self, mine: f64) -> f64 {
        self.others.as_ref().map_or(mine, |others| others.total(mine))
    }

    /// Ends a training that has failed. `report` says why, and is called on one rank.
    ///
    /// What all know of is reported by the rank where it happened, and the others wait for that. Where a rank fails by itself
    /// the others wait for it somewhere else, and it ends them all.
    pub fn fail(&self, report: impl FnOnce()) {
        let Some(others) = &self.others else { return report() };
        match self.failed.get() {
            Some(rank) => {
                if rank == others.rank() {
                    report();
                }
                others.least(0);
            }
            None => {
                report();
                others.abort();
            }
        }
    }
}

impl fmt::Debug for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.count())
    }
}

#[cfg(test)]
pub(super) mod tests;
