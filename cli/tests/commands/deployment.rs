//! A deployment on loopback that answers what a story has it answer.

use axum::{
    Json, Router,
    extract::{
        Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::runtime::Runtime;

/// The token it knows.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef-0123456789abcdef0123456789abcdef";
const ID: &str = "00000000-0000-7000-8000-000000000001";
const TIME: &str = "2026-01-02T03:04:05Z";

/// What it has and does.
#[derive(Clone, Default)]
pub(crate) struct Story {
    /// Whether there is a first user.
    pub(crate) has_users: bool,
    /// The status of the one build's job, and its error.
    pub(crate) job: (&'static str, &'static str),
    /// The status of the one workspace.
    pub(crate) workspace: &'static str,
    /// The status of its one agent; empty for none.
    pub(crate) agent: &'static str,
    /// What the template asks.
    pub(crate) parameters: Value,
    /// Its presets.
    pub(crate) presets: Value,
    /// What the workspace's build was given.
    pub(crate) answers: Value,
    /// Whether the first log stream breaks off after two lines.
    pub(crate) breaks: bool,
    /// Whether the log stream never ends.
    pub(crate) endless: bool,
    /// Requests that arrived.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl Story {
    fn hear(&self, what: impl Into<String>) -> usize {
        let mut heard = self.heard.lock().unwrap();
        heard.push(what.into());
        heard.len()
    }
}

/// A running deployment; it ends when this is dropped.
pub(crate) struct Deployment {
    pub(crate) url: String,
    pub(crate) story: Story,
    _runtime: Runtime,
}

impl Deployment {
    pub(crate) fn tell(story: Story) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = router(story.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, story, _runtime: runtime }
    }

    pub(crate) fn forget(&self) {
        self.story.heard.lock().unwrap().clear();
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.story.heard.lock().unwrap().clone()
    }
}

fn router(story: Story) -> Router {
    let api = Router::new()
        .route("/users/first", get(first_user).post(create_first_user))
        .route("/users/login", post(login))
        .route("/users/logout", post(|| async { Json(json!({"message": "gone"})) }))
        .route("/users/me", get(me))
        .route(
            "/users/me/keys",
            post(|headers: HeaderMap| async move {
                if known(&headers) { Json(json!({"key": TOKEN})).into_response() } else { refused() }
            }),
        )
        .route("/users/{owner}/workspace/{name}", get(workspace_by_name))
        .route("/users/{owner}/workspaces", post(create_workspace))
        .route(
            "/workspaces",
            get(|State(story): State<Story>| async move { Json(json!({"workspaces": [workspace(&story)], "count": 1})) }),
        )
        .route("/workspaces/{id}", get(|State(story): State<Story>| async move { Json(workspace(&story)) }))
        .route("/workspaces/{id}/builds", post(create_build))
        .route("/workspacebuilds/{id}", get(|State(story): State<Story>| async move { Json(build(&story)) }))
        .route("/workspacebuilds/{id}/cancel", patch(|| async { Json(json!({})) }))
        .route("/workspacebuilds/{id}/logs", get(logs))
        .route("/organizations/default/templates/{name}", get(template))
        .route(
            "/templateversions/{id}/rich-parameters",
            get(|State(story): State<Story>| async move { Json(list(story.parameters)) }),
        )
        .route("/templateversions/{id}/resources", get(|| async { Json(json!([])) }))
        .route("/templateversions/{id}/presets", get(|State(story): State<Story>| async move { Json(list(story.presets)) }))
        .route("/workspacebuilds/{id}/parameters", get(|State(story): State<Story>| async move { Json(list(story.answers)) }));
    Router::new().nest("/api/v2", api).with_state(story)
}

/// A story that says nothing has nothing.
fn list(value: Value) -> Value {
    if value.is_null() { json!([]) } else { value }
}

fn known(headers: &HeaderMap) -> bool {
    headers.get("Coder-Session-Token").is_some_and(|token| token == TOKEN)
}

fn refused() -> Response {
    (StatusCode::UNAUTHORIZED, Json(json!({"message": "you are not signed in"}))).into_response()
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"message": "not found"}))).into_response()
}

async fn first_user(State(story): State<Story>) -> Response {
    if story.has_users { Json(json!({})).into_response() } else { missing() }
}

async fn create_first_user(State(story): State<Story>, Json(body): Json<Value>) -> Response {
    story.hear(format!("first user {}", body["username"].as_str().unwrap()));
    (StatusCode::CREATED, Json(json!({"user_id": ID, "organization_id": ID}))).into_response()
}

async fn login(Json(body): Json<Value>) -> Response {
    if body["password"] == "correct horse" {
        return (StatusCode::CREATED, Json(json!({"session_token": TOKEN}))).into_response();
    }
    (StatusCode::UNAUTHORIZED, Json(json!({"message": "the e-mail address or the password is wrong"}))).into_response()
}

async fn me(headers: HeaderMap) -> Response {
    if !known(&headers) {
        return refused();
    }
    let user = json!({"id": ID, "username": "ada", "name": "", "email": "ada@example.com", "avatar_url": "", "status": "active",
        "login_type": "password", "roles": [], "organization_ids": [ID], "created_at": TIME, "updated_at": TIME, "last_seen_at": TIME});
    Json(user).into_response()
}

