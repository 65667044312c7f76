//! Users: a row each, found by id, by name and by e-mail address; and the one-time right to be the first.

use berth_domain::{Role, Secret, Timestamp, UserId, Username};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Store, TableError,
    table::{Bound, Key, Range, WriteError},
    write::Write,
};

/// A person or service that signs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Identifier.
    pub id: UserId,
    /// Name, unique without regard to case.
    pub username: Username,
    /// E-mail address, unique without regard to case.
    pub email: String,
    /// Full name.
    pub name: String,
    /// Roles beyond member.
    pub roles: Vec<Role>,
    /// argon2id in PHC form; `None` for users without a password.
    pub password_hash: Option<Secret>,
    /// Whether signing in is forbidden.
    pub suspended: bool,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they last changed.
    pub updated_at: Timestamp,
    /// When they last signed in.
    pub last_seen_at: Timestamp,
}

/// What may change about a user; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// Full name.
    pub name: Option<String>,
    /// Roles beyond member.
    pub roles: Option<Vec<Role>>,
    /// A new password's hash.
    pub password_hash: Option<Secret>,
    /// Whether signing in is forbidden.
    pub suspended: Option<bool>,
    /// When they last signed in.
    pub last_seen_at: Option<Timestamp>,
}

/// Why the first user was not made.
#[derive(Debug, thiserror::Error)]
pub enum FirstUserError {
    /// Someone was first. Expected when two set up at once.
    #[error("the first user already exists")]
    AlreadyExists,
    /// The table failed.
    #[error("cannot write the first user")]
    Table(#[from] TableError),
}

/// Why a user was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateUserError {
    /// Another user has the name.
    #[error("a user named {0} already exists")]
    UsernameTaken(Username),
    /// Another user has the address.
    #[error("a user with the e-mail address {0} already exists")]
    EmailTaken(String),
    /// The table failed.
    #[error("cannot write the user")]
    Table(#[from] TableError),
}

/// Why a user was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateUserError {
    /// No such user.
    #[error("user {0} does not exist")]
    Missing(UserId),
    /// The table failed.
    #[error("cannot change the user")]
    Table(#[from] TableError),
}

pub(crate) fn key(id: UserId) -> Key {
    Key::new(format!("USER#{id}"), "USER")
}

fn name_key(name: &Username) -> Key {
    Key::new(format!("USERNAME#{}", name.key()), "NAME")
}

fn email_key(email: &str) -> Key {
    Key::new(format!("EMAIL#{}", email.to_lowercase()), "NAME")
}

fn first_key() -> Key {
    Key::new("FIRST", "FIRST")
}

fn place(user: &User) -> Option<(String, String)> {
    Some(("USERS".to_owned(), user.username.key()))
}

/// The rows of a new user; the name's is first, the address's second.
fn rows(user: &User) -> Result<Vec<Write>, TableError> {
    Ok(vec![
        Write::insert(name_key(&user.username), &user.id)?,
        Write::insert(email_key(&user.email), &user.id)?,
        Write::insert(key(user.id), user)?.listed("USERS", user.username.key()),
    ])
}

impl Store {
    /// Makes the first user, unless there is one. One transaction.
    ///
    /// # Errors
    /// [`FirstUserError::AlreadyExists`] for all but the first who ask.
    pub async fn create_first_user(&self, user: &User) -> Result<(), FirstUserError> {
        let mut writes = vec![Write::insert(first_key(), &user.id)?];
        writes.extend(rows(user)?);
        match self.table.transact(writes).await {
            Ok(()) => Ok(()),
            Err(WriteError::Refused { .. }) => Err(FirstUserError::AlreadyExists),
            Err(WriteError::Table(error)) => Err(error.into()),
        }
    }

    /// Whether there is a first user. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn has_first_user(&self) -> Result<bool, TableError> {
        Ok(self.table.get::<UserId>(&first_key()).await?.is_some())
    }

    /// Makes a user. One transaction.
    ///
    /// # Errors
    /// When the name or the address is taken.
    pub async fn create_user(&self, user: &User) -> Result<(), CreateUserError> {
        match self.table.transact(rows(user)?).await {
            Ok(()) => Ok(()),
            Err(WriteError::Refused { at: 1 }) => Err(CreateUserError::EmailTaken(user.email.clone())),
            Err(WriteError::Refused { .. }) => Err(CreateUserError::UsernameTaken(user.username.clone())),
            Err(WriteError::Table(error)) => Err(error.into()),
        }
    }

    /// The user with this id. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, TableError> {
        Ok(self.table.get(&key(id)).await?.map(|row| row.value))
    }

    /// The user with this name. Two reads.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn user_by_name(&self, name: &Username) -> Result<Option<User>, TableError> {
        self.pointed(&name_key(name), key).await
    }

    /// The user with this e-mail address. Two reads.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, TableError> {
        self.pointed(&email_key(email), key).await
    }

    /// All users, by name. One Query.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn users(&self) -> Result<Vec<User>, TableError> {
        let rows = self.table.query(Range::index("USERS", Bound::All)).await?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }

    /// Changes a user. A read and a write.
    ///
    /// # Errors
    /// When there is none.
    pub async fn update_user(&self, id: UserId, change: UserChange, now: Timestamp) -> Result<User, UpdateUserError> {
        let amended = self.table.amend(key(id), place, |user: &mut User| {
            let UserChange { name, roles, password_hash, suspended, last_seen_at } = change.clone();
            user.name = name.unwrap_or(std::mem::take(&mut user.name));
            user.roles = roles.unwrap_or(std::mem::take(&mut user.roles));
            user.password_hash = password_hash.or(user.password_hash.take());
            user.suspended = suspended.unwrap_or(user.suspended);
            user.last_seen_at = last_seen_at.unwrap_or(user.last_seen_at);
            user.updated_at = now;
        });
        amended.await?.ok_or(UpdateUserError::Missing(id))
    }

    /// The row that a name's row points to. Two reads.
    pub(crate) async fn pointed<I: DeserializeOwned, T: DeserializeOwned>(
        &self,
        name: &Key,
        key: impl Fn(I) -> Key,
    ) -> Result<Option<T>, TableError> {
        let Some(pointer) = self.table.get::<I>(name).await? else { return Ok(None) };
        Ok(self.table.get(&key(pointer.value)).await?.map(|row| row.value))
    }
}
