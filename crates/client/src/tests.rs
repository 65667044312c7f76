//! The client against a real HTTP server that answers as the API does, or as proxies and broken servers do.

use crate::{AgentClient, Client, ClientError, RunnerClient};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, patch, post, put},
};
use berth_wire::{
    domain::{Secret, TaskId, Timestamp},
    runner::Claim,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, Router::new().nest("/api/v2", router)).await.unwrap() });
        Self { address, _task: task }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address), Some(Secret::new("id-secret".to_owned()))).unwrap()
    }
}

fn line(id: u64) -> Value {
    json!({"id": id, "created_at": Timestamp::UNIX_EPOCH, "log_source": "provisioner", "log_level": "info", "stage": "s", "output": "o"})
}

fn agent_line(id: u64) -> Value {
    json!({"id": id, "created_at": Timestamp::UNIX_EPOCH, "level": "info", "source_id": Uuid::nil(), "output": "o"})
}

async fn close(mut socket: WebSocket, code: u16, reason: &str) {
    socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.unwrap();
}

#[tokio::test]
async fn nobody_listening_is_said_in_plain_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&base, None).unwrap();
    let plain = client.build_info().await.unwrap_err();
    assert_eq!(plain.to_string(), format!("cannot reach Berth at {base}: connection refused"));
    assert!(plain.is_transient());
    let socket = client.build_logs_follow(Uuid::nil(), 0).await.unwrap_err();
    assert_eq!(socket.to_string(), plain.to_string());
    let nowhere = Client::new("http://berth.invalid", None).unwrap().build_info().await.unwrap_err().to_string();
    assert!(nowhere.starts_with("cannot reach Berth at http://berth.invalid: "), "{nowhere}");
}

#[tokio::test]
async fn the_first_user_is_there_or_not() {
    let absent =
        Router::new().route("/users/first", get(|| async { (StatusCode::NOT_FOUND, Json(json!({"message": "no user"}))) }));
    assert!(!Server::start(absent).await.client().first_user_exists().await.unwrap());
    let present = Router::new().route("/users/first", get(|| async { Json(json!({"message": "there is one"})) }));
    assert!(Server::start(present).await.client().first_user_exists().await.unwrap());
}

#[tokio::test]
async fn a_refusal_keeps_its_envelope_and_a_proxy_gets_one() {
    let router = Router::new()
        .route("/users/ada", get(|| async { (StatusCode::FORBIDDEN, Json(json!({"message": "you may not see ada"}))) }))
        .route("/users/bob", get(|| async { (StatusCode::BAD_GATEWAY, "<html>nginx</html>") }))
        .route("/users/eve", get(|| async { (StatusCode::FOUND, [("location", "https://elsewhere.example/")]) }));
    let server = Server::start(router).await;
    let refused = server.client().user("ada").await.unwrap_err();
    assert!(refused.is_forbidden() && refused.to_string() == "you may not see ada", "{refused}");
    let proxy = server.client().user("bob").await.unwrap_err();
    assert_eq!(proxy.to_string(), "the server answered 502 Bad Gateway");
    let redirect = server.client().user("eve").await.unwrap_err();
    assert_eq!(redirect.to_string(), "berth is elsewhere: the server redirects to https://elsewhere.example/");
}

#[tokio::test]
async fn every_call_carries_the_token_and_our_name() {
    async fn show(headers: HeaderMap) -> Response {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let seen = json!({"token": text("coder-session-token"), "agent": text("user-agent"), "encoding": text("accept-encoding")});
        (StatusCode::IM_A_TEAPOT, Json(json!({"message": seen.to_string()}))).into_response()
    }
    let router = Router::new()
        .route("/users/{name}", get(show))
        .route("/workspaces/{id}/watch-ws", get(show))
        .route("/workspaceagents/me/lifecycle", patch(show));
    let server = Server::start(router).await;
    let plain = server.client().me().await.unwrap_err().to_string();
    let socket = server.client().watch_workspace(Uuid::nil()).await.unwrap_err().to_string();
    let expected = json!({"token": "id-secret", "agent": crate::http::user_agent(), "encoding": null}).to_string();
    assert_eq!((plain.as_str(), socket.as_str()), (expected.as_str(), expected.as_str()));
    let agent = AgentClient::new(server.client().base_url(), Secret::new("of the agent".to_owned())).unwrap();
    let report =
        berth_wire::agent::LifecycleReport { state: berth_wire::domain::Lifecycle::Ready, changed_at: Timestamp::UNIX_EPOCH };
    assert!(agent.lifecycle(&report).await.unwrap_err().to_string().contains("of the agent"));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_and_a_strange_one_is_named() {
    let router = Router::new()
        .route(
            "/users/big",
            get(|| async {
                Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65536]))))
            }),
        )
        .route("/users/odd", get(|| async { Json(json!({"id": 7})) }));
    let server = Server::start(router).await;
    let big = tokio::time::timeout(PATIENCE, server.client().user("big")).await.unwrap().unwrap_err();
    assert!(matches!(big, ClientError::TooLarge { .. }), "{big}");
    let odd = server.client().user("odd").await.unwrap_err();
    assert!(matches!(odd, ClientError::Decode { .. }), "{odd}");
    assert!(odd.to_string().contains("/api/v2/users/odd"), "{odd}");
}

