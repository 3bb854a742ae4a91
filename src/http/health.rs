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

/// Ready when all checks are and every route has a model.
pub(super) async fn ready(State(shared): State<Arc<AppState>>) -> (StatusCode, Json<Value>) {
    let mut reasons = shared.state.health.reasons();
    let empty = shared.state.routes.iter().filter(|served| served.slot.load().is_none());
    reasons.extend(empty.map(|served| format!("route {}: no model loaded yet", served.route)));
    if reasons.is_empty() {
        (StatusCode::OK, Json(json!({ "ready": true })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reasons": reasons })))
    }
}
