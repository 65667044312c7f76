//! Whether the relay is of use yet: for ECS, which replaces the old one only then, on a port of this machine alone; and, in fewer words,
//! for everyone.

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// How long `berth-relay --check` waits for an answer.
const CHECK: Duration = Duration::from_secs(3);
/// The path of both.
const PATH: &str = "/healthz";

/// What is still missing. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<watch::Sender<Missing>>);

#[derive(Debug, Clone, Copy)]
struct Missing {
    keys: bool,
    certificate: bool,
    records: bool,
    drains: bool,
}

impl Missing {
    fn names(self) -> Vec<&'static str> {
        let all = [
            (self.keys, "the API's public keys"),
            (self.certificate, "a certificate"),
            (self.records, "its DNS records"),
            (self.drains, "its successor: it is being stopped"),
        ];
        all.into_iter().filter_map(|(missing, name)| missing.then_some(name)).collect()
    }
}

impl Health {
    /// Nothing is there yet. A relay without a public side waits for keys alone.
    pub(crate) fn new(public: bool) -> Self {
        Self(Arc::new(watch::Sender::new(Missing { keys: true, certificate: public, records: public, drains: false })))
    }

    pub(crate) fn has_keys(&self) {
        self.0.send_modify(|missing| missing.keys = false);
    }

    /// Waits until there are keys.
    pub(crate) async fn keys(&self) {
        // Fails only when the sender is gone, and this is one.
        let mut missing = self.0.subscribe();
        let _there = missing.wait_for(|missing| !missing.keys).await;
    }

    pub(crate) fn has_certificate(&self) {
        self.0.send_modify(|missing| missing.certificate = false);
    }

    pub(crate) fn has_records(&self) {
        self.0.send_modify(|missing| missing.records = false);
        if self.is_ready() {
            tracing::info!("the relay is ready");
        }
    }

    pub(crate) fn drains(&self) {
        self.0.send_modify(|missing| missing.drains = true);
    }

    fn is_ready(&self) -> bool {
        self.0.borrow().names().is_empty()
    }

    /// For everyone: the version and whether we are ready.
    pub(crate) fn public(self) -> Router {
        Router::new().route(PATH, get(tell)).with_state(self)
    }

    /// For this machine: also what is missing.
    pub(crate) fn private(self) -> Router {
        Router::new().route(PATH, get(tell_more)).with_state(self)
    }

    fn status(&self) -> StatusCode {
        if self.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

async fn tell(State(health): State<Health>) -> (StatusCode, Json<Value>) {
    (health.status(), Json(json!({ "version": env!("CARGO_PKG_VERSION"), "ready": health.is_ready() })))
}

async fn tell_more(State(health): State<Health>) -> (StatusCode, Json<Value>) {
    let missing = health.0.borrow().names();
    let body = json!({ "version": env!("CARGO_PKG_VERSION"), "ready": missing.is_empty(), "waiting_for": missing });
    (health.status(), Json(body))
}

/// Asks the relay that runs on this machine, as the container's health check does. The answer's body.
///
/// # Errors
/// When nothing answers, or when it says that it is not ready.
pub fn check(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, CHECK)?;
    stream.set_read_timeout(Some(CHECK))?;
    stream.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(16 * 1024).read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    if answer.starts_with("HTTP/1.1 200 ") { Ok(body) } else { Err(io::Error::other(format!("the relay is not ready: {body}"))) }
}
