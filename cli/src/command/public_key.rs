//! `berth publickey`: the key with which git in one's workspaces proves who one is.

use crate::{
    failure::Outcome,
    printer::{Format, FormatFlag},
    prompt,
    session::Session,
};
use clap::Args;

/// `--reset`, `-y`, `-o`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Make another key; the old one is of no use any more
    #[arg(long)]
    reset: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    format: FormatFlag,
}

/// Shows the key, or makes another one.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let client = session.client()?;
    if arguments.reset {
        let question = "Make another key? The old one opens nothing any more: the new one must be added wherever the old one was.";
        prompt::confirm(&session.printer, arguments.yes, question)?;
    }
    let key = if arguments.reset { client.renew_git_key().await? } else { client.git_key().await? };
    if matches!(arguments.format.output, Format::Json) {
        return session.printer.json(&key);
    }
    session.printer.data(key.public_key.trim_end())?;
    session.printer.hint("add it where your repositories are; then git in your workspaces needs no key of its own (docs/git.md)");
    Ok(())
}
