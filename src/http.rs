//! HTTP: metrics, health, and inference by the Open Inference Protocol on the models that the routes serve.
//!
//! | path | answers |
//! | --- | --- |
//! | `GET /metrics` | the Prometheus text exposition |
//! | `GET /livez` | 200 while the process can answer at all |
//! | `GET /readyz` | 200, or 503 with what isn't ready |
//! | `GET /v2`, `/v2/health/live`, `/v2/health/ready` | server metadata and health of the protocol |
//! | `GET /v2/models/NAME[/versions/N]` | what the model takes and answers |
//! | `GET /v2/models/NAME[/versions/N]/ready` | 200, or 503 while it isn't loaded |
//! | `POST /v2/models/NAME[/versions/N]/infer` | predictions |
//! | `POST /admin/routes/NAME/pause`, `…/resume` | makes a route's records wait, or go on; needs a token |
//!
//! Answers are JSON but for the metrics; what goes wrong says so as `{"error": "…"}`.

mod admin;
mod health;
pub mod inference;
mod metrics;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

pub use admin::Tokens;
pub use health::{Condition, Health};

use crate::model::reference::ModelRef;
use crate::model::slot::Slot;
use crate::monitor::metrics::Metrics;
use crate::worker::Gate;

/// The `[http]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct HttpConfig {
    /// `host:port` to listen on; port 0 takes a free one.
    pub listen: String,
    /// The bearer tokens of those who may change something.
    pub tokens: Tokens,
}

/// What the server looks at.
#[derive(Clone, Debug)]
pub struct State {
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/readyz` asks, beside the slots.
    pub health: Health,
    /// The routes and where their models are.
    pub routes: Vec<Served>,
    /// Who may change something.
    pub tokens: Tokens,
}

/// A route, as HTTP sees it.
#[derive(Clone, Debug)]
pub struct Served {
    /// The route's name.
    pub route: String,
    /// The model that it asks for.
    pub reference: ModelRef,
    /// The model that it has.
    pub slot: Arc<Slot>,
    /// Whether its records wait.
    pub gate: Arc<Gate>,
}

/// The largest request body, in bytes: some tens of thousands of rows, and a bound for what a stranger can make weir
/// hold.
const BODY_LIMIT: usize = 16 << 20;

/// How many requests are parsed and scored at once: inference by HTTP is for trying out and for low rates, and leaves
/// the cores to the workers.
const CONCURRENT_INFERENCES: usize = 2;

/// How long a shutdown waits for open requests.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown` is ready, then lets open requests finish, though not longer than five seconds.
pub async fn serve(
    listener: TcpListener,
    state: State,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with(listener, state, shutdown, GRACE).await
}

async fn serve_with(
    listener: TcpListener,
    state: State,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> io::Result<()> {
    let (stopping, stop) = oneshot::channel::<()>();
    let shutdown = async move {
        shutdown.await;
        // Nobody listens if the server has failed meanwhile.
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(shutdown);
    let patience = async {
        match stop.await {
            Ok(()) => tokio::time::sleep(grace).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = server => served,
        () = patience => Ok(()),
    }
}

/// The state as the handlers share it.
#[derive(Debug)]
struct Shared {
    state: State,
    inferences: Arc<Semaphore>,
}

fn router(state: State) -> Router {
    let inferences = Arc::new(Semaphore::new(CONCURRENT_INFERENCES));
    let model =
        |path: &str| [format!("/v2/models/{{name}}{path}"), format!("/v2/models/{{name}}/versions/{{version}}{path}")];
    let mut router = Router::new()
        .route("/metrics", get(metrics::render))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/admin/routes/{name}/{action}", post(admin::route))
        .route("/v2", get(inference::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready));
    for path in model("") {
        router = router.route(&path, get(inference::metadata));
    }
    for path in model("/ready") {
        router = router.route(&path, get(inference::ready));
    }
    for path in model("/infer") {
        router = router.route(&path, post(inference::infer));
    }
    router
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Arc::new(Shared { state, inferences }))
}

/// An answer that says what went wrong.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    error: String,
}

impl Failure {
    fn new(status: StatusCode, error: impl ToString) -> Failure {
        Failure { status, error: error.to_string() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}

#[cfg(test)]
mod tests;
