//! What the IDE plugins expect, held against the real server: their calls, in their order, read as strictly as they read.
//!
//! The shapes are in `contract/`: a field that a plugin needs and does not get, or a word that it does not know, fails. Which routes a
//! client needs is a list here, so that one which is lost is missed.

mod fuzz;
mod shape;
mod shim;

use crate::harness::{Berth, PATIENCE, eventually, finish};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shape::{jetbrains, vscode};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

/// An answer as a client sees it.
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    #[track_caller]
    pub(crate) fn read<T: DeserializeOwned>(&self) -> T {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// A client with a person's token, or without.
pub(crate) struct Http<'a> {
    pub(crate) berth: &'a Berth,
    pub(crate) token: String,
}

impl<'a> Http<'a> {
    pub(crate) fn of(berth: &'a Berth) -> Self {
        Self { berth, token: std::fs::read_to_string(berth.home().join("config/session")).unwrap().trim().to_owned() }
    }

    pub(crate) fn nobody(berth: &'a Berth) -> Self {
        Self { berth, token: String::new() }
    }

    pub(crate) fn send(&self, method: &str, path: &str, more: &[&str]) -> Seen {
        let mut curl = self.berth.program("curl");
        curl.args(["-sS", "-X", method]).args(more);
        if !more.contains(&"-D") {
            curl.arg("-i");
        }
        if !self.token.is_empty() {
            curl.args(["-H", &format!("Coder-Session-Token: {}", self.token)]);
        }
        let answer = finish(curl.arg(format!("{}{path}", self.berth.url.trim_end_matches('/'))));
        assert_eq!(answer.code, Some(0), "{method} {path}: {answer:?}");
        let (head, body) = answer.stdout.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Seen { status, headers: headers.collect(), body: body.to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Seen {
        self.send("GET", path, &[])
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Seen {
        self.send("POST", path, &["--json", &body.to_string()])
    }

    /// The frames of a websocket until it is closed or `enough` says so; the close code, if it was closed.
    async fn frames(&self, path: &str, mut enough: impl FnMut(&str) -> bool) -> (Vec<String>, Option<u16>) {
        let url = format!("{}{path}", self.berth.url.trim_end_matches('/').replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("Coder-Session-Token", self.token.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut frames = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, socket.next()).await.expect("no frame came") {
                Some(Ok(Message::Text(text))) => {
                    frames.push(text.to_string());
                    if enough(frames.last().unwrap()) {
                        return (frames, None);
                    }
                }
                Some(Ok(Message::Close(frame))) => return (frames, frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{path}: {error}"),
                None => return (frames, None),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_the_vs_code_extension_from_login_to_build_log() {
    let berth = Berth::with_template();
    let (http, nobody) = (Http::of(&berth), Http::nobody(&berth));

    // Login: which server is this, does it know OAuth, where is a token to be had, is it good?
    let about: vscode::BuildInfo = nobody.get("/api/v2/buildinfo").read();
    vscode::check_version(&about.version);
    assert_eq!(nobody.get("/.well-known/oauth-authorization-server").status, 404);
    let page = nobody.get("/cli-auth");
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"), "{}", page.body);
    assert_eq!(nobody.get("/api/v2/users/me").status, 401);
    let me: vscode::User = http.get("/api/v2/users/me").read();
    assert_eq!((me.username.as_str(), me.roles.first().map(|role| role.name.as_str())), ("ada", Some("owner")));

    // The sidebar: own, all and shared workspaces. A filter that the server does not know would be 400 and hide the view.
    for query in ["owner:me", "", &format!("shared_with_user:{}", me.id)] {
        let list: vscode::Workspaces =
            http.send("GET", "/api/v2/workspaces", &["-G", "--data-urlencode", &format!("q={query}")]).read();
        assert_eq!(list.count, list.workspaces.len());
    }
    for quiet in ["/api/v2/notifications/inbox/watch?format=plaintext&templates=&targets=", "/api/v2/tasks", "/api/v2/tasks/ada"] {
        assert_eq!(http.get(quiet).status, 404, "{quiet}: the extension takes this for an older server, and asks no more");
    }
    let _: vscode::Appearance = http.get("/api/v2/appearance").read();

    // A workspace is made, watched, and its build log read to the end.
    let template: vscode::Template = http.get("/api/v2/organizations/default/templates/local").read();
    let made: vscode::Workspace =
        http.post("/api/v2/users/me/workspaces", &json!({ "name": "dev", "template_id": template.id })).read();
    let watch = format!("/api/v2/workspaces/{}/watch-ws", made.id);
    let (events, _) = http
        .frames(&watch, |frame| vscode::Event::of(frame).is_some_and(|seen| seen.latest_build.status == vscode::Status::Running))
        .await;
    let seen: Vec<_> = events.iter().filter_map(|frame| vscode::Event::of(frame)).map(|one| one.latest_build.status).collect();
    assert!(seen.len() >= 2, "each state of the build is an event: {seen:?}");
    let logs = format!("/api/v2/workspacebuilds/{}/logs?follow=true", made.latest_build.id);
    let (lines, code) = http.frames(&logs, |_| false).await;
    let lines: Vec<vscode::ProvisionerJobLog> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 3 && lines.iter().zip(1..).all(|(line, id)| line.id == id), "the lines are counted from 1");
    assert_eq!(code, Some(1000), "closed when nothing more can come");
    let half = lines.len() as u64 / 2;
    let (rest, _) = http.frames(&format!("{logs}&after={half}"), |_| false).await;
    assert_eq!(rest.len() as u64, lines.len() as u64 - half);

    // The agent: by name, its logs and metadata, and how SSH hosts are named.
    let dev: vscode::Workspace = http.get("/api/v2/users/ada/workspace/dev").read();
    let dev: vscode::Workspace = http.get(&format!("/api/v2/workspaces/{}", dev.id)).read();
    let agent = dev.agents().next().expect("a running workspace has an agent").clone();
    eventually("the agent's connection", || {
        let dev: vscode::Workspace = http.get(&format!("/api/v2/workspaces/{}", dev.id)).read();
        dev.agents().any(|agent| agent.status == vscode::AgentStatus::Connected).then_some(())
    });
    let metadata = format!("/api/v2/workspaceagents/{}/watch-metadata-ws", agent.id);
    let told = |frame: &str| vscode::Metadata::of(frame).iter().all(|(_, value)| !value.is_empty());
    let (metadata, _) = http.frames(&metadata, told).await;
    let keys: Vec<_> = vscode::Metadata::of(metadata.last().unwrap()).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["load", "home"], "what the template's scripts said, in its order");
    let _: Vec<vscode::AgentLog> = http.get(&format!("/api/v2/workspaceagents/{}/logs", agent.id)).read();
    let _: vscode::SshConfig = http.get("/api/v2/deployment/ssh").read();

    // An update: which version, what does it ask, what was answered; then a build.
    let version = format!("/api/v2/templateversions/{}", template.active_version_id);
    let _: vscode::Version = http.get(&version).read();
    let _: Vec<vscode::RichParameter> = http.get(&format!("{version}/rich-parameters")).read();
    let _: Vec<vscode::BuildParameter> = http.get(&format!("/api/v2/workspacebuilds/{}/parameters", dev.latest_build.id)).read();
    let stop = json!({ "transition": "stop", "template_version_id": template.active_version_id, "reason": "vscode_connection" });
    let stopped: vscode::Build = http.post(&format!("/api/v2/workspaces/{}/builds", dev.id), &stop).read();
    assert_eq!(stopped.reason, "vscode_connection");
    berth.ok(&["logs", "dev", "--follow"]);
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_session_of_the_jetbrains_plugins() {
    let berth = Berth::with_template();
    berth.ok(&["create", "dev", "--template", "local", "--yes"]);
    let (http, nobody) = (Http::of(&berth), Http::nobody(&berth));
    let _: jetbrains::BuildInfo = nobody.get("/api/v2/buildinfo").read();
    assert_eq!(nobody.get("/login?redirect=%2Fcli-auth").status, 200);
    let me: jetbrains::User = http.get("/api/v2/users/me").read();
    assert_eq!(me.username, "ada");
    let dressed: jetbrains::Appearance = http.get("/api/v2/appearance").read();
    assert_eq!(dressed.application_name, "Berth");
    // The presets of Toolbox's filter.
    let presets = ["owner:me", "", "status:running", "status:failed", "outdated:true", "shared:true", "dormant:true"];
    let found = presets.map(|query| {
        let list = http.send("GET", "/api/v2/workspaces", &["-G", "--data-urlencode", &format!("q={query}")]);
        list.read::<jetbrains::Workspaces>().workspaces.len()
    });
    assert_eq!(found, [1, 1, 1, 0, 0, 0, 0]);
    let list: jetbrains::Workspaces = http.get("/api/v2/workspaces").read();
    let dev = &list.workspaces[0];
    jetbrains::check_name(&dev.name, 32);
    jetbrains::check_name(&dev.owner_name, 32);
    let agent = dev.latest_build.resources.iter().flat_map(|resource| resource.agents.iter().flatten()).next().unwrap();
    jetbrains::check_name(&agent.name, 64);
    let _: jetbrains::Workspace = http.get(&format!("/api/v2/workspaces/{}", dev.id)).read();
    let _: jetbrains::Workspace = http.get("/api/v2/users/ada/workspace/dev").read();
    let template: jetbrains::Template = http.get(&format!("/api/v2/templates/{}", dev.template_id)).read();
    let _: Vec<jetbrains::Template> = http.get("/api/v2/templates").read();
    let planned: Vec<jetbrains::Resource> =
        http.get(&format!("/api/v2/templateversions/{}/resources", template.active_version_id)).read();
    assert!(planned.iter().any(|resource| resource.agents.is_some()), "Gateway reads a stopped workspace's agents here");
    let stop = json!({ "transition": "stop", "reason": "jetbrains_connection" });
    let build: jetbrains::Build = http.post(&format!("/api/v2/workspaces/{}/builds", dev.id), &stop).read();
    assert_eq!(build.build_number, dev.latest_build.build_number + 1);
    berth.ok(&["logs", "dev", "--follow"]);
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn the_program_for_an_ide_is_downloaded_once_and_known_again() {
    let berth = Berth::start();
    let nobody = Http::nobody(&berth);
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let path = format!("/bin/coder-linux-{arch}");
    let file = berth.home().join("coder");
    let head = nobody.send("GET", &path, &["-o", &file.to_string_lossy(), "-D", "-"]);
    let (etag, length) = (head.header("etag").to_owned(), head.header("content-length").to_owned());
    assert_eq!((head.status, etag.len(), length.parse()), (200, 42, Ok(std::fs::metadata(&file).unwrap().len())));
    let sum = finish(berth.program("sha1sum").arg(&file)).stdout;
    assert_eq!(etag.trim_matches('"'), sum.split(' ').next().unwrap(), "the tag is the SHA-1 that the plugins compute");
    assert_eq!(nobody.send("GET", &path, &["-H", &format!("If-None-Match: {etag}")]).status, 304);
    assert_eq!(nobody.get(&format!("{path}.asc")).status, 404, "there is no signature: the plugins ask whether to go on without");
    assert_eq!(nobody.get("/bin/coder-plan9-amd64").status, 404, "the plugins take this for a platform that is not supported");
}

#[test]
fn pictures_are_drawn_here() {
    let berth = Berth::start();
    let nobody = Http::nobody(&berth);
    for path in ["/icon/docker.svg", "/icon/k8s.png", "/emojis/1f4bb.png"] {
        let picture = nobody.get(path);
        assert!(picture.status == 200 && picture.header("content-type") == "image/svg+xml", "{path}: {}", picture.status);
        assert!(picture.body.starts_with("<svg ") && picture.body.trim_end().ends_with("</svg>"), "{path}: {}", picture.body);
    }
    for path in ["/icon/%3Cscript%3E.svg", "/emojis/3c.png", "/icon/docker"] {
        assert_eq!(nobody.get(path).status, 404, "{path}");
    }
}

/// Every route that a client of Coder's, or ours, calls by its own name: whatever else changes, these stay.
const NEEDED: &[&str] = &[
    // The VS Code extension.
    "GET /api/v2/buildinfo",
    "GET /api/v2/users/{user}",
    "GET /bin/{name}",
    "GET /cli-auth",
    "GET /api/v2/workspaces",
    "GET /api/v2/users/{user}/workspace/{name}",
    "GET /api/v2/workspaces/{workspace}",
    "GET /api/v2/workspaces/{workspace}/watch",
    "GET /api/v2/workspaces/{workspace}/watch-ws",
    "GET /api/v2/workspacebuilds/{build}/logs",
    "GET /api/v2/workspaceagents/{agent}/logs",
    "GET /api/v2/workspaceagents/{agent}/watch-metadata",
    "GET /api/v2/workspaceagents/{agent}/watch-metadata-ws",
    "GET /api/v2/workspaceagents/{agent}/pty",
    "GET /api/v2/deployment/ssh",
    "GET /api/v2/templates/{template}",
    "GET /api/v2/templateversions/{version}",
    "GET /api/v2/templateversions/{version}/rich-parameters",
    "GET /api/v2/workspacebuilds/{build}/parameters",
    "POST /api/v2/workspaces/{workspace}/builds",
    "GET /api/v2/appearance",
    // JetBrains.
    "GET /login",
    "GET /api/v2/templates",
    "GET /api/v2/templateversions/{version}/resources",
    "GET /icon/{name}",
    "GET /emojis/{name}",
    // The command line and people's scripts.
    "GET /api/v2/users/first",
    "POST /api/v2/users/first",
    "GET /api/v2/users/authmethods",
    "POST /api/v2/users/login",
    "POST /api/v2/users/logout",
    "POST /api/v2/users/{user}/keys",
    "POST /api/v2/users/{user}/keys/tokens",
    "GET /api/v2/organizations",
    "GET /api/v2/organizations/{organization}/templates/{name}",
    "GET /api/v2/templateversions/{version}/presets",
    "GET /api/v2/templateversions/{version}/external-auth",
    "POST /api/v2/users/{user}/workspaces",
    "PATCH /api/v2/workspacebuilds/{build}/cancel",
    "PUT /api/v2/workspaces/{workspace}/autostart",
    "PUT /api/v2/workspaces/{workspace}/ttl",
    "PUT /api/v2/workspaces/{workspace}/extend",
    "GET /api/v2/workspaceagents/{agent}",
    "POST /api/v2/workspaces/{workspace}/usage",
    "POST /api/v2/files",
    "GET /api/v2/files/{file}",
    "POST /api/v2/organizations/{organization}/templateversions",
    "GET /api/v2/templateversions/{version}/logs",
    "POST /api/v2/organizations/{organization}/templates",
    "PATCH /api/v2/templates/{template}/versions",
    "GET /api/v2/init-script/{os}/{arch}",
];

#[test]
fn no_route_that_a_client_needs_is_lost() {
    let document = std::fs::read_to_string(crate::harness::repository().join("docs/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let is_there = |needed: &&&str| {
        let (method, path) = needed.split_once(' ').unwrap();
        document["paths"][path][method.to_lowercase()].is_object()
    };
    let lost: Vec<_> = NEEDED.iter().filter(|needed| !is_there(needed)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
