use super::fixture::{World, at, claim, failed, job, noon, result, result_with_agent, run, user};
use berth_domain::{JobStatus, ParameterValue, Transition, WorkspaceName};
use berth_store::{CreateBuildError, CreateWorkspaceError, JobId, RenameWorkspaceError, WorkspaceChange};
use berth_wire::runner::Outcome;
use tokio::task::JoinSet;
use uuid::Uuid;

#[tokio::test]
async fn two_workspaces_of_one_owner_cannot_differ_in_case_only() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    assert_eq!(dev.latest_build.number, 1);
    let permit = world.actor().may_create_workspace(world.ada.id).unwrap();
    let clash = world.store.create_workspace(&permit, world.draft("DEV")).await;
    assert!(matches!(clash, Err(CreateWorkspaceError::NameTaken { .. })));
    let found = world.store.workspace_by_name(world.ada.id, &WorkspaceName::parse("Dev").unwrap()).await.unwrap();
    assert_eq!(found.unwrap().id, dev.id);
    assert_eq!(world.store.workspaces(Some(world.ada.id)).await.unwrap().len(), 1);
    assert!(world.store.workspaces(Some(user("bob").id)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_permit_for_one_owner_makes_no_workspace_for_another() {
    let world = World::new().await;
    let permit = world.actor().may_create_workspace(user("bob").id).unwrap();
    let refused = world.store.create_workspace(&permit, world.draft("dev")).await;
    assert!(matches!(refused, Err(CreateWorkspaceError::NotPermitted { .. })));
}

#[tokio::test]
async fn a_busy_workspace_refuses_a_second_build_and_names_the_first() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let refused = world.store.create_build(world.build(dev.id, "dev", Transition::Stop)).await;
    let Err(CreateBuildError::Busy { build, number: 1 }) = refused else { panic!("{refused:?}") };
    assert_eq!(JobId::Build(build), job(&dev));

    run(&world.store, job(&dev), failed("no capacity")).await;
    let mut rivals = JoinSet::new();
    for _ in 0..8 {
        let (store, build) = (world.store.clone(), world.build(dev.id, "dev", Transition::Start));
        rivals.spawn(async move { store.create_build(build).await });
    }
    let outcomes = rivals.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(CreateBuildError::Busy { number: 2, .. }))));
}

