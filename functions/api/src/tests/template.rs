//! Files, versions and templates.

use super::fixture::{World, archive};
use axum::body::Body;
use berth_domain::{Role, limit::ARCHIVE_BYTES_MAX};
use berth_store::JobId;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use serde_json::json;

const VERSIONS: &str = "/api/v2/organizations/default/templateversions";
const TEMPLATES: &str = "/api/v2/organizations/default/templates";

#[tokio::test]
async fn an_archive_becomes_a_template() {
    let world = World::new().await;
    let (admin, member) = (world.user("ada", &[Role::TemplateAdmin]).await, world.user("bob", &[]).await);
    let bytes = archive(&[("main.tf", "terraform {}"), ("README.md", "# Linux")]);
    let file = world.by(&admin).upload(bytes.clone()).await.is(201);
    assert_eq!(world.by(&admin).upload(bytes.clone()).await.is(200), file, "the same bytes are the same file");
    let back = world.by(&admin).get(&format!("/api/v2/files/{}", file["hash"].as_str().unwrap())).await;
    assert_eq!((back.headers["content-type"].as_bytes(), &back.bytes[..]), (b"application/x-tar".as_slice(), &bytes[..]));

    let version = world.by(&admin).post(VERSIONS, json!({ "file_id": file["hash"], "message": "first" })).await.is(201);
    let id = version["id"].as_str().unwrap();
    assert_eq!(version["job"]["status"], "pending");
    let job = JobId::Import(id.parse().unwrap());
    assert_eq!(*world.queue.0.lock().unwrap(), [job]);
    let unready = world.by(&admin).post(TEMPLATES, json!({ "name": "linux", "template_version_id": id })).await.is(400);
    assert_eq!(unready["validations"][0]["field"], "template_version_id");
    world.by(&member).get(&format!("/api/v2/templateversions/{id}")).await.refused(404);

    let parameters = json!([{ "name": "region", "type": "string", "default": "us", "mutable": true }]);
    world
        .run(job, json!({ "outcome": { "kind": "succeeded" }, "imported": { "parameters": parameters, "readme": "# Linux" } }))
        .await;
    let template = world.by(&admin).post(TEMPLATES, json!({ "name": "linux", "template_version_id": id })).await.is(201);
    assert_eq!((&template["active_version_id"], &template["created_by_name"]), (&json!(id), &json!("ada")));

    let shown = world.by(&member).get(&format!("/api/v2/templateversions/{id}")).await.is(200);
    assert_eq!(
        (&shown["readme"], &shown["job"]["status"], &shown["template_id"]),
        (&json!("# Linux"), &json!("succeeded"), &template["id"])
    );
    let asked = world.by(&member).get(&format!("/api/v2/templateversions/{id}/rich-parameters")).await.is(200);
    assert_eq!(
        (&asked[0]["name"], &asked[0]["default_value"], &asked[0]["required"]),
        (&json!("region"), &json!("us"), &json!(false))
    );
    world.by(&member).get(&format!("/api/v2/templateversions/{id}/variables")).await.refused(403);
    for path in ["resources", "presets", "external-auth", "logs"] {
        assert_eq!(world.by(&member).get(&format!("/api/v2/templateversions/{id}/{path}")).await.is(200), json!([]));
    }
    let by_name = world.by(&member).get(&format!("{TEMPLATES}/LINUX")).await.is(200);
    assert_eq!(by_name["id"], template["id"]);
    assert_eq!(world.by(&member).get("/api/v2/templates").await.is(200), json!([by_name]));
    assert_eq!(world.by(&member).get(TEMPLATES).await.is(200), json!([by_name]));
    let taken = world.by(&admin).post(TEMPLATES, json!({ "name": "Linux", "template_version_id": id })).await;
    assert!(matches!(taken.status.as_u16(), 400 | 409), "{taken:?}");
}

