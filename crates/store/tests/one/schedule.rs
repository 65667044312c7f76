//! When workspaces are stopped without anyone asking.

use super::fixture::{World, at, claim, failed, job, noon, result, result_with_agent, run};
use berth_domain::{BuildReason, JobStatus, Policy, Priority, Transition};
use berth_store::{Build, CreateBuildError, Due, ExtendWorkspaceError, JobId, Workspace, WorkspaceChange};
use berth_wire::runner::Outcome;
use uuid::Uuid;

const HOUR: i64 = 3600;
const HOUR_MS: i64 = 3600 * 1000;

impl World {
    /// A workspace that waits for its first start, under these rules.
    async fn under(&self, policy: Policy, ttl_ms: Option<i64>) -> Workspace {
        let mut draft = self.draft("dev");
        draft.ttl_ms = ttl_ms;
        draft.latest_build.policy = policy;
        let permit = self.actor().may_create_workspace(self.ada.id).unwrap();
        self.store.create_workspace(&permit, draft).await.unwrap()
    }

    async fn seen(&self, workspace: &Workspace) -> Workspace {
        self.store.workspace(workspace.id).await.unwrap().unwrap()
    }

    fn again(&self, workspace: &Workspace, transition: Transition, policy: Policy) -> Build {
        Build { policy, ..self.build(workspace.id, workspace.name.as_str(), transition) }
    }
}

#[tokio::test]
async fn a_started_workspace_is_stopped_when_its_time_is_over_and_costs_nothing_then() {
    let world = World::new().await;
    let policy = Policy { default_ttl_ms: 8 * HOUR_MS, max_ttl_ms: 12 * HOUR_MS, ..Policy::default() };
    let dev = world.under(policy, Some(2 * HOUR_MS)).await;
    run(&world.store, job(&dev), result(Outcome::Succeeded)).await;
    let up = world.seen(&dev).await.latest_build;
    assert_eq!((up.deadline, up.max_deadline), (Some(at(2 * HOUR)), Some(at(12 * HOUR))));
    assert!(world.store.due(at(2 * HOUR - 1)).await.unwrap().is_empty());
    assert_eq!(world.store.due(at(2 * HOUR)).await.unwrap(), [Due::Stop(dev.id)]);
    assert_eq!(world.store.autostop(dev.id, at(2 * HOUR - 1)).await.unwrap(), None, "told too early");

    let stop = world.store.autostop(dev.id, at(2 * HOUR)).await.unwrap().unwrap();
    assert_eq!(world.store.autostop(dev.id, at(2 * HOUR)).await.unwrap(), None, "told twice");
    let build = world.seen(&dev).await.latest_build;
    assert_eq!(
        (build.transition, build.reason, build.number, JobId::Build(build.id)),
        (Transition::Stop, BuildReason::Autostop, 2, stop)
    );
    assert_eq!(build.initiator, dev.owner);
    assert_eq!(world.store.job(stop).await.unwrap().unwrap().priority, Priority::Automatic);
    run(&world.store, stop, result(Outcome::Succeeded)).await;
    assert!(world.store.due(at(1000 * HOUR)).await.unwrap().is_empty());
    let before = world.store.meter();
    assert_eq!(world.store.autostop(dev.id, at(1000 * HOUR)).await.unwrap(), None);
    assert_eq!((world.store.meter() - before).writes, 0);
}

#[tokio::test]
async fn a_stop_is_put_off_within_the_templates_limit_and_by_use() {
    let world = World::new().await;
    let policy = Policy { default_ttl_ms: HOUR_MS, max_ttl_ms: 4 * HOUR_MS, activity_bump_ms: 2 * HOUR_MS, ..Policy::default() };
    let dev = world.under(policy, None).await;
    let early = world.store.extend(dev.id, at(HOUR), noon()).await;
    assert!(matches!(early, Err(ExtendWorkspaceError::NotRunning(_))), "{early:?}");
    run(&world.store, job(&dev), result(Outcome::Succeeded)).await;
    let extended = world.store.extend(dev.id, at(3 * HOUR), at(5)).await.unwrap();
    assert_eq!(extended.stops_at(), Some(at(3 * HOUR)));
    assert!(world.store.due(at(3 * HOUR - 1)).await.unwrap().is_empty(), "the earlier time is forgotten");
    assert_eq!(world.store.due(at(3 * HOUR)).await.unwrap(), [Due::Stop(dev.id)]);
    for wrong in [at(4), at(5 * HOUR)] {
        assert!(matches!(world.store.extend(dev.id, wrong, at(5)).await, Err(ExtendWorkspaceError::Time(_))));
    }
    let used = |at| WorkspaceChange { last_used_at: Some(at), ..WorkspaceChange::default() };
    let bumped = world.store.update_workspace(dev.id, used(at(90 * 60)), at(90 * 60)).await.unwrap();
    assert_eq!(bumped.stops_at(), Some(at(3 * HOUR + HOUR / 2)));
    let bumped = world.store.update_workspace(dev.id, used(at(3 * HOUR)), at(3 * HOUR)).await.unwrap();
    assert_eq!(bumped.stops_at(), Some(at(4 * HOUR)), "not beyond the maximum");

    let never = WorkspaceChange { ttl_ms: Some(Some(0)), ..WorkspaceChange::default() };
    let kept = world.store.update_workspace(dev.id, never, at(6)).await.unwrap();
    assert_eq!(kept.stops_at(), Some(at(4 * HOUR)), "the template's limit holds");
}

