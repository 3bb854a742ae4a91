//! Health over HTTP.
//!
//! Liveness asks for nothing but an answer: a process that waits for its broker is alive, and restarting it would
//! help nobody.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::AppState;

pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// Ready when all checks are.
pub(super) async fn ready(State(shared): State<Arc<AppState>>) -> (StatusCode, Json<Value>) {
    let reasons = shared.state.health.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, Json(json!({ "ready": true })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reasons": reasons })))
    }
}