#[tokio::test]
async fn a_second_version_becomes_active_when_it_is_told_to() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::TemplateAdmin]).await;
    let (template, first) = world.template(&admin, "linux", json!([])).await;
    world.pass(1);
    let second = world.version(&admin, Some(&template), json!([])).await;
    let path = format!("/api/v2/templates/{template}");
    assert_eq!(world.by(&admin).get(&path).await.is(200)["active_version_id"], json!(first));
    world.by(&admin).patch(&format!("{path}/versions"), json!({ "id": second })).await.is(200);
    assert_eq!(world.by(&admin).get(&path).await.is(200)["active_version_id"], json!(second));
    let versions = world.by(&admin).get(&format!("{path}/versions")).await.is(200);
    let ids: Vec<_> = versions.as_array().unwrap().iter().map(|version| version["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [first.as_str(), second.as_str()]);
    let page = world.by(&admin).get(&format!("{path}/versions?limit=1&offset=1")).await.is(200);
    assert_eq!((page.as_array().unwrap().len(), &page[0]["id"]), (1, &json!(second)));
    let name = versions[1]["name"].as_str().unwrap();
    assert_eq!(world.by(&admin).get(&format!("{path}/versions/{name}")).await.is(200)["id"], json!(second));
    world.by(&admin).get(&format!("{path}/versions/none")).await.refused(404);

    let (_, foreign) = world.template(&admin, "other", json!([])).await;
    assert_eq!(
        world.by(&admin).patch(&format!("{path}/versions"), json!({ "id": foreign })).await.is(400)["validations"][0]["field"],
        "id"
    );
}

#[tokio::test]
async fn a_template_is_described_and_deleted_when_nobody_uses_it() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::Owner]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let path = format!("/api/v2/templates/{template}");
    let changed = world.by(&admin).patch(&path, json!({ "description": "A small machine" })).await.is(200);
    assert_eq!((&changed["description"], &changed["display_name"]), (&json!("A small machine"), &json!("Linux")));
    assert_eq!(
        world.by(&admin).patch(&path, json!({ "display_name": "x".repeat(65) })).await.is(400)["validations"][0]["field"],
        "display_name"
    );

    let workspace = world.workspace(&admin, &template, "dev").await;
    assert_eq!(world.by(&admin).delete(&path).await.refused(409), "the template is used by a workspace: delete that first");
    world.up(&workspace).await;
    let builds = format!("/api/v2/workspaces/{}/builds", workspace["id"].as_str().unwrap());
    let build = world.by(&admin).post(&builds, json!({ "transition": "delete" })).await.is(201);
    world.run(JobId::Build(build["id"].as_str().unwrap().parse().unwrap()), json!({ "outcome": { "kind": "succeeded" } })).await;
    world.by(&admin).delete(&path).await.is(200);
    world.by(&admin).get(&path).await.refused(404);
    assert_eq!(world.by(&admin).get("/api/v2/templates").await.is(200), json!([]));
}

#[tokio::test]
async fn bad_versions_are_refused_with_the_field() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::Owner]).await;
    let file = world.by(&admin).upload(archive(&[("main.tf", "")])).await.is(201)["hash"].clone();
    let variable = |name: &str| json!({ "name": name, "value": "1" });
    for (body, field) in [
        (json!({}), "file_id"),
        (json!({ "file_id": "00000000-0000-4000-8000-000000000000" }), "file_id"),
        (json!({ "file_id": file, "name": "-x" }), "name"),
        (json!({ "file_id": file, "name": "a b" }), "name"),
        (json!({ "file_id": file, "provisioner": "echo" }), "provisioner"),
        (json!({ "file_id": file, "storage_method": "git" }), "storage_method"),
        (json!({ "file_id": file, "message": "x".repeat(2000) }), "message"),
        (json!({ "file_id": file, "user_variable_values": [variable("a"), variable("a")] }), "user_variable_values"),
        (json!({ "file_id": file, "user_variable_values": [variable("a b")] }), "user_variable_values"),
        (json!({ "file_id": file, "template_id": "00000000-0000-4000-8000-000000000000" }), "template_id"),
    ] {
        let answer = world.by(&admin).post(VERSIONS, body.clone()).await.is(400);
        assert_eq!(answer["validations"][0]["field"], field, "{body}");
    }
}

