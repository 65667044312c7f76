//! Open sockets, over a real listener: follow, watch, Origin, drain.

use super::fixture::{World, up};
use berth_domain::{AgentId, Role};
use berth_store::JobId;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, handshake::client::generate_key, protocol::frame::coding::CloseCode},
};

/// Nothing here takes longer; a story that waits in vain fails.
const DEADLINE: Duration = Duration::from_secs(20);

struct Served {
    world: World,
    address: SocketAddr,
    admin: String,
    workspace: Value,
    _server: JoinSet<()>,
}

async fn served() -> Served {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&admin, &template, "dev").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, mut server) = (world.router.clone(), JoinSet::new());
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served { world, address, admin, workspace, _server: server }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Served {
    async fn open(&self, path: &str, token: &str, origin: Option<&str>) -> Result<Socket, Error> {
        let mut request = Request::get(format!("ws://{}{path}", self.address))
            .header("host", self.address.to_string())
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key())
            .header("coder-session-token", token);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        tokio_tungstenite::connect_async(request.body(()).unwrap()).await.map(|(socket, _)| socket)
    }

    fn id(&self) -> &str {
        self.workspace["id"].as_str().unwrap()
    }

    fn job(&self) -> JobId {
        JobId::Build(self.workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap())
    }
}

/// The next text frame as JSON, or how the socket was closed.
async fn next(socket: &mut Socket) -> Result<Value, Option<CloseCode>> {
    loop {
        match tokio::time::timeout(DEADLINE, socket.next()).await.expect("nothing came") {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

fn status(refused: Result<Socket, Error>) -> u16 {
    match refused {
        Err(Error::Http(response)) => response.status().as_u16(),
        Ok(_) => 101,
        Err(other) => panic!("{other}"),
    }
}

fn line(text: &str) -> Value {
    json!({ "created_at": "2026-08-01T00:00:00Z", "source": "provisioner", "level": "info", "stage": "Applying", "output": text })
}

#[tokio::test]
async fn a_log_is_followed_to_its_end() {
    let served = served().await;
    let job = served.job();
    let mut socket =
        served.open(&format!("/api/v2/workspacebuilds/{}/logs?follow=true", job.uuid()), &served.admin, None).await.unwrap();
    let (session, _) = served.world.claim(job).await;
    let runner = format!("/api/v2/runner/jobs/{}", job.uuid());
    for text in ["one", "two"] {
        served.world.by(&session).post(&format!("{runner}/logs"), json!([line(text)])).await.is(204);
        assert_eq!(next(&mut socket).await.unwrap()["output"], text);
    }
    let mut late =
        served.open(&format!("/api/v2/workspacebuilds/{}/logs?follow&after=1", job.uuid()), &served.admin, None).await.unwrap();
    assert_eq!(next(&mut late).await.unwrap()["output"], "two");
    served.world.by(&session).post(&format!("{runner}/logs"), json!([line("three")])).await.is(204);
    served.world.by(&session).post(&format!("{runner}/finish"), json!({ "outcome": { "kind": "succeeded" } })).await.is(204);
    for socket in [&mut socket, &mut late] {
        assert_eq!(next(socket).await.unwrap()["output"], "three");
        assert_eq!(next(socket).await, Err(Some(CloseCode::Normal)));
    }
}

#[tokio::test]
async fn a_plain_request_to_follow_is_told_what_is_wanted() {
    let served = served().await;
    let path = format!("/api/v2/workspacebuilds/{}/logs?follow=true", served.job().uuid());
    served.world.by(&served.admin).get(&path).await.refused(426);
    assert_eq!(served.world.by(&served.admin).get(&path.replace("true", "false")).await.is(200), json!([]));
}

#[tokio::test]
async fn where_no_connection_is_held_open_one_is_told_where_it_is() {
    let world = World::with(|config| config.sockets_url = Some("https://relay.example.com/".to_owned())).await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&admin, &template, "dev").await;
    let (agent, _) = world.up(&workspace).await;
    let (id, build) = (workspace["id"].as_str().unwrap(), workspace["latest_build"]["id"].as_str().unwrap());
    for path in [
        format!("/api/v2/workspaceagents/{agent}/pty?reconnect={}", uuid::Uuid::from_u128(7)),
        format!("/api/v2/workspacebuilds/{build}/logs?follow&after=3"),
        format!("/api/v2/workspaces/{id}/watch"),
        format!("/api/v2/workspaces/{id}/watch-ws"),
    ] {
        let refused = world.by(&admin).get(&path).await.is(426);
        assert_eq!(refused["detail"], format!("https://relay.example.com{path}"));
    }
    assert_eq!(world.by(&admin).get(&format!("/api/v2/workspacebuilds/{build}/logs")).await.is(200), json!([]));
}

#[tokio::test]
async fn a_watched_workspace_tells_each_change_once() {
    let served = served().await;
    let mut socket = served.open(&format!("/api/v2/workspaces/{}/watch-ws", served.id()), &served.admin, None).await.unwrap();
    let mut told = async || {
        let event = next(&mut socket).await.unwrap();
        assert_eq!(event["type"], "data");
        event["data"].clone()
    };
    assert_eq!(told().await["latest_build"]["status"], "pending");
    let (session, _) = served.world.claim(served.job()).await;
    assert_eq!(told().await["latest_build"]["status"], "starting");
    served.world.app.changes.poke(crate::Topic::Workspace(served.id().parse().unwrap())); // Nothing changed: nothing is told.
    let (agent, token) = (berth_domain::AgentId(uuid::Uuid::new_v4()), "agent-token");
    let finish = format!("/api/v2/runner/jobs/{}/finish", served.job().uuid());
    served.world.by(&session).post(&finish, super::fixture::up(agent, token)).await.is(204);
    assert_eq!(told().await["latest_build"]["status"], "running");
    served.world.connect(agent, token).await;
    let mut last = told().await;
    served.world.app.changes.poke(crate::Topic::Agent(agent)); // As the relay's presence does.
    while last["latest_build"]["resources"][0]["agents"][0]["status"] != "connected" {
        last = told().await;
    }
}

#[tokio::test]
async fn agent_logs_are_followed_in_arrays() {
    let served = served().await;
    let (agent, token) = served.world.up(&served.workspace).await;
    let mut socket = served.open(&format!("/api/v2/workspaceagents/{agent}/logs?follow=true"), &served.admin, None).await.unwrap();
    let line = |text: &str| json!({ "created_at": "2026-08-01T00:00:00Z", "level": "info", "output": text });
    for text in ["one", "two"] {
        let body = json!({ "log_source_id": uuid::Uuid::new_v4(), "logs": [line(text)] });
        served.world.by(&token).patch("/api/v2/workspaceagents/me/logs", body).await.is(204);
        assert_eq!(next(&mut socket).await.unwrap()[0]["output"], text);
    }
}

#[tokio::test]
async fn the_event_stream_tells_what_the_websocket_tells() {
    let served = served().await;
    let request = Request::get(format!("/api/v2/workspaces/{}/watch", served.id())).header("coder-session-token", &served.admin);
    let response =
        tower::ServiceExt::oneshot(served.world.router.clone(), request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut told = async || {
        let chunk = tokio::time::timeout(DEADLINE, stream.next()).await.expect("nothing came").unwrap().unwrap();
        let text = String::from_utf8(chunk.to_vec()).unwrap();
        let data =
            text.strip_prefix("event: data\ndata: ").and_then(|text| text.strip_suffix("\n\n")).unwrap_or_else(|| panic!("{text}"));
        serde_json::from_str::<Value>(data).unwrap()
    };
    assert_eq!(told().await["latest_build"]["status"], "pending");
    served.world.claim(served.job()).await;
    assert_eq!(told().await["latest_build"]["status"], "starting");
    served.world.app.drain.cancel();
    assert!(tokio::time::timeout(DEADLINE, stream.next()).await.expect("it goes on").is_none());
}

#[tokio::test]
async fn pages_of_other_hosts_and_other_people_open_nothing() {
    let served = served().await;
    let bob = served.world.user("bob", &[]).await;
    for path in [
        format!("/api/v2/workspaces/{}/watch-ws", served.id()),
        format!("/api/v2/workspacebuilds/{}/logs?follow=true", served.job().uuid()),
    ] {
        for evil in ["https://evil.com", "null", &format!("http://{}.evil.com", served.address)] {
            assert_eq!(status(served.open(&path, &served.admin, Some(evil)).await), 403);
        }
        assert_eq!(status(served.open(&path, &served.admin, Some(&format!("http://{}", served.address))).await), 101);
        assert_eq!(status(served.open(&path, &bob, None).await), 404);
        assert_eq!(status(served.open(&path, "nobody", None).await), 401);
    }
}

#[tokio::test]
async fn open_sockets_end_when_the_server_stops_and_leave_no_listener() {
    let served = served().await;
    let mut socket = served.open(&format!("/api/v2/workspaces/{}/watch-ws", served.id()), &served.admin, None).await.unwrap();
    let mut other = served.open(&format!("/api/v2/workspaces/{}/watch-ws", served.id()), &served.admin, None).await.unwrap();
    next(&mut socket).await.unwrap();
    next(&mut other).await.unwrap();
    assert_eq!(served.world.app.changes.listeners(), 4);
    other.send(Message::Close(None)).await.unwrap();
    served.world.app.drain.cancel();
    assert_eq!(next(&mut socket).await, Err(Some(CloseCode::Away)));
    let gone = async {
        while served.world.app.changes.listeners() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("a watcher outlived its socket");
}

#[tokio::test]
async fn signing_out_ends_what_was_opened_with_the_session_and_nothing_else() {
    let served = served().await;
    let path = format!("/api/v2/workspaces/{}/watch-ws", served.id());
    let key = served.world.by(&served.admin).post("/api/v2/users/me/keys/tokens", json!({ "token_name": "ide" })).await.is(201);
    let mut ide = served.open(&path, key["key"].as_str().unwrap(), None).await.unwrap();
    let mut page = served.open(&path, &served.admin, None).await.unwrap();
    next(&mut ide).await.unwrap();
    next(&mut page).await.unwrap();
    served.world.by(&served.admin).delete("/api/v2/users/me/keys/ide").await.is(204);
    assert_eq!(next(&mut ide).await, Err(Some(CloseCode::Away)));
    served.world.claim(served.job()).await;
    assert_eq!(next(&mut page).await.unwrap()["data"]["latest_build"]["status"], "starting");
    served.world.by(&served.admin).post("/api/v2/users/logout", json!({})).await.is(200);
    assert_eq!(next(&mut page).await, Err(Some(CloseCode::Away)));
}

#[tokio::test]
async fn what_metadata_scripts_say_is_told_to_whoever_watches_and_written_nowhere() {
    let served = served().await;
    let (agent, token) = (AgentId(uuid::Uuid::new_v4()), uuid::Uuid::new_v4().to_string());
    let mut up = up(agent, &token);
    let block = json!({ "key": "load", "display_name": "Load", "script": "echo canary", "interval": 10, "timeout": 1 });
    up["resources"][0]["agents"][0]["metadata"] = json!([block]);
    served.world.run(served.job(), up).await;
    let path = format!("/api/v2/workspaceagents/{agent}/watch-metadata-ws");
    let mut socket = served.open(&path, &served.admin, None).await.unwrap();
    let first = next(&mut socket).await.unwrap();
    assert_eq!(first["type"], "data");
    assert_eq!(first["data"][0]["result"], json!({ "collected_at": "0001-01-01T00:00:00Z", "age": 0, "value": "", "error": "" }));
    let shown = json!({ "key": "load", "display_name": "Load", "script": "", "interval": 10, "timeout": 1 });
    assert_eq!(first["data"][0]["description"], shown, "a script's text is the agent's alone");
    let before = served.world.store().meter();
    let value = |key: &str, value: &str| json!({ "values": [{ "key": key, "collected_at": served.world.now(), "value": value }] });
    let (own, metadata) = (served.world.by(&token), "/api/v2/workspaceagents/me/metadata");
    own.post(metadata, value("load", &"1".repeat(5_000))).await.is(204);
    assert_eq!(next(&mut socket).await.unwrap()["data"][0]["result"]["value"].as_str().unwrap().len(), 2048);
    assert_eq!((served.world.store().meter() - before).writes, 0);
    own.post(metadata, value("other", "1")).await.refused(400);
    let bob = served.world.user("bob", &[]).await;
    assert_eq!(status(served.open(&path, &bob, None).await), 404);
}

#[tokio::test]
async fn where_no_connection_is_held_open_there_is_no_metadata_and_no_agent_is_asked_for_it() {
    let world = World::with(|config| config.sockets_url = Some("https://relay.example.com/".to_owned())).await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let (agent, token) = world.up(&world.workspace(&admin, &template, "dev").await).await;
    for twin in ["watch-metadata", "watch-metadata-ws"] {
        world.by(&admin).get(&format!("/api/v2/workspaceagents/{agent}/{twin}")).await.refused(404);
    }
    assert_eq!(world.connect(agent, &token).await["metadata"], json!([]));
}
