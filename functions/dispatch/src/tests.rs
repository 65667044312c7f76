use super::*;
use berth_domain::{Priority, UserId, VersionId};
use berth_store::{ClaimError, Due, Imported, Job, Version};
use std::sync::Mutex;

/// A launcher that answers as it is told and remembers what it was asked.
struct Launcher {
    answer: Result<(), LaunchError>,
    asked: Mutex<Vec<LaunchRequest>>,
}

impl Launcher {
    fn new(answer: Result<(), LaunchError>) -> Self {
        Self { answer, asked: Mutex::default() }
    }

    fn asked(&self) -> Vec<LaunchRequest> {
        self.asked.lock().unwrap().clone()
    }
}

impl Launch for Launcher {
    async fn launch(&self, request: LaunchRequest) -> Result<(), LaunchError> {
        self.asked.lock().unwrap().push(request);
        self.answer.clone()
    }
}

fn at(seconds: i64) -> Timestamp {
    "2026-06-01T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

async fn waiting() -> (Store, JobId) {
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
    (store, JobId::Import(id))
}

#[tokio::test]
async fn a_job_is_launched_once_however_often_its_message_comes() {
    let (store, job) = waiting().await;
    let launcher = Launcher::new(Ok(()));
    let (a, b) = tokio::join!(dispatch(&store, &launcher, job, at(0), [1; 32]), dispatch(&store, &launcher, job, at(0), [2; 32]));
    let outcomes = [a.unwrap(), b.unwrap()];
    assert!(outcomes.contains(&Dispatched::AlreadyOffered), "{outcomes:?}");
    let [request] = &launcher.asked()[..] else { panic!("{outcomes:?}") };
    assert!(outcomes.contains(&Dispatched::Launched(request.task)));

    let session = TokenHash::of("session");
    store.claim(job, request.token.expose(), request.task, session, at(1)).await.unwrap();
    let late = dispatch(&store, &launcher, job, at(300), [3; 32]).await.unwrap();
    assert_eq!(late, Dispatched::NotPending(JobStatus::Running));
    assert_eq!(launcher.asked().len(), 1);
}

#[tokio::test]
async fn a_task_that_never_claims_is_replaced_and_its_token_is_void() {
    let (store, job) = waiting().await;
    let launcher = Launcher::new(Ok(()));
    dispatch(&store, &launcher, job, at(0), [1; 32]).await.unwrap();
    assert_eq!(store.due(at(119)).await.unwrap(), []);
    assert_eq!(store.due(at(120)).await.unwrap(), [Due::Announce(job, Priority::Person)]);
    dispatch(&store, &launcher, job, at(120), [2; 32]).await.unwrap();
    let [first, second] = &launcher.asked()[..] else { panic!() };
    let late = store.claim(job, first.token.expose(), first.task, TokenHash::of("s"), at(121)).await;
    assert!(matches!(late, Err(ClaimError::BadToken(_))));
    store.claim(job, second.token.expose(), second.task, TokenHash::of("s"), at(121)).await.unwrap();
}

#[tokio::test]
async fn a_launch_that_fails_for_now_is_tried_again_and_the_log_says_so() {
    let (store, job) = waiting().await;
    let full = Launcher::new(Err(LaunchError::Later("no capacity in eu-west-1a".to_owned())));
    let outcome = dispatch(&store, &full, job, at(0), [1; 32]).await.unwrap();
    assert_eq!(outcome, Dispatched::Later("no capacity in eu-west-1a".to_owned()));
    let lines = store.logs(job, 0, 10).await.unwrap();
    assert_eq!(lines[0].output, "no capacity in eu-west-1a; it is tried again");
    assert_eq!(store.due(at(0)).await.unwrap(), [Due::Announce(job, Priority::Person)]);
    let room = Launcher::new(Ok(()));
    assert!(matches!(dispatch(&store, &room, job, at(1), [2; 32]).await.unwrap(), Dispatched::Launched(_)));
}

#[tokio::test]
async fn a_launch_that_can_never_work_fails_the_job_with_its_reason() {
    let (store, job) = waiting().await;
    let broken = Launcher::new(Err(LaunchError::Never("the runner's image does not exist".to_owned())));
    let outcome = dispatch(&store, &broken, job, at(0), [1; 32]).await.unwrap();
    assert_eq!(outcome, Dispatched::Failed("the runner's image does not exist".to_owned()));
    let ended = store.job(job).await.unwrap().unwrap().job;
    assert_eq!((ended.status, ended.error.as_str()), (JobStatus::Failed, "the runner's image does not exist"));
    assert_eq!(dispatch(&store, &broken, job, at(1), [2; 32]).await.unwrap(), Dispatched::NotPending(JobStatus::Failed));
    let unknown = JobId::Import(VersionId::new(at(9), [9; 10]));
    assert_eq!(dispatch(&store, &broken, unknown, at(1), [2; 32]).await.unwrap(), Dispatched::Missing);
}
