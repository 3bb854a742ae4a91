//! Work that blocks, repeated beside async code.

use std::panic::resume_unwind;
use std::pin::pin;
use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};
use tokio::time::MissedTickBehavior;

/// Takes a step at once and then one each `interval`, on a thread where it may block, until `shutdown` is ready. A step that
/// hangs doesn't hold up the shutdown. Panics if a step does.
pub(crate) async fn repeat_blocking<T: Send + 'static>(
    mut state: T,
    interval: Duration,
    shutdown: impl Future<Output = ()>,
    step: impl Fn(&mut T) + Copy + Send + 'static,
) {
    // An interval of nothing can't be.
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut shutdown => return,
        }
        let round = spawn_blocking(move || {
            step(&mut state);
            state
        });
        tokio::select! {
            done = round => match done.map_err(JoinError::try_into_panic) {
                Ok(next) => state = next,
                Err(Ok(panic)) => resume_unwind(panic),
                // The runtime is being shut down.
                Err(Err(_)) => return,
            },
            () = &mut shutdown => return,
        }
    }
}
