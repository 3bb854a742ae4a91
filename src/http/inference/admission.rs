//! Admission of inference requests: what bounds the memory and the cores that they take.
//!
//! A request needs a place before its body is read, and keeps the place until its answer is written. Requests without
//! a place hold no body, wait for a short time only, and are limited in number. Probes and scrapes need no place.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::{Failure, ServerLimits};

/// The largest body of a request, in bytes: 8,192 rows of 30 numbers with 16 characters each.
pub(in crate::http) const BODY_LIMIT: usize = 4 << 20;

/// The places for inference requests.
#[derive(Debug)]
pub(in crate::http) struct Admission {
    queue: Arc<Semaphore>,
    places: Arc<Semaphore>,
    inferences: Arc<Semaphore>,
    limits: ServerLimits,
}

/// A request whose body is read.
#[derive(Debug)]
pub(super) struct AdmittedRequest {
    body: Vec<u8>,
    place: RequestPlace,
    inferences: Arc<Semaphore>,
}

impl Admission {
    pub(in crate::http) fn new(limits: ServerLimits) -> Admission {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Admission {
            queue: semaphore(limits.queue),
            places: semaphore(limits.places),
            inferences: semaphore(limits.inferences),
            limits,
        }
    }

    /// Takes a place, then reads the body. A body that says that it is too large is refused before both.
    pub(super) async fn admit(&self, body: Body) -> Result<AdmittedRequest, Failure> {
        if body.size_hint().lower() > BODY_LIMIT as u64 {
            return Err(too_large());
        }
        let place = self.place().await.ok_or_else(|| {
            let error = "too many inference requests at once; send fewer, or records to the input topic";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, error).retry_after(RETRY_AFTER)
        })?;
        let body = timeout(self.limits.body, read(body)).await.unwrap_or_else(|_| Err(too_slow(self.limits.body)))?;
        Ok(AdmittedRequest { body, place, inferences: Arc::clone(&self.inferences) })
    }

    async fn place(&self) -> Option<RequestPlace> {
        let queued = Arc::clone(&self.queue).try_acquire_owned().ok()?;
        let place = timeout(self.limits.place_wait, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()?;
        Some(RequestPlace { _queued: queued, _place: place })
    }
}

/// Seconds after which a client that found no place may try again. Most requests take milliseconds.
const RETRY_AFTER: u32 = 1;

impl AdmittedRequest {
    /// Has `infer` answer the body, on a thread where that may take its time. The place stays taken until the answer is
    /// dropped, which is when it is written. `None` if `infer` panics.
    pub(super) async fn answer_with<E: Send + 'static>(
        self,
        infer: impl FnOnce(&[u8]) -> Result<Vec<u8>, E> + Send + 'static,
    ) -> Option<Result<Bytes, E>> {
        let AdmittedRequest { body, place, inferences } = self;
        // The semaphore is never closed.
        let permit = inferences.acquire_owned().await.ok()?;
        let answering = tokio::task::spawn_blocking(move || {
            // The permit and the place are the thread's: the client may be gone before it is done.
            let _permit = permit;
            infer(&body).map(|json| Bytes::from_owner(HeldAnswer { json, _place: place }))
        });
        answering.await.ok()
    }
}

#[derive(Debug)]
struct RequestPlace {
    _queued: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

/// An answer that keeps its request's place.
struct HeldAnswer {
    json: Vec<u8>,
    _place: RequestPlace,
}

impl AsRef<[u8]> for HeldAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

async fn read(mut body: Body) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(body.size_hint().lower().min(BODY_LIMIT as u64) as usize);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| {
            Failure::new(StatusCode::BAD_REQUEST, format!("the body could not be read to its end: {error}"))
        })?;
        // The other kind of frame is trailers.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > BODY_LIMIT {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn too_large() -> Failure {
    let error = format!("the body is larger than {BODY_LIMIT} bytes: send fewer rows at once");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error)
}

fn too_slow(limit: Duration) -> Failure {
    Failure::new(StatusCode::REQUEST_TIMEOUT, format!("the body took longer than {limit:?} to arrive"))
}
