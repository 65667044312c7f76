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
    for path in ["resources", "variables", "presets", "external-auth", "logs"] {
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
