//! The Runtime API: what a function asks the service for.

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, State},
    response::Response,
    routing::{get, post},
};
use http::StatusCode;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::{mpsc, oneshot, watch};

/// The largest answer of a function: 6 MB. <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const ANSWER_BYTES_MAX: usize = 6 * 1024 * 1024;
/// What the service itself takes to read before it says that it is too much.
const READ_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event on its way to the function.
pub(crate) struct Event {
    pub(crate) body: Value,
    pub(crate) limit: Duration,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What a function made of an event.
#[derive(Debug)]
pub(crate) enum Answer {
    Response(Bytes),
    Error(Value),
    TooLarge(usize),
}

/// What the handlers share.
pub(crate) struct Service {
    events: tokio::sync::Mutex<mpsc::Receiver<Event>>,
    running: Mutex<Option<(String, oneshot::Sender<Answer>)>>,
    given: Mutex<u64>,
    /// How often the function asked for an event.
    asked: watch::Sender<u64>,
}

impl Service {
    pub(crate) fn new(events: mpsc::Receiver<Event>) -> Arc<Self> {
        let events = tokio::sync::Mutex::new(events);
        Arc::new(Self { events, running: Mutex::default(), given: Mutex::default(), asked: watch::Sender::new(0) })
    }

    pub(crate) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// The answer's place, when the id is that of the event which is being handled.
    fn place(&self, id: &str) -> Option<oneshot::Sender<Answer>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.take_if(|(running, _)| running == id).map(|(_, place)| place)
    }
}

pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .layer(DefaultBodyLimit::max(READ_BYTES_MAX))
        .with_state(service)
}

async fn next(State(service): State<Arc<Service>>) -> Response {
    service.asked.send_modify(|asked| *asked += 1);
    let Some(event) = service.events.lock().await.recv().await else {
        return status(StatusCode::GONE);
    };
    let id = {
        let mut given = service.given.lock().unwrap_or_else(PoisonError::into_inner);
        *given += 1;
        format!("00000000-0000-4000-8000-{given:012}")
    };
    let deadline = deadline(event.limit);
    *service.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((id.clone(), event.answer));
    let response = Response::builder()
        .header("lambda-runtime-aws-request-id", id)
        .header("lambda-runtime-deadline-ms", deadline)
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:111122223333:function:bed")
        .header("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0")
        .header("content-type", "application/json")
        .body(Body::from(event.body.to_string()));
    response.unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

/// Milliseconds since the epoch until which the function has time.
#[allow(clippy::disallowed_methods, reason = "the bed is the service, and the service has a clock")]
fn deadline(limit: Duration) -> String {
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + limit).as_millis().to_string()
}

async fn response(State(service): State<Arc<Service>>, Path(id): Path<String>, body: Bytes) -> (StatusCode, Json<Value>) {
    let Some(place) = service.place(&id) else { return unknown(&id) };
    if body.len() > ANSWER_BYTES_MAX {
        let _gone = place.send(Answer::TooLarge(body.len()));
        let told = json!({ "errorType": "RequestEntityTooLarge", "errorMessage": "Exceeded maximum allowed payload size (6291556 bytes)." });
        return (StatusCode::PAYLOAD_TOO_LARGE, Json(told));
    }
    let _gone = place.send(Answer::Response(body));
    accepted()
}

/// The content type is the service's own, `application/vnd.aws.lambda.error+json`, or none; it is not looked at.
async fn error(State(service): State<Arc<Service>>, Path(id): Path<String>, body: Bytes) -> (StatusCode, Json<Value>) {
    let Some(place) = service.place(&id) else { return unknown(&id) };
    let told = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    let _gone = place.send(Answer::Error(told));
    accepted()
}

async fn init_error() -> (StatusCode, Json<Value>) {
    accepted()
}

fn accepted() -> (StatusCode, Json<Value>) {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" })))
}

fn unknown(id: &str) -> (StatusCode, Json<Value>) {
    (
        StatusCode::BAD_REQUEST,
        Json(json!({ "errorType": "InvalidRequestID", "errorMessage": format!("{id} is not being handled") })),
    )
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
