use super::fixture::{World, at, claim, job, noon, result, result_with_agent, run};
use berth_domain::{AgentId, Lifecycle, Transition};
use berth_store::{AgentTokenError, FinishError};
use berth_wire::{
    agent::{Hello, LifecycleReport},
    runner::Outcome,
};
use uuid::Uuid;

const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

fn hello() -> Hello {
    Hello { endpoint_id: "key".to_owned(), version: "0.1.0".to_owned(), expanded_directory: "/home/ada".to_owned() }
}

#[tokio::test]
async fn an_agent_speaks_with_its_token_from_the_end_of_its_build() {
    let world = World::new().await;
    let store = &world.store;
    assert!(matches!(store.agent_by_token("t1").await, Err(AgentTokenError::Unknown)));
    let dev = world.running("dev", result_with_agent(ONE, "t1")).await;
    let (agent, workspace) = store.agent_by_token("t1").await.unwrap();
    assert_eq!((agent.id, workspace.id, agent.build), (AgentId(ONE), dev.id, dev.latest_build.id));
    assert_eq!(agent.definition.env["A"], "secret", "its manifest has all of it");
    assert_eq!(agent.definition.token, None, "but its token is kept as a hash");
    assert_eq!(agent.resource, dev.latest_build.resources[0].id);

    let met = store.agent_hello(&agent, &hello(), at(1)).await.unwrap();
    let before = store.meter();
    assert_eq!(store.agent_hello(&agent, &hello(), at(2)).await.unwrap().updated_at, met.updated_at);
    assert_eq!((store.meter() - before).writes, 0, "a repeated hello writes nothing");
    assert_eq!(store.agents_of(&[workspace]).await.unwrap()[&AgentId(ONE)].endpoint_id, "key");
    let (agent, workspace) = store.agent_and_workspace(AgentId(ONE)).await.unwrap().unwrap();
    assert_eq!((agent.first_connected_at, workspace.id), (Some(at(1)), dev.id));
}

#[tokio::test]
async fn reports_out_of_order_leave_the_newest() {
    let world = World::new().await;
    world.running("dev", result_with_agent(ONE, "t1")).await;
    let (agent, _) = world.store.agent_by_token("t1").await.unwrap();
    let report = |state, second| LifecycleReport { state, changed_at: at(second) };
    let store = &world.store;
    store.agent_lifecycle(&agent, report(Lifecycle::Ready, 9), at(10)).await.unwrap();
    let late = store.agent_lifecycle(&agent, report(Lifecycle::Starting, 5), at(11)).await.unwrap();
    assert_eq!((late.lifecycle, late.ready_at), (Lifecycle::Ready, Some(at(9))));
    let again = store.agent_lifecycle(&agent, report(Lifecycle::Starting, 20), at(21)).await.unwrap();
    assert_eq!((again.started_at, again.ready_at), (Some(at(20)), None));
}

#[tokio::test]
async fn a_stop_silences_agents_and_a_start_lets_them_begin_anew() {
    let world = World::new().await;
    let store = &world.store;
    let dev = world.running("dev", result_with_agent(ONE, "t1")).await;
    let (agent, _) = store.agent_by_token("t1").await.unwrap();
    store.agent_hello(&agent, &hello(), at(1)).await.unwrap();

    let stop = world.next(&dev, Transition::Stop).await;
    assert!(store.agent_by_token("t1").await.is_ok(), "it may speak until it is stopped");
    run(store, stop, result(Outcome::Succeeded)).await;
    assert!(matches!(store.agent_by_token("t1").await, Err(AgentTokenError::Superseded(id)) if id == AgentId(ONE)));
    assert!(store.agent(AgentId(ONE)).await.unwrap().is_none());
    assert!(store.workspace_and_agents(dev.id).await.unwrap().unwrap().1.is_empty());

    let start = world.next(&dev, Transition::Start).await;
    run(store, start, result_with_agent(ONE, "t1")).await;
    let (agent, _) = store.agent_by_token("t1").await.unwrap();
    assert_eq!(agent.endpoint_id, "", "the machine is another one");
}

#[tokio::test]
async fn an_agent_that_lives_through_a_build_keeps_what_it_said_and_a_replaced_one_is_told_so() {
    let world = World::new().await;
    let store = &world.store;
    let dev = world.running("dev", result_with_agent(ONE, "t1")).await;
    let (agent, _) = store.agent_by_token("t1").await.unwrap();
    store.agent_hello(&agent, &hello(), at(1)).await.unwrap();
    let update = world.next(&dev, Transition::Start).await;
    run(store, update, result_with_agent(ONE, "t1")).await;
    assert_eq!(store.agent_by_token("t1").await.unwrap().0.endpoint_id, "key");

    let replace = world.next(&dev, Transition::Start).await;
    run(store, replace, result_with_agent(TWO, "t2")).await;
    assert!(matches!(store.agent_by_token("t1").await, Err(AgentTokenError::Superseded(_))));
    assert_eq!(store.agent_by_token("t2").await.unwrap().0.id, AgentId(TWO));
    let rotate = world.next(&dev, Transition::Start).await;
    run(store, rotate, result_with_agent(TWO, "t3")).await;
    assert!(matches!(store.agent_by_token("t2").await, Err(AgentTokenError::Superseded(_))), "the old token of the same agent");
    assert!(store.agent_by_token("t3").await.is_ok());
}

#[tokio::test]
async fn no_build_can_take_another_workspaces_agent() {
    let world = World::new().await;
    world.running("mine", result_with_agent(ONE, "t1")).await;
    let theirs = world.queued("theirs").await;
    let (session, _) = claim(&world.store, job(&theirs), noon()).await;
    for (id, token) in [(ONE, "other"), (TWO, "t1")] {
        let taken = world.store.finish(&session, result_with_agent(id, token), at(1)).await;
        assert!(matches!(taken, Err(FinishError::ForeignAgent(foreign)) if foreign == id), "{taken:?}");
    }
    let mut twice = result_with_agent(TWO, "t2");
    twice.resources.push(twice.resources[0].clone());
    assert!(matches!(world.store.finish(&session, twice, at(1)).await, Err(FinishError::ForeignAgent(TWO))));
    let mut many = result_with_agent(TWO, "t2");
    many.resources[0].agents = (100..120)
        .map(|id| {
            super::fixture::Resource::clone(&result_with_agent(Uuid::from_u128(id), &id.to_string()).resources[0]).agents.remove(0)
        })
        .collect();
    assert!(matches!(world.store.finish(&session, many, at(1)).await, Err(FinishError::TooManyAgents { count: 20, .. })));
    world.store.finish(&session, result_with_agent(TWO, "t2"), at(1)).await.unwrap();
}

#[tokio::test]
async fn a_delete_silences_agents() {
    let world = World::new().await;
    let dev = world.running("dev", result_with_agent(ONE, "t1")).await;
    let delete = world.next(&dev, Transition::Delete).await;
    run(&world.store, delete, result(Outcome::Succeeded)).await;
    assert!(matches!(world.store.agent_by_token("t1").await, Err(AgentTokenError::Superseded(_))));
}