#[tokio::test]
async fn a_bad_archive_is_refused_in_one_line() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::Owner]).await;
    assert_eq!(
        world.by(&admin).upload(archive(&[("README.md", "")])).await.refused(400),
        "the archive has no .tf file at its top level"
    );
    let zip = world.by(&admin).upload(b"PK\x03\x04".repeat(500)).await.refused(400);
    assert!(zip.starts_with("this is not a tar archive"), "{zip}");
    let request = Request::post("/api/v2/files").header("coder-session-token", &admin).header("content-type", "application/zip");
    assert_eq!(world.request(request.body(Body::empty()).unwrap()).await.status, 415);
    let member = world.user("bob", &[]).await;
    world.by(&member).upload(archive(&[("main.tf", "")])).await.refused(403);
}

#[tokio::test]
async fn an_endless_upload_is_cut_at_the_limit() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::Owner]).await;
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let endless = Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())));
    let answer = world.by(&admin).send(Method::POST, "/api/v2/files", endless).await;
    assert_eq!(answer.refused(413), format!("the archive is larger than {} MiB", ARCHIVE_BYTES_MAX >> 20));
}

#[tokio::test]
async fn an_import_is_canceled_while_it_waits() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::Owner]).await;
    let file = world.by(&admin).upload(archive(&[("main.tf", "")])).await.is(201)["hash"].clone();
    let id = world.by(&admin).post(VERSIONS, json!({ "file_id": file })).await.is(201)["id"].as_str().unwrap().to_owned();
    let cancel = format!("/api/v2/templateversions/{id}/cancel");
    world.by(&admin).patch(&cancel, json!({})).await.is(200);
    assert_eq!(world.by(&admin).get(&format!("/api/v2/templateversions/{id}")).await.is(200)["job"]["status"], "canceled");
    assert_eq!(world.by(&admin).patch(&cancel, json!({})).await.refused(409), "there is nothing to cancel: the job is canceled");
}

#[tokio::test]
async fn settings_are_given_at_the_making_and_changed_one_by_one() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::Owner]).await;
    let version = world.version(&admin, None, json!([])).await;
    let wish = json!({ "name": "linux", "template_version_id": version, "default_ttl_ms": 7_200_000, "replacement_consent": true });
    let made = world.by(&admin).post(TEMPLATES, wish.clone()).await.is(201);
    assert_eq!(
        (&made["default_ttl_ms"], &made["replacement_consent"], &made["allow_user_cancel_workspace_jobs"], &made["deprecated"]),
        (&json!(7_200_000), &json!(true), &json!(true), &json!(false))
    );
    let path = format!("/api/v2/templates/{}", made["id"].as_str().unwrap());
    let change =
        json!({ "max_ttl_ms": 86_400_000, "deprecation_message": "use linux2", "allow_user_cancel_workspace_jobs": false });
    let changed = world.by(&admin).patch(&path, change).await.is(200);
    assert_eq!(
        (&changed["default_ttl_ms"], &changed["max_ttl_ms"], &changed["deprecated"], &changed["deprecation_message"]),
        (&json!(7_200_000), &json!(86_400_000), &json!(true), &json!("use linux2"))
    );
    for (body, field) in [
        (json!({ "max_ttl_ms": 3_600_000 }), "default_ttl_ms"),
        (json!({ "failure_ttl_ms": 1 }), "failure_ttl_ms"),
        (json!({ "daily_cost_max": -1 }), "daily_cost_max"),
        (json!({ "build_timeout_ms": "1h" }), "build_timeout_ms"),
        (json!({ "name": "a b" }), "name"),
    ] {
        assert_eq!(world.by(&admin).patch(&path, body.clone()).await.is(400)["validations"][0]["field"], field, "{body}");
    }
    let wrong = json!({ "name": "mac", "template_version_id": version, "failure_ttl_ms": -1 });
    assert_eq!(world.by(&admin).post(TEMPLATES, wrong).await.is(400)["validations"][0]["field"], "failure_ttl_ms");
}

