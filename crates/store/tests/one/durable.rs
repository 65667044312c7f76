use super::fixture::{World, at, claim, job, line, noon, result_with_agent, state};
use berth_domain::JobStatus;
use berth_store::{OpenError, Store};
use uuid::Uuid;

#[tokio::test]
async fn all_that_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::on(Store::open_local(dir.path()).await.unwrap()).await;
    let dev = world.running("dev", result_with_agent(Uuid::from_u128(1), "t")).await;
    let other = world.queued("other").await;
    let (session, _) = claim(&world.store, job(&other), noon()).await;
    world.store.append_runner_logs(&session, vec![line("half way")]).await.unwrap();
    world.store.push_state(&session, state(1, "x"), noon()).await.unwrap();
    drop(world);

    let store = Store::open_local(dir.path()).await.unwrap();
    assert_eq!(store.workspace(dev.id).await.unwrap().unwrap().latest_build.job.status, JobStatus::Succeeded);
    assert!(store.agent_by_token("t").await.is_ok());
    assert_eq!(store.heartbeat(&session, at(9)).await.unwrap().lease_ends, at(69), "a runner goes on as if nothing had been");
    assert_eq!(store.state(other.id).await.unwrap().unwrap(), state(1, "x"));
    assert_eq!(store.append_runner_logs(&session, vec![line("on")]).await.unwrap(), 2);
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open_local(dir.path()).await.unwrap();
    let second = Store::open_local(dir.path()).await;
    assert!(matches!(second, Err(OpenError::InUse(used)) if used == dir.path()));
    drop(first);
    Store::open_local(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_workspace_larger_than_an_item_is_kept_all_the_same() {
    let world = World::new().await;
    let mut result = result_with_agent(Uuid::from_u128(1), "t");
    let long = "é".repeat(100_000);
    for number in 0..4 {
        let mut resource = result.resources[0].clone();
        resource.agents.clear();
        resource.icon = format!("{number}{long}");
        result.resources.push(resource);
    }
    result.resources[0].agents[0].scripts[0].script = long.repeat(3);
    let dev = world.running("dev", result).await;
    assert_eq!(dev.latest_build.resources[4].icon.len(), 200_001);
    assert_eq!(world.store.workspaces(None).await.unwrap()[0].latest_build.resources.len(), 5);
    assert_eq!(world.store.agent_by_token("t").await.unwrap().0.definition.scripts[0].script.len(), 600_000);
    world.next(&dev, berth_domain::Transition::Stop).await;
    assert_eq!(world.store.builds_of(dev.id).await.unwrap()[1].resources[4].icon.len(), 200_001);
}