#[tokio::test]
async fn builds_are_counted_and_remembered() {
    let world = World::new().await;
    let mut draft = world.draft("dev");
    draft.latest_build.parameters = vec![ParameterValue { name: "size".to_owned(), value: "2".to_owned() }];
    let permit = world.actor().may_create_workspace(world.ada.id).unwrap();
    let dev = world.store.create_workspace(&permit, draft).await.unwrap();
    run(&world.store, job(&dev), result_with_agent(Uuid::from_u128(1), "t")).await;
    let stop = world.next(&dev, Transition::Stop).await;

    let builds = world.store.builds_of(dev.id).await.unwrap();
    assert_eq!(builds.iter().map(|build| build.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(builds[0].previous_parameters, builds[1].parameters);
    assert_eq!(builds[1].resources[0].agents[0].name, "main");
    assert_eq!(builds[1].resources[0].agents[0].token, None, "a build remembers no secrets");
    assert!(builds[1].resources[0].agents[0].env.is_empty());
    assert_eq!(JobId::Build(world.store.build_by_number(dev.id, 2).await.unwrap().unwrap().id), stop);
    assert_eq!(world.store.build(builds[1].id).await.unwrap().unwrap().number, 1);
    assert_eq!(world.store.build(builds[0].id).await.unwrap().unwrap().number, 2);
    assert!(world.store.build_by_number(dev.id, 3).await.unwrap().is_none());
}

#[tokio::test]
async fn a_deleted_workspace_gives_its_name_back_and_takes_no_build() {
    let world = World::new().await;
    let dev = world.running("dev", result(Outcome::Succeeded)).await;
    let delete = world.next(&dev, Transition::Delete).await;
    run(&world.store, delete, failed("busy volume")).await;
    assert_eq!(world.status(&dev).await, JobStatus::Failed);
    assert_eq!(world.store.workspaces(None).await.unwrap().len(), 1, "a failed delete deletes nothing");

    let delete = world.next(&dev, Transition::Delete).await;
    run(&world.store, delete, result(Outcome::Succeeded)).await;
    assert!(world.store.workspaces(None).await.unwrap().is_empty());
    assert!(world.store.workspace(dev.id).await.unwrap().unwrap().deleted);
    assert!(world.store.workspace_by_name(dev.owner, &dev.name).await.unwrap().is_none());
    let late = world.store.create_build(world.build(dev.id, "dev", Transition::Start)).await;
    assert!(matches!(late, Err(CreateBuildError::Deleted(_))));
    assert_ne!(world.queued("dev").await.id, dev.id);
}

#[tokio::test]
async fn a_canceled_build_shows_what_the_one_before_it_had_made() {
    let world = World::new().await;
    let dev = world.running("dev", result_with_agent(Uuid::from_u128(1), "t")).await;
    let stop = world.next(&dev, Transition::Stop).await;
    assert_eq!(world.store.cancel(stop, at(5)).await.unwrap(), JobStatus::Canceled);
    let (dev, agents) = world.store.workspace_and_agents(dev.id).await.unwrap().unwrap();
    assert_eq!(dev.latest_build.job.status, JobStatus::Canceled);
    assert_eq!(dev.latest_build.resources[0].agents[0].id, agents[0].definition.id);
    assert!(world.store.agent_by_token("t").await.is_ok(), "nothing was stopped");
}

#[tokio::test]
async fn a_change_meets_a_claim_and_neither_is_lost() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let change = WorkspaceChange { ttl_ms: Some(Some(7)), last_used_at: Some(at(9)), ..WorkspaceChange::default() };
    let (updated, (_, claimed)) =
        tokio::join!(world.store.update_workspace(dev.id, change, at(1)), claim(&world.store, job(&dev), noon()));
    updated.unwrap();
    let dev = world.store.workspace(dev.id).await.unwrap().unwrap();
    assert_eq!((dev.ttl_ms, dev.last_used_at), (Some(7), at(9)));
    assert_eq!(dev.latest_build.job.status, JobStatus::Running);
    assert_eq!(claimed.fence.0, 1);
}

#[tokio::test]
async fn a_workspace_is_renamed_and_the_old_name_is_free() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let name = |text: &str| WorkspaceName::parse(text).unwrap();
    let busy = world.store.rename_workspace(dev.id, &name("work"), at(1)).await;
    assert!(matches!(busy, Err(RenameWorkspaceError::Busy { number: 1, .. })), "{busy:?}");
    run(&world.store, job(&dev), result(Outcome::Succeeded)).await;
    let other = world.running("other", result(Outcome::Succeeded)).await;
    let taken = world.store.rename_workspace(dev.id, &name("OTHER"), at(1)).await;
    assert!(matches!(taken, Err(RenameWorkspaceError::NameTaken { .. })), "{taken:?}");
    assert_eq!(world.store.workspace_by_name(dev.owner, &name("dev")).await.unwrap().unwrap().id, dev.id, "nothing changed");

    let renamed = world.store.rename_workspace(dev.id, &name("work"), at(1)).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.latest_build.workspace_name.as_str()), ("work", "work"));
    assert!(world.store.workspace_by_name(dev.owner, &name("dev")).await.unwrap().is_none());
    assert_eq!(world.store.workspace_by_name(dev.owner, &name("work")).await.unwrap().unwrap().id, dev.id);
    assert_eq!(world.store.rename_workspace(dev.id, &name("Work"), at(2)).await.unwrap().name.as_str(), "Work");
    assert_eq!(world.store.workspace_by_name(dev.owner, &name("work")).await.unwrap().unwrap().id, dev.id);
    let names: Vec<_> = world.store.workspaces(None).await.unwrap().iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["other", "Work"]);
    world.store.rename_workspace(other.id, &name("dev"), at(3)).await.unwrap();

    let delete = world.next(&renamed, Transition::Delete).await;
    run(&world.store, delete, result(Outcome::Succeeded)).await;
    assert!(
        world.store.workspace_by_name(dev.owner, &name("work")).await.unwrap().is_none(),
        "a deleted one gives its newest name back"
    );
    let gone = world.store.rename_workspace(dev.id, &name("x"), at(4)).await;
    assert!(matches!(gone, Err(RenameWorkspaceError::Missing(_))));
}