#[tokio::test]
async fn a_renamed_template_is_renamed_for_its_workspaces_too() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::Owner]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&admin, &template, "dev").await;
    assert_eq!(workspace["template_name"], "linux");
    let path = format!("/api/v2/templates/{template}");
    world.by(&admin).patch(&path, json!({ "name": "debian", "display_name": "Debian" })).await.is(200);
    let found = world.by(&admin).get("/api/v2/workspaces?q=template:debian").await.is(200);
    assert_eq!(
        (&found["count"], &found["workspaces"][0]["template_name"], &found["workspaces"][0]["template_display_name"]),
        (&json!(1), &json!("debian"), &json!("Debian"))
    );
    assert_eq!(world.by(&admin).get("/api/v2/workspaces?q=template:linux").await.is(200)["count"], 0);
    let (_, claimed) = world.claim(JobId::Build(workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap())).await;
    assert_eq!(claimed["job"]["template_name"], "debian");
    let (other, _) = world.template(&admin, "linux", json!([])).await;
    let taken = world.by(&admin).patch(&format!("/api/v2/templates/{other}"), json!({ "name": "Debian" })).await.is(409);
    assert_eq!(taken["validations"][0]["field"], "name");
}

#[tokio::test]
async fn an_archived_version_is_hidden_and_good_for_nothing_new() {
    let world = World::new().await;
    let (admin, bob) = (world.user("ada", &[Role::TemplateAdmin]).await, world.user("bob", &[]).await);
    let (template, first) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&bob, &template, "dev").await;
    world.up(&workspace).await;
    let path = format!("/api/v2/templates/{template}");
    let archive = |version: &str| format!("/api/v2/templateversions/{version}/archive");
    let active = world.by(&admin).post(&archive(&first), json!({})).await.refused(409);
    assert!(active.ends_with("is the template's active one: make another one active first"), "{active}");
    let second = world.version(&admin, Some(&template), json!([])).await;
    world.by(&admin).patch(&format!("{path}/versions"), json!({ "id": second })).await.is(200);
    assert_eq!(world.by(&admin).get(&path).await.is(200)["previous_version_id"], json!(first));
    world.by(&bob).post(&archive(&first), json!({})).await.refused(403);
    assert_eq!(world.by(&admin).post(&archive(&first), json!({})).await.is(200)["archived"], true);

    let listed = |query: &str| format!("{path}/versions{query}");
    assert_eq!(world.by(&admin).get(&listed("")).await.is(200).as_array().unwrap().len(), 1);
    assert_eq!(world.by(&admin).get(&listed("?include_archived=true")).await.is(200).as_array().unwrap().len(), 2);
    let promoted = world.by(&admin).patch(&format!("{path}/versions"), json!({ "id": first })).await.refused(409);
    assert!(promoted.contains("is archived"), "{promoted}");
    let made = json!({ "template_version_id": first, "name": "fresh" });
    assert!(world.by(&bob).post("/api/v2/users/me/workspaces", made.clone()).await.refused(400).contains("is archived"));
    let builds = format!("/api/v2/workspaces/{}/builds", workspace["id"].as_str().unwrap());
    let stop = world.by(&bob).post(&builds, json!({ "transition": "stop" })).await.is(201);
    assert_eq!(stop["template_version_id"], json!(first), "who has it keeps it");

    world.by(&admin).post(&format!("/api/v2/templateversions/{first}/unarchive"), json!({})).await.is(200);
    world.by(&bob).post("/api/v2/users/me/workspaces", made).await.is(201);
}

#[tokio::test]
async fn what_nothing_uses_is_put_away_at_once() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::TemplateAdmin]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let second = world.version(&admin, Some(&template), json!([])).await;
    let path = format!("/api/v2/templates/{template}/versions/archive");
    assert_eq!(world.by(&admin).post(&path, json!({})).await.is(200)["archived_ids"], json!([]), "no import failed");
    let archived = world.by(&admin).post(&path, json!({ "all": true })).await.is(200);
    assert_eq!((&archived["template_id"], &archived["archived_ids"]), (&json!(template), &json!([second])));
}

