//! `berth login`: signs in; on a new deployment, makes the first user.

use crate::{
    config::normalize_url,
    failure::{Failure, Outcome},
    prompt,
    session::Session,
};
use berth_client::Client;
use berth_wire::{
    domain::{Secret, Username, limit::PASSWORD_CHARS_MIN},
    user::{CreateFirstUser, Login, User},
};
use clap::{Args, Subcommand};
use std::io::BufRead;

/// Where, and as whom. Without the flags, it asks.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// URL of the deployment; else --url, else the one signed in to last
    #[arg(value_name = "URL")]
    deployment: Option<String>,
    /// E-mail address to sign in with; the password is then asked for, or read from stdin
    #[arg(long)]
    email: Option<String>,
    /// Name of the deployment's first user [variables: BERTH_FIRST_USER_USERNAME, CODER_FIRST_USER_USERNAME]
    #[arg(long, value_name = "NAME")]
    first_user_username: Option<String>,
    /// E-mail address of the first user [variables: BERTH_FIRST_USER_EMAIL, CODER_FIRST_USER_EMAIL]
    #[arg(long, value_name = "EMAIL")]
    first_user_email: Option<String>,
    /// Password of the first user; better in [variables: BERTH_FIRST_USER_PASSWORD, CODER_FIRST_USER_PASSWORD] or on stdin
    #[arg(long, value_name = "PASSWORD")]
    first_user_password: Option<String>,
    /// Keep the token given with --token as the session, instead of making a session of its own
    #[arg(long)]
    use_token_as_session: bool,
    #[command(subcommand)]
    other: Option<Other>,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// Print the session token, for scripts
    Token,
}

/// Signs in.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    if arguments.other.is_some() {
        let deployment = session.config.deployment()?;
        let hint = format!("`berth login {}`", deployment.url);
        let token =
            deployment.token.ok_or_else(|| Failure::new(format!("you are not signed in to {}", deployment.url)).hint(hint))?;
        return session.printer.data(token.expose());
    }
    let url = url(&arguments, session)?;
    let client = Client::new(&url, None)?;
    let (token, user) = match session.config.given_token() {
        Some(token) => with_token(&client, token, arguments.use_token_as_session).await?,
        None => with_password(&client, &Answers { arguments: &arguments, session }).await?,
    };
    session.config.remember(&url, &token)?;
    session.printer.say(format_args!("Signed in to {url} as {}.", user.username));
    Ok(())
}

fn url(arguments: &Arguments, session: &Session) -> Outcome<String> {
    if let Some(url) = &arguments.deployment {
        return normalize_url(url);
    }
    match session.config.url()? {
        Some(url) => Ok(url),
        None if session.printer.is_interactive() => normalize_url(&prompt::text("URL of the deployment:", None)?),
        None => {
            Err(Failure::usage("the deployment's URL is missing")
                .hint("`berth login URL`; to run one on this machine: `berth server`"))
        }
    }
}

async fn with_token(client: &Client, token: &Secret, keep: bool) -> Outcome<(Secret, User)> {
    let client = client.with_token(token)?;
    let user = client.me().await.map_err(|error| match error.is_unauthorized() {
        true => Failure::new("the token is not valid here, or not any more")
            .hint("make one in the dashboard or with `berth tokens create`"),
        false => error.into(),
    })?;
    let session = if keep { token.clone() } else { client.create_session_key().await?.key };
    Ok((session, user))
}

async fn with_password(client: &Client, answers: &Answers<'_>) -> Outcome<(Secret, User)> {
    let login = match client.first_user_exists().await? {
        true => Login { email: answers.email("E-mail:")?, password: answers.password("Password:", false)? },
        false => first_user(client, answers).await?,
    };
    let token = client.login(&login).await.map_err(refused)?.session_token;
    let user = client.with_token(&token)?.me().await?;
    Ok((token, user))
}

async fn first_user(client: &Client, answers: &Answers<'_>) -> Outcome<Login> {
    answers.session.printer.say(format_args!("{} has no users yet. This makes the first one, an owner.", client.base_url()));
    let username = answers.username()?;
    let email = answers.email("E-mail:")?;
    let password = answers.password(&format!("Password ({PASSWORD_CHARS_MIN} characters or more):"), true)?;
    let user = CreateFirstUser { email: email.clone(), username, name: String::new(), password: password.clone() };
    client.create_first_user(&user).await?;
    Ok(Login { email, password })
}

fn refused(error: berth_client::ClientError) -> Failure {
    if error.is_unauthorized() {
        return Failure::new(error.to_string()).hint("check e-mail address and password and try again");
    }
    error.into()
}

/// Flags, variables, stdin or the person: whoever answers first.
struct Answers<'a> {
    arguments: &'a Arguments,
    session: &'a Session,
}

impl Answers<'_> {
    fn given(&self, flag: Option<&String>, name: &str) -> Option<String> {
        flag.cloned().or_else(|| self.session.config.environment.setting(name).map(str::to_owned))
    }

    fn ask(&self, flag: &str, question: impl FnOnce() -> Outcome<String>) -> Outcome<String> {
        if self.session.printer.is_interactive() {
            return question();
        }
        Err(Failure::usage(format!("--{flag} is missing, and there is no terminal to ask on"))
            .hint("give the flag, or sign in with --token"))
    }

    fn username(&self) -> Outcome<String> {
        let name = match self.given(self.arguments.first_user_username.as_ref(), "FIRST_USER_USERNAME") {
            Some(name) => name,
            None => self.ask("first-user-username", || prompt::text("Username:", None))?,
        };
        Username::parse(&name).map_err(|error| Failure::usage(error.to_string()).hint("choose another username"))?;
        Ok(name)
    }

    fn email(&self, question: &str) -> Outcome<String> {
        let flag = self.arguments.email.as_ref().or(self.arguments.first_user_email.as_ref());
        match self.given(flag, "FIRST_USER_EMAIL") {
            Some(email) => Ok(email),
            None => self.ask("email", || prompt::text(question, None)),
        }
    }

    fn password(&self, question: &str, twice: bool) -> Outcome<Secret> {
        if let Some(password) = self.given(self.arguments.first_user_password.as_ref(), "FIRST_USER_PASSWORD") {
            return Ok(Secret::new(password));
        }
        if self.session.printer.is_interactive() {
            return prompt::password(question, twice).map(Secret::new);
        }
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let password = line.trim_end_matches(['\n', '\r']);
        if read.is_err() || password.is_empty() {
            return Err(
                Failure::usage("the password is missing").hint("write it to stdin: printf %s \"$PASSWORD\" | berth login ...")
            );
        }
        Ok(Secret::new(password.to_owned()))
    }
}
