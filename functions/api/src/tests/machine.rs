//! Runners and their one-time tokens; binaries and the init script.

use super::fixture::World;
use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use berth_domain::{Role, TaskId, TokenHash};
use berth_store::{JobId, Offer};
use http::{Method, Request};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::Digest;
use uuid::Uuid;

async fn waiting() -> (World, JobId, String) {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&admin, &template, "dev").await;
    let job = JobId::Build(workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap());
    (world, job, admin)
}

async fn offer(world: &World, job: JobId) -> String {
    let token = hex::encode(rand::random::<[u8; 16]>());
    let (task, ends) = (TaskId(Uuid::new_v4()), world.now() + SignedDuration::from_secs(900));
    world.store().offer(job, Offer { task, hash: TokenHash::of(&token), ends }, world.now()).await.unwrap();
    token
}

#[tokio::test]
async fn a_one_time_token_is_redeemed_once_however_many_try() {
    let (world, job, _) = waiting().await;
    let token = offer(&world, job).await;
    let path = format!("/api/v2/runner/jobs/{}/claim", job.uuid());
    let attempts = (0..50).map(|_| {
        let (world, path, body) = (&world, &path, json!({ "token": token, "task": Uuid::new_v4() }));
        async move { world.nobody().post(path, body).await.status.as_u16() }
    });
    let statuses = futures_util::future::join_all(attempts).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 401 | 409)), "{statuses:?}");
}

#[tokio::test]
async fn wrong_late_and_foreign_tokens_redeem_nothing() {
    let (world, job, _) = waiting().await;
    let token = offer(&world, job).await;
    let path = format!("/api/v2/runner/jobs/{}/claim", job.uuid());
    let claim = async |token: &str| world.nobody().post(&path, json!({ "token": token, "task": Uuid::new_v4() })).await;
    claim("wrong").await.refused(401);
    claim("").await.refused(401);
    world
        .nobody()
        .post(&format!("/api/v2/runner/jobs/{}/claim", Uuid::new_v4()), json!({ "token": token, "task": Uuid::new_v4() }))
        .await
        .refused(404);
    world.pass(901);
    claim(&token).await.refused(401);
}

#[tokio::test]
async fn a_claim_brings_the_archive_and_the_state_along_unless_they_are_large() {
    let (world, job, admin) = waiting().await;
    let (session, claimed) = world.claim(job).await;
    let path = format!("/api/v2/runner/jobs/{}", job.uuid());
    let archive = world.by(&session).get(&format!("{path}/archive")).await;
    let along = |claimed: &Value, what: &str| claimed["enclosed"][what].as_str().map(|text| STANDARD.decode(text).unwrap());
    assert_eq!(along(&claimed, "archive").unwrap(), archive.bytes);
    assert_eq!(along(&claimed, "state").unwrap(), b"", "there is none yet");

    let mut claimed = claimed;
    for (serial, bytes) in [(1, 10), (2, 300_000)] {
        let state = json!({ "version": 4, "serial": serial, "lineage": "l", "outputs": { "x": "x".repeat(bytes) } }).to_string();
        let session = claimed["session"].as_str().unwrap().to_owned();
        let build = claimed["job"]["build_id"].as_str().unwrap().to_owned();
        let runner = format!("/api/v2/runner/jobs/{build}");
        world.by(&session).put(&format!("{runner}/state"), state.clone()).await.is(204);
        world.by(&session).post(&format!("{runner}/finish"), json!({ "outcome": { "kind": "succeeded" } })).await.is(204);
        let workspace = claimed["job"]["workspace_id"].as_str().unwrap();
        let builds = format!("/api/v2/workspaces/{workspace}/builds");
        let next = world.by(&admin).post(&builds, json!({ "transition": "start" })).await.is(201);
        (_, claimed) = world.claim(JobId::Build(next["id"].as_str().unwrap().parse().unwrap())).await;
        let expected = (bytes < 1000).then(|| state.into_bytes());
        assert_eq!(along(&claimed, "state"), expected);
        assert!(along(&claimed, "archive").is_some());
    }
}

#[tokio::test]
async fn a_runners_session_is_good_for_its_own_job_and_ends_with_it() {
    let (world, job, admin) = waiting().await;
    let (session, claimed) = world.claim(job).await;
    assert_eq!(claimed["fence"], 1);
    let path = format!("/api/v2/runner/jobs/{}", job.uuid());
    let archive = world.by(&session).get(&format!("{path}/archive")).await;
    assert_eq!((archive.status.as_u16(), archive.headers["content-type"].as_bytes()), (200, b"application/x-tar".as_slice()));
    world.by(&session).post(&format!("/api/v2/runner/jobs/{}/heartbeat", Uuid::new_v4()), json!({})).await.refused(404);
    world.by(&admin).post(&format!("{path}/heartbeat"), json!({})).await.refused(401);
    world.by(&session).get("/api/v2/users/me").await.refused(401);

    let (id, secret) = session.rsplit_once('-').unwrap();
    let (job_part, fence) = id.rsplit_once('-').unwrap();
    assert_eq!(fence, "1");
    for forged in [format!("{id}-{}", "0".repeat(secret.len())), format!("{job_part}-2-{secret}"), format!("{job_part}-0-{secret}")]
    {
        for answer in [
            world.by(&forged).post(&format!("{path}/heartbeat"), json!({})).await,
            world.by(&forged).get(&format!("{path}/state")).await,
            world.by(&forged).get(&format!("{path}/archive")).await,
            world.by(&forged).put(&format!("{path}/state"), "{}").await,
            world.by(&forged).post(&format!("{path}/logs"), json!([{ "created_at": "2026-08-01T00:00:00Z", "source": "provisioner", "level": "info", "stage": "", "output": "x" }])).await,
            world.by(&forged).post(&format!("{path}/finish"), json!({ "outcome": { "kind": "succeeded" } })).await,
        ] {
            answer.refused(409);
        }
    }
    let finish = json!({ "outcome": { "kind": "failed", "error": "x" } });
    world.by(&session).post(&format!("{path}/finish"), finish.clone()).await.is(204);
    world.by(&session).post(&format!("{path}/finish"), finish).await.is(204);
    world.by(&session).post(&format!("{path}/heartbeat"), json!({})).await.refused(409);
    world.by(&session).put(&format!("{path}/state"), "{}").await.refused(409);
}

