//! `berth logout`.

use crate::{
    failure::{Failure, Outcome},
    session::Session,
};
use clap::Args;

/// Nothing is asked.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Accepted for scripts: nothing is asked
    #[arg(short, long)]
    yes: bool,
}

/// Ends the session there and forgets it here. The second is done even when the first cannot be.
pub(super) async fn run(session: &Session) -> Outcome {
    let deployment = session.config.deployment()?;
    let ended = match deployment.token {
        Some(_) => session.client()?.logout().await,
        None => return Err(Failure::new(format!("you are not signed in to {}", deployment.url)).hint("nothing is left to do")),
    };
    session.config.forget()?;
    match ended {
        Err(error) if !error.is_unauthorized() => {
            session.printer.warn(format_args!("the session is forgotten here, but {} could not be told: {error}", deployment.url));
        }
        _ => session.printer.say(format_args!("Signed out of {}.", deployment.url)),
    }
    Ok(())
}
