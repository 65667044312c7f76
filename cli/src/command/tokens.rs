//! `berth tokens`: API tokens for scripts.

use crate::{
    failure::{Failure, Outcome},
    printer::{FormatFlag, table},
    session::Session,
};
use berth_wire::{
    domain::{Timestamp, limit::API_TOKEN_SECONDS_MAX},
    user::{ApiKey, CreateToken},
};
use clap::{Args, Subcommand};
use comfy_table::Table;

/// What to do with tokens.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token and print it, this once
    Create {
        /// A name to recognise it by
        #[arg(short, long, default_value = "")]
        name: String,
        /// How long it lives: 12h, 30d; without it, as long as the deployment says
        #[arg(long, value_name = "DURATION")]
        lifetime: Option<String>,
    },
    /// List your tokens
    #[command(alias = "ls")]
    List(FormatFlag),
    /// End a token
    #[command(alias = "rm", alias = "delete")]
    Remove {
        /// The token's name or id
        // Not named `token`: that is the global flag, which the id would become.
        #[arg(value_name = "TOKEN")]
        which: String,
    },
}

/// Does it.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    let client = session.client()?;
    match arguments.verb {
        Verb::Create { name, lifetime } => {
            let lifetime = lifetime.as_deref().map(nanoseconds).transpose()?.unwrap_or(0);
            let created = client.create_token(&CreateToken { lifetime, token_name: name }).await?;
            session.printer.data(created.key.expose())
        }
        Verb::List(format) => {
            let tokens = client.tokens().await?;
            session.printer.table_or_json(format.output, &tokens, || listed(&tokens, Timestamp::now()))
        }
        Verb::Remove { which } => {
            let tokens = client.tokens().await?;
            let id = find(&tokens, &which)?;
            client.delete_token(&id).await?;
            session.printer.say(format_args!("Token {which} is not valid any more."));
            Ok(())
        }
    }
}

fn find(tokens: &[ApiKey], wanted: &str) -> Outcome<String> {
    let hint = "`berth tokens list` shows them";
    let mut found = tokens.iter().filter(|token| token.id == wanted || token.token_name == wanted);
    match (found.next(), found.next()) {
        (Some(token), None) => Ok(token.id.clone()),
        (None, _) => Err(Failure::new(format!("you have no token {wanted:?}")).hint(hint)),
        (Some(_), Some(_)) => {
            Err(Failure::new(format!("several tokens are named {wanted:?}")).hint(format!("give the id; {hint}")))
        }
    }
}

fn listed(tokens: &[ApiKey], now: Timestamp) -> Table {
    let mut table = table(["id", "name", "made", "ends"]);
    for token in tokens {
        let age = crate::printer::ago(token.created_at, now);
        table.add_row([
            token.id.clone(),
            token.token_name.clone(),
            age,
            token.expires_at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        ]);
    }
    table
}

/// `12h`, `30d`, `1d 12h`: days of 24 hours.
fn nanoseconds(text: &str) -> Outcome<i64> {
    let refused =
        |why: String| Failure::usage(format!("--lifetime {text:?}: {why}")).hint("write it like 12h or 30d, at most 365d");
    let span: jiff::Span = text.parse().map_err(|_| refused("it is not a duration".to_owned()))?;
    let relative = jiff::SpanRelativeTo::days_are_24_hours();
    let seconds = span.to_duration(relative).map_err(|error| refused(error.to_string()))?.as_secs();
    if !(1..=API_TOKEN_SECONDS_MAX).contains(&seconds) {
        return Err(refused("it is out of range".to_owned()));
    }
    Ok(seconds * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_read_and_bounded() {
        assert_eq!(nanoseconds("12h").unwrap(), 43_200 * 1_000_000_000);
        assert_eq!(nanoseconds("30d").unwrap(), 2_592_000 * 1_000_000_000);
        for text in ["", "soon", "-1h", "0s", "366d"] {
            assert!(nanoseconds(text).is_err(), "{text:?}");
        }
    }
}
