//! The key for git over SSH: one per user, for the user and the agents of the user's own workspaces.

use super::fixture::{World, up as built};
use berth_domain::Role;
use berth_store::{JobId, UserChange};
use uuid::Uuid;

const MINE: &str = "/api/v2/users/me/gitsshkey";
const AGENTS: &str = "/api/v2/workspaceagents/me/gitsshkey";

async fn up() -> (World, String, String) {
    let world = World::new().await;
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&admin, "linux", serde_json::json!([])).await;
    let workspace = world.workspace(&ada, &template, "dev").await;
    let (_, agent) = world.up(&workspace).await;
    (world, ada, agent)
}

#[tokio::test]
async fn a_user_and_the_agents_of_the_users_workspaces_see_one_key_until_it_is_renewed() {
    let (world, ada, agent) = up().await;
    let first = world.by(&ada).get(MINE).await.is(200);
    assert!(first["public_key"].as_str().unwrap().starts_with("ssh-ed25519 AAAA"), "{first}");
    let before = world.store().meter();
    assert_eq!(world.by(&ada).get(MINE).await.is(200), first);
    let seen = world.by(&agent).get(AGENTS).await.is(200);
    assert_eq!((world.store().meter() - before).writes, 0);
    assert_eq!(seen["public_key"], first["public_key"]);
    assert!(seen["private_key"].as_str().unwrap().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));

    world.pass(60);
    let second = world.by(&ada).put(MINE, "").await.is(200);
    assert_ne!(second["public_key"], first["public_key"]);
    assert_eq!(second["created_at"], first["created_at"]);
    assert_ne!(second["updated_at"], first["updated_at"]);
    assert_eq!(world.by(&agent).get(AGENTS).await.is(200)["public_key"], second["public_key"]);
    let bob = world.user("bob", &[]).await;
    assert_ne!(world.by(&bob).get(MINE).await.is(200)["public_key"], second["public_key"]);
}

#[tokio::test]
async fn the_agent_of_one_who_is_suspended_gets_no_key() {
    let (world, ada, agent) = up().await;
    let id = world.by(&ada).get("/api/v2/users/me").await.is(200)["id"].as_str().unwrap().parse().unwrap();
    let change = UserChange { suspended: Some(true), ..UserChange::default() };
    world.store().update_user(id, change, world.now()).await.unwrap();
    world.by(&agent).get(AGENTS).await.refused(403);
}

#[tokio::test]
async fn an_agent_from_which_its_template_keeps_secrets_gets_none() {
    let (world, ada, _) = up().await;
    let template = world.by(&ada).get("/api/v2/templates").await.is(200)[0]["id"].as_str().unwrap().to_owned();
    let workspace = world.workspace(&ada, &template, "shared").await;
    let token = Uuid::new_v4().to_string();
    let mut finish = built(berth_domain::AgentId(Uuid::new_v4()), &token);
    finish["resources"][0]["agents"][0]["api_key_scope"] = "no_user_data".into();
    world.run(JobId::Build(workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap()), finish).await;
    for path in [AGENTS, "/api/v2/workspaceagents/me/external-auth?id=github"] {
        let refused = world.by(&token).get(path).await.refused(403);
        assert!(refused.contains("keeps its user's secrets"), "{refused}");
    }
}

#[tokio::test]
async fn without_a_provider_there_is_no_token_of_another_service() {
    let (world, _, agent) = up().await;
    let path = "/api/v2/workspaceagents/me/external-auth";
    world.by(&agent).get(path).await.refused(400);
    for query in ["id=github", "match=https%3A%2F%2Fgithub.com"] {
        let answer = world.by(&agent).get(&format!("{path}?{query}")).await.is(404);
        assert!(answer["message"].as_str().unwrap().contains("github"), "{answer}");
    }
}
