//! What AWS does and an engine in the process never would: lose answers, and let transactions meet.

use super::*;
use crate::{Offer, OfferError, Session, SessionKind, UserChange, user};
use berth_domain::{TaskId, Timestamp, TokenHash, TokenId, UserId};
use std::{
    collections::VecDeque,
    os::unix::fs::PermissionsExt,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It is done, but the answer says that something failed inside.
    AnswerLost,
    /// It is not done because another transaction is.
    Conflict,
}

#[derive(Clone, Debug)]
struct Faulty(Arc<Engine>, Arc<Mutex<VecDeque<Fault>>>);

impl HttpConnector for Faulty {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let writes = ["UpdateItem", "DeleteItem", "TransactWriteItems"];
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let due = writes.iter().any(|write| target.ends_with(write));
        let fault = due.then(|| self.1.lock().unwrap_or_else(PoisonError::into_inner).pop_front()).flatten();
        let engine = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let answer = |status: u16, body: &'static str| HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
            match fault {
                None => engine.call(request).await,
                Some(Fault::AnswerLost) => {
                    engine.call(request).await?;
                    Ok(answer(500, r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"lost"}"#))
                }
                Some(Fault::Conflict) => Ok(answer(
                    400,
                    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"canceled",
                    "CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict","Message":"ongoing"}]}"#,
                )),
            }
        })
    }
}

/// A store that meets these faults at its writes, one after the other, and what is left of them.
async fn faulty() -> (Store, Arc<Mutex<VecDeque<Fault>>>) {
    let database = Database::memory().unwrap();
    let faults = Arc::<Mutex<VecDeque<Fault>>>::default();
    let connector = Faulty(Arc::new(Engine(database.clone())), Arc::clone(&faults));
    let retries = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
    let store = Store::made(client(connector, retries), Blobs::temporary().unwrap(), Keeper::new(database, None)).await.unwrap();
    (store, faults)
}

fn ada() -> user::User {
    user::User {
        id: UserId(Uuid::from_u128(1)),
        username: "ada".parse().unwrap(),
        email: "ada@example.com".to_owned(),
        name: String::new(),
        roles: Vec::new(),
        password_hash: None,
        suspended: false,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        last_seen_at: Timestamp::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_done_once() {
    let (store, faults) = faulty().await;
    faults.lock().unwrap().extend([Fault::AnswerLost, Fault::AnswerLost]);
    store.create_first_user(&ada()).await.unwrap();
    assert!(faults.lock().unwrap().is_empty());

    faults.lock().unwrap().push_back(Fault::AnswerLost);
    let change = UserChange { suspended: Some(true), ..UserChange::default() };
    let before = store.meter();
    assert!(store.update_user(ada().id, change, Timestamp::UNIX_EPOCH).await.unwrap().suspended);
    let cost = store.meter() - before;
    assert_eq!((cost.reads, cost.writes), (1, 1), "what stands there is ours: no second round");
}

#[tokio::test]
async fn transactions_that_meet_are_tried_again() {
    let (store, faults) = faulty().await;
    faults.lock().unwrap().extend([Fault::Conflict, Fault::Conflict, Fault::AnswerLost]);
    store.create_user(&ada()).await.unwrap();
    assert_eq!(store.users().await.unwrap(), [ada()]);
    faults.lock().unwrap().extend([Fault::Conflict; 9]);
    let other =
        user::User { id: UserId(Uuid::from_u128(2)), username: "bob".parse().unwrap(), email: "b@x.io".to_owned(), ..ada() };
    assert!(store.create_user(&other).await.is_err(), "but not for ever");
    assert_eq!(store.user_by_name(&other.username).await.unwrap(), None);
}

#[tokio::test]
async fn an_offer_whose_answer_was_lost_is_still_ours() {
    let (store, faults) = faulty().await;
    let id = berth_domain::VersionId(Uuid::from_u128(3));
    let job = crate::JobRecord::queued(crate::JobId::Import(id), crate::Home::Version(id), None, Timestamp::UNIX_EPOCH);
    store.table.write(crate::lease::insert(&job).unwrap()).await.unwrap();
    faults.lock().unwrap().push_back(Fault::AnswerLost);
    let ends = "2030-01-01T00:00:00Z".parse().unwrap();
    let offer = Offer { task: TaskId(Uuid::from_u128(4)), hash: TokenHash::of("t"), ends };
    store.offer(job.id, offer.clone(), Timestamp::UNIX_EPOCH).await.unwrap();
    let rival = Offer { task: TaskId(Uuid::from_u128(5)), ..offer };
    assert!(matches!(store.offer(job.id, rival, Timestamp::UNIX_EPOCH).await, Err(OfferError::Out { .. })));
}

#[tokio::test]
async fn a_session_goes_when_its_time_has_passed() {
    let database = Database::memory().unwrap();
    let retries = RetryConfig::disabled();
    let keeper = Keeper::new(database.clone(), None);
    let store = Store::made(client(Engine(database.clone()), retries), Blobs::temporary().unwrap(), keeper).await.unwrap();
    let session = |number, expires_at: &str| Session {
        id: TokenId(Uuid::from_u128(number)),
        user: ada().id,
        hash: TokenHash::of("s"),
        kind: SessionKind::Session,
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: expires_at.parse().unwrap(),
    };
    let (past, future) = (session(1, "2020-01-01T00:00:00Z"), session(2, "2200-01-01T00:00:00Z"));
    store.create_session(&past).await.unwrap();
    store.create_session(&future).await.unwrap();
    database.sweep_ttl().unwrap();
    assert_eq!(store.session(past.id).await.unwrap(), None);
    assert_eq!(store.session(future.id).await.unwrap(), Some(future));
}

#[tokio::test]
async fn nobody_else_on_the_machine_can_read_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let store = Store::open_local(&dir).await.unwrap();
    store.create_user(&ada()).await.unwrap();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", entry.path());
    }
}
