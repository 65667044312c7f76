//! Followed logs and watched workspaces, which a relay of its own serves as the API of a laptop does.

use super::Apart;
use crate::harness::{PATIENCE, finish, template};
use berth_client::{Client, ClientError};
use berth_domain::{JobStatus, Secret, Transition};
use berth_wire::{build::CreateBuild, workspace::CreateWorkspace};
use std::{fs, process::Command};
use tokio::time::timeout;
use uuid::Uuid;

impl Apart {
    pub(super) fn token(&self) -> Secret {
        Secret::new(fs::read_to_string(self.berth.home().join("config/session")).unwrap().trim().to_owned())
    }

    /// A client that finds the relay where the API is, as behind the CDN, which sends live routes there.
    fn through_relay(&self) -> Client {
        Client::new(&self.url, Some(self.token())).unwrap()
    }

    /// What curl says: the status, and the body.
    fn curl(&self, path: &str, headers: &[&str]) -> (String, String) {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--noproxy", "*", "-m", "20", "-w", "\n%{http_code}"]);
        for header in headers {
            curl.args(["-H", header]);
        }
        let answer = finish(curl.arg(format!("{}{path}", self.url.trim_end_matches('/'))));
        let (body, status) = answer.stdout.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    }
}

/// Everything that a follower is told until the end.
async fn all<T: serde::de::DeserializeOwned>(mut follow: berth_client::Follow<T>) -> Result<Vec<T>, ClientError> {
    let mut told = Vec::new();
    let read = async {
        while let Some(one) = follow.next().await {
            told.push(one?);
        }
        Ok(())
    };
    timeout(PATIENCE, read).await.expect("the follower's end")?;
    Ok(told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_at_the_relay_as_at_the_api() {
    let apart = tokio::task::spawn_blocking(Apart::with_workspace).await.unwrap();
    let (api, relay) = (apart.berth.client(), apart.through_relay());
    let workspace = api.workspace_by_name("me", "dev").await.unwrap();
    // A build that runs while it is followed, and one that is over.
    let build = api.create_build(workspace.id, &CreateBuild::new(Transition::Stop)).await.unwrap().id;
    let running = relay.build_logs_follow(build, 0).await.unwrap();
    let at_relay = all(running).await.unwrap();
    assert_eq!(api.build(build).await.unwrap().job.status, JobStatus::Succeeded, "the follower ends when the build has");
    let at_api = all(api.build_logs_follow(build, 0).await.unwrap()).await.unwrap();
    assert!(!at_api.is_empty());
    assert_eq!(at_relay, at_api);
    let half = at_api[at_api.len() / 2].id;
    let after = all(relay.build_logs_follow(build, half).await.unwrap()).await.unwrap();
    assert_eq!(after, at_api.into_iter().filter(|line| line.id > half).collect::<Vec<_>>());

    let version = api.template_by_name("local").await.unwrap().active_version_id;
    let lines = all(relay.version_logs_follow(version, 0).await.unwrap()).await.unwrap();
    assert_eq!(lines, all(api.version_logs_follow(version, 0).await.unwrap()).await.unwrap());
    // What is not followed is the API's own answer, errors included.
    let path = format!("/api/v2/workspacebuilds/{build}/logs?after={half}");
    let session = format!("Coder-Session-Token: {}", apart.token().expose());
    let (status, body) = apart.curl(&path, &[&session]);
    assert_eq!((status.as_str(), serde_json::from_str::<Vec<berth_wire::build::JobLog>>(&body).unwrap()), ("200", after));
    assert_eq!(apart.curl(&path, &[]).0, "401");
    assert_eq!(apart.curl(&path, &[&session, "X-Berth-Relayed: 1"]).0, "508", "a request does not go round");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_log_is_followed_until_a_newer_build_replaces_it() {
    let apart = tokio::task::spawn_blocking(Apart::with_workspace).await.unwrap();
    let (api, relay) = (apart.berth.client(), apart.through_relay());
    let workspace = api.workspace_by_name("me", "dev").await.unwrap();
    let agents = workspace.latest_build.resources.iter().flat_map(|resource| resource.agents.iter().flatten());
    let agent = agents.map(|agent| agent.id).next().unwrap();
    let followed = tokio::spawn(all(relay.agent_logs_follow(agent, 0).await.unwrap()));
    api.create_build(workspace.id, &CreateBuild::new(Transition::Stop)).await.unwrap();
    followed.await.unwrap().unwrap();
    assert!(matches!(api.agent_logs(agent, 0).await, Err(ClientError::Api { status: 404, .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_workspace_tells_of_its_agent_and_its_builds() {
    let apart = tokio::task::spawn_blocking(Apart::with_workspace).await.unwrap();
    let (api, relay) = (apart.berth.client(), apart.through_relay());
    let workspace = api.workspace_by_name("me", "dev").await.unwrap();
    let mut watched = relay.watch_workspace(workspace.id).await.unwrap();
    let build = api.create_build(workspace.id, &CreateBuild::new(Transition::Stop)).await.unwrap().id;
    let seen = async {
        loop {
            let event = watched.next().await.unwrap().unwrap();
            if event.data.is_some_and(|now| now.latest_build.id == build && now.latest_build.job.status == JobStatus::Succeeded) {
                return;
            }
        }
    };
    timeout(PATIENCE, seen).await.unwrap();
    // The same as events; curl gives up after a moment, which is how it ends.
    let path = format!("/api/v2/workspaces/{}/watch", workspace.id);
    let session = format!("Coder-Session-Token: {}", apart.token().expose());
    let mut curl = Command::new("curl");
    curl.args(["-sN", "--noproxy", "*", "-m", "2", "-H", &session, &format!("{}{path}", apart.url.trim_end_matches('/'))]);
    let told = finish(&mut curl).stdout;
    assert!(told.starts_with("event: data\ndata: {"), "{told}");
    let data = told.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let shown: berth_wire::workspace::Workspace = serde_json::from_str(data).unwrap();
    assert_eq!((shown.id, shown.latest_build.id), (workspace.id, build));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_gets_no_socket_and_who_signs_out_loses_it() {
    let apart = tokio::task::spawn_blocking(Apart::with_workspace).await.unwrap();
    let (api, relay) = (apart.berth.client(), apart.through_relay());
    let workspace = api.workspace_by_name("me", "dev").await.unwrap();
    let stranger = Client::new(&apart.url, Some(Secret::new("a".repeat(10) + "-" + &"b".repeat(22)))).unwrap();
    assert!(matches!(stranger.watch_workspace(workspace.id).await, Err(ClientError::Api { status: 401, .. })));
    assert!(matches!(relay.watch_workspace(Uuid::new_v4()).await, Err(ClientError::Api { status: 404, .. })));
    assert!(matches!(relay.build_logs_follow(Uuid::new_v4(), 0).await, Err(ClientError::Api { status: 404, .. })));
    let session = format!("Coder-Session-Token: {}", apart.token().expose());
    let upgrade =
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    let path = format!("/api/v2/workspaces/{}/watch-ws", workspace.id);
    let from_page = [&upgrade[..], &[&session, "Origin: https://evil.example"]].concat();
    assert_eq!(apart.curl(&path, &from_page).0, "403");
    assert_eq!(apart.curl(&path, &[&session]).0, "426");

    let mut watched = relay.watch_workspace(workspace.id).await.unwrap();
    watched.next().await.unwrap().unwrap();
    api.logout().await.unwrap();
    let ended = async {
        loop {
            match watched.next().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    };
    let end = timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap_err().to_string();
    assert!(end.contains("the session ended"), "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_drains_tells_its_followers_and_is_gone_within_seconds() {
    let mut apart = tokio::task::spawn_blocking(Apart::start).await.unwrap();
    let slow = template(
        &apart.berth,
        "slow",
        "resource \"terraform_data\" \"slow\" {\n  provisioner \"local-exec\" {\n    command = \"sleep 600\"\n  }\n}\n",
    );
    apart.berth.ok(&["templates", "push", "slow", "--directory", &slow, "--yes"]);
    let template_id = Some(apart.berth.client().template_by_name("slow").await.unwrap().id);
    let dev = CreateWorkspace { template_id, name: "dev".to_owned(), ..CreateWorkspace::default() };
    let workspace = apart.berth.client().create_workspace("me", &dev).await.unwrap();
    let relay = apart.through_relay();
    let mut log = relay.build_logs_follow(workspace.latest_build.id, 0).await.unwrap();
    let mut watched = relay.watch_workspace(workspace.id).await.unwrap();
    log.next().await.unwrap().unwrap();
    watched.next().await.unwrap().unwrap();
    let process = apart.relay.take().unwrap();
    let stopped = tokio::task::spawn_blocking(move || {
        let started = std::time::Instant::now();
        (process.stop(), started.elapsed())
    });
    let end = async {
        loop {
            match log.next().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    };
    let end = timeout(PATIENCE, end).await.unwrap().unwrap().unwrap_err().to_string();
    assert!(end.contains("the server stops"), "{end}");
    let (code, took) = stopped.await.unwrap();
    assert_eq!(code, Some(0));
    assert!(took.as_secs() < 20, "{took:?}");
}
