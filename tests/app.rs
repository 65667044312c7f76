//! Web apps of a workspace in a browser's place: curl with a cookie jar, a websocket, and a real server in the workspace.

use crate::harness::{Berth, PASSWORD, eventually, repository, template};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::{fs, net::TcpListener, path::PathBuf, process::Stdio, time::Duration};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

/// A workspace that is a process, with apps on one port.
const TEMPLATE: &str = r#"
terraform {
  required_providers {
    berth = { source = "berth/berth" }
    coder = { source = "coder/coder" }
  }
}
data "coder_workspace" "me" {}
data "coder_provisioner" "me" {}
resource "berth_directory" "home" {}
resource "coder_agent" "main" {
  os   = data.coder_provisioner.me.os
  arch = data.coder_provisioner.me.arch
}
resource "coder_app" "web" {
  agent_id  = coder_agent.main.id
  slug      = "web"
  url       = "http://localhost:PORT"
  subdomain = true
}
resource "coder_app" "team" {
  agent_id  = coder_agent.main.id
  slug      = "team"
  url       = "http://localhost:PORT/?folder=/home"
  subdomain = true
  share     = "authenticated"
}
resource "coder_app" "open" {
  agent_id  = coder_agent.main.id
  slug      = "open"
  url       = "http://localhost:PORT"
  subdomain = true
  share     = "public"
}
resource "berth_process" "workspace" {
  count   = data.coder_workspace.me.start_count
  command = ["sh", "-c", coder_agent.main.init_script]
  dir     = berth_directory.home.path
  env = {
    CODER_AGENT_TOKEN = coder_agent.main.token
    HOME              = berth_directory.home.path
  }
}
"#;

/// A server with ada's workspace `dev`, in which the app runs at this port.
struct Stage {
    berth: Berth,
    port: u16,
}

/// What curl got.
#[derive(Debug)]
struct Page {
    status: u16,
    /// Where it ended, redirects followed.
    url: String,
    headers: String,
    body: String,
}

impl Page {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// What the app got as this header.
    fn sent(&self, name: &str) -> Vec<String> {
        let headers = self.json()["headers"].as_array().unwrap().clone();
        let of_name = |header: &&Value| header[0].as_str().unwrap().eq_ignore_ascii_case(name);
        headers.iter().filter(of_name).map(|header| header[1].as_str().unwrap().to_owned()).collect()
    }
}

impl Stage {
    fn start() -> Self {
        let berth = Berth::signed_in();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = template(&berth, "web", &TEMPLATE.replace("PORT", &port.to_string()));
        berth.ok(&["templates", "push", "web", "--directory", &directory, "--yes"]);
        berth.ok(&["create", "dev", "--template", "web", "--yes"]);
        Self { berth, port }
    }

    /// Starts the app in the workspace, as a developer does.
    fn run_app(&self) {
        let server = repository().join("tests/app/server.py");
        let line = format!("setsid python3 {} {} >/dev/null 2>&1 </dev/null & echo started", server.display(), self.port);
        assert_eq!(self.berth.ok(&["ssh", "dev", "--", &line]), "started\n");
    }

    fn url(&self, app: &str) -> String {
        let port = self.berth.url.trim_end_matches('/').rsplit(':').next().unwrap();
        format!("http://{app}--main--dev--ada.apps.localhost:{port}")
    }

    fn jar(&self, name: &str) -> PathBuf {
        self.berth.home().join(format!("{name}.cookies"))
    }

    /// A page as a browser of this person gets it.
    fn browse(&self, who: &str, url: &str, more: &[&str]) -> Page {
        let (jar, body) = (self.jar(who), self.berth.home().join("body"));
        let mut curl = self.berth.program("curl");
        curl.args(["--silent", "--show-error", "--location", "--max-time", "60", "--dump-header", "-"]);
        curl.args(["--write-out", "\n%{http_code} %{url_effective}", "--header", "Accept: text/html"]);
        curl.arg("--cookie").arg(&jar).arg("--cookie-jar").arg(&jar).arg("--output").arg(&body).args(more).arg(url);
        let output = curl.stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let (headers, last) = text.rsplit_once('\n').unwrap();
        let (status, url) = last.split_once(' ').unwrap();
        let body = fs::read(&body).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Page { status: status.parse().unwrap(), url: url.to_owned(), headers: headers.to_owned(), body }
    }

