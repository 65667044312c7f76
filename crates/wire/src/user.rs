//! Users, sessions and API tokens.

use berth_domain::{DateTime, Secret, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `POST /api/v2/users/first`: makes the deployment's first user, an owner. 409 once there is one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateFirstUser {
    /// An e-mail address, the login name.
    pub email: String,
    /// The user's name.
    pub username: String,
    /// Their full name.
    #[serde(default)]
    pub name: String,
    /// 8 characters or more.
    pub password: Secret,
}

/// The answer to [`CreateFirstUser`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedFirstUser {
    /// The new user.
    pub user_id: Uuid,
    /// The organization.
    pub organization_id: Uuid,
}

/// `POST /api/v2/users`: makes a user. Roles are given by owners only.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateUser {
    /// An e-mail address, the login name.
    pub email: String,
    /// The user's name.
    pub username: String,
    /// Their full name.
    #[serde(default)]
    pub name: String,
    /// 8 characters or more.
    pub password: Secret,
    /// Words of [`berth_domain::Role`]; none for a member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// `GET` and `PUT /api/v2/users/{user}/gitsshkey`: the key with which the user's workspaces prove who they are to git servers. The first `GET` makes
/// it, `PUT` makes another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitKey {
    /// Whose.
    pub user_id: Uuid,
    /// When the user's first key was made.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When this one was.
    #[schemars(with = "DateTime")]
    pub updated_at: Timestamp,
    /// A line of an `authorized_keys` file, `ssh-ed25519 AAAA...`, with its end.
    pub public_key: String,
}

/// `GET /api/v2/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Users {
    /// All of them.
    pub users: Vec<User>,
    /// How many.
    pub count: usize,
}

/// `PUT /api/v2/users/{user}/password`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChangePassword {
    /// The one that holds now.
    pub old_password: Secret,
    /// The new one, 8 characters or more.
    pub password: Secret,
}

/// `POST /api/v2/users/login`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// The e-mail address.
    pub email: String,
    /// The password.
    pub password: Secret,
}

/// The answer to [`Login`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LoggedIn {
    /// To be sent as `Coder-Session-Token`.
    pub session_token: Secret,
}

/// A user, as `GET /api/v2/users/me` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Identifier.
    pub id: Uuid,
    /// Name.
    pub username: String,
    /// Full name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// A picture, or empty.
    pub avatar_url: String,
    /// `active` or `suspended`.
    pub status: String,
    /// `password`.
    pub login_type: String,
    /// Roles beyond member.
    pub roles: Vec<UserRole>,
    /// The one organization.
    pub organization_ids: Vec<Uuid>,
    /// When the user was made.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When the user was last changed.
    #[schemars(with = "DateTime")]
    pub updated_at: Timestamp,
    /// When the user last signed in.
    #[schemars(with = "DateTime")]
    pub last_seen_at: Timestamp,
}

/// One role of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRole {
    /// The word of [`berth_domain::Role`].
    pub name: String,
    /// The same for people.
    pub display_name: String,
}

/// `POST /api/v2/users/{user}/keys/tokens`. (`POST .../keys` takes no body and makes a session-like key.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct CreateToken {
    /// Lifetime in nanoseconds, as Coder has it; 0 is the deployment's default of 30 days.
    #[serde(default)]
    pub lifetime: i64,
    /// A name to recognise it by.
    #[serde(default)]
    pub token_name: String,
}

/// The answer to [`CreateToken`]: the only time the token is shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// The token.
    pub key: Secret,
}

/// An API token in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKey {
    /// The public half of the token.
    pub id: String,
    /// Whose it is.
    pub user_id: Uuid,
    /// Its name.
    pub token_name: String,
    /// When it was made.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When it ends.
    #[schemars(with = "DateTime")]
    pub expires_at: Timestamp,
    /// `password` for sessions, `token` for API tokens.
    pub login_type: String,
}

/// An organization; there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Organization {
    /// Identifier.
    pub id: Uuid,
    /// `default`.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// Always true.
    pub is_default: bool,
    /// Markdown.
    #[serde(default)]
    pub description: String,
    /// A picture.
    #[serde(default)]
    pub icon: String,
    /// When it was made.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When it was changed.
    #[schemars(with = "DateTime")]
    pub updated_at: Timestamp,
}

/// `GET /api/v2/users/authmethods`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthMethods {
    /// Password sign-in.
    pub password: AuthMethod,
    /// GitHub sign-in.
    pub github: AuthMethod,
    /// OpenID Connect.
    pub oidc: AuthMethod,
}

/// One way to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct AuthMethod {
    /// Whether it is offered.
    pub enabled: bool,
}
