//! What verbs ask of the table: a laptop pays a write with an fsync, a deployment with money.

use super::fixture::{World, at, job, line, noon, random, result, result_with_agent, run, state, task};
use berth_domain::{Priority, Secret, TokenHash, TokenId, Transition};
use berth_store::{JobId, Offer, RunnerSession, Session, SessionKind};
use berth_sweep::{Announce, Power, PowerError, Swept, sweep};
use berth_wire::runner::Outcome;
use uuid::Uuid;

macro_rules! costs {
    ($store:expr, $reads:literal + $writes:literal, $verb:expr) => {{
        let before = $store.meter();
        let answer = $verb;
        let cost = $store.meter() - before;
        assert_eq!((cost.reads, cost.writes), ($reads, $writes), "{}", stringify!($verb));
        answer
    }};
}

#[tokio::test]
async fn reading_is_one_request_and_an_authenticated_workspace_two() {
    let world = World::new().await;
    let store = &world.store;
    let dev = world.running("dev", result_with_agent(Uuid::from_u128(1), "t")).await;
    let id = TokenId::new(noon(), random());
    let session = Session {
        id,
        user: world.ada.id,
        hash: TokenHash::of("s"),
        kind: SessionKind::Session,
        created_at: noon(),
        expires_at: at(9),
    };
    costs!(store, 0 + 1, store.create_session(&session).await.unwrap());
    costs!(store, 2 + 0, store.session_and_user(id).await.unwrap().unwrap());
    costs!(store, 2 + 0, {
        store.session_and_user(id).await.unwrap().unwrap();
        store.workspace_and_agents(dev.id).await.unwrap().unwrap()
    });
    let list = costs!(store, 1 + 0, store.workspaces(None).await.unwrap());
    costs!(store, 1 + 0, store.agents_of(&list).await.unwrap());
    costs!(store, 0 + 0, store.agents_of(&[]).await.unwrap());
    costs!(store, 1 + 0, store.builds_of(dev.id).await.unwrap());
    costs!(store, 2 + 0, store.state_versions(dev.id).await.unwrap());
    costs!(store, 2 + 0, store.agent_by_token("t").await.unwrap());
    costs!(store, 1 + 0, store.due(at(100)).await.unwrap());
    costs!(store, 1 + 0, store.logs(job(&dev), 0, 10).await.unwrap());
}

#[tokio::test]
async fn a_whole_build_is_six_writes_and_its_log() {
    let world = World::new().await;
    let store = &world.store;
    let permit = world.actor().may_create_workspace(world.ada.id).unwrap();
    let dev = costs!(store, 0 + 1, store.create_workspace(&permit, world.draft("dev")).await.unwrap());
    let offer = Offer { task: task(), hash: TokenHash::of("token"), ends: at(900) };
    costs!(store, 1 + 1, store.offer(job(&dev), offer, noon()).await.unwrap());
    let claim = costs!(store, 2 + 1, store.claim(job(&dev), "token", task(), TokenHash::of("ab"), noon()).await.unwrap());
    let session = RunnerSession { job: job(&dev), fence: claim.fence, secret: Secret::new("ab".to_owned()) };
    costs!(store, 1 + 1, store.append_runner_logs(&session, vec![line("a"), line("b")]).await.unwrap());
    costs!(store, 1 + 1, store.heartbeat(&session, at(10)).await.unwrap());
    costs!(store, 1 + 1, store.push_state(&session, state(1, "x"), at(10)).await.unwrap());
    costs!(store, 1 + 0, store.push_state(&session, state(1, "x"), at(10)).await.unwrap());
    costs!(store, 2 + 1, store.finish(&session, result_with_agent(Uuid::from_u128(1), "t"), at(11)).await.unwrap());
    costs!(store, 1 + 1, store.create_build(world.build(dev.id, "dev", Transition::Stop)).await.unwrap());
}

/// Nothing is announced in these stories.
struct Nobody;

impl Announce for Nobody {
    async fn announce(&self, job: JobId, _: Priority) {
        panic!("{job} waits");
    }
}

impl Power for Nobody {
    async fn set(&self, on: bool) -> Result<(), PowerError> {
        panic!("the relay is to be on: {on}");
    }
}

#[tokio::test]
async fn an_hour_with_a_thousand_stopped_workspaces_is_sixty_small_reads_and_no_write() {
    let world = World::new().await;
    for number in 0..1000 {
        let workspace = world.running(&format!("dev-{number}"), result(Outcome::Succeeded)).await;
        let stop = world.next(&workspace, Transition::Stop).await;
        run(&world.store, stop, result(Outcome::Succeeded)).await;
    }
    let before = world.store.meter();
    for minute in 0..60 {
        assert_eq!(sweep(&world.store, &Nobody, &Nobody, at(100_000 + 60 * minute)).await.unwrap(), Swept::default());
    }
    let cost = world.store.meter() - before;
    assert_eq!((cost.reads, cost.half_read_units), (60, 60), "half a read unit a minute, however many workspaces there are");
    assert_eq!((cost.writes, cost.write_units), (0, 0));
}