#[tokio::test]
async fn binaries_are_served_whole_with_their_sha1_and_not_again() {
    let directory = tempfile::tempdir().unwrap();
    let content = vec![7_u8; 700_000];
    std::fs::write(directory.path().join("berth-linux-amd64"), &content).unwrap();
    std::fs::write(directory.path().join("secret"), "x").unwrap();
    let path = directory.path().to_owned();
    let world = World::with(|config| config.binaries = Some(path)).await;
    let answer = world.nobody().get("/bin/coder-linux-amd64").await;
    assert_eq!((answer.status.as_u16(), &answer.bytes[..]), (200, &content[..]));
    let etag = answer.headers["etag"].clone();
    use sha1::Digest;
    assert_eq!(etag.to_str().unwrap(), format!("\"{}\"", hex::encode(sha1::Sha1::digest(&content))));
    assert_eq!(answer.headers["content-length"], "700000");
    let again = |tag: &str| Request::get("/bin/berth-linux-amd64").header("if-none-match", tag).body(Body::empty()).unwrap();
    assert_eq!(world.request(again(etag.to_str().unwrap())).await.status, 304);
    assert_eq!(world.request(again("\"other\"")).await.status, 200);
    let head = world.nobody().send(Method::HEAD, "/bin/berth-linux-amd64", Body::empty()).await;
    assert_eq!((head.status.as_u16(), head.headers["content-length"].to_str().unwrap(), head.bytes.len()), (200, "700000", 0));
    for name in ["secret", "berth-darwin-arm64", "..%2fsecret", "berth-linux-amd64.asc", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"] {
        world.nobody().get(&format!("/bin/{name}")).await.refused(404);
    }
    std::fs::write(directory.path().join("berth-linux-amd64"), "new").unwrap();
    assert_ne!(world.nobody().get("/bin/berth-linux-amd64").await.headers["etag"], etag);
}

#[tokio::test]
async fn the_init_script_is_for_known_platforms() {
    let world = World::new().await;
    let script = world.nobody().get("/api/v2/init-script/linux/arm64").await;
    let text = String::from_utf8(script.bytes.to_vec()).unwrap();
    assert!(text.contains("https://berth.example.com/bin/berth-agent-linux-arm64"), "{text}");
    assert!(!text.contains("${ACCESS_URL}"));
    world.nobody().get("/api/v2/init-script/plan9/arm64").await.refused(404);
}

#[tokio::test]
async fn what_an_import_keeps_comes_back_to_the_builds_of_its_version() {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let file = world.by(&admin).upload(super::fixture::archive(&[("main.tf", "terraform {}")])).await.is(201);
    let body = json!({ "file_id": file["hash"], "user_variable_values": [{ "name": "size", "value": "large" }] });
    let version = world.by(&admin).post("/api/v2/organizations/default/templateversions", body).await.is(201);
    let id = version["id"].as_str().unwrap();
    let job = JobId::Import(id.parse().unwrap());
    let (runner, claimed) = world.claim(job).await;
    assert_eq!(claimed["job"]["variables"]["size"], "large");
    let path = format!("/api/v2/runner/jobs/{}", job.uuid());
    world.by(&runner).put(&format!("{path}/modules"), "the tar").await.is(204);
    assert_eq!(world.by(&runner).get(&format!("{path}/modules")).await.status.as_u16(), 204, "an import has none to get");
    let finish = json!({ "outcome": { "kind": "succeeded" }, "imported": { "lock": "# pinned" } });
    world.by(&runner).post(&format!("{path}/finish"), finish).await.is(204);
    let late = world.by(&runner).put(&format!("{path}/modules"), "another").await;
    assert!(matches!(late.status.as_u16(), 401 | 409), "{late:?}");

    let body = json!({ "name": "linux", "template_version_id": id });
    let template = world.by(&admin).post("/api/v2/organizations/default/templates", body).await.is(201);
    let workspace = world.workspace(&admin, template["id"].as_str().unwrap(), "dev").await;
    let build = JobId::Build(workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap());
    let (runner, claimed) = world.claim(build).await;
    let frozen = &claimed["job"]["frozen"];
    assert_eq!((&frozen["lock"], &frozen["modules"]), (&json!("# pinned"), &json!(hex::encode(sha2::Sha256::digest("the tar")))));
    let path = format!("/api/v2/runner/jobs/{}/modules", build.uuid());
    assert_eq!(&world.by(&runner).get(&path).await.bytes[..], b"the tar");
    world.by(&runner).put(&path, "the build's own").await.refused(409);
}
