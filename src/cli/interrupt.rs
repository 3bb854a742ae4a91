//! Ctrl-C, or SIGTERM as Kubernetes sends it: the first one ends the work in order, the second at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::console::say;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Listens until it is dropped.
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    /// The work is for this thread: somebody else has to listen.
    _runtime: Runtime,
}

impl Interrupt {
    /// `words` is what is said at the first signal and at the second.
    pub(super) fn listen(words: Option<[&'static str; 2]>) -> io::Result<Interrupt> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let asked = Arc::new(AtomicBool::new(false));
        let (mut terminate, mut interrupt) = {
            let _within = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let say = move |which: usize| {
            if let Some(words) = words {
                say!("weir: {}", words[which]);
            }
        };
        runtime.spawn({
            let asked = asked.clone();
            async move {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                    if asked.swap(true, Ordering::Relaxed) {
                        say(1);
                        std::process::exit(1);
                    }
                    say(0);
                }
            }
        });
        Ok(Interrupt { asked, _runtime: runtime })
    }

    /// Whether a signal has come.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}
