//! `berth templates pull`.

use crate::{archive, failure::Outcome, session::Session};
use clap::Args;
use std::path::PathBuf;

/// Which template, and where to.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The template
    name: String,
    /// The directory to make; the template's name, unless given
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Fetches the active version's files.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let client = session.client()?;
    let template = super::find(&client, &arguments.name).await?;
    let version = client.version(template.active_version_id).await?;
    let directory = arguments.directory.clone().unwrap_or_else(|| PathBuf::from(&template.name));
    // Before the download: it may be long.
    archive::make_empty(&directory)?;
    let bytes = client.download_file(version.job.file_id).await?;
    let files = archive::unpack(&bytes, &directory)?;
    session.printer.say(format_args!(
        "Wrote {files} files of {} version {} into {}.",
        template.name,
        version.name,
        directory.display()
    ));
    Ok(())
}
