//! Sessions and API tokens: one row per token, found by its public half.

use berth_domain::{Timestamp, TokenHash, TokenId, UserId};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    Store, TableError, User,
    table::{Bound, Key, Range, WriteError},
    user,
    write::Write,
};

/// A session or API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The public half of the token.
    pub id: TokenId,
    /// Whose.
    pub user: UserId,
    /// The hash of the secret half ([`berth_domain::SessionToken::hash`]).
    pub hash: TokenHash,
    /// What it is for.
    pub kind: SessionKind,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends. The row goes some time after; compare with the clock.
    pub expires_at: Timestamp,
}

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A sign-in.
    Session,
    /// An API token with a name, for programs.
    Token {
        /// Its name.
        name: String,
    },
}

/// Whose tokens are, as far as it was read before. A token never changes hands, so this is never wrong, and it makes one request of
/// the two that an authentication would need.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<HashMap<TokenId, UserId>>);

/// The most tokens whose owners are remembered.
const OWNERS_MAX: usize = 10_000;

impl Owners {
    fn get(&self, id: TokenId) -> Option<UserId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    fn remember(&self, id: TokenId, user: UserId) {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= OWNERS_MAX {
            owners.clear();
        }
        owners.insert(id, user);
    }
}

fn key(id: TokenId) -> Key {
    Key::new(format!("SESSION#{id}"), "SESSION")
}

fn write(session: &Session) -> Result<Write, TableError> {
    let sort = format!("{:015}#{}", session.created_at.as_millisecond(), session.id);
    let write = Write::put(key(session.id), session)?;
    Ok(write.listed(format!("SESSIONS#{}", session.user), sort).until(session.expires_at.as_second()))
}

impl Store {
    /// Keeps a session or token. One write.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn create_session(&self, session: &Session) -> Result<(), TableError> {
        match self.table.write(write(session)?).await {
            Ok(()) | Err(WriteError::Refused { .. }) => Ok(()),
            Err(WriteError::Table(error)) => Err(error),
        }
    }

    /// The session with this id, also when it has ended but its row is not yet gone. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn session(&self, id: TokenId) -> Result<Option<Session>, TableError> {
        Ok(self.table.get(&key(id)).await?.map(|row| row.value))
    }

    /// The session with this id and its user as they are now. One read; two when this store sees the token for the first time.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn session_and_user(&self, id: TokenId) -> Result<Option<(Session, User)>, TableError> {
        let Some(owner) = self.sessions.get(id) else {
            let Some(session) = self.session(id).await? else { return Ok(None) };
            self.sessions.remember(id, session.user);
            return Ok(self.user(session.user).await?.map(|user| (session, user)));
        };
        let (mut session, mut user) = (None, None);
        for row in self.table.get_all(&[key(id), user::key(owner)]).await? {
            if row.key == key(id) {
                session = Some(row.decode::<Session>()?.value);
            } else {
                user = Some(row.decode::<User>()?.value);
            }
        }
        Ok(session.zip(user))
    }

    /// Lets a session live until `expires_at`. A read and a write.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn extend_session(&self, id: TokenId, expires_at: Timestamp) -> Result<(), TableError> {
        let Some(mut row) = self.table.get::<Session>(&key(id)).await? else { return Ok(()) };
        row.value.expires_at = expires_at;
        let extended = write(&row.value)?.only_if(crate::write::Guard::Version(row.version));
        match self.table.write(extended).await {
            // Ended or extended by someone else meanwhile: theirs stands.
            Ok(()) | Err(WriteError::Refused { .. }) => Ok(()),
            Err(WriteError::Table(error)) => Err(error),
        }
    }

    /// Ends a session. One write.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn end_session(&self, id: TokenId) -> Result<(), TableError> {
        match self.table.write(Write::delete(key(id))).await {
            Ok(()) | Err(WriteError::Refused { .. }) => Ok(()),
            Err(WriteError::Table(error)) => Err(error),
        }
    }

    /// A user's sessions and tokens, oldest first. One Query.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>, TableError> {
        let rows = self.table.query(Range::index(format!("SESSIONS#{user}"), Bound::All)).await?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }
}
