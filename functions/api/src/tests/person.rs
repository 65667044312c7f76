//! People: set-up, sign-in, sessions, tokens, roles.

use super::fixture::World;
use axum::body::Body;
use berth_domain::Role;
use http::{Method, Request};
use serde_json::json;

const FIRST: &str = "/api/v2/users/first";
const LOGIN: &str = "/api/v2/users/login";

fn ada() -> serde_json::Value {
    json!({ "email": "ada@example.com", "username": "ada", "name": "Ada", "password": "correct horse" })
}

#[tokio::test]
async fn the_first_user_is_made_once_and_signs_in() {
    let world = World::new().await;
    world.nobody().get(FIRST).await.refused(404);
    let made = world.nobody().post(FIRST, ada()).await.is(201);
    world.nobody().get(FIRST).await.is(200);
    assert_eq!(world.nobody().post(FIRST, ada()).await.refused(409), "the first user already exists: sign in instead");

    let answer = world.nobody().post(LOGIN, json!({ "email": "ADA@example.com", "password": "correct horse" })).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    let token = answer.is(201)["session_token"].as_str().unwrap().to_owned();
    assert_eq!(cookie, format!("coder_session_token={token}; Path=/; HttpOnly; SameSite=Lax; Secure"));
    let me = world.by(&token).get("/api/v2/users/me").await.is(200);
    assert_eq!((&me["id"], &me["username"], &me["roles"][0]["name"]), (&made["user_id"], &json!("ada"), &json!("owner")));
    assert!(me.get("password_hash").is_none());

    world.by(&token).post("/api/v2/users/logout", json!({})).await.is(200);
    world.by(&token).get("/api/v2/users/me").await.refused(401);
}

