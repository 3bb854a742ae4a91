//! Threads that share pieces of work of some microseconds.
//!
//! A minibatch is a tenth of a millisecond of work in two or three steps, after each of which everything must be
//! there: too short for a channel or a thread of its own. So the threads of a [`Team`] stay awake for a moment when
//! there is nothing to do, and only then sleep. A piece goes to whoever is free; a thread that the system doesn't run
//! holds nobody up unless it is in the middle of a piece.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle, Thread};

/// How often a thread looks for work, or for the end of the others' work, before it sleeps: 20 to 50 µs, about the time
/// that waking up takes.
const SPINS: u32 = 2000;

/// Bits of [`Shared::state`]: how many helpers are at work, whether there is work, and a number that changes with it.
const AT_WORK: u64 = 0xffff;
const OPEN: u64 = 1 << 16;
const NEXT: u64 = 1 << 17;

/// Some threads, the caller's one among them, that work together.
pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held while there is work: it is for one caller at a time.
    turn: Mutex<()>,
}

struct Shared {
    state: AtomicU64,
    /// A `&Work` while the state is open; helpers read it only once they are counted as at work.
    work: AtomicPtr<Work<'static>>,
    /// Whoever waits for the helpers to finish.
    caller: Mutex<Option<Thread>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    ended: AtomicBool,
}

/// Pieces, and what to do with the one of an index.
struct Work<'a> {
    pieces: usize,
    next: AtomicUsize,
    piece: &'a (dyn Fn(usize) + Sync),
}

impl Team {
    /// A team of so many threads, of which the caller's is one. Where the system gives fewer, they are fewer.
    pub fn new(threads: usize) -> Team {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            work: AtomicPtr::new(std::ptr::null_mut()),
            caller: Mutex::new(None),
            panic: Mutex::new(None),
            ended: AtomicBool::new(false),
        });
        let helper = |index| {
            let shared = shared.clone();
            thread::Builder::new().name(format!("train-{index}")).spawn(move || shared.help()).ok()
        };
        let helpers = (1..threads.min(AT_WORK as usize)).map_while(helper).collect();
        Team { shared, helpers, turn: Mutex::new(()) }
    }

    /// How many threads work.
    pub fn threads(&self) -> usize {
        1 + self.helpers.len()
    }

    /// Calls `work` once for each piece with its index, on any thread, and returns when all are done.
    ///
    /// # Panics
    /// If `work` does, on whatever thread.
    pub fn each<T: Send>(&self, pieces: &mut [T], work: impl Fn(usize, &mut T) + Sync) {
        let turn = match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            // A piece of this team's work that asks the team again.
            Err(TryLockError::WouldBlock) => None,
        };
        if turn.is_none() || self.helpers.is_empty() || pieces.len() < 2 {
            return pieces.iter_mut().enumerate().for_each(|(index, piece)| work(index, piece));
        }
        let first = AtomicPtr::new(pieces.as_mut_ptr());
        let piece = |index: usize| {
            // SAFETY: `share` calls this once for each index below the length and returns when all calls have, so
            // each `&mut` is the only one, and within the borrow of `pieces`. `T: Send` lets other threads have it.
            let piece = unsafe { &mut *first.load(Ordering::Relaxed).add(index) };
            work(index, piece);
        };
        self.share(Work { pieces: pieces.len(), next: AtomicUsize::new(0), piece: &piece });
    }

    /// Opens the work to the helpers, does what they don't, and returns when no one is at it any more.
    fn share(&self, work: Work<'_>) {
        *lock(&self.shared.caller) = Some(thread::current());
        // Where both panicked, the caller's own went on and this one stayed.
        lock(&self.shared.panic).take();
        self.shared.work.store((&raw const work).cast_mut().cast(), Ordering::Relaxed);
        let before = self.shared.state.load(Ordering::Relaxed);
        // Release: who sees the state sees the work.
        self.shared.state.store((before & !(AT_WORK | OPEN)).wrapping_add(NEXT) | OPEN, Ordering::Release);
        self.helpers.iter().for_each(|helper| helper.thread().unpark());

        let closing = Closing(&self.shared);
        work.run();
        drop(closing);
        if let Some(panic) = lock(&self.shared.panic).take() {
            resume_unwind(panic);
        }
    }
}