async fn workspace_by_name(State(story): State<Story>, headers: HeaderMap, Path((_, name)): Path<(String, String)>) -> Response {
    match (known(&headers), name.as_str()) {
        (false, _) => refused(),
        (true, "dev") => Json(workspace(&story)).into_response(),
        (true, _) => missing(),
    }
}

async fn create_workspace(State(story): State<Story>, Json(body): Json<Value>) -> Response {
    let preset = &body["template_version_preset_id"];
    let preset = if preset.is_null() { String::new() } else { format!(" preset {preset}") };
    story.hear(format!("create {}{preset}", body["rich_parameter_values"]));
    (StatusCode::CREATED, Json(workspace(&story))).into_response()
}

async fn create_build(State(story): State<Story>, Json(body): Json<Value>) -> Response {
    let values = &body["rich_parameter_values"];
    let values = if values.is_null() { String::new() } else { format!(" with {values}") };
    story.hear(format!("build {} because {}{values}", body["transition"].as_str().unwrap(), body["reason"].as_str().unwrap()));
    (StatusCode::CREATED, Json(build(&story))).into_response()
}

async fn logs(
    State(story): State<Story>,
    axum::extract::Query(query): axum::extract::Query<HashMap<String, String>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let after: u64 = query.get("after").map_or(0, |after| after.parse().unwrap());
    let turn = story.hear(format!("logs after {after}"));
    match upgrade {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| stream(socket, story, after, turn == 1)),
        Err(_) => Json((1..=3).filter(|&id| id > after).map(line).collect::<Vec<_>>()).into_response(),
    }
}

async fn stream(mut socket: WebSocket, story: Story, after: u64, first: bool) {
    for id in (after + 1)..=3 {
        if story.breaks && first && id == 3 {
            return;
        }
        socket.send(Message::Text(line(id).to_string().into())).await.unwrap();
    }
    if story.endless {
        story.hear("following");
        while socket.recv().await.is_some_and(|message| message.is_ok()) {}
        return;
    }
    socket.send(Message::Close(Some(axum::extract::ws::CloseFrame { code: 1000, reason: "".into() }))).await.unwrap();
}

async fn template(Path(name): Path<String>) -> Response {
    if name != "linux" {
        return missing();
    }
    let template = json!({"id": ID, "created_at": TIME, "updated_at": TIME, "organization_id": ID, "organization_name": "default", "name": name,
        "display_name": "", "provisioner": "terraform", "active_version_id": ID, "active_user_count": 0, "description": "", "deprecated": false,
        "deprecation_message": "", "icon": "", "default_ttl_ms": 0, "created_by_id": ID, "created_by_name": "ada",
        "allow_user_cancel_workspace_jobs": true, "require_active_version": false});
    Json(template).into_response()
}

fn line(id: u64) -> Value {
    let stage = if id < 3 { "Initializing Terraform" } else { "Applying" };
    json!({"id": id, "created_at": TIME, "log_source": "provisioner", "log_level": "info", "stage": stage, "output": format!("line {id} \u{1b}[31mred")})
}

fn build(story: &Story) -> Value {
    let (status, error) = story.job;
    json!({"id": ID, "created_at": TIME, "updated_at": TIME, "workspace_id": ID, "workspace_name": "dev", "workspace_owner_id": ID,
        "workspace_owner_name": "ada", "template_version_id": ID, "template_version_name": "v1", "build_number": 1, "transition": "start",
        "initiator_id": ID, "initiator_name": "ada", "reason": "cli", "resources": resources(story), "status": story.workspace, "deadline": null,
        "max_deadline": null, "job": {"id": ID, "created_at": TIME, "status": status, "error": error, "file_id": ID}})
}

fn resources(story: &Story) -> Value {
    if story.agent.is_empty() {
        return json!([]);
    }
    let agent = json!({"id": ID, "created_at": TIME, "updated_at": TIME, "status": story.agent, "lifecycle_state": "created", "name": "main",
        "resource_id": ID, "architecture": "amd64", "operating_system": "linux", "version": "", "apps": [], "connection_timeout_seconds": 120,
        "troubleshooting_url": "https://help.example/agents", "startup_script_behavior": "non-blocking", "health": {"healthy": false, "reason": ""}});
    json!([{"id": ID, "created_at": TIME, "job_id": ID, "workspace_transition": "start", "type": "berth_process", "name": "dev", "hide": false,
        "icon": "", "agents": [agent]}])
}

fn workspace(story: &Story) -> Value {
    json!({"id": ID, "created_at": TIME, "updated_at": TIME, "owner_id": ID, "owner_name": "ada", "organization_id": ID,
        "organization_name": "default", "template_id": ID, "template_name": "linux", "template_display_name": "", "template_icon": "",
        "template_allow_user_cancel_workspace_jobs": true, "template_active_version_id": ID, "template_require_active_version": false,
        "latest_build": build(story), "outdated": false, "name": "dev", "autostart_schedule": null, "ttl_ms": null, "last_used_at": TIME,
        "deleting_at": null, "dormant_at": null, "health": {"healthy": true, "failing_agents": []}, "automatic_updates": "never",
        "allow_renames": false, "favorite": false, "next_start_at": null})
}