    /// Signs in at the dashboard.
    fn sign_in(&self, who: &str) {
        let body = format!(r#"{{"email":"{who}@example.com","password":"{PASSWORD}"}}"#);
        let url = format!("{}api/v2/users/login", self.berth.url);
        let page = self.browse(who, &url, &["--header", "Content-Type: application/json", "--data", &body]);
        assert_eq!(page.status, 201, "{page:?}");
    }

    /// The cookie that an app's host gave.
    fn app_cookie(&self, who: &str, app: &str) -> Option<String> {
        let jar = fs::read_to_string(self.jar(who)).unwrap_or_default();
        let host = self.url(app).trim_start_matches("http://").split(':').next().unwrap().to_owned();
        let line = jar.lines().find(|line| line.contains(&host) && line.contains("\tberth_app\t"));
        line.and_then(|line| line.rsplit('\t').next()).map(str::to_owned)
    }
}

#[test]
fn a_developer_with_a_browser_opens_an_app_uploads_and_talks_to_it() {
    let stage = Stage::start();
    // Not signed in anywhere: the dashboard's sign-in, with the way back.
    let page = stage.browse("ada", &stage.url("web"), &[]);
    assert!(page.url.starts_with(&format!("{}login?redirect=/api/v2/applications/auth-redirect%3F", stage.berth.url)), "{page:?}");
    stage.sign_in("ada");
    // Nothing listens yet.
    let page = stage.browse("ada", &stage.url("web"), &[]);
    assert_eq!(page.status, 502, "{page:?}");
    assert!(
        page.body.contains(&format!("Nothing listens on port {}", stage.port)) && page.body.contains("http-equiv=\"refresh\""),
        "{page:?}"
    );
    stage.run_app();
    let page = eventually("the app answers", || {
        Some(stage.browse("ada", &format!("{}/a/%2F?b=c", stage.url("web")), &[])).filter(|page| page.status == 200)
    });
    // A clean address, byte for byte, and nothing of ours at the app.
    assert_eq!(
        (page.url.as_str(), page.json()["path"].as_str()),
        (format!("{}/a/%2F?b=c", stage.url("web")).as_str(), Some("/a/%2F?b=c"))
    );
    let cookie = stage.app_cookie("ada", "web").expect("the host gave a cookie");
    assert!(
        !page.body.contains(&cookie) && !page.body.contains("coder_session_token") && !page.body.contains("berth_"),
        "{page:?}"
    );
    assert_eq!(page.sent("X-Forwarded-Host"), [stage.url("web").trim_start_matches("http://")]);
    assert!(!page.headers.contains("forged") && page.headers.contains("own=1"), "{page:?}");
    let again = stage.browse("ada", &stage.url("web"), &[]);
    assert_eq!(again.sent("Cookie"), ["own=1"], "the app's own cookie, which it set");

    // 64 MiB go up.
    let file = stage.berth.home().join("large");
    fs::write(&file, vec![b'x'; 64 << 20]).unwrap();
    let upload = stage.browse(
        "ada",
        &format!("{}/up", stage.url("web")),
        &["--header", "Expect:", "--data-binary", &format!("@{}", file.display())],
    );
    assert_eq!((upload.status, upload.json()["size"].as_u64()), (200, Some(64 << 20)), "{upload:?}");

    // A websocket.
    let origin = stage.url("web");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut request = format!("ws://127.0.0.1:{}/socket", origin.rsplit(':').next().unwrap()).into_client_request().unwrap();
        request.headers_mut().insert("host", origin.trim_start_matches("http://").parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request.headers_mut().insert("cookie", format!("berth_app={cookie}").parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        for text in ["hello", &"y".repeat(30_000)] {
            socket.send(Message::text(text)).await.unwrap();
            let echoed = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(echoed, Message::text(text));
        }
    });
}

#[test]
fn an_app_is_seen_by_whom_it_is_shared_with_and_a_stopped_workspace_starts_by_its_button_only() {
    let stage = Stage::start();
    stage.run_app();
    let berth = &stage.berth;
    stage.sign_in("ada");
    let bob = format!(r#"{{"email":"bob@example.com","username":"bob","password":"{PASSWORD}"}}"#);
    let dashboard = format!("Origin: {}", berth.url.trim_end_matches('/'));
    let made = stage.browse("ada", &format!("{}api/v2/users", berth.url), &["--header", &dashboard, "--data", &bob]);
    assert_eq!(made.status, 201, "{made:?}");
    stage.sign_in("bob");
    eventually("the app answers", || (stage.browse("ada", &stage.url("open"), &[]).status == 200).then_some(()));
    let statuses = |who: &str| ["web", "team", "open"].map(|app| stage.browse(who, &stage.url(app), &[]).status);
    assert_eq!(statuses("ada"), [200; 3]);
    assert_eq!(statuses("bob"), [404, 200, 200]);
    let nobody = stage.browse("nobody", &stage.url("team"), &[]);
    assert!(nobody.url.contains("/login?redirect="), "{nobody:?}");
    assert_eq!(stage.browse("nobody", &stage.url("open"), &[]).status, 200);
    // Where the app begins, as the template says; and a port that no template names.
    assert_eq!(stage.browse("ada", &stage.url("team"), &[]).json()["path"], "/?folder=/home");
    assert_eq!(stage.browse("ada", &stage.url(&stage.port.to_string()), &[]).status, 200);
    assert_eq!(stage.browse("bob", &stage.url(&stage.port.to_string()), &[]).status, 404);

    berth.ok(&["stop", "dev", "--yes"]);
    let builds = || berth.json(&["show", "dev"])["latest_build"]["build_number"].as_u64().unwrap();
    let stopped = eventually("it is seen to be stopped", || {
        Some(stage.browse("ada", &stage.url("web"), &[])).filter(|page| page.body.contains("is stopped"))
    });
    assert!(stopped.status == 503 && stopped.body.contains("<form method=\"post\""), "{stopped:?}");
    let before = builds();
    for _ in 0..3 {
        stage.browse("ada", &format!("{}/.well-known/berth/start", stage.url("web")), &[]);
    }
    let button = format!("{}/.well-known/berth/start", stage.url("web"));
    assert_eq!(stage.browse("ada", &button, &["--request", "POST", "--header", "Origin: http://evil.example"]).status, 403);
    assert_eq!(builds(), before, "looking starts nothing, nor does another site");
    let origin = format!("Origin: {}", stage.url("web"));
    let pressed = stage.browse("ada", &button, &["--header", &origin, "--data", ""]);
    assert!(pressed.body.contains("is start") && pressed.body.contains("http-equiv=\"refresh\""), "{pressed:?}");
    assert_eq!(builds(), before + 1);
    stage.run_app();
    eventually("the app is back", || (stage.browse("ada", &stage.url("web"), &[]).status == 200).then_some(()));

    // Out at the dashboard is out at the apps.
    let out = format!("{}api/v2/users/logout", berth.url);
    assert_eq!(stage.browse("ada", &out, &["--header", &dashboard, "--data", ""]).status, 200);
    eventually("ada is out", || stage.browse("ada", &stage.url("web"), &[]).url.contains("/login?redirect=").then_some(()));
}
