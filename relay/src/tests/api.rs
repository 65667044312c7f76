//! What the relay and the API tell each other: public keys, and who is connected.

use super::{PATIENCE, World, in_seconds, until};
use crate::{Keys, Upstream, presence};
use axum::{Json, Router, extract::State, routing::get};
use berth_wire::{
    domain::Secret,
    presence::{AskedAgent, PRESENCE_AGENTS_MAX, PresenceAnswer, PresenceRequest, RELAY_KEYS_PATH, RelayKeys},
    ticket::{RelayRole, SigningKey},
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

/// What tells keys in the API's place: those it holds, and how often it was asked.
#[derive(Clone, Default)]
struct Told {
    keys: Arc<Mutex<Vec<SigningKey>>>,
    asked: Arc<AtomicUsize>,
}

async fn tell(State(told): State<Told>) -> Json<RelayKeys> {
    told.asked.fetch_add(1, Ordering::SeqCst);
    Json(RelayKeys { keys: told.keys.lock().unwrap().iter().map(SigningKey::verifying).collect() })
}

async fn serve(router: Router) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut served = JoinSet::new();
    served.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, served)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_known_is_asked_for_and_strangers_make_one_question() {
    let (told, old, new, foreign) = (Told::default(), SigningKey::new([1; 32]), SigningKey::new([2; 32]), SigningKey::new([3; 32]));
    let (url, _served) = serve(Router::new().route(RELAY_KEYS_PATH, get(tell)).with_state(told.clone())).await;
    let keys = Keys::of(Upstream::new(&url).unwrap());
    let ticket = |key: &SigningKey| key.presence(in_seconds(60)).unwrap();
    keys.read().await.unwrap_err(); // An empty list is no answer.
    told.keys.lock().unwrap().push(old.clone());
    keys.read().await.unwrap();
    assert_eq!(keys.of_ticket(ticket(&old).expose()).await, Some(old.verifying()));
    assert_eq!(told.asked.load(Ordering::SeqCst), 2);
    // Rotated a moment after it was asked: the new key is learnt when the minute is over, and the strangers ask nothing meanwhile.
    told.keys.lock().unwrap().push(new.clone());
    let strangers = (0..50).map(|_| keys.of_ticket_owned(ticket(&foreign)));
    assert!(futures_util::future::join_all(strangers).await.iter().all(Option::is_none));
    assert_eq!(told.asked.load(Ordering::SeqCst), 2);
    keys.forget_when_asked().await;
    assert_eq!(keys.of_ticket(ticket(&new).expose()).await, Some(new.verifying()));
    assert_eq!(keys.of_ticket(ticket(&old).expose()).await, Some(old.verifying()));
    assert_eq!(told.asked.load(Ordering::SeqCst), 3);
    assert_eq!(keys.of_ticket("garbage").await, None);
}

impl Keys {
    async fn of_ticket_owned(&self, ticket: Secret) -> Option<berth_wire::ticket::VerifyingKey> {
        self.of_ticket(ticket.expose()).await
    }
}

async fn ask(url: &str, ticket: &Secret, agents: Vec<AskedAgent>) -> (u16, PresenceAnswer) {
    let http = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(berth_client::tls_config(false).unwrap());
    let request = http.build().unwrap().post(format!("{url}presence")).bearer_auth(ticket.expose());
    let answer = request.json(&PresenceRequest { agents }).timeout(PATIENCE).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_api_learns_who_is_connected_and_only_of_whom_it_knows_both_names() {
    let world = World::start().await;
    let agent = world.agent(false).await;
    let (url, _served) =
        serve(presence::answer::router(world.presence(), Keys::fixed(vec![world.key.verifying()]), Some("own".to_owned()))).await;
    let ours = AskedAgent { id: agent.subject, endpoint_id: agent.tailnet.endpoint_id() };
    let stranger = AskedAgent { id: Uuid::new_v4(), endpoint_id: ours.endpoint_id.clone() };
    let moved = AskedAgent { id: ours.id, endpoint_id: "0".repeat(64) };
    let ticket = world.key.presence(in_seconds(60)).unwrap();
    let (status, answer) = ask(&url, &ticket, vec![stranger, ours.clone(), moved]).await;
    assert_eq!((status, answer.connected.iter().map(|agent| agent.id).collect::<Vec<_>>()), (200, vec![ours.id]));
    assert_eq!(answer.endpoint_id.as_deref(), Some("own"));
    assert_eq!(Some(answer.connected[0].since), world.presence().is_connected(&ours.endpoint_id));

    let refused = [
        Secret::new(String::new()),
        world.key.presence(in_seconds(-60)).unwrap(),
        SigningKey::new([8; 32]).presence(in_seconds(60)).unwrap(),
        world.key.relay(&ours.endpoint_id, RelayRole::Agent, ours.id, in_seconds(60)).unwrap(),
    ];
    for ticket in &refused {
        assert_eq!(ask(&url, ticket, vec![ours.clone()]).await, (401, PresenceAnswer::default()));
    }
    let crowd = vec![ours.clone(); PRESENCE_AGENTS_MAX + 1];
    assert_eq!(ask(&url, &ticket, crowd).await.0, 413);
    let crowd = vec![AskedAgent { endpoint_id: "0".repeat(1 << 20), ..ours.clone() }];
    assert_eq!(ask(&url, &ticket, crowd).await.0, 413);

    agent.tailnet.close().await;
    until("the agent has left", || world.presence().is_connected(&ours.endpoint_id).is_none()).await;
    assert_eq!(ask(&url, &ticket, vec![ours]).await.1.connected, []);
}
