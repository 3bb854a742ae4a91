//! What changes something: pausing and resuming routes. It always needs a token.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{AppState, Failure};
use crate::logging::chain;
use crate::monitor::metrics::WaitReason;

/// The tokens of those who may change something. They are never shown.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "ListOrText")]
pub struct Tokens(Vec<String>);

/// A list, or what the environment can hold: a text with commas.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of texts")]
enum ListOrText {
    List(Vec<String>),
    Text(String),
}

impl From<ListOrText> for Tokens {
    fn from(tokens: ListOrText) -> Tokens {
        let tokens = match tokens {
            ListOrText::List(tokens) => tokens,
            ListOrText::Text(text) => text.split(',').map(|token| token.trim().to_owned()).collect(),
        };
        Tokens(tokens.into_iter().filter(|token| !token.is_empty()).collect())
    }
}

impl Tokens {
    /// One of them, for a client of one's own.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Whether one of them is `presented`. Digests are compared, so the time says nothing about the tokens.
    fn accept(&self, presented: &str) -> bool {
        let presented = Sha256::digest(presented);
        self.0.iter().fold(false, |found, token| found | (Sha256::digest(token) == presented))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

/// Makes a route's records wait, or go on.
pub(super) async fn route(
    State(shared): State<Arc<AppState>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    authorize(&shared.state.tokens, &headers)?;
    let Path((name, action)) = path?;
    let served = shared.state.routes.iter().find(|served| served.route == name);
    let Some(served) = served else {
        return Err(Failure::new(StatusCode::NOT_FOUND, format!("there is no route {name:?}")));
    };
    let changed = match action.as_str() {
        "pause" => served.gate.close(WaitReason::ByHand),
        // Whoever resumes a route means it, whatever has closed it.
        "resume" => served.gate.open(WaitReason::ByHand) | served.gate.open(WaitReason::Ratio),
        _ => return Err(Failure::new(StatusCode::NOT_FOUND, "a route can pause or resume")),
    };
    let paused = served.gate.is_closed();
    if changed {
        tracing::info!(route = name, paused, "paused or resumed by hand");
    }
    let (pauses, route, is_pause) = (shared.state.pauses.clone(), name.clone(), action == "pause");
    let kept = tokio::task::spawn_blocking(move || pauses.keep(&route, is_pause)).await;
    let lasting = match kept {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            let error = chain(&error);
            tracing::warn!(route = name, error, "the store doesn't keep this: it ends with this process");
            false
        }
        // A panic is in the log already.
        Err(_) => false,
    };
    Ok(Json(json!({ "route": name, "paused": paused, "changed": changed, "lasting": lasting })))
}

fn authorize(tokens: &Tokens, headers: &HeaderMap) -> Result<(), Failure> {
    if tokens.0.is_empty() {
        return Err(Failure::new(StatusCode::FORBIDDEN, "http.tokens is empty, so nobody may change anything"));
    }
    match presented(headers) {
        Some(token) if tokens.accept(token) => Ok(()),
        Some(_) => Err(Failure::new(StatusCode::FORBIDDEN, "this token is none of http.tokens")),
        None => Err(Failure::new(StatusCode::UNAUTHORIZED, "send a token: Authorization: Bearer TOKEN")),
    }
}

/// The bearer token of a request. Two headers are none: a proxy may have checked the other one.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_bearer_token_counts() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&["Bearer right"], Some("right")),
            (&["bearer  right"], Some("right")),
            (&["Bearer "], Some("")),
            (&["Bearer"], None),
            (&["Basic right"], None),
            (&["right"], None),
            (&["Bearer right", "Bearer right"], None),
            (&[], None),
        ];
        for (values, expected) in cases {
            let headers = values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect();
            assert_eq!(presented(&headers), *expected, "{values:?}");
        }
    }

    #[test]
    fn tokens_come_as_a_list_or_as_a_text_and_are_not_shown() {
        let list: Tokens = serde_json::from_value(json!(["one", "two"])).unwrap();
        let text: Tokens = serde_json::from_value(json!("one, two")).unwrap();
        for tokens in [list, text] {
            assert!(tokens.accept("two") && !tokens.accept("three") && !tokens.accept(""));
            assert_eq!(format!("{tokens:?}"), "2 tokens");
        }
        let none: Tokens = serde_json::from_value(json!("")).unwrap();
        assert!(none.first().is_none() && !none.accept(""));
    }
}
