//! `berth whoami`.

use crate::{
    failure::Outcome,
    printer::{Format, FormatFlag},
    session::Session,
};
use berth_wire::user::User;
use clap::Args;
use serde::Serialize;

/// `-o`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    format: FormatFlag,
}

#[derive(Debug, Serialize)]
struct Whoami<'a> {
    url: &'a str,
    #[serde(flatten)]
    user: &'a User,
}

/// Shows the signed-in user and the deployment.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let client = session.client()?;
    let user = client.me().await?;
    match arguments.format.output {
        Format::Json => session.printer.json(&Whoami { url: client.base_url(), user: &user }),
        Format::Table => {
            let roles: Vec<&str> = user.roles.iter().map(|role| role.name.as_str()).collect();
            let roles = if roles.is_empty() { "member".to_owned() } else { roles.join(", ") };
            session.printer.data(format_args!("{} <{}> ({roles}) at {}", user.username, user.email, client.base_url()))
        }
    }
}
