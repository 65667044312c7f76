//! Who gets in, who is seen, who is thrown out.

use super::{PATIENCE, World, in_seconds, until};
use berth_net::{Health, Identity, OnlineError, Tailnet, TailnetConfig};
use berth_wire::{
    agent,
    domain::Secret,
    ticket::{RelayRole, SigningKey},
};
use std::time::Duration;
use tokio::net::TcpListener;
use uuid::Uuid;

async fn bind(identity: Identity, relay: agent::Relay) -> Tailnet {
    Tailnet::bind(TailnetConfig { identity, relay, direct: false, accept: true }).await.unwrap()
}

async fn refused(world: &World, identity: Identity, token: Secret) -> String {
    let tailnet = bind(identity, world.with_token(token)).await;
    let error = tailnet.online(PATIENCE).await.unwrap_err();
    assert!(matches!(error, OnlineError::Denied(_)), "{error}");
    tailnet.close().await;
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_token_of_ours_for_the_own_key_opens_the_relay() {
    let world = World::start().await;
    let (me, other, subject) = (Identity::generate(), Identity::generate(), Uuid::new_v4());
    let id = me.endpoint_id();
    let role = RelayRole::Agent;
    let good = world.key.relay(&id, role, subject, in_seconds(60)).unwrap();
    let foreign = SigningKey::new([8; 32]).relay(&id, role, subject, in_seconds(60)).unwrap();
    let cases = [
        (Secret::new(String::new()), "no relay token"),
        (Secret::new("garbage".to_owned()), "not valid"),
        (world.key.relay(&id, role, subject, in_seconds(-60)).unwrap(), "ExpiredSignature"),
        (world.key.agent(&id, &id, (subject, "ada"), in_seconds(60)).unwrap(), "not valid"),
        (world.key.relay(&other.endpoint_id(), role, subject, in_seconds(60)).unwrap(), "another endpoint"),
        (forged(&good, &foreign), "InvalidSignature"),
        (foreign, "a key that the relay does not know"),
    ];
    for (token, words) in cases {
        let reason = refused(&world, me.clone(), token).await;
        assert!(reason.contains(words), "{reason:?} does not say {words:?}");
        assert_eq!(world.relay.endpoints(), 0);
        assert_eq!(world.presence().is_connected(&id), None);
    }
    let tailnet = bind(me, world.with_token(good)).await;
    tailnet.online(PATIENCE).await.unwrap();
    until("the agent is present", || world.presence().is_connected(&id).is_some()).await;
    tailnet.close().await;
}

/// A token of ours with the signature of another key.
fn forged(good: &Secret, foreign: &Secret) -> Secret {
    let (ours, _) = good.expose().rsplit_once('.').unwrap();
    let (_, signature) = foreign.expose().rsplit_once('.').unwrap();
    Secret::new(format!("{ours}.{signature}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_endpoint_comes_back_with_a_new_token() {
    let world = World::start().await;
    let (me, subject) = (Identity::generate(), Uuid::new_v4());
    let old = world.key.relay(&me.endpoint_id(), RelayRole::Agent, subject, in_seconds(-60)).unwrap();
    let tailnet = bind(me.clone(), world.with_token(old)).await;
    tailnet.online(PATIENCE).await.unwrap_err();
    tailnet.update_relay(world.pass(&me, RelayRole::Agent, subject)).await.unwrap();
    tailnet.online(PATIENCE).await.unwrap();
    assert_eq!(tailnet.endpoint_id(), me.endpoint_id());
    tailnet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_seen_to_come_and_go_and_clients_are_not() {
    let world = World::start().await;
    let presence = world.presence();
    let mut changes = presence.changed();
    let client = world.client(false).await;
    client.online(PATIENCE).await.unwrap();
    let agent = world.agent(false).await;
    let id = agent.tailnet.endpoint_id();
    let came = tokio::time::timeout(PATIENCE, changes.recv()).await.unwrap().unwrap();
    assert_eq!((came.endpoint_id.as_str(), came.connected, came.subject), (id.as_str(), true, agent.subject.to_string()));
    assert_eq!(presence.connected().len(), 1);
    // As a killed process would: the socket is gone, nobody says goodbye to the relay.
    agent.tailnet.close().await;
    let gone = until("the agent is absent", || presence.is_connected(&id).is_none()).await;
    assert!(gone < Duration::from_secs(1), "{gone:?}");
    assert!(!tokio::time::timeout(PATIENCE, changes.recv()).await.unwrap().unwrap().connected);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_subject_is_cut_off_and_cannot_return() {
    let world = World::start().await;
    let agent = world.agent(false).await;
    let id = agent.tailnet.endpoint_id();
    world.relay.revoke(agent.subject).await;
    assert_eq!(world.presence().is_connected(&id), None);
    let mut health = agent.tailnet.health();
    let denied = health.wait_for(|health| matches!(health, Health::Denied { .. }));
    let denied = tokio::time::timeout(PATIENCE, denied).await.unwrap().unwrap().clone();
    assert_eq!(denied, Health::Denied { reason: "access was revoked".to_owned() });
    assert_eq!(world.presence().is_connected(&id), None);
    agent.tailnet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_come_back_after_the_relay_restarts() {
    let world = World::start().await;
    let agent = world.agent(false).await;
    let client = world.client(false).await;
    let peer = client.connect(&world.ticket(&client, &agent)).await.unwrap();
    peer.admitted().await.unwrap();
    let address = world.stop().await;
    let mut health = agent.tailnet.health();
    let lost = health.wait_for(|health| matches!(health, Health::Disconnected { .. }));
    tokio::time::timeout(PATIENCE, lost).await.unwrap().unwrap();
    let world = World::on(TcpListener::bind(address).await.unwrap());
    let back = health.wait_for(Health::is_connected);
    tokio::time::timeout(PATIENCE, back).await.unwrap().unwrap();
    assert!(world.presence().is_connected(&agent.tailnet.endpoint_id()).is_some());
    // The same connection goes on.
    tokio::time::timeout(PATIENCE, peer.ping()).await.unwrap().unwrap();
    client.close().await;
    agent.tailnet.close().await;
}
