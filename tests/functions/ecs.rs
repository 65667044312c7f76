//! An ECS that answers as it is told, since moto starts whatever it is asked to.

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{net::TcpListener, task::JoinSet};

/// It lives as long as this.
pub(super) struct Ecs {
    pub(super) url: String,
    said: Arc<Said>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct Said {
    asked: Mutex<Vec<(String, Value)>>,
    answer: Mutex<Option<(u16, Value)>>,
}

impl Ecs {
    pub(super) async fn start() -> Self {
        let said = Arc::new(Said::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        let state = Arc::clone(&said);
        let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let said = Arc::clone(&state);
            async move { said.answer(&headers, &body) }
        });
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, said, _server: server }
    }

    /// Refuses every RunTask with an error of this code.
    pub(super) fn refuses(&self, status: u16, code: &str, message: &str) {
        *self.said.answer.lock().unwrap() = Some((status, json!({ "__type": code, "message": message })));
    }

    /// Answers every RunTask with 200 and a failure.
    pub(super) fn fails(&self, reason: &str) {
        let failure = json!({ "arn": "arn:aws:ecs:eu-central-1:111122223333:cluster/berth", "reason": reason });
        *self.said.answer.lock().unwrap() = Some((200, json!({ "tasks": [], "failures": [failure] })));
    }

    /// Starts what it is asked to from now on.
    pub(super) fn has_room(&self) {
        *self.said.answer.lock().unwrap() = None;
    }

    /// The operations that were asked for, in order, each with what was asked.
    pub(super) fn asked(&self) -> Vec<(String, Value)> {
        self.said.asked.lock().unwrap().clone()
    }
}

impl Said {
    fn answer(&self, headers: &HeaderMap, body: &[u8]) -> axum::response::Response {
        let target = headers["x-amz-target"].to_str().unwrap();
        let operation = target.strip_prefix("AmazonEC2ContainerServiceV20141113.").unwrap().to_owned();
        let request: Value = serde_json::from_slice(body).unwrap();
        self.asked.lock().unwrap().push((operation.clone(), request.clone()));
        let (status, answer) = match operation.as_str() {
            "RunTask" => self.answer.lock().unwrap().clone().unwrap_or_else(|| {
                let arn = "arn:aws:ecs:eu-central-1:111122223333:task/berth/0123456789abcdef0123456789abcdef";
                (200, json!({ "tasks": [{ "taskArn": arn, "lastStatus": "PROVISIONING", "startedBy": request["startedBy"] }], "failures": [] }))
            }),
            "UpdateService" => (200, json!({ "service": { "serviceName": request["service"], "desiredCount": request["desiredCount"] } })),
            other => panic!("{other} is not expected"),
        };
        let headers = [("content-type", "application/x-amz-json-1.1")];
        (StatusCode::from_u16(status).unwrap(), headers, answer.to_string()).into_response()
    }
}
