//! Repairs: one at a time, never beside a build, and never in the way for ever.

use super::fixture::{World, at, claim, failed, job, noon, random, result, run, state};
use berth_domain::{JobStatus, RepairId, Stray, Transition};
use berth_store::{
    CreateBuildError, CreateRepairError, Job, JobId, JobResult, Lost, LostOutcome, PushStateError, Record, Repair, Workspace,
};
use berth_wire::runner::Outcome;

fn repair(world: &World, workspace: &Workspace) -> Repair {
    Repair {
        id: RepairId::new(noon(), random()),
        workspace: workspace.id,
        owner: world.ada.id,
        initiator: world.ada.id,
        initiator_name: world.ada.username.clone(),
        created_at: noon(),
        delete: Vec::new(),
        job: Job::queued(noon()),
        found: Vec::new(),
    }
}

async fn try_build(world: &World, workspace: &Workspace) -> Result<Workspace, CreateBuildError> {
    world.store.create_build(world.build(workspace.id, workspace.name.as_str(), Transition::Stop)).await
}

#[tokio::test]
async fn a_repair_waits_for_no_build_and_no_build_for_long() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let look = repair(&world, &dev);
    assert!(matches!(world.store.create_repair(&look).await, Err(CreateRepairError::Building(1))));
    run(&world.store, job(&dev), result(Outcome::Succeeded)).await;
    world.store.create_repair(&look).await.unwrap();
    let second = world.store.create_repair(&repair(&world, &dev)).await;
    assert!(matches!(second, Err(CreateRepairError::Repairing(id)) if id == look.id));
    assert!(matches!(try_build(&world, &dev).await, Err(CreateBuildError::Repairing(id)) if id == look.id));

    let (session, claimed) = claim(&world.store, JobId::Repair(look.id), at(1)).await;
    let Record::Repair(pair) = claimed.record else { panic!("{claimed:?}") };
    assert_eq!((pair.0.id, pair.0.job.status, pair.1.id), (look.id, JobStatus::Running, dev.id));
    let refused = world.store.push_state(&session, state(1, "x"), at(2)).await;
    assert!(matches!(refused, Err(PushStateError::Missing(_))), "a repair writes no state: {refused:?}");
    let stray = Stray { kind: "aws_instance".into(), id: "i-1".into(), what: String::new(), addresses: Vec::new() };
    world.store.finish(&session, JobResult { found: vec![stray.clone()], ..result(Outcome::Succeeded) }, at(3)).await.unwrap();
    let ended = world.store.repair(look.id).await.unwrap().unwrap();
    assert_eq!((ended.job.status, ended.found), (JobStatus::Succeeded, vec![stray]));
    try_build(&world, &dev).await.unwrap();
}

#[tokio::test]
async fn a_repair_that_is_lost_canceled_or_fails_leaves_the_workspace_free() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    run(&world.store, job(&dev), result(Outcome::Succeeded)).await;
    let before = world.store.workspace(dev.id).await.unwrap().unwrap().latest_build;
    let (lost, canceled, fails) = (repair(&world, &dev), repair(&world, &dev), repair(&world, &dev));
    world.store.create_repair(&lost).await.unwrap();
    claim(&world.store, JobId::Repair(lost.id), noon()).await;
    assert_eq!(world.store.fail_lost(JobId::Repair(lost.id), &Lost::LeaseEnded, at(60)).await.unwrap(), LostOutcome::Failed);
    world.store.create_repair(&canceled).await.unwrap();
    world.store.cancel(JobId::Repair(canceled.id), at(61)).await.unwrap();
    world.store.create_repair(&fails).await.unwrap();
    run(&world.store, JobId::Repair(fails.id), failed("no such region")).await;
    assert_eq!(world.store.repair(fails.id).await.unwrap().unwrap().job.error, "no such region");
    let after = world.store.workspace(dev.id).await.unwrap().unwrap().latest_build;
    assert_eq!((before.job, before.number), (after.job, after.number), "the build shows nothing of it");
    try_build(&world, &dev).await.unwrap();
}
