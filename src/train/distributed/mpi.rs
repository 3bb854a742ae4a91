//! The ranks of an MPI program.

use std::thread;

use mpi::Threading;
use mpi::collective::{CommunicatorCollectives, Root, SystemOperation};
use mpi::environment::Universe;
use mpi::topology::{Communicator, SimpleCommunicator};

use super::{Collective, RanksError};

/// All processes that were started together. MPI ends when it is dropped, which waits for the others.
pub(super) struct World {
    world: SimpleCommunicator,
    here: usize,
    _universe: Universe,
}

impl World {
    /// Starts MPI.
    pub(super) fn join() -> Result<World, RanksError> {
        // Other threads compute, but only this one calls MPI.
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).ok_or(RanksError::InUse)?;
        let world = universe.world();
        let here = world.split_shared(world.rank()).size() as usize;
        Ok(World { world, here, _universe: universe })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            // The others are waiting for this rank elsewhere.
            self.world.abort(101);
        }
    }
}

impl Collective for World {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn count(&self) -> usize {
        self.world.size() as usize
    }

    fn here(&self) -> usize {
        self.here
    }

    fn sum(&self, mine: &[f32], sums: &mut [f32]) {
        self.world.all_reduce_into(mine, sums, SystemOperation::sum());
    }

    fn total(&self, mine: f64) -> f64 {
        let mut total = 0.0;
        self.world.all_reduce_into(&mine, &mut total, SystemOperation::sum());
        total
    }

    fn least(&self, mine: u64) -> u64 {
        let mut least = 0;
        self.world.all_reduce_into(&mine, &mut least, SystemOperation::min());
        least
    }

    fn of_first(&self, bytes: &mut [u8]) {
        self.world.process_at_rank(0).broadcast_into(bytes);
    }

    fn abort(&self) -> ! {
        self.world.abort(1)
    }
}