#[tokio::test]
async fn a_version_is_renamed_but_never_to_anothers_name() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::TemplateAdmin]).await;
    let (template, first) = world.template(&admin, "linux", json!([])).await;
    let second = world.version(&admin, Some(&template), json!([])).await;
    let path = |version: &str| format!("/api/v2/templateversions/{version}");
    let renamed = world.by(&admin).patch(&path(&first), json!({ "name": "stable", "message": "good" })).await.is(200);
    assert_eq!((&renamed["name"], &renamed["message"]), (&json!("stable"), &json!("good")));
    let taken = world.by(&admin).patch(&path(&second), json!({ "name": "Stable" })).await.is(409);
    assert_eq!(taken["validations"][0]["field"], "name");
    assert_eq!(world.by(&admin).patch(&path(&second), json!({ "name": "a b" })).await.is(400)["validations"][0]["field"], "name");
    let found = world.by(&admin).get(&format!("/api/v2/templates/{template}/versions/stable")).await.is(200);
    assert_eq!(found["id"], json!(first));
}

#[tokio::test]
async fn a_deprecated_template_refuses_new_workspaces_and_keeps_the_old_ones() {
    let world = World::new().await;
    let (admin, bob) = (world.user("ada", &[Role::TemplateAdmin]).await, world.user("bob", &[]).await);
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&bob, &template, "dev").await;
    world.up(&workspace).await;
    let path = format!("/api/v2/templates/{template}");
    world.by(&admin).patch(&path, json!({ "deprecation_message": "use linux2" })).await.is(200);
    let new = json!({ "template_id": template, "name": "fresh" });
    for person in [&bob, &admin] {
        let refused = world.by(person).post("/api/v2/users/me/workspaces", new.clone()).await.refused(400);
        assert_eq!(refused, "template linux is deprecated: use linux2");
    }
    let builds = format!("/api/v2/workspaces/{}/builds", workspace["id"].as_str().unwrap());
    world.by(&bob).post(&builds, json!({ "transition": "start" })).await.is(201);
    world.by(&admin).patch(&path, json!({ "deprecation_message": "" })).await.is(200);
    world.by(&bob).post("/api/v2/users/me/workspaces", new).await.is(201);
}

#[tokio::test]
async fn a_template_can_demand_its_active_version_of_people_but_not_of_its_managers() {
    let world = World::new().await;
    let (root, bob) = (world.user("ada", &[Role::Owner]).await, world.user("bob", &[]).await);
    let (template, first) = world.template(&root, "linux", json!([])).await;
    let path = format!("/api/v2/templates/{template}");
    let workspace = world.workspace(&bob, &template, "dev").await;
    world.up(&workspace).await;
    let second = world.version(&root, Some(&template), json!([])).await;
    world.by(&root).patch(&format!("{path}/versions"), json!({ "id": second })).await.is(200);
    world.by(&root).patch(&path, json!({ "require_active_version": true })).await.is(200);
    let builds = format!("/api/v2/workspaces/{}/builds", workspace["id"].as_str().unwrap());
    let refused = world.by(&bob).post(&builds, json!({ "transition": "start" })).await.refused(403);
    assert_eq!(refused, "template linux lets workspaces start with its active version only: `berth update dev`");
    let new = |name: &str| json!({ "template_version_id": first, "name": name });
    world.by(&bob).post("/api/v2/users/me/workspaces", new("old")).await.refused(403);
    world.by(&root).post("/api/v2/users/me/workspaces", new("old")).await.is(201);
    let stop = world.by(&bob).post(&builds, json!({ "transition": "stop" })).await.is(201);
    world.run(JobId::Build(stop["id"].as_str().unwrap().parse().unwrap()), json!({ "outcome": { "kind": "succeeded" } })).await;
    let update = json!({ "transition": "start", "template_version_id": second });
    world.by(&bob).post(&builds, update).await.is(201);
}

