//! `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::{AppState, Failure};
use crate::monitor::metrics::TEXT_FORMAT;

pub(super) async fn render(State(shared): State<Arc<AppState>>) -> Result<impl IntoResponse, Failure> {
    match shared.state.metrics.render() {
        Ok(text) => Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text)),
        Err(error) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
    }
}
