//! Inference by the Open Inference Protocol, version 2, in JSON, on the same models and engine as the topics.
//!
//! A feature is an input tensor of shape `[n]` or `[n, 1]`; a model of numbers only also takes one tensor
//! `[n, features]`. The outputs are `prediction` and, of a classification, `probabilities`.

mod admission;
mod data;
mod error;
mod predict;
mod request;

pub(super) use admission::Admission;
#[cfg(test)]
pub(super) use admission::BODY_LIMIT;
pub use error::{InferError, TensorError};
pub use predict::{InferenceAnswer, answer};

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AppState, Failure, ServedRoute};
use crate::model::Model;
use crate::model::signature::{Kind, Target};

/// The output tensor of the predicted classes or numbers.
const PREDICTION: &str = "prediction";
/// The output tensor of the probabilities, a column per class.
const PROBABILITIES: &str = "probabilities";

/// The model in a request's path.
#[derive(Debug, Deserialize)]
pub(super) struct RequestedModel {
    name: String,
    version: Option<String>,
}

pub(super) async fn server() -> Json<Value> {
    Json(json!({ "name": "weir", "version": env!("CARGO_PKG_VERSION"), "extensions": [] }))
}

pub(super) async fn metadata(
    State(shared): State<Arc<AppState>>,
    path: Result<Path<RequestedModel>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let Path(asked) = path?;
    let (model, _) = shared.find(&asked)?;
    let signature = model.signature();
    let inputs = signature.features.iter().map(|feature| {
        let datatype = match feature.kind {
            Kind::Numeric => "FP64",
            Kind::Time | Kind::Categorical { .. } => "BYTES",
        };
        json!({ "name": feature.name, "datatype": datatype, "shape": [-1, 1] })
    });
    Ok(Json(json!({
        "name": model.name(),
        "versions": shared.versions(model.name()),
        "platform": "weir_mlp",
        "inputs": inputs.collect::<Vec<_>>(),
        "outputs": outputs(&model),
    })))
}

pub(super) async fn ready(
    State(shared): State<Arc<AppState>>,
    path: Result<Path<RequestedModel>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let Path(asked) = path?;
    let (model, _) = shared.find(&asked)?;
    Ok(Json(json!({ "name": model.name(), "ready": true })))
}

pub(super) async fn infer(
    State(shared): State<Arc<AppState>>,
    path: Result<Path<RequestedModel>, PathRejection>,
    request: Request,
) -> Result<impl IntoResponse, Failure> {
    let Path(asked) = path?;
    let (model, served) = shared.find(&asked)?;
    let (route, min_features) = (served.route.clone(), served.min_features);
    let decision = model.decision.with_threshold(served.threshold);
    let request = shared.admission.admit(request.into_body()).await?;
    let (metrics, started) = (shared.state.metrics.clone(), Instant::now());
    let answer = move |body: &[u8]| {
        let InferenceAnswer { json, rows } = predict::answer(&model, body, min_features, decision)?;
        metrics.http_inferred(&route, rows, started.elapsed());
        Ok::<_, InferError>(json)
    };
    match request.answer_with(answer).await {
        Some(Ok(json)) => Ok(([(header::CONTENT_TYPE, "application/json")], json)),
        Some(Err(error)) => Err(Failure::new(StatusCode::BAD_REQUEST, error)),
        None => {
            tracing::error!(model = asked.name, "an inference request panicked");
            let error = "the request could not be answered; the log says why";
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error))
        }
    }
}

/// The metadata of the output tensors.
fn outputs(model: &Model) -> Value {
    match &model.signature().target {
        Target::Classification { classes, .. } => json!([
            { "name": PREDICTION, "datatype": "BYTES", "shape": [-1, 1] },
            { "name": PROBABILITIES, "datatype": "FP32", "shape": [-1, classes.len()] },
        ]),
        Target::Regression { names } => {
            let datatype = if model.target_scale.is_some() { "FP64" } else { "FP32" };
            json!([{ "name": PREDICTION, "datatype": datatype, "shape": [-1, names.len()] }])
        }
    }
}

impl AppState {
    /// The loaded model that a path names: without a version, that of the first route that serves it. Beside it the
    /// route.
    fn find(&self, asked: &RequestedModel) -> Result<(Arc<Model>, &ServedRoute), Failure> {
        let name = &asked.name;
        let mut loaded = self.loaded(name);
        let Some(version) = &asked.version else {
            return loaded.next().ok_or_else(|| {
                if self.state.routes.iter().any(|served| served.reference.name == *name) {
                    Failure::new(StatusCode::SERVICE_UNAVAILABLE, format!("model {name:?} is not loaded yet"))
                } else {
                    Failure::new(StatusCode::NOT_FOUND, format!("no route serves a model {name:?}"))
                }
            });
        };
        loaded.find(|(model, _)| model.version().to_string() == *version).ok_or_else(|| {
            Failure::new(StatusCode::NOT_FOUND, format!("version {version:?} of model {name:?} is not being served"))
        })
    }

    /// The versions of a model that are loaded, ascending.
    fn versions(&self, name: &str) -> Vec<String> {
        let mut versions: Vec<_> = self.loaded(name).map(|(model, _)| model.version()).collect();
        versions.sort_unstable();
        versions.dedup();
        versions.iter().map(u64::to_string).collect()
    }

    fn loaded(&self, name: &str) -> impl Iterator<Item = (Arc<Model>, &ServedRoute)> {
        let routes = self.state.routes.iter();
        let models = routes.filter_map(|served| Some((served.slot.load()?, served)));
        models.filter(move |(model, _)| model.name() == name)
    }
}

#[cfg(test)]
mod tests;
