//! The authorization matrix: every route of the table, as every kind of caller, on somebody's things.

use super::fixture::{CLIENT_ENDPOINT, World};
use crate::route::{Access, table};
use axum::body::Body;
use berth_domain::Role;
use http::Method;
use serde_json::json;
use std::collections::BTreeSet;

/// Whether a caller passes, and if not with which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Yes,
    No(u16),
}
use Pass::{No, Yes};

/// nobody, another member, the owner of the things, owner of the deployment, template admin, user admin, auditor, their agent, a runner
fn expected(access: Access) -> [Pass; 9] {
    match access {
        Access::Public | Access::Visitor => [Yes; 9],
        Access::SignedIn => [No(401), Yes, Yes, Yes, Yes, Yes, Yes, No(401), No(401)],
        Access::Templates => [No(401), No(403), No(403), Yes, Yes, No(403), No(403), No(401), No(401)],
        Access::Users => [No(401), No(403), No(403), Yes, No(403), Yes, No(403), No(401), No(401)],
        Access::User => [No(401), No(404), Yes, Yes, No(404), Yes, No(404), No(401), No(401)],
        Access::Oneself => [No(401), No(404), Yes, No(404), No(404), No(404), No(404), No(401), No(401)],
        Access::Create => [No(401), No(404), Yes, Yes, No(404), No(404), No(404), No(401), No(401)],
        Access::DryRun => [No(401), No(404), Yes, Yes, Yes, No(404), No(404), No(401), No(401)],
        Access::Read => [No(401), No(404), Yes, Yes, Yes, No(404), Yes, No(401), No(401)],
        Access::Build => [No(401), No(404), Yes, Yes, No(403), No(404), No(403), No(401), No(401)],
        Access::Push => [No(401), No(404), No(403), Yes, Yes, No(404), No(403), No(401), No(401)],
        Access::Enter => [No(401), No(404), Yes, No(403), No(403), No(404), No(403), No(401), No(401)],
        Access::Agent => [No(401), No(401), No(401), No(401), No(401), No(401), No(401), Yes, No(401)],
        Access::Runner => [No(401), No(401), No(401), No(401), No(401), No(401), No(401), No(401), Yes],
        Access::Upload => [No(401), No(403), No(403), Yes, Yes, No(403), No(403), No(401), Yes],
    }
}

/// The things that the paths and bodies name, all of them ada's but for the runner's job.
struct Things {
    template: String,
    version: String,
    version_name: String,
    dry_run: String,
    workspace: String,
    build: String,
    agent: String,
    file: String,
    job: String,
    repair: String,
}

impl Things {
    fn path(&self, pattern: &str) -> String {
        let name = match pattern {
            pattern if pattern.contains("/workspace/") => "dev",
            pattern if pattern.contains("/versions/") => &self.version_name,
            _ => "linux",
        };
        let fills = [
            ("user", "ada"),
            ("organization", "default"),
            ("template", &self.template),
            ("version", &self.version),
            ("dry_run", &self.dry_run),
            ("workspace", &self.workspace),
            ("build", &self.build),
            ("agent", &self.agent),
            ("file", &self.file),
            ("job", &self.job),
            ("repair", &self.repair),
            ("key", "none-of-this-name"),
            ("number", "1"),
            ("name", name),
            ("os", "linux"),
            ("arch", "amd64"),
        ];
        let path = fills.iter().fold(pattern.to_owned(), |path, (key, value)| path.replace(&format!("{{{key}}}"), value));
        assert!(!path.contains('{'), "the matrix does not know how to fill {path}");
        let query = if pattern.ends_with("/pty") { "?reconnect=0190a6a0-0000-7000-8000-000000000001" } else { "" };
        format!("{path}{query}")
    }

    /// A body that is understood, since one that is not is refused whoever sends it.
    fn body(&self, method: &Method, pattern: &str) -> Body {
        let last = pattern.rsplit('/').next().unwrap();
        let value = match (method.as_str(), last) {
            ("POST", "users") => json!({ "email": "new@example.com", "username": "new", "password": "correct horse" }),
            ("PUT", "password") => json!({ "old_password": "x", "password": "correct horse" }),
            ("POST", "templateversions") => json!({ "file_id": self.file }),
            ("POST", "templates") => json!({ "name": "other", "template_version_id": self.version }),
            ("PATCH", "versions") => json!({ "id": self.version }),
            ("POST", "workspaces") => json!({ "name": "made", "template_id": self.template }),
            ("POST", "builds") => json!({ "transition": "stop" }),
            ("PATCH", "{workspace}") => json!({ "name": "dev" }),
            ("PUT", "extend") => json!({ "deadline": "2100-01-01T00:00:00Z" }),
            ("PUT", "autoupdates") => json!({ "automatic_updates": "never" }),
            ("POST", "uploads") => json!({ "size": 1, "sha256": "0".repeat(64) }),
            ("POST", "ticket") => json!({ "endpoint_id": CLIENT_ENDPOINT }),
            _ => json!({}),
        };
        Body::from(value.to_string())
    }
}

