use super::*;
use berth_domain::{JobStatus, Priority, TaskId, TokenHash, UserId, VersionId};
use berth_store::{Imported, Job, Offer, Version};
use std::sync::Mutex;

#[derive(Default)]
struct Queue(Mutex<Vec<JobId>>);

impl Announce for Queue {
    async fn announce(&self, job: JobId, _: Priority) {
        self.0.lock().unwrap().push(job);
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).unwrap()
}

async fn queued(store: &Store, number: u8) -> JobId {
    let id = VersionId::new(at(0), [number; 10]);
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
    JobId::Import(id)
}

async fn claimed(store: &Store, number: u8, now: Timestamp) -> JobId {
    let job = queued(store, number).await;
    let task = TaskId::new(at(0), [number; 10]);
    store.offer(job, Offer { task, hash: TokenHash::of("token"), ends: at(120) }, now).await.unwrap();
    store.claim(job, "token", task, TokenHash::of("s"), now).await.unwrap();
    job
}

#[tokio::test]
async fn an_idle_deployment_costs_one_read() {
    let store = Store::memory().await.unwrap();
    let done = queued(&store, 1).await;
    store.cancel(done, at(0)).await.unwrap();
    let before = store.meter();
    assert_eq!(sweep(&store, &Queue::default(), at(100_000)).await.unwrap(), Swept::default());
    let cost = store.meter() - before;
    assert_eq!((cost.reads, cost.writes), (1, 0));
}

#[tokio::test]
async fn what_waits_too_long_is_announced_again() {
    let store = Store::memory().await.unwrap();
    let job = queued(&store, 1).await;
    let queue = Queue::default();
    sweep(&store, &queue, at(29)).await.unwrap();
    assert!(queue.0.lock().unwrap().is_empty());
    let swept = sweep(&store, &queue, at(30)).await.unwrap();
    assert_eq!((swept.announced, &*queue.0.lock().unwrap()), (vec![job], &vec![job]));
}

#[tokio::test]
async fn a_job_whose_runner_is_silent_fails_and_its_neighbour_goes_on() {
    let store = Store::memory().await.unwrap();
    let silent = claimed(&store, 1, at(0)).await;
    let alive = claimed(&store, 2, at(30)).await;
    assert_eq!(sweep(&store, &Queue::default(), at(59)).await.unwrap(), Swept::default());
    assert_eq!(sweep(&store, &Queue::default(), at(60)).await.unwrap().failed, [silent]);
    let ended = store.job(silent).await.unwrap().unwrap().job;
    assert_eq!((ended.status, ended.error.as_str()), (JobStatus::Failed, "the runner was lost: no sign of life for 60 s"));
    assert_eq!(store.logs(silent, 0, 10).await.unwrap()[0].output, "the runner was lost: no sign of life for 60 s");
    assert_eq!(store.job(alive).await.unwrap().unwrap().job.status, JobStatus::Running);
    assert_eq!(sweep(&store, &Queue::default(), at(60)).await.unwrap(), Swept::default());
}
