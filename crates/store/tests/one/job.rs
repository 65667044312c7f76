use super::fixture::{World, at, claim, failed, hex, job, noon, offer, older, random, result, run, state, stranger, task};
use berth_domain::{JobStatus, Priority, TokenHash, Transition};
use berth_store::{
    CancelError, ClaimError, Due, FinishError, LeaseError, Lost, LostOutcome, Offer, OfferError, PushStateError, Record,
};
use berth_wire::runner::Outcome;
use tokio::task::JoinSet;

#[tokio::test]
async fn of_64_who_redeem_one_token_one_gets_the_job_and_the_others_learn_who() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let token = offer(&world.store, job(&dev), noon()).await;
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (store, id, token) = (world.store.clone(), job(&dev), token.clone());
        tasks.spawn(async move {
            let task = task();
            (task, store.claim(id, &token, task, TokenHash::of("s"), noon()).await)
        });
    }
    let outcomes = tasks.join_all().await;
    let winners: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(task, _)| *task).collect();
    let [winner] = winners[..] else { panic!("{} winners", winners.len()) };
    for (task, outcome) in &outcomes {
        let learned = matches!(outcome, Err(ClaimError::Held { holder, .. }) if *holder == winner);
        assert!(learned || *task == winner, "{outcome:?}");
    }
    let claimed = &outcomes.iter().find(|(_, outcome)| outcome.is_ok()).unwrap().1;
    assert!(matches!(&claimed.as_ref().unwrap().record, Record::Workspace(workspace) if workspace.id == dev.id));
}

#[tokio::test]
async fn a_token_is_good_once_in_its_time_and_for_its_job() {
    let world = World::new().await;
    let (one, two) = (world.queued("one").await, world.queued("two").await);
    let token = offer(&world.store, job(&one), noon()).await;
    let hash = TokenHash::of("s");
    let wrong = world.store.claim(job(&one), "guess", task(), hash, noon()).await;
    assert!(matches!(wrong, Err(ClaimError::BadToken(_))));
    let other = world.store.claim(job(&two), &token, task(), hash, noon()).await;
    assert!(matches!(other, Err(ClaimError::BadToken(_))));
    let late = world.store.claim(job(&one), &token, task(), hash, at(900)).await;
    assert!(matches!(late, Err(ClaimError::BadToken(_))));

    let second = Offer { task: task(), hash: TokenHash::of("second"), ends: at(2000) };
    assert!(matches!(world.store.offer(job(&one), second.clone(), at(10)).await, Err(OfferError::Out { .. })));
    world.store.offer(job(&one), second.clone(), at(900)).await.unwrap();
    assert!(matches!(world.store.claim(job(&one), &token, task(), hash, at(901)).await, Err(ClaimError::BadToken(_))));
    assert!(world.store.withdraw_offer(job(&one), &second.hash, at(902)).await.unwrap());
    assert!(!world.store.withdraw_offer(job(&one), &TokenHash::of(&token), at(902)).await.unwrap());
    assert!(matches!(world.store.claim(job(&one), "second", task(), hash, at(903)).await, Err(ClaimError::BadToken(_))));
}

#[tokio::test]
async fn a_late_holder_cannot_push_state_and_the_newest_stays() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let store = &world.store;
    let (session, _) = claim(store, job(&dev), noon()).await;
    assert_eq!(store.push_state(&session, state(1, "one"), noon()).await.unwrap(), 1);
    assert_eq!(store.push_state(&session, state(2, "two"), noon()).await.unwrap(), 2);
    assert_eq!(store.push_state(&session, state(2, "two"), noon()).await.unwrap(), 2, "a repeat is no new state");
    assert_eq!(store.state(dev.id).await.unwrap().unwrap(), state(2, "two"), "also while the build runs");

    assert_eq!(store.fail_lost(job(&dev), &Lost::LeaseEnded, at(59)).await.unwrap(), LostOutcome::Alive);
    assert_eq!(store.fail_lost(job(&dev), &Lost::LeaseEnded, at(60)).await.unwrap(), LostOutcome::Failed);
    let retry = world.next(&dev, Transition::Start).await;
    let (newer, _) = claim(store, retry, at(61)).await;
    assert_eq!(store.push_state(&newer, state(3, "three"), at(61)).await.unwrap(), 3);

    assert!(matches!(store.push_state(&session, state(4, "late"), at(62)).await, Err(PushStateError::Lost(_))));
    assert!(matches!(store.heartbeat(&session, at(62)).await, Err(LeaseError::Lost(_))));
    assert!(matches!(store.finish(&session, result(Outcome::Succeeded), at(62)).await, Err(FinishError::Lost(_))));
    assert!(matches!(store.append_runner_logs(&session, vec![]).await, Err(LeaseError::Lost(_))));
    assert_eq!(store.state(dev.id).await.unwrap().unwrap(), state(3, "three"));
    let first = store.job(job(&dev)).await.unwrap().unwrap();
    assert_eq!(store.job_state(&first).await.unwrap().unwrap(), state(2, "two"), "every state is kept");
}

#[tokio::test]
async fn a_session_is_good_for_its_secret_and_its_fence_only() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let (session, _) = claim(&world.store, job(&dev), noon()).await;
    for wrong in [stranger(&session), older(&session)] {
        assert!(matches!(world.store.job_by_session(&wrong).await, Err(LeaseError::Lost(_))));
        assert!(matches!(world.store.heartbeat(&wrong, noon()).await, Err(LeaseError::Lost(_))));
    }
    assert_eq!(world.store.job_by_session(&session).await.unwrap().id, job(&dev));
}

