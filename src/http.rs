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
mod connections;
mod health;
pub mod inference;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

pub use admin::Tokens;

use crate::health::Health;
use crate::model::reference::ModelRef;
use crate::model::slot::Slot;
use crate::monitor::metrics::Metrics;
use crate::pauses::Pauses;
use crate::worker::Gate;

/// The `[http]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct HttpConfig {
    /// `host:port` to listen on; port 0 takes a free one.
    pub listen: String,
    /// The bearer tokens of those who may change something.
    pub tokens: Tokens,
}

impl HttpConfig {
    /// Adds what is wrong with this section to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        let is_host = |host: &str| !host.is_empty() && !host.contains(char::is_whitespace);
        let parts = self.listen.rsplit_once(':');
        if !parts.is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok()) {
            mistakes.push(format!("http.listen = {:?}: must be HOST:PORT, such as \"127.0.0.1:8080\"", self.listen));
        }
    }
}

/// What the server looks at.
#[derive(Clone, Debug)]
pub struct State {
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/readyz` asks, beside the slots.
    pub health: Health,
    /// The routes and where their models are.
    pub routes: Vec<ServedRoute>,
    /// Who may change something.
    pub tokens: Tokens,
    /// Where pauses by hand are kept.
    pub pauses: Pauses,
}

/// A route, as HTTP sees it.
#[derive(Clone, Debug)]
pub struct ServedRoute {
    /// The route's name.
    pub route: String,
    /// The model that it asks for.
    pub reference: ModelRef,
    /// The model that it has.
    pub slot: Arc<Slot>,
    /// Whether its records wait.
    pub gate: Arc<Gate>,
    /// The share of the model's features that a row must have.
    pub min_features: f64,
    /// From which probability on the positive class is predicted, in place of the model's own threshold.
    pub threshold: Option<f64>,
}

/// Serves until `shutdown` is ready. Open requests may then finish, but only for five seconds.
pub async fn serve(listener: TcpListener, state: State, shutdown: impl Future<Output = ()> + Send + 'static) {
    serve_with(listener, state, ServerLimits::DEFAULT, shutdown).await;
}

async fn serve_with(
    listener: TcpListener,
    state: State,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let metrics = state.metrics.clone();
    connections::serve(listener, router(state, limits), metrics, limits, shutdown).await;
}

/// What clients may take of the process. Not configurable: a deployment that needs more than this has the topics.
///
/// The worst that all clients together can make weir hold is `places` bodies and as many answers of 4 MiB each, and
/// the values of `inferences` requests, 16 MiB each at most.
#[derive(Clone, Copy, Debug)]
struct ServerLimits {
    /// Open connections. When this many are open, the one that has waited longest for its client is closed for a new
    /// one.
    connections: usize,
    /// How long a connection may wait for its client: for a complete request head, between two requests, and until an
    /// answer is read.
    silence: Duration,
    /// Inference requests in progress or waiting for a place. Fewer than `connections`, so that the others remain for
    /// probes and scrapes.
    queue: usize,
    /// Inference requests whose bodies or answers may be in memory.
    places: usize,
    /// How long an inference request may wait for a place, its body unread.
    place_wait: Duration,
    /// How long a body may take to arrive: 4 MiB in this time are 3.4 Mbit/s.
    body: Duration,
    /// Inference requests that are parsed and scored at once. Inference over HTTP is for trying out and for low rates,
    /// and leaves the cores to the workers.
    inferences: usize,
    /// How long a shutdown waits for open requests.
    grace: Duration,
}

impl ServerLimits {
    const DEFAULT: ServerLimits = ServerLimits {
        connections: 128,
        silence: Duration::from_secs(20),
        queue: 64,
        places: 4,
        place_wait: Duration::from_secs(5),
        body: Duration::from_secs(10),
        inferences: 2,
        grace: Duration::from_secs(5),
    };
}

/// The state as the handlers share it.
#[derive(Debug)]
struct AppState {
    state: State,
    admission: inference::Admission,
}

fn router(state: State, limits: ServerLimits) -> Router {
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
        .with_state(Arc::new(AppState { state, admission: inference::Admission::new(limits) }))
}

/// An answer that says what went wrong.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    error: String,
    /// Seconds after which the same request may succeed.
    retry_after: Option<u32>,
}

impl Failure {
    fn new(status: StatusCode, error: impl ToString) -> Failure {
        let mut error = error.to_string();
        // An error may quote its request, which may be large.
        if let Some((end, _)) = error.char_indices().nth(LONGEST_ERROR) {
            error.truncate(end);
            error.push('…');
        }
        Failure { status, error, retry_after: None }
    }

    fn retry_after(self, seconds: u32) -> Failure {
        Failure { retry_after: Some(seconds), ..self }
    }
}

/// The most characters of an error.
const LONGEST_ERROR: usize = 1_000;

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Failure {
        Failure::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
        (self.status, retry_after, Json(json!({ "error": self.error }))).into_response()
    }
}

#[cfg(test)]
mod tests;
