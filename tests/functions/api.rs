//! berth-api behind its Function URL.

use super::{Deployment, ORIGIN_SECRET, Url, logged};
use berth_lambda_bed::{Function, url_event};
use serde_json::{Value, json};

impl Deployment {
    /// A running API, and `ada`, who is its first user, signed in.
    async fn api(&self) -> (Function, String) {
        let api = self.function("berth-api").await;
        let url = Url { api: &api, token: String::new() };
        let ada = json!({ "email": "ada@example.com", "username": "ada", "password": "correct horse battery staple" });
        assert_eq!(url.json("POST", "/api/v2/users/first", ada.clone()).await.0, 201);
        let (status, login) = url.json("POST", "/api/v2/users/login", ada).await;
        assert_eq!(status, 201, "{login}");
        let token = login["session_token"].as_str().unwrap().to_owned();
        (api, token)
    }
}

/// A tar with one file.
fn template() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(12);
    header.set_mode(0o644);
    builder.append_data(&mut header, "main.tf", &b"terraform {}"[..]).unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn what_is_asked_for_is_recorded_and_announced_in_one_message() {
    let Some(deployment) = Deployment::new().await else { return };
    let (api, token) = deployment.api().await;
    let ada = Url { api: &api, token };
    let (status, file) = ada.ask("POST", "/api/v2/files", template()).await;
    assert_eq!(status, 201, "{file}");
    let body = json!({ "file_id": file["hash"], "storage_method": "file", "provisioner": "terraform" });
    let (status, version) = ada.json("POST", "/api/v2/organizations/default/templateversions", body).await;
    assert_eq!(status, 201, "{version}");
    let id = version["id"].as_str().unwrap();
    let job = format!("import-{}", id.replace('-', ""));
    assert_eq!(deployment.messages().await, [json!({ "job": job }).to_string()]);
    let (status, shown) = ada.ask("GET", &format!("/api/v2/templateversions/{id}"), "").await;
    assert_eq!((status, &shown["job"]["status"]), (200, &json!("pending")));
    logged(&api, |line| line["job"] == job && line["span"]["requestId"].is_string()).await;
}

#[tokio::test]
async fn only_the_cdn_opens_the_door() {
    let Some(deployment) = Deployment::new().await else { return };
    let deployment = deployment.with("BERTH_ORIGIN_SECRETS", &format!("{ORIGIN_SECRET},the-next-one"));
    let api = deployment.function("berth-api").await;
    let ask = async |path: &str, headers: &[(&str, &str)]| api.invoke(url_event("GET", path, headers, b"")).await.unwrap();
    for path in ["/healthz", "/api/v2/buildinfo", "/api/v2/users/me", "/bin/berth-linux-amd64"] {
        for headers in [&[][..], &[("x-berth-origin", "guess")], &[("x-berth-origin", "")]] {
            let refused = ask(path, headers).await;
            assert_eq!(refused["statusCode"], 403, "{path}");
            assert!(refused["body"].as_str().unwrap().contains("use https://berth.example.com"), "{refused}");
        }
    }
    for secret in [ORIGIN_SECRET, "the-next-one"] {
        let health = ask("/healthz", &[("x-berth-origin", secret)]).await;
        assert_eq!((&health["statusCode"], &health["body"]), (&json!(200), &json!("OK")));
    }
}

#[tokio::test]
async fn a_page_of_the_deployments_own_host_may_sign_in_and_anothers_may_not() {
    let Some(deployment) = Deployment::new().await else { return };
    let (api, _) = deployment.api().await;
    let body = json!({ "email": "ada@example.com", "password": "correct horse battery staple" }).to_string();
    let status = async |origin: &str| {
        let headers = [("x-berth-origin", ORIGIN_SECRET), ("origin", origin)];
        api.invoke(url_event("POST", "/api/v2/users/login", &headers, body.as_bytes())).await.unwrap()["statusCode"].clone()
    };
    assert_eq!(status("https://berth.example.com").await, 201);
    assert_eq!(status("https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws").await, 403);
    assert_eq!(status("https://evil.example.com").await, 403);
}

#[tokio::test]
async fn sign_ins_are_limited_by_the_client_that_the_cdn_saw() {
    let Some(deployment) = Deployment::new().await else { return };
    let (api, _) = deployment.api().await;
    let body = json!({ "email": "ada@example.com", "password": "wrong" }).to_string();
    let status = async |viewer: &str| {
        let headers = [("x-berth-origin", ORIGIN_SECRET), ("x-berth-viewer", viewer)];
        api.invoke(url_event("POST", "/api/v2/users/login", &headers, body.as_bytes())).await.unwrap()["statusCode"]
            .as_i64()
            .unwrap()
    };
    for _ in 0..10 {
        assert_eq!(status("203.0.113.1").await, 401);
    }
    assert_eq!(status("203.0.113.1").await, 429);
    assert_eq!(status("203.0.113.2").await, 401, "another client is not locked out");
}

#[tokio::test]
async fn what_goes_on_for_ever_is_at_the_relay() {
    let Some(deployment) = Deployment::new().await else { return };
    let (api, token) = deployment.api().await;
    let ada = Url { api: &api, token };
    let (_, file) = ada.ask("POST", "/api/v2/files", template()).await;
    let body = json!({ "file_id": file["hash"], "storage_method": "file", "provisioner": "terraform" });
    let (_, version) = ada.json("POST", "/api/v2/organizations/default/templateversions", body).await;
    let path = format!("/api/v2/templateversions/{}/logs", version["id"].as_str().unwrap());
    assert_eq!(ada.ask("GET", &path, "").await, (200, json!([])));
    let (status, refused) = ada.ask("GET", &format!("{path}?follow&after=2"), "").await;
    assert_eq!(status, 426);
    assert_eq!(refused["detail"], format!("https://relay.berth.example.com{path}?follow&after=2"));
}

#[tokio::test]
async fn two_functions_sign_with_one_key_and_the_relay_can_read_it() {
    let Some(deployment) = Deployment::new().await else { return };
    let keys = async || {
        let api = deployment.function("berth-api").await;
        Url { api: &api, token: String::new() }.ask("GET", "/api/v2/relay/keys", "").await
    };
    let (first, second) = (keys().await, keys().await);
    assert_eq!(first.0, 200);
    assert_eq!(first.1["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(first, second);
}

#[tokio::test]
async fn junk_from_the_outside_is_answered_and_the_function_lives() {
    let Some(deployment) = Deployment::new().await else { return };
    let api = deployment.function("berth-api").await;
    let proven = [("x-berth-origin", ORIGIN_SECRET)];
    for path in ["", "/%00", "/%ff?%ff=%ff", "//", "/..%2f..%2fetc/passwd", "/api/v2/workspaces/%F0%9F%92%A9", "/?a=b&&&="] {
        let answer = api.invoke(url_event("GET", path, &proven, b"\xff\xfe")).await.unwrap();
        assert!(answer["statusCode"].as_i64().is_some_and(|status| status < 500), "{path}: {answer}");
    }
    for event in [json!({}), json!([]), json!("x"), Value::Null] {
        assert!(api.invoke(event).await.is_err(), "an event that is none of a Function URL's is refused");
    }
    let health = api.invoke(url_event("GET", "/healthz", &proven, b"")).await.unwrap();
    assert_eq!(health["body"], "OK");
}
