use super::*;
use berth_domain::{JobStatus, TokenHash, UserId, VersionId};
use berth_store::{Imported, Job, Offer, Version};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).unwrap()
}

fn task(number: u8) -> TaskId {
    TaskId::new(at(0), [number; 10])
}

/// A job that task 1 was launched for.
async fn launched() -> (Store, JobId) {
    let store = Store::memory().await.unwrap();
    let id = VersionId::new(at(0), [1; 10]);
    let version = Version {
        id,
        template: None,
        name: "one".to_owned(),
        message: String::new(),
        file: berth_domain::FileId::new(at(0), [2; 10]),
        created_by: UserId::new(at(0), [3; 10]),
        created_by_name: "ada".parse().unwrap(),
        created_at: at(0),
        updated_at: at(0),
        variables: std::collections::BTreeMap::new(),
        job: Job::queued(at(0)),
        archived: false,
        imported: Imported::default(),
    };
    store.create_version(&version).await.unwrap();
    let job = JobId::Import(id);
    store.offer(job, Offer { task: task(1), hash: TokenHash::of("token"), ends: at(120) }, at(0)).await.unwrap();
    (store, job)
}

#[tokio::test]
async fn a_task_that_dies_fails_the_job_it_holds_and_says_why() {
    let (store, job) = launched().await;
    store.claim(job, "token", task(1), TokenHash::of("s"), at(1)).await.unwrap();
    assert_eq!(reap(&store, job, task(2), "another one", at(2)).await.unwrap(), LostOutcome::Alive);
    assert_eq!(reap(&store, job, task(1), "out of memory", at(2)).await.unwrap(), LostOutcome::Failed);
    let ended = store.job(job).await.unwrap().unwrap().job;
    assert_eq!((ended.status, ended.error.as_str()), (JobStatus::Failed, "out of memory"));
    assert_eq!(store.logs(job, 0, 10).await.unwrap()[0].output, "out of memory");

    let before = store.meter();
    assert_eq!(reap(&store, job, task(1), "out of memory", at(3)).await.unwrap(), LostOutcome::Ended(JobStatus::Failed));
    assert_eq!((store.meter() - before).writes, 0, "the event may come twice");
}

#[tokio::test]
async fn a_task_that_dies_before_it_claims_fails_the_job_too() {
    let (store, job) = launched().await;
    assert_eq!(reap(&store, job, task(1), "cannot pull the image", at(2)).await.unwrap(), LostOutcome::Failed);
    assert_eq!(store.version(VersionId(job.uuid())).await.unwrap().unwrap().job.status, JobStatus::Failed);
}

#[tokio::test]
async fn a_task_that_ends_after_its_job_changes_nothing() {
    let (store, job) = launched().await;
    store.cancel(job, at(1)).await.unwrap();
    assert_eq!(reap(&store, job, task(1), "exit status 0", at(2)).await.unwrap(), LostOutcome::Ended(JobStatus::Canceled));
    let unknown = JobId::Import(VersionId::new(at(9), [9; 10]));
    assert_eq!(reap(&store, unknown, task(1), "", at(2)).await.unwrap(), LostOutcome::Missing);
}
