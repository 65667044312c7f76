//! Canaries: secrets planted wherever one can come from, and looked for wherever one must not come to.

use crate::harness::{Berth, PASSWORD, template};
use berth_client::Client;
use berth_domain::Secret;
use berth_wire::user::{CreateUser, Login};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What finds its way to Terraform's environment, and what must not.
const ENVIRONMENT: [&str; 8] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ARM_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
    "GOOGLE_CREDENTIALS",
    "KUBE_TOKEN",
    "DOCKER_REGISTRY_PASSWORD",
    "GITHUB_TOKEN",
];
/// Sensitive variables of the template.
const VARIABLES: usize = 38;

fn canary(of: &str) -> String {
    format!("canary-{}-7f3a9c", of.to_lowercase().replace('_', "-"))
}

/// Each sensitive variable goes into a resource, a provisioner's environment, the process's environment and an output.
fn main_tf() -> String {
    let mut text = String::from(
        r#"
terraform {
  required_providers {
    coder = { source = "coder/coder" }
    berth = { source = "berth/berth" }
  }
}
data "coder_workspace" "me" {}
variable "break_it" { default = false }
resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
  env  = { FROM_VARIABLE = var.secret0 }
}
resource "berth_process" "workspace" {
  count   = data.coder_workspace.me.start_count
  command = ["sh", "-c", coder_agent.main.init_script]
  env = {
    CODER_AGENT_TOKEN = coder_agent.main.token
    PLANTED           = var.secret1
  }
}
"#,
    );
    for index in 0..VARIABLES {
        text += &format!(
            r#"
variable "secret{index}" {{ sensitive = true }}
resource "terraform_data" "holder{index}" {{
  input = "${{var.secret{index}}} ${{data.coder_workspace.me.transition}}"
  provisioner "local-exec" {{
    command     = "echo \"$PLANTED\"; test -z \"$BROKEN\" || exit 9"
    environment = {{ PLANTED = var.secret{index} }}
  }}
}}
output "told{index}" {{
  value     = var.secret{index}
  sensitive = true
}}
"#
        );
    }
    text
}

/// A later version of it whose start fails in an expression over a secret, so that a diagnostic is about one.
fn broken_tf() -> String {
    format!(
        "{}\nresource \"terraform_data\" \"bad\" {{ input = tonumber(\"${{var.secret2}} ${{terraform_data.holder2.id}}\") }}\n",
        main_tf()
    )
}

struct Planted(Vec<String>);