/// Ends the work when it goes, by a panic too: after that no helper uses it any more.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_and(!OPEN, Ordering::Relaxed);
        // Acquire: the caller sees what the helpers wrote.
        wait(|| (self.0.state.load(Ordering::Acquire) & AT_WORK == 0).then_some(()));
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // Its panics were its callers' already.
            let _ = helper.join();
        }
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("threads", &self.threads()).finish()
    }
}

impl Work<'_> {
    fn run(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.pieces {
                return;
            }
            (self.piece)(index);
        }
    }
}

impl Shared {
    /// A helper's life.
    fn help(&self) {
        let mut seen = 0;
        while let Some(number) = wait(|| self.begin(seen)) {
            seen = number;
            // SAFETY: this thread is counted as at work, and the caller keeps the work until none is.
            let work = unsafe { &*self.work.load(Ordering::Relaxed) };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.run())) {
                lock(&self.panic).get_or_insert(panic);
            }
            let caller = lock(&self.caller).clone();
            // Release: what this thread wrote goes to the caller. After that the work may be gone.
            let closed_and_last = self.state.fetch_sub(1, Ordering::Release) & (OPEN | AT_WORK) == 1;
            if let (true, Some(caller)) = (closed_and_last, caller) {
                caller.unpark();
            }
        }
    }

    /// The number of the work that this thread now is counted at, if there is another than the one it has `seen`; or
    /// that there will be none.
    fn begin(&self, seen: u64) -> Option<Option<u64>> {
        if self.ended.load(Ordering::Acquire) {
            return Some(None);
        }
        let state = self.state.load(Ordering::Relaxed);
        let number = state & !(AT_WORK | OPEN);
        if state & OPEN == 0 || number == seen {
            return None;
        }
        // Acquire: the work is that of this state. Where it has changed, the next look will show it.
        let begun = self.state.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed);
        begun.is_ok().then_some(Some(number))
    }
}

/// Looks until there is something, wide awake at first and then whenever it is unparked.
fn wait<T>(look: impl Fn() -> Option<T>) -> T {
    for _ in 0..SPINS {
        if let Some(found) = look() {
            return found;
        }
        std::hint::spin_loop();
    }
    loop {
        if let Some(found) = look() {
            return found;
        }
        thread::park();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_done_once() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads);
            assert_eq!(team.threads(), threads);
            for round in 0..2000 {
                let mut pieces: Vec<usize> = (0..round % 23).collect();
                team.each(&mut pieces, |index, piece| *piece += 100 * index);
                assert!(pieces.iter().enumerate().all(|(index, &piece)| piece == 101 * index), "{pieces:?}");
            }
        }
    }

    #[test]
    fn the_helpers_help() {
        let team = Team::new(2);
        let meeting = std::sync::Barrier::new(2);
        // One thread alone would wait for ever.
        team.each(&mut [(), ()], |_, ()| {
            meeting.wait();
        });
    }

    #[test]
    fn a_piece_may_ask_its_own_team() {
        let team = Team::new(3);
        let mut pieces = [[0; 4]; 6];
        team.each(&mut pieces, |_, inner| team.each(inner, |index, value| *value = index));
        assert_eq!(pieces, [[0, 1, 2, 3]; 6]);
    }

    #[test]
    fn a_panic_is_the_callers_and_the_team_goes_on() {
        let team = Team::new(2);
        for panicking in 0..8 {
            let run = || team.each(&mut [(); 8], |index, ()| assert_ne!(index, panicking, "piece {panicking}"));
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert!(panic.downcast_ref::<String>().unwrap().contains(&format!("piece {panicking}")));
            let mut pieces = [1; 8];
            team.each(&mut pieces, |_, piece| *piece += 1);
            assert_eq!(pieces, [2; 8]);
        }
    }
}
