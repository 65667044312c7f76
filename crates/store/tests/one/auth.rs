use super::bed;
use super::fixture::{at, noon, random, user};
use berth_domain::{TokenHash, TokenId};
use berth_store::{CreateUserError, FirstUserError, Session, SessionKind, UserChange};
use tokio::task::JoinSet;

#[tokio::test]
async fn of_eight_who_set_up_at_once_one_is_the_first_user() {
    let store = bed::store().await;
    assert!(!store.has_first_user().await.unwrap());
    let mut tries = JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        tries.spawn(async move { store.create_first_user(&user(&format!("user{number}"))).await });
    }
    let outcomes = tries.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(FirstUserError::AlreadyExists))));
    assert_eq!(store.users().await.unwrap().len(), 1);
    assert!(store.has_first_user().await.unwrap());
}

#[tokio::test]
async fn names_and_addresses_are_unique_without_regard_to_case() {
    let store = bed::store().await;
    let ada = user("ada");
    store.create_user(&ada).await.unwrap();
    let mut other = user("ADA");
    assert!(matches!(store.create_user(&other).await, Err(CreateUserError::UsernameTaken(_))));
    other = user("bob");
    other.email = "Ada@Example.com".to_owned();
    assert!(matches!(store.create_user(&other).await, Err(CreateUserError::EmailTaken(_))));
    assert_eq!(store.user_by_name(&"AdA".parse().unwrap()).await.unwrap().unwrap().id, ada.id);
    assert_eq!(store.user_by_email("ADA@example.com").await.unwrap().unwrap().id, ada.id);
    assert_eq!(store.user_by_name(&"bob".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_shows_its_user_as_they_are_now_until_it_is_ended() {
    let store = bed::store().await;
    let ada = user("ada");
    store.create_user(&ada).await.unwrap();
    let id = TokenId::new(noon(), random());
    let session = Session {
        id,
        user: ada.id,
        hash: TokenHash::of("s"),
        kind: SessionKind::Session,
        created_at: noon(),
        expires_at: at(3600),
    };
    store.create_session(&session).await.unwrap();
    assert_eq!(store.session_and_user(id).await.unwrap().unwrap(), (session.clone(), ada.clone()));

    let suspend = UserChange { suspended: Some(true), ..UserChange::default() };
    store.update_user(ada.id, suspend, at(1)).await.unwrap();
    assert!(store.session_and_user(id).await.unwrap().unwrap().1.suspended);

    store.extend_session(id, at(7200)).await.unwrap();
    assert_eq!(store.sessions_of(ada.id).await.unwrap(), [Session { expires_at: at(7200), ..session }]);
    store.end_session(id).await.unwrap();
    store.extend_session(id, at(9000)).await.unwrap();
    assert_eq!(store.session_and_user(id).await.unwrap(), None);
    assert!(store.sessions_of(ada.id).await.unwrap().is_empty());
}