impl Planted {
    /// Fails with where and which, never with the secret's surroundings alone.
    fn is_absent_from(&self, place: &str, bytes: &[u8]) {
        for secret in &self.0 {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret:?} is in {place}");
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// A member and an auditor: what they may see of ada's workspace, as the API answers it.
async fn strangers_views(berth: &Berth, ids: &[String]) -> Vec<(String, Vec<u8>)> {
    let admin = berth.client();
    let mut seen = Vec::new();
    for (name, roles) in [("bob", vec![]), ("tom", vec!["template-admin".to_owned()]), ("aud", vec!["auditor".to_owned()])] {
        let body =
            serde_json::json!({ "username": name, "email": format!("{name}@example.com"), "password": PASSWORD, "roles": roles });
        let create: CreateUser = serde_json::from_value(body).unwrap();
        admin.create_user(&create).await.unwrap();
        let login = Login { email: format!("{name}@example.com"), password: Secret::new(PASSWORD.to_owned()) };
        let session = Client::new(&berth.url, None).unwrap().login(&login).await.unwrap().session_token;
        for path in ids {
            let mut curl = berth.program("curl");
            curl.args([
                "--silent",
                "--header",
                &format!("Coder-Session-Token: {}", session.expose()),
                &format!("{}{path}", berth.url),
            ]);
            seen.push((format!("GET {path} as {name}"), curl.output().unwrap().stdout));
        }
    }
    seen
}

/// The state of a build as its owner may read it, and the tokens of the agents in it.
fn state_and_tokens(berth: &Berth, session: &str, build: &str) -> (serde_json::Value, Vec<String>) {
    let mut curl = berth.program("curl");
    curl.args([
        "--silent",
        "--header",
        &format!("Coder-Session-Token: {session}"),
        &format!("{}/api/v2/workspacebuilds/{build}/state", berth.url.trim_end_matches('/')),
    ]);
    let state: serde_json::Value = serde_json::from_slice(&curl.output().unwrap().stdout).unwrap();
    let agents = state["resources"].as_array().unwrap().iter().filter(|resource| resource["type"] == "coder_agent");
    let tokens = agents.map(|agent| agent["instances"][0]["attributes"]["token"].as_str().unwrap().to_owned()).collect();
    (state, tokens)
}

/// What others may ask the API for.
fn paths(workspace: &str, version: &str, build: &str) -> Vec<String> {
    let mut paths = vec![format!("api/v2/workspaces/{workspace}"), "api/v2/workspaces".to_owned(), "api/v2/templates".to_owned()];
    let of_version = ["", "/rich-parameters", "/resources", "/variables", "/logs"];
    let of_build = ["", "/logs", "/parameters", "/resources", "/state", "/timings"];
    paths.extend(of_version.map(|rest| format!("api/v2/templateversions/{version}{rest}")));
    paths.extend(of_build.map(|rest| format!("api/v2/workspacebuilds/{build}{rest}")));
    paths
}

/// Tokens and passwords are stored as hashes, the environment not at all, states sealed. The table holds the template's variables and the
/// agents' environment; a workspace's own directory is the workspace's.
fn what_is_stored_is_sealed(berth: &Berth, all: &Planted, of_table: &Planted) {
    let stored: Vec<_> =
        files(&berth.data()).into_iter().filter(|file| !file.starts_with(berth.data().join("workspaces"))).collect();
    let states = stored.iter().any(|file| file.starts_with(berth.data().join("blobs/state")));
    assert!(states, "states are among what is looked at: {stored:?}");
    for file in stored {
        let is_table = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("table.db"));
        let planted = if is_table { of_table } else { all };
        planted.is_absent_from(&file.display().to_string(), &fs::read(&file).unwrap());
    }
}

#[tokio::test]
async fn fifty_canaries_are_nowhere_but_where_they_belong() {
    let environment: Vec<_> = ENVIRONMENT.iter().map(|name| (*name, canary(name))).collect();
    let given: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let berth = Berth::start_with(&[], &given).sign_in();
    let variables: Vec<_> = (0..VARIABLES).map(|index| (format!("secret{index}"), canary(&format!("variable_{index}")))).collect();
    let mut push = vec!["templates".to_owned(), "push".to_owned(), "planted".to_owned(), "--yes".to_owned()];
    push.extend(variables.iter().flat_map(|(name, value)| ["--variable".to_owned(), format!("{name}={value}")]));
    let versions = [template(&berth, "planted", &main_tf()), template(&berth, "broken", &broken_tf())];
    let said = |directory: &str, arguments: &[&str]| {
        let push: Vec<&str> = push.iter().map(String::as_str).chain(["--directory", directory]).collect();
        let answer = berth.run(if arguments.is_empty() { &push } else { arguments });
        (answer.code, format!("{}{}", answer.stdout, answer.stderr))
    };
    let token = berth.ok(&["tokens", "create", "--name", "ci"]).trim().to_owned();
    let session = fs::read_to_string(berth.home().join("config/session")).unwrap().trim().to_owned();

    let mut heard = Vec::new();
    let mut run = |directory: &str, arguments: &[&str], succeeds: bool| {
        let (code, text) = said(directory, arguments);
        assert_eq!(code == Some(0), succeeds, "{arguments:?}: {text}");
        heard.push((format!("what berth {arguments:?} says"), text.into_bytes()));
    };
    run(&versions[0], &[], true);
    run("", &["create", "dev", "--template", "planted", "--yes"], true);
    let running = berth.json(&["show", "dev"])["latest_build"].clone();
    let build = running["id"].as_str().unwrap().to_owned();
    run("", &["stop", "dev", "--yes", "-v"], true);
    run("", &["start", "dev", "--yes", "-v"], true);
    run(&versions[1], &[], true);
    run("", &["update", "dev", "--yes"], false);
    for arguments in [
        &["show", "dev"][..],
        &["show", "dev", "-o", "json"],
        &["builds", "list", "dev", "-o", "json"],
        &["builds", "timings", "dev"],
    ] {
        run("", arguments, true);
    }
    for number in 1..=5 {
        run("", &["logs", "dev", "-n", &number.to_string()], true);
    }

    // The state knows them: whoever may build the workspace may read it. From it come the agent's token and the variables.
    let (state, tokens) = state_and_tokens(&berth, &session, &build);
    assert_eq!(tokens.len(), 1, "one agent, one token");
    assert!(state.to_string().contains(&variables[3].1), "the canaries are alive: the state has them");

    let secret = |text: &str| text.rsplit('-').next().unwrap().to_owned();
    let hashed = [&tokens[..], &[secret(&token), secret(&session), PASSWORD.to_owned()]].concat();
    let variables: Vec<String> = variables.into_iter().map(|(_, value)| value).collect();
    let environment: Vec<String> = environment.into_iter().map(|(_, value)| value).collect();
    let all = Planted([&hashed[..], &variables, &environment].concat());
    for (place, bytes) in &heard {
        all.is_absent_from(place, bytes);
    }
    all.is_absent_from("the server's log", berth.server_log().as_bytes());

    let workspace = berth.json(&["show", "dev"])["id"].as_str().unwrap().to_owned();
    let paths = paths(&workspace, running["template_version_id"].as_str().unwrap(), &build);
    for (place, bytes) in strangers_views(&berth, &paths).await {
        all.is_absent_from(&place, &bytes);
    }

    let of_table = Planted([&hashed[..], &environment].concat());
    what_is_stored_is_sealed(&berth, &all, &of_table);
}
