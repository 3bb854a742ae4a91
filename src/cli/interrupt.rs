//! Ctrl-C, or SIGTERM as Kubernetes sends it: the first one ends the work in order, the second at once.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::console::say;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell adds to the number of the signal that ended a process.
const BY_SIGNAL: u8 = 128;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// What is written when a signal arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignalTexts {
    /// At the first one, if the work has no result yet: it ends the process at once.
    pub(super) without_result: &'static str,
    /// At the first one otherwise.
    pub(super) first: &'static str,
    /// At the second one.
    pub(super) second: &'static str,
}

/// Listens until it is dropped.
pub(super) struct Interrupt {
    received: Arc<ReceivedSignals>,
    /// The work is for this thread: somebody else has to listen.
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct ReceivedSignals {
    /// The number of the first signal, 0 before it.
    signal: AtomicU8,
    /// Whether the work has a result that is worth an orderly end.
    has_result: AtomicBool,
}

impl Interrupt {
    /// Listens for both signals: `words` is written at the first one and at the second.
    pub(super) fn listen(words: Option<[&'static str; 2]>) -> io::Result<Interrupt> {
        let texts = words.map(|[first, second]| SignalTexts { without_result: first, first, second });
        let interrupt = Interrupt::listen_until_result(texts)?;
        interrupt.has_result();
        Ok(interrupt)
    }

    /// The same for work that has no result before [`Interrupt::has_result`]: the first signal ends the process then.
    pub(super) fn listen_until_result(texts: Option<SignalTexts>) -> io::Result<Interrupt> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let received = Arc::new(ReceivedSignals::default());
        let (mut terminate, mut interrupt) = {
            let _within = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        runtime.spawn({
            let received = received.clone();
            async move {
                loop {
                    let signal = tokio::select! {
                        _ = terminate.recv() => SIGTERM,
                        _ = interrupt.recv() => SIGINT,
                    };
                    let is_second = received.signal.swap(signal, Ordering::Relaxed) != 0;
                    let has_result = received.has_result.load(Ordering::Relaxed);
                    if let Some(texts) = texts {
                        let text = match has_result {
                            _ if is_second => texts.second,
                            true => texts.first,
                            false => texts.without_result,
                        };
                        say!("weir: {text}");
                    }
                    if is_second || !has_result {
                        std::process::exit(i32::from(BY_SIGNAL + signal));
                    }
                }
            }
        });
        Ok(Interrupt { received, _runtime: runtime })
    }

    /// From now on the first signal ends the work in order. Before that it ends the process at once.
    pub(super) fn has_result(&self) {
        self.received.has_result.store(true, Ordering::Relaxed);
    }

    /// Whether a signal has come.
    pub(super) fn asked(&self) -> bool {
        self.received.signal.load(Ordering::Relaxed) != 0
    }

    /// The exit code of work that a signal has ended: 130 for SIGINT, 143 for SIGTERM. `any` says whether something is so
    /// in any process that the work is shared with.
    pub(super) fn exit_code(&self, any: impl FnOnce(bool) -> bool) -> ExitCode {
        let is_ctrl_c = any(self.received.signal.load(Ordering::Relaxed) == SIGINT);
        ExitCode::from(BY_SIGNAL + if is_ctrl_c { SIGINT } else { SIGTERM })
    }
}