async fn things(world: &World, owner: &str, ada: &str) -> (Things, String, String) {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let (template, version) = world.template(owner, "linux", json!([])).await;
    let version_name =
        world.by(owner).get(&format!("/api/v2/templateversions/{version}")).await.is(200)["name"].as_str().unwrap().to_owned();
    let workspace = world.workspace(ada, &template, "dev").await;
    let (agent, agent_token) = world.up(&workspace).await;
    let states = format!("/api/v2/workspaces/{}/states", workspace["id"].as_str().unwrap());
    world.by(owner).post(&states, json!({ "version": 4, "serial": 1, "lineage": "l", "resources": [] })).await.is(201);
    world.connect(agent, &agent_token).await;
    let other = world.workspace(owner, &template, "other").await;
    let job = other["latest_build"]["id"].as_str().unwrap().to_owned();
    let (runner, _) = world.claim(berth_store::JobId::Build(job.parse().unwrap())).await;
    let repairs = format!("/api/v2/workspaces/{}/repairs", text(&workspace["id"]));
    let repair = text(&world.by(ada).post(&repairs, json!({})).await.is(201)["id"]);
    world.run(berth_store::JobId::Repair(repair.parse().unwrap()), json!({ "outcome": { "kind": "succeeded" } })).await;
    let asked = world.by(ada).post(&format!("/api/v2/templateversions/{version}/dry-run"), json!({})).await.is(201);
    let dry_run = asked["id"].as_str().unwrap().to_owned();
    let file = world.by(owner).upload(super::fixture::archive(&[("main.tf", "")])).await.is(201);
    let (workspace, build) = (text(&workspace["id"]), text(&workspace["latest_build"]["id"]));
    let agent = agent.to_string();
    (
        Things { template, version, version_name, dry_run, workspace, build, agent, file: text(&file["hash"]), job, repair },
        agent_token,
        runner,
    )
}

/// An API token: one route of the table signs out the session that calls it.
async fn token(world: &World, name: &str, roles: &[Role]) -> String {
    let session = world.user(name, roles).await;
    world.by(&session).post("/api/v2/users/me/keys/tokens", json!({})).await.is(201)["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_says_and_nobody_else() {
    let world = World::new().await;
    let (bob, ada, root) =
        (token(&world, "bob", &[]).await, token(&world, "ada", &[]).await, token(&world, "root", &[Role::Owner]).await);
    let (things, agent, runner) = things(&world, &root, &ada).await;
    let callers = [
        ("nobody", String::new()),
        ("another member", bob),
        ("ada", ada),
        ("an owner", root),
        ("a template admin", token(&world, "tom", &[Role::TemplateAdmin]).await),
        ("a user admin", token(&world, "una", &[Role::UserAdmin]).await),
        ("an auditor", token(&world, "aud", &[Role::Auditor]).await),
        ("ada's agent", agent),
        ("a runner", runner),
    ];
    let mut cells = 0;
    for route in table() {
        let path = things.path(route.path);
        for ((name, token), pass) in callers.iter().zip(expected(route.access)) {
            let caller = if token.is_empty() { world.nobody() } else { world.by(token) };
            let status = caller.status(route.method.clone(), &path, things.body(&route.method, route.path)).await;
            let cell = format!("{} {path} as {name}: {status}", route.method);
            match pass {
                No(wanted) => assert_eq!(status, wanted, "{cell}"),
                Yes if matches!(route.access, Access::Public | Access::Visitor) => assert!(status < 500, "{cell}"),
                // What passes may still be refused for what it asks: no such token, no upgrade, nothing to cancel.
                Yes if path.ends_with("none-of-this-name") => assert_eq!(status, 404, "{cell}"),
                Yes => assert!(!matches!(status, 401 | 403 | 404 | 405) && status < 500, "{cell}"),
            }
            cells += 1;
        }
    }
    assert_eq!(cells, 9 * table().len());
}

#[test]
fn every_change_needs_somebody() {
    let open: BTreeSet<_> = table()
        .iter()
        .filter(|route| route.access == Access::Public && route.method != Method::GET)
        .map(|route| route.path)
        .collect();
    // Set-up works once; signing in, claiming and what a relay asks for a browser carry their secret in the body, an instance AWS's signature.
    assert_eq!(
        open.into_iter().collect::<Vec<_>>(),
        [
            "/api/v2/applications/admission",
            "/api/v2/applications/start",
            "/api/v2/runner/jobs/{job}/claim",
            "/api/v2/users/first",
            "/api/v2/users/login",
            "/api/v2/workspaceagents/aws-instance-identity",
            "/cli-auth"
        ]
    );
}
