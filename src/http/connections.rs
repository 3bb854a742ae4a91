//! Connections: how many, for how long, and which one gives way.
//!
//! A connection waits for its client while a request's head is incomplete, between two requests, and until an answer is
//! read. One that waits for too long is closed. When too many are open, the one that has waited longest is closed for a
//! new one: a probe sends its request at once, so it is answered whatever other clients hold open.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Failure, ServerLimits};
use crate::monitor::metrics::{ConnectionEnd, Metrics};

/// The largest head of a request, and the size of a connection's buffer, in bytes. A head has at most 100 headers,
/// which is hyper's limit.
const HEAD_LIMIT: usize = 16 << 10;

/// How long a connection is read on after its last answer. A client that is still sending would otherwise get a reset
/// instead of the answer.
const LINGER: Duration = Duration::from_secs(2);

/// The pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves until `shutdown` is ready; then requests in progress may finish within `limits.grace`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: Metrics,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) {
    let stopping = CancellationToken::new();
    let mut shutdown = pin!(shutdown);
    let mut tasks = JoinSet::new();
    let mut open: Vec<OpenConnection> = Vec::new();
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            Some(_) = tasks.join_next() => continue,
            () = &mut shutdown => break,
        };
        open.retain(|connection| !connection.task.is_finished());
        if open.len() >= limits.connections {
            metrics.http_connection_closed(ConnectionEnd::Limit);
            // Without one that waits, it is the new connection that has to go.
            let Some(longest) = longest_waiting(&open) else { continue };
            open.swap_remove(longest).task.abort();
        }
        let (waiting, watched) = watch::channel(Some(Instant::now()));
        let connection = Connection {
            router: TowerToHyperService::new(router.clone()),
            metrics: metrics.clone(),
            waiting,
            stopping: stopping.clone(),
        };
        let task = tasks.spawn(connection.run(stream, limits.silence));
        open.push(OpenConnection { waiting: watched, task });
    }
    drop(listener);
    stopping.cancel();
    // What is left after the time is aborted with the set.
    let _ = timeout(limits.grace, async { while tasks.join_next().await.is_some() {} }).await;
}

/// A connection, as the loop that accepts them sees it.
struct OpenConnection {
    waiting: watch::Receiver<Option<Instant>>,
    task: AbortHandle,
}

fn longest_waiting(open: &[OpenConnection]) -> Option<usize> {
    let waiting = open.iter().enumerate().filter_map(|(at, open)| Some((at, (*open.waiting.borrow())?)));
    waiting.min_by_key(|&(_, since)| since).map(|(at, _)| at)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "HTTP connections can't be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connection {
    router: TowerToHyperService<Router>,
    metrics: Metrics,
    /// Since when it waits for its client; `None` while a request is being answered.
    waiting: watch::Sender<Option<Instant>>,
    stopping: CancellationToken,
}

type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Connection {
    async fn run(self, stream: TcpStream, silence: Duration) {
        let Connection { router, metrics, waiting, stopping } = self;
        let mut overdue = pin!(overdue(waiting.subscribe(), silence));
        let service = {
            let metrics = metrics.clone();
            service_fn(move |request| -> ResponseFuture {
                Box::pin(answer(router.clone(), request, metrics.clone(), waiting.clone()))
            })
        };
        let mut http = http1::Builder::new().max_buf_size(HEAD_LIMIT).serve_connection(TokioIo::new(stream), service);
        let mut stops = false;
        loop {
            tokio::select! {
                // An error is the client's, and where it can be answered hyper has done so.
                _ = poll_fn(|cx| http.poll_without_shutdown(cx)) => break,
                () = &mut overdue => return metrics.http_connection_closed(ConnectionEnd::Timeout),
                () = stopping.cancelled(), if !stops => {
                    stops = true;
                    Pin::new(&mut http).graceful_shutdown();
                }
            }
        }
        tokio::select! {
            _ = timeout(LINGER, linger(http.into_parts().io.into_inner())) => {}
            () = stopping.cancelled() => {}
        }
    }
}

/// Ready when a client has let the connection wait for too long.
async fn overdue(mut waiting: watch::Receiver<Option<Instant>>, silence: Duration) {
    loop {
        let since = *waiting.borrow_and_update();
        let patience = async {
            match since {
                Some(since) => sleep_until(since + silence).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = patience => return,
            // Without its sender the connection answers nothing more.
            changed = waiting.changed() => if changed.is_err() { pending().await },
        }
    }
}

/// Answers a request, with 500 if that panics.
async fn answer(
    router: TowerToHyperService<Router>,
    request: axum::http::Request<Incoming>,
    metrics: Metrics,
    waiting: watch::Sender<Option<Instant>>,
) -> Result<Response, Infallible> {
    waiting.send_replace(None);
    let path = request.uri().path().to_owned();
    let answered = {
        let mut answering = pin!(router.call(request));
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await
    };
    let response = answered.map_or_else(
        |_| {
            tracing::error!(?path, "an HTTP request panicked");
            let error = "the request could not be answered; the log says why";
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
        },
        |response| response.unwrap_or_else(|never| match never {}),
    );
    metrics.http_answered(response.status().as_u16());
    waiting.send_replace(Some(Instant::now()));
    Ok(response)
}

/// Says that nothing more will be sent, and drops what still arrives until the client closes.
async fn linger(mut stream: TcpStream) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await?;
    let mut dropped = [0; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut dropped) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}