#[tokio::test]
async fn a_job_finishes_once_and_its_runner_may_say_so_again() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let (session, _) = claim(&world.store, job(&dev), noon()).await;
    world.store.finish(&session, failed("quota"), at(3)).await.unwrap();
    let before = world.store.meter();
    world.store.finish(&session, result(Outcome::Succeeded), at(4)).await.unwrap();
    assert_eq!((world.store.meter() - before).writes, 0);
    assert!(matches!(world.store.finish(&stranger(&session), failed("x"), at(4)).await, Err(FinishError::Lost(_))));
    let ended = world.store.workspace(dev.id).await.unwrap().unwrap().latest_build.job;
    assert_eq!((ended.status, ended.error.as_str(), ended.completed_at), (JobStatus::Failed, "quota", Some(at(3))));
    assert!(matches!(world.store.heartbeat(&session, at(5)).await, Err(LeaseError::Lost(_))));
    assert!(matches!(world.store.cancel(job(&dev), at(5)).await, Err(CancelError::Ended { .. })));
}

#[tokio::test]
async fn a_running_job_is_canceled_by_its_next_heartbeat() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let (session, _) = claim(&world.store, job(&dev), noon()).await;
    assert!(!world.store.heartbeat(&session, at(10)).await.unwrap().cancel);
    assert_eq!(world.store.cancel(job(&dev), at(11)).await.unwrap(), JobStatus::Canceling);
    assert_eq!(world.store.cancel(job(&dev), at(12)).await.unwrap(), JobStatus::Canceling);
    assert_eq!(world.status(&dev).await, JobStatus::Canceling);
    let heartbeat = world.store.heartbeat(&session, at(20)).await.unwrap();
    assert!(heartbeat.cancel && heartbeat.lease_ends == at(80));
    world.store.finish(&session, result(Outcome::Canceled), at(21)).await.unwrap();
    assert_eq!(world.status(&dev).await, JobStatus::Canceled);
}

#[tokio::test]
async fn a_lost_task_fails_its_own_job_only() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let store = &world.store;
    let ended = |task| Lost::TaskEnded { task, reason: "out of memory".to_owned() };
    assert_eq!(store.fail_lost(job(&dev), &ended(task()), noon()).await.unwrap(), LostOutcome::Alive, "nobody was to claim it");
    let (session, _) = claim(store, job(&dev), noon()).await;
    assert_eq!(store.fail_lost(job(&dev), &ended(task()), at(1)).await.unwrap(), LostOutcome::Alive);
    let unlaunchable = Lost::Unlaunchable { reason: "no image".to_owned() };
    assert_eq!(store.fail_lost(job(&dev), &unlaunchable, at(1)).await.unwrap(), LostOutcome::Alive);
    let holder = store.job_by_session(&session).await.unwrap().lease.unwrap().task;
    assert_eq!(store.fail_lost(job(&dev), &ended(holder), at(1)).await.unwrap(), LostOutcome::Failed);
    assert_eq!(store.fail_lost(job(&dev), &ended(holder), at(1)).await.unwrap(), LostOutcome::Ended(JobStatus::Failed));
    assert_eq!(store.workspace(dev.id).await.unwrap().unwrap().latest_build.job.error, "out of memory");

    let retry = world.next(&dev, Transition::Start).await;
    let never = Offer { task: task(), hash: TokenHash::of(&hex(random())), ends: at(900) };
    store.offer(retry, never.clone(), at(2)).await.unwrap();
    assert_eq!(store.fail_lost(retry, &ended(never.task), at(3)).await.unwrap(), LostOutcome::Failed, "it was to claim it");
}

#[tokio::test]
async fn what_must_be_looked_at_is_found_when_it_is_due() {
    let world = World::new().await;
    let store = &world.store;
    assert!(store.due(at(100_000)).await.unwrap().is_empty());
    let dev = world.queued("dev").await;
    assert!(store.due(at(29)).await.unwrap().is_empty());
    assert_eq!(store.due(at(30)).await.unwrap(), [Due::Announce(job(&dev), Priority::Person)]);
    let token = offer(store, job(&dev), at(30)).await;
    assert!(store.due(at(929)).await.unwrap().is_empty(), "a task may still claim it");
    assert_eq!(store.due(at(930)).await.unwrap(), [Due::Announce(job(&dev), Priority::Person)]);
    store.claim(job(&dev), &token, task(), TokenHash::of("s"), at(31)).await.unwrap();
    assert!(store.due(at(90)).await.unwrap().is_empty());
    assert_eq!(store.due(at(91)).await.unwrap(), [Due::LeaseEnded(job(&dev))]);
    store.fail_lost(job(&dev), &Lost::LeaseEnded, at(91)).await.unwrap();
    assert!(store.due(at(100_000)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_workspace_is_free_again_after_every_end() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    world.store.cancel(job(&dev), noon()).await.unwrap();
    let second = world.next(&dev, Transition::Start).await;
    run(&world.store, second, failed("x")).await;
    let third = world.next(&dev, Transition::Start).await;
    let unlaunchable = Lost::Unlaunchable { reason: "no image".to_owned() };
    assert_eq!(world.store.fail_lost(third, &unlaunchable, noon()).await.unwrap(), LostOutcome::Failed);
    world.next(&dev, Transition::Delete).await;
}