#[tokio::test]
async fn of_many_who_set_up_at_once_one_is_first() {
    let world = World::new().await;
    let attempts = (0..8).map(|number| {
        let body =
            json!({ "email": format!("{number}@example.com"), "username": format!("u{number}"), "password": "correct horse" });
        let world = &world;
        async move { world.nobody().post(FIRST, body).await.status.as_u16() }
    });
    let mut statuses = futures_util::future::join_all(attempts).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(world.store().users().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_set_up_names_every_rule() {
    let world = World::new().await;
    for (field, value) in [
        ("email", "nobody"),
        ("email", "a@b@c"),
        ("email", "a b@c"),
        ("email", "<a>@b.c"),
        ("username", "no spaces"),
        ("username", "me"),
        ("username", ""),
        ("password", "short"),
    ] {
        let mut body = ada();
        body[field] = json!(value);
        let answer = world.nobody().post(FIRST, body).await.is(400);
        assert_eq!(answer["validations"][0]["field"], field, "{answer}");
    }
    assert_eq!(world.nobody().post(FIRST, json!({ "email": "a@b" })).await.is(400)["validations"][0]["field"], "username");
}

#[tokio::test]
async fn unknown_people_wrong_passwords_and_suspended_users_get_one_answer() {
    let world = World::new().await;
    let made = world.nobody().post(FIRST, ada()).await.is(201);
    let wrong = world.nobody().post(LOGIN, json!({ "email": "ada@example.com", "password": "battery staple" })).await;
    let unknown = world.nobody().post(LOGIN, json!({ "email": "eve@example.com", "password": "battery staple" })).await;
    assert_eq!((wrong.status, &wrong.bytes), (unknown.status, &unknown.bytes));
    let id = made["user_id"].as_str().unwrap().parse().unwrap();
    let suspended = berth_store::UserChange { suspended: Some(true), ..Default::default() };
    world.store().update_user(id, suspended, world.now()).await.unwrap();
    let right = world.nobody().post(LOGIN, json!({ "email": "ada@example.com", "password": "correct horse" })).await;
    assert_eq!((right.status, &right.bytes), (wrong.status, &wrong.bytes));
    assert_eq!(wrong.refused(401), "the e-mail address or the password is wrong");
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let world = World::new().await;
    for _ in 0..10 {
        world.nobody().post(LOGIN, json!({ "email": "ada@example.com", "password": "x" })).await.refused(401);
    }
    let answer = world.nobody().post(LOGIN, json!({ "email": "ada@example.com", "password": "x" })).await;
    assert_eq!(answer.headers["retry-after"], "60");
    assert_eq!(answer.refused(429), "too many attempts: try again in 60 s");
}

#[tokio::test]
async fn a_session_lives_while_used_and_ends_at_its_greatest_age() {
    let world = World::new().await;
    let token = world.user("ada", &[]).await;
    let mut days = 0;
    while days < 28 {
        days += 4;
        world.pass(4 * 24 * 3600);
        world.by(&token).get("/api/v2/users/me").await.is(200);
    }
    world.pass(3 * 24 * 3600);
    world.by(&token).get("/api/v2/users/me").await.refused(401);
    let idle = world.user("bob", &[]).await;
    world.pass(8 * 24 * 3600);
    world.by(&idle).get("/api/v2/users/me").await.refused(401);
}

#[tokio::test]
async fn mutated_tokens_are_nobody() {
    let world = World::new().await;
    let token = world.user("ada", &[]).await;
    let (id, secret) = token.split_once('-').unwrap();
    let other = world.user("bob", &[]).await;
    let mixed = format!("{id}-{}", other.split_once('-').unwrap().1);
    let mut mutations = vec![
        String::new(),
        "-".into(),
        id.into(),
        secret.into(),
        format!("{secret}-{id}"),
        mixed,
        format!("{token}0"),
        token.repeat(2),
    ];
    for position in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[position] = if bytes[position] == b'0' { b'1' } else { b'0' };
        mutations.push(String::from_utf8(bytes).unwrap());
        mutations.push(token[..position].to_owned());
    }
    for mutated in mutations {
        assert_eq!(world.by(&mutated).get("/api/v2/users/me").await.status, 401, "{mutated}");
    }
    world.by(&token).get("/api/v2/users/me").await.is(200);
}

#[tokio::test]
async fn api_tokens_are_shown_once_listed_and_ended() {
    let world = World::new().await;
    let ada = world.user("ada", &[]).await;
    let tokens = "/api/v2/users/me/keys/tokens";
    let hour = 3_600_000_000_000_i64;
    let key = world.by(&ada).post(tokens, json!({ "token_name": "ci", "lifetime": hour })).await.is(201)["key"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(world.by(&ada).post(tokens, json!({ "token_name": "ci" })).await.is(409)["validations"][0]["field"], "token_name");
    assert_eq!(
        world.by(&ada).post(tokens, json!({ "lifetime": hour * 24 * 400 })).await.is(400)["validations"][0]["field"],
        "lifetime"
    );
    world.by(&ada).send(Method::POST, tokens, Body::empty()).await.is(201);
    let listed = world.by(&key).get(tokens).await.is(200);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let id =
        listed.as_array().unwrap().iter().find(|token| token["token_name"] == "ci").unwrap()["id"].as_str().unwrap().to_owned();
    assert!(!listed.to_string().contains(key.split_once('-').unwrap().1), "a list never shows a secret");

    let bob = world.user("bob", &[]).await;
    world.by(&bob).delete(&format!("/api/v2/users/me/keys/{id}")).await.refused(404);
    world.by(&bob).delete(&format!("/api/v2/users/ada/keys/{id}")).await.refused(404);
    world.by(&ada).delete("/api/v2/users/ada/keys/ci").await.is(204);
    world.by(&key).get("/api/v2/users/me").await.refused(401);

    let session =
        world.by(&ada).send(Method::POST, "/api/v2/users/me/keys", Body::empty()).await.is(201)["key"].as_str().unwrap().to_owned();
    world.by(&session).get("/api/v2/users/me").await.is(200);
}

#[tokio::test]
async fn nobody_makes_a_token_in_anothers_name() {
    let world = World::new().await;
    world.user("ada", &[Role::Owner]).await;
    let admin = world.user("una", &[Role::UserAdmin]).await;
    world.by(&admin).get("/api/v2/users/ada").await.is(200);
    world.by(&admin).post("/api/v2/users/ada/keys/tokens", json!({})).await.refused(404);
    world.by(&admin).post("/api/v2/users/ada/keys", json!({})).await.refused(404);
}

#[tokio::test]
async fn a_user_admin_makes_members_and_only_an_owner_makes_admins() {
    let world = World::new().await;
    let (owner, admin) = (world.user("ada", &[Role::Owner]).await, world.user("una", &[Role::UserAdmin]).await);
    let draft = |name: &str, roles: &[&str]| json!({ "email": format!("{name}@example.com"), "username": name, "password": "correct horse", "roles": roles });
    world.by(&admin).post("/api/v2/users", draft("bob", &[])).await.is(201);
    assert_eq!(world.by(&admin).post("/api/v2/users", draft("eve", &["owner"])).await.refused(403), "only an owner may give roles");
    world.by(&owner).post("/api/v2/users", draft("tom", &["template-admin"])).await.is(201);
    assert_eq!(world.by(&owner).post("/api/v2/users", draft("BOB", &[])).await.is(409)["validations"][0]["field"], "username");
    assert_eq!(world.by(&owner).post("/api/v2/users", draft("x", &["king"])).await.is(400)["validations"][0]["field"], "roles");
    assert_eq!(world.by(&admin).get("/api/v2/users").await.is(200)["count"], 4);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let world = World::new().await;
    world.nobody().post(FIRST, ada()).await.is(201);
    let login =
        async |password: &str| world.nobody().post(LOGIN, json!({ "email": "ada@example.com", "password": password })).await;
    let (one, two) = (login("correct horse").await.is(201), login("correct horse").await.is(201));
    let (one, two) = (one["session_token"].as_str().unwrap(), two["session_token"].as_str().unwrap());
    let path = "/api/v2/users/me/password";
    let wrong = world.by(one).put(path, json!({ "old_password": "x", "password": "battery staple" }).to_string()).await;
    assert_eq!(wrong.is(400)["validations"][0]["field"], "old_password");
    world.by(one).put(path, json!({ "old_password": "correct horse", "password": "battery staple" }).to_string()).await.is(204);
    world.by(one).get("/api/v2/users/me").await.is(200);
    world.by(two).get("/api/v2/users/me").await.refused(401);
    login("correct horse").await.refused(401);
    login("battery staple").await.is(201);
}

#[tokio::test]
async fn a_cookie_reads_anywhere_and_writes_from_our_own_page_only() {
    let world = World::new().await;
    let token = world.user("ada", &[]).await;
    let request = |method: Method, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri("/api/v2/users/me/keys").header("host", "berth.example.com");
        request = request.header("cookie", format!("coder_session_token={token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(world.request(request(Method::POST, &[])).await.status, 403);
    assert_eq!(world.request(request(Method::POST, &[("origin", "https://evil.com")])).await.status, 403);
    assert_eq!(world.request(request(Method::POST, &[("sec-fetch-site", "same-site")])).await.status, 403);
    assert_eq!(world.request(request(Method::POST, &[("origin", "https://berth.example.com")])).await.status, 201);
    assert_eq!(world.request(request(Method::POST, &[("sec-fetch-site", "same-origin")])).await.status, 201);
}

#[tokio::test]
async fn every_answer_wears_its_headers_and_every_error_the_envelope() {
    let world = World::new().await;
    let token = world.user("ada", &[]).await;
    for (answer, status) in [
        (world.nobody().get("/api/v2/nothing/here").await, 404),
        (world.nobody().get("/etc/passwd").await, 404),
        (world.nobody().delete("/api/v2/users/login").await, 405),
        (world.nobody().send(Method::POST, LOGIN, Body::from("{")).await, 400),
        (world.nobody().send(Method::POST, LOGIN, Body::from(vec![b' '; 2 << 20])).await, 413),
        (world.nobody().get("/api/v2/users/me").await, 401),
        (world.by(&token).get("/api/v2/workspaces/not-a-uuid").await, 404),
        (world.by(&token).get("/api/v2/workspaces?limit=x").await, 400),
        (world.by(&token).get("/api/v2/users").await, 403),
    ] {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["content-type"], "application/json");
        let message = answer.refused(status);
        assert!(!message.is_empty() && !message.contains('\n'), "{message}");
    }
}

#[tokio::test]
async fn the_deployment_says_what_it_is() {
    let world = World::new().await;
    let info = world.nobody().get("/api/v2/buildinfo").await.is(200);
    assert_eq!(
        (&info["external_url"], info["version"].as_str().unwrap().starts_with("v2.99.0-devel+berth.")),
        (&json!("https://berth.example.com"), true)
    );
    assert_eq!(info["relay_url"], "https://relay.example.com");
    let health = world.nobody().get("/healthz").await;
    assert_eq!((health.status.as_u16(), &health.bytes[..]), (200, b"OK".as_slice()));
    let methods = world.nobody().get("/api/v2/users/authmethods").await.is(200);
    assert_eq!(methods["password"]["enabled"], true);
    let token = world.user("ada", &[]).await;
    let organization = world.by(&token).get("/api/v2/organizations").await.is(200)[0].clone();
    assert_eq!(world.by(&token).get("/api/v2/organizations/default").await.is(200), organization);
    assert_eq!(
        world.by(&token).get(&format!("/api/v2/organizations/{}", organization["id"].as_str().unwrap())).await.is(200),
        organization
    );
    assert_eq!(world.by(&token).get("/api/v2/users/me/organizations").await.is(200)[0], organization);
    world.by(&token).get("/api/v2/organizations/other").await.refused(404);
    assert!(world.by(&token).get("/api/v2/deployment/ssh").await.is(200)["ssh_config_options"].is_object());
    assert_eq!(world.by(&token).get("/api/v2/appearance").await.is(200)["application_name"], "Berth");
}

#[tokio::test]
async fn a_page_of_another_site_cannot_make_the_first_user() {
    let world = World::new().await;
    let send = async |origin: &str| {
        let request = Request::post(FIRST).header("host", "berth.example.com").header("origin", origin);
        world.request(request.body(Body::from(ada().to_string())).unwrap()).await.status
    };
    assert_eq!((send("https://evil.com").await.as_u16(), send("null").await.as_u16()), (403, 403));
    assert_eq!(send("https://berth.example.com").await.as_u16(), 201);
}

#[tokio::test]
async fn the_cli_auth_page_shows_a_token_to_who_signs_in_on_it() {
    let world = World::new().await;
    world.nobody().post(FIRST, ada()).await.is(201);
    let form = world.nobody().get("/cli-auth").await;
    assert_eq!((form.status.as_u16(), form.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
    assert!(form.headers["content-security-policy"].to_str().unwrap().contains("form-action 'self'"));
    assert_eq!(form.headers["referrer-policy"], "same-origin", "with no-referrer a browser sends the form with a null Origin");
    let send = async |body: &str, origin: &str| {
        let request = Request::post("/cli-auth").header("host", "berth.example.com").header("origin", origin);
        world.request(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let right = "email=ada%40example.com&password=correct+horse";
    assert_eq!(send(right, "https://evil.com").await.status, 403);
    let wrong = send("email=ada%40example.com&password=x", "https://berth.example.com").await;
    assert!(wrong.status == 401 && String::from_utf8_lossy(&wrong.bytes).contains("is wrong"));
    let shown = send(right, "https://berth.example.com").await;
    let text = String::from_utf8(shown.bytes.to_vec()).unwrap();
    let token = text.split("<code>").nth(1).unwrap().split("</code>").next().unwrap();
    assert_eq!(world.by(token).get("/api/v2/users/me").await.is(200)["username"], "ada");
}