#[tokio::test]
async fn a_followed_log_ends_in_order_or_says_why_not() {
    async fn logs(upgrade: WebSocketUpgrade, uri: axum::http::Uri) -> Response {
        assert_eq!(uri.query(), Some("follow=true&after=3"));
        let broken = uri.path().contains(&Uuid::max().to_string());
        upgrade.on_upgrade(move |mut socket| async move {
            for id in 4..7 {
                socket.send(Message::text(line(id).to_string())).await.unwrap();
                socket.send(Message::Ping(Bytes::new())).await.unwrap();
            }
            if broken {
                return close(socket, 1011, "the log is gone").await;
            }
            close(socket, 1000, "").await;
        })
    }
    let server = Server::start(Router::new().route("/workspacebuilds/{id}/logs", get(logs))).await;
    let mut follow = server.client().build_logs_follow(Uuid::nil(), 3).await.unwrap();
    let mut seen = Vec::new();
    while let Some(line) = follow.next().await {
        seen.push(line.unwrap().id);
    }
    assert_eq!(seen, [4, 5, 6]);
    let mut follow = server.client().build_logs_follow(Uuid::max(), 3).await.unwrap();
    for _ in 0..3 {
        follow.next().await.unwrap().unwrap();
    }
    let error = follow.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::Broken { reason, .. } if reason == "the log is gone"), "{error}");
    assert!(follow.next().await.is_none());
}

#[tokio::test]
async fn agent_logs_come_line_by_line_and_a_cut_connection_is_an_error() {
    async fn logs(upgrade: WebSocketUpgrade) -> Response {
        upgrade.on_upgrade(|mut socket| async move {
            socket.send(Message::text(json!([agent_line(1), agent_line(2)]).to_string())).await.unwrap();
        })
    }
    let server = Server::start(Router::new().route("/workspaceagents/{id}/logs", get(logs))).await;
    let mut follow = server.client().agent_logs_follow(Uuid::nil(), 0).await.unwrap();
    assert_eq!(follow.next().await.unwrap().unwrap().id, 1);
    assert_eq!(follow.next().await.unwrap().unwrap().id, 2);
    assert!(follow.next().await.unwrap().is_err());
}

#[tokio::test]
async fn an_upload_is_streamed_with_its_length_and_tells_how_far_it_is() {
    async fn take(headers: HeaderMap, body: Bytes) -> Response {
        assert_eq!(headers["content-type"], "application/x-tar");
        assert_eq!(headers["content-length"], body.len().to_string());
        assert!(body.iter().all(|byte| *byte == 9));
        (StatusCode::CREATED, Json(json!({"hash": Uuid::from_u128(5)}))).into_response()
    }
    let router = Router::new().route("/files", post(take)).layer(axum::extract::DefaultBodyLimit::disable());
    let server = Server::start(router).await;
    let sent = Arc::new(AtomicU64::new(0));
    let heard = Arc::clone(&sent);
    let archive = std::io::Cursor::new(vec![9; 3_000_000]);
    let file = server.client().upload_file(archive, 3_000_000, move |total| heard.store(total, Ordering::Relaxed)).await.unwrap();
    assert_eq!(file.id, Uuid::from_u128(5));
    assert_eq!(sent.load(Ordering::Relaxed), 3_000_000);
}

#[tokio::test]
async fn a_runner_claims_and_then_speaks_for_its_job() {
    let job = json!({"kind": "import", "version_id": Uuid::nil(), "version_name": "v", "access_url": "http://x/",
        "owner": {"id": Uuid::nil(), "username": "ada", "name": "", "email": "", "login_type": "password"}});
    let claimed = json!({"session": "abc", "fence": 1, "lease_ends": Timestamp::UNIX_EPOCH, "job": job});
    async fn state(headers: HeaderMap) -> StatusCode {
        assert_eq!(headers["authorization"], "Bearer abc");
        StatusCode::NO_CONTENT
    }
    async fn put_state() -> Response {
        (StatusCode::CONFLICT, Json(json!({"message": "fence 1 is old"}))).into_response()
    }
    let router = Router::new()
        .route("/runner/jobs/{id}/claim", post(move || async move { Json(claimed) }))
        .route("/runner/jobs/{id}/state", put(put_state).get(state));
    let server = Server::start(router).await;
    let claim = Claim { token: Secret::new("once".to_owned()), task: TaskId(Uuid::nil()) };
    let client = Client::new(server.client().base_url(), None).unwrap();
    let (runner, claimed) = RunnerClient::claim(&client, Uuid::nil(), &claim).await.unwrap();
    assert_eq!(claimed.fence, 1);
    assert_eq!(runner.state().await.unwrap(), None);
    assert!(runner.put_state(Bytes::from_static(b"{}")).await.unwrap_err().is_conflict());
}
