//! Ctrl-C, or SIGTERM as Kubernetes sends it: the first one ends the training after its epoch, the second at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Listens until it is dropped.
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Training is work for this thread: somebody else has to listen.
    _runtime: Runtime,
}

impl Interrupt {
    /// `speaks`: says so when a signal comes.
    pub(super) fn listen(speaks: bool) -> io::Result<Interrupt> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let asked = Arc::new(AtomicBool::new(false));
        let (mut terminate, mut interrupt) = {
            let _within = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let say = move |what| {
            if speaks {
                eprintln!("weir: {what}");
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
                        say("stopped at once by a second signal; nothing is published");
                        std::process::exit(1);
                    }
                    say("ending the training after this epoch; once more stops it at once");
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