#[tokio::test]
async fn variables_live_on_in_the_next_version_and_a_secret_is_never_shown() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::TemplateAdmin]).await;
    let file = world.by(&admin).upload(archive(&[("main.tf", "terraform {}")])).await.is(201)["hash"].clone();
    let declared = json!([
        { "name": "region", "type": "string", "default": "us" },
        { "name": "sizes", "type": "list(number)", "default": [1, 2] },
        { "name": "password", "type": "string", "required": true, "sensitive": true },
    ]);
    let push = async |template: Option<&str>, values: serde_json::Value| {
        let body = json!({ "file_id": file, "template_id": template, "user_variable_values": values });
        let version = world.by(&admin).post(VERSIONS, body).await.is(201)["id"].as_str().unwrap().to_owned();
        let finish = json!({ "outcome": { "kind": "succeeded" }, "imported": { "variables": declared } });
        let (session, claimed) = world.claim(JobId::Import(version.parse().unwrap())).await;
        world.by(&session).post(&format!("/api/v2/runner/jobs/{version}/finish"), finish).await.is(204);
        (version, claimed["job"]["variables"].clone())
    };
    let value = |name: &str, value: &str| json!({ "name": name, "value": value });
    let (first, _) = push(None, json!([value("password", "canary"), value("region", "eu"), value("unknown", "x")])).await;
    let made = world.by(&admin).post(TEMPLATES, json!({ "name": "linux", "template_version_id": first })).await.is(201);
    let template = made["id"].as_str().unwrap();
    let (second, given) = push(Some(template), json!([value("region", "asia")])).await;
    assert_eq!(given, json!({ "password": "canary", "region": "asia" }), "what the version does not declare is left behind");
    let shown = world.by(&admin).get(&format!("/api/v2/templateversions/{second}/variables")).await.is(200);
    assert!(!shown.to_string().contains("canary"), "{shown}");
    let row = |name: &str| shown.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!((&row("region")["value"], &row("region")["default_value"]), (&json!("asia"), &json!("us")));
    assert_eq!((&row("sizes")["value"], &row("sizes")["type"]), (&json!("[1,2]"), &json!("list(number)")));
    assert_eq!((&row("password")["value"], &row("password")["sensitive"]), (&json!(""), &json!(true)));
}

#[tokio::test]
async fn a_version_says_what_its_workspaces_are_made_of() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::TemplateAdmin]).await;
    let file = world.by(&admin).upload(archive(&[("main.tf", "terraform {}")])).await.is(201)["hash"].clone();
    let version = world.by(&admin).post(VERSIONS, json!({ "file_id": file })).await.is(201)["id"].as_str().unwrap().to_owned();
    let start = super::fixture::up(berth_domain::AgentId(uuid::Uuid::from_u128(7)), "token-canary")["resources"].clone();
    let found = json!({
        "start": start, "stop": [{ "type": "berth_directory", "name": "home" }], "external_auth": [{ "id": "github", "optional": true }],
    });
    world.run(JobId::Import(version.parse().unwrap()), json!({ "outcome": { "kind": "succeeded" }, "imported": found })).await;
    let path = |part: &str| format!("/api/v2/templateversions/{version}/{part}");
    let resources = world.by(&admin).get(&path("resources")).await.is(200);
    assert!(!resources.to_string().contains("canary"), "{resources}");
    let row = |at: usize| (resources[at]["type"].clone(), resources[at]["workspace_transition"].clone());
    assert_eq!((row(0), row(1)), ((json!("berth_process"), json!("start")), (json!("berth_directory"), json!("stop"))));
    assert_eq!((&resources[0]["agents"][0]["name"], &resources[0]["job_id"]), (&json!("main"), &json!(version)));
    let wanted = world.by(&admin).get(&path("external-auth")).await.is(200);
    assert_eq!((&wanted[0]["id"], &wanted[0]["authenticated"]), (&json!("github"), &json!(false)));
}