#[tokio::test]
async fn a_workspace_without_a_limit_can_be_told_to_run_for_ever() {
    let world = World::new().await;
    let dev = world.under(Policy { default_ttl_ms: HOUR_MS, ..Policy::default() }, None).await;
    run(&world.store, job(&dev), result(Outcome::Succeeded)).await;
    assert_eq!(world.store.due(at(HOUR)).await.unwrap().len(), 1);
    let never = WorkspaceChange { ttl_ms: Some(Some(0)), ..WorkspaceChange::default() };
    world.store.update_workspace(dev.id, never, at(1)).await.unwrap();
    assert!(world.store.due(at(1000 * HOUR)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_failed_start_left_is_stopped_after_the_templates_time() {
    let world = World::new().await;
    let policy = Policy { failure_ttl_ms: HOUR_MS, ..Policy::default() };
    let dev = world.under(policy, None).await;
    run(&world.store, job(&dev), failed("no capacity")).await;
    assert!(world.store.due(at(HOUR - 1)).await.unwrap().is_empty());
    assert_eq!(world.store.due(at(HOUR)).await.unwrap(), [Due::Stop(dev.id)]);
    let stop = world.store.autostop(dev.id, at(HOUR)).await.unwrap().unwrap();
    run(&world.store, stop, failed("still no capacity")).await;
    assert!(world.store.due(at(1000 * HOUR)).await.unwrap().is_empty(), "a stop that fails is a person's to look at");
}

#[tokio::test]
async fn a_start_that_fails_or_is_canceled_does_not_let_a_running_workspace_run_for_ever() {
    let world = World::new().await;
    let policy = Policy { default_ttl_ms: HOUR_MS, ..Policy::default() };
    let dev = world.under(policy, None).await;
    run(&world.store, job(&dev), result(Outcome::Succeeded)).await;
    let again = world.store.create_build(world.again(&dev, Transition::Start, policy)).await.unwrap();
    assert!(world.store.due(at(HOUR)).await.unwrap().iter().all(|due| *due != Due::Stop(dev.id)), "a build is under way");
    run(&world.store, job(&again), failed("quota")).await;
    assert_eq!(world.store.due(at(HOUR)).await.unwrap(), [Due::Stop(dev.id)]);
    let again = world.store.create_build(world.again(&dev, Transition::Start, policy)).await.unwrap();
    world.store.cancel(job(&again), at(2)).await.unwrap();
    assert_eq!(world.store.due(at(HOUR)).await.unwrap(), [Due::Stop(dev.id)]);

    let stop = world.next(&dev, Transition::Stop).await;
    run(&world.store, stop, result(Outcome::Succeeded)).await;
    let start = world.store.create_build(world.again(&dev, Transition::Start, policy)).await.unwrap();
    run(&world.store, job(&start), failed("quota")).await;
    assert!(world.store.due(at(1000 * HOUR)).await.unwrap().is_empty(), "nothing runs that would have to be stopped");
}

#[tokio::test]
async fn a_persons_build_takes_the_place_of_an_automatic_one_that_waits() {
    let world = World::new().await;
    let dev = world.under(Policy { default_ttl_ms: HOUR_MS, ..Policy::default() }, None).await;
    run(&world.store, job(&dev), result_with_agent(Uuid::from_u128(1), "t")).await;
    let automatic = world.store.autostop(dev.id, at(HOUR)).await.unwrap().unwrap();
    let workspace = world.store.create_build(world.build(dev.id, "dev", Transition::Start)).await.unwrap();
    assert_eq!((workspace.latest_build.number, workspace.latest_build.transition), (3, Transition::Start));
    let superseded = world.store.job(automatic).await.unwrap().unwrap().job;
    assert_eq!(
        (superseded.status, superseded.error.as_str()),
        (JobStatus::Canceled, "build 3 took its place: ada asked for a start")
    );
    assert_eq!(world.store.build_by_number(dev.id, 2).await.unwrap().unwrap().job, superseded, "what is shown is what is so");
    assert_eq!(world.store.logs(automatic, 0, 10).await.unwrap()[0].output, superseded.error);
    assert!(
        world
            .store
            .due(at(1000 * HOUR))
            .await
            .unwrap()
            .iter()
            .all(|due| matches!(due, Due::Announce(id, Priority::Person) if *id == job(&workspace)))
    );

    let seen = world.store.build_by_number(dev.id, 2).await.unwrap().unwrap().resources;
    assert_eq!(seen.len(), 1, "it left what there was");

    let second = world.store.create_build(world.build(dev.id, "dev", Transition::Stop)).await;
    assert!(matches!(second, Err(CreateBuildError::Busy { number: 3, .. })), "a person's gives way to nobody");
    world.store.cancel(job(&workspace), at(HOUR)).await.unwrap();
    assert_eq!(world.seen(&dev).await.latest_build.resources.len(), 1, "what runs is still shown");
}

#[tokio::test]
async fn an_automatic_build_that_runs_is_not_superseded() {
    let world = World::new().await;
    let dev = world.under(Policy { default_ttl_ms: HOUR_MS, ..Policy::default() }, None).await;
    run(&world.store, job(&dev), result(Outcome::Succeeded)).await;
    let automatic = world.store.autostop(dev.id, at(HOUR)).await.unwrap().unwrap();
    claim(&world.store, automatic, at(HOUR)).await;
    let refused = world.store.create_build(world.build(dev.id, "dev", Transition::Start)).await;
    assert!(matches!(refused, Err(CreateBuildError::Busy { number: 2, .. })));
}
