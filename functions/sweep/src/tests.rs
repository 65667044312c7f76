use super::*;
use berth_domain::{JobStatus, Priority, TaskId, TokenHash, UserId, VersionId};
use berth_store::{Imported, Job, Offer, RelayState, Version};
use std::sync::Mutex;

#[derive(Default)]
struct Queue(Mutex<Vec<JobId>>);

impl Announce for Queue {
    async fn announce(&self, job: JobId, _: Priority) {
        self.0.lock().unwrap().push(job);
    }
}

/// The relay's switch: what it was set to, in order. `between` happens while it is set.
#[derive(Default)]
struct Relay {
    set: Mutex<Vec<bool>>,
    woken_between: Option<Store>,
}

impl Power for Relay {
    async fn set(&self, on: bool) -> Result<(), PowerError> {
        self.set.lock().unwrap().push(on);
        if let Some(store) = self.woken_between.as_ref().filter(|_| !on) {
            store.need_relay(at(0)).await.unwrap();
        }
        Ok(())
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
    assert_eq!(sweep(&store, &Queue::default(), &Relay::default(), at(100_000)).await.unwrap(), Swept::default());
    let cost = store.meter() - before;
    assert_eq!((cost.reads, cost.writes), (1, 0));
}

#[tokio::test]
async fn what_waits_too_long_is_announced_again() {
    let store = Store::memory().await.unwrap();
    let job = queued(&store, 1).await;
    let queue = Queue::default();
    sweep(&store, &queue, &Relay::default(), at(29)).await.unwrap();
    assert!(queue.0.lock().unwrap().is_empty());
    let swept = sweep(&store, &queue, &Relay::default(), at(30)).await.unwrap();
    assert_eq!((swept.announced, &*queue.0.lock().unwrap()), (vec![job], &vec![job]));
}

#[tokio::test]
async fn a_job_whose_runner_is_silent_fails_and_its_neighbour_goes_on() {
    let store = Store::memory().await.unwrap();
    let silent = claimed(&store, 1, at(0)).await;
    let alive = claimed(&store, 2, at(30)).await;
    assert_eq!(sweep(&store, &Queue::default(), &Relay::default(), at(59)).await.unwrap(), Swept::default());
    assert_eq!(sweep(&store, &Queue::default(), &Relay::default(), at(60)).await.unwrap().failed, [silent]);
    let ended = store.job(silent).await.unwrap().unwrap().job;
    assert_eq!((ended.status, ended.error.as_str()), (JobStatus::Failed, "the runner was lost: no sign of life for 60 s"));
    assert_eq!(store.logs(silent, 0, 10).await.unwrap()[0].output, "the runner was lost: no sign of life for 60 s");
    assert_eq!(store.job(alive).await.unwrap().unwrap().job.status, JobStatus::Running);
    assert_eq!(sweep(&store, &Queue::default(), &Relay::default(), at(60)).await.unwrap(), Swept::default());
}

/// A relay that is awake since `at(0)`.
async fn awake(store: &Store) {
    let seen = store.need_relay(at(0)).await.unwrap();
    assert_eq!(seen.state, RelayState::Waking);
    store.relay_becomes(seen, RelayState::Awake, at(0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_relay_that_nobody_needs_is_stopped_at_the_second_look_and_then_costs_nothing() {
    let (store, relay) = (Store::memory().await.unwrap(), Relay::default());
    awake(&store).await;
    for minute in 1..=12 {
        sweep(&store, &Queue::default(), &relay, at(60 * minute)).await.unwrap();
    }
    assert_eq!(*relay.set.lock().unwrap(), [false]);
    assert_eq!(store.relay().await.unwrap(), None);
    let before = store.meter();
    sweep(&store, &Queue::default(), &relay, at(100_000)).await.unwrap();
    let cost = store.meter() - before;
    assert_eq!((cost.reads, cost.writes), (1, 0));
}

#[tokio::test]
async fn a_relay_that_somebody_needs_stays_on() {
    let (store, relay) = (Store::memory().await.unwrap(), Relay::default());
    awake(&store).await;
    queued(&store, 1).await;
    sweep(&store, &Queue::default(), &relay, at(600)).await.unwrap();
    assert_eq!(*relay.set.lock().unwrap(), [true]);
    assert_eq!(store.relay().await.unwrap().unwrap().state, RelayState::Awake);
    assert_eq!(
        store.due(at(1199)).await.unwrap().iter().filter(|due| **due == Due::Relay).count(),
        0,
        "it is looked at every ten minutes"
    );
}

#[tokio::test]
async fn a_relay_whose_start_was_not_confirmed_is_started_again() {
    let (store, relay) = (Store::memory().await.unwrap(), Relay::default());
    store.need_relay(at(0)).await.unwrap();
    sweep(&store, &Queue::default(), &relay, at(60)).await.unwrap();
    assert_eq!(*relay.set.lock().unwrap(), [true]);
    assert_eq!(store.relay().await.unwrap().unwrap().state, RelayState::Awake);
}

#[tokio::test]
async fn a_relay_that_is_needed_while_it_is_stopped_is_on_in_the_end() {
    let store = Store::memory().await.unwrap();
    let relay = Relay { set: Mutex::default(), woken_between: Some(store.clone()) };
    awake(&store).await;
    sweep(&store, &Queue::default(), &relay, at(600)).await.unwrap();
    sweep(&store, &Queue::default(), &relay, at(660)).await.unwrap();
    assert_eq!(*relay.set.lock().unwrap(), [false, true]);
    assert_eq!(store.relay().await.unwrap().unwrap().state, RelayState::Waking);
}
