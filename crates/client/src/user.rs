//! First user, sign-in, users, API tokens, organizations.

use crate::{Client, Result};
use berth_wire::user::{
    ApiKey, AuthMethods, ChangePassword, CreateFirstUser, CreateToken, CreateUser, CreatedFirstUser, CreatedToken, GitKey,
    LoggedIn, Login, Organization, User, Users,
};
use reqwest::Method;

impl Client {
    /// Whether the deployment has its first user. Needs no token.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn first_user_exists(&self) -> Result<bool> {
        match self.done(self.request(Method::GET, &["users", "first"])).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the first user, an owner; 409 once there is one. Needs no token.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn create_first_user(&self, user: &CreateFirstUser) -> Result<CreatedFirstUser> {
        self.post(&["users", "first"], user).await
    }

    /// Which ways to sign in are offered. Needs no token.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn auth_methods(&self) -> Result<AuthMethods> {
        self.get(&["users", "authmethods"]).await
    }

    /// Signs in; 401 when the e-mail address or the password is wrong. Continue with [`Client::with_token`].
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn login(&self, login: &Login) -> Result<LoggedIn> {
        self.post(&["users", "login"], login).await
    }

    /// Ends the session whose token this client holds.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn logout(&self) -> Result<()> {
        self.done(self.request(Method::POST, &["users", "logout"])).await
    }

    /// Who this client's token belongs to.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn me(&self) -> Result<User> {
        self.user("me").await
    }

    /// A user by name or id.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn user(&self, user: &str) -> Result<User> {
        self.get(&["users", user]).await
    }

    /// All users.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn users(&self) -> Result<Users> {
        self.get(&["users"]).await
    }

    /// Makes a user.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn create_user(&self, user: &CreateUser) -> Result<User> {
        self.post(&["users"], user).await
    }

    /// Changes one's own password.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn change_password(&self, change: &ChangePassword) -> Result<()> {
        self.done(self.request(Method::PUT, &["users", "me", "password"]).json(change)).await
    }

    /// One's own key for git over SSH, as workspaces have it.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn git_key(&self) -> Result<GitKey> {
        self.get(&["users", "me", "gitsshkey"]).await
    }

    /// Makes another one.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn renew_git_key(&self) -> Result<GitKey> {
        self.json(self.request(Method::PUT, &["users", "me", "gitsshkey"])).await
    }

    /// Makes an API token; the answer is the only time it is shown.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn create_token(&self, token: &CreateToken) -> Result<CreatedToken> {
        self.post(&["users", "me", "keys", "tokens"], token).await
    }

    /// Makes a key like a session's, as a browser's `cli-auth` page shows it.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn create_session_key(&self) -> Result<CreatedToken> {
        self.json(self.request(Method::POST, &["users", "me", "keys"])).await
    }

    /// One's own API tokens.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn tokens(&self) -> Result<Vec<ApiKey>> {
        self.get(&["users", "me", "keys", "tokens"]).await
    }

    /// Ends one of one's own tokens or sessions, by the public half of it.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn delete_token(&self, id: &str) -> Result<()> {
        self.done(self.request(Method::DELETE, &["users", "me", "keys", id])).await
    }

    /// The organizations; there is one.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn organizations(&self) -> Result<Vec<Organization>> {
        self.get(&["organizations"]).await
    }
}
