//! `berth templates pull`.

use crate::{
    archive,
    failure::{Failure, Outcome},
    session::Session,
};
use clap::Args;
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

/// Which template, and where to.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The template
    name: String,
    /// The directory to make; the template's name, unless given
    #[arg(value_name = "DIR", conflicts_with = "tar")]
    directory: Option<PathBuf>,
    /// Which version; the active one, unless given
    #[arg(long, value_name = "NAME")]
    version: Option<String>,
    /// Write the archive to stdout instead
    #[arg(long)]
    tar: bool,
}

/// Fetches a version's files.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    if arguments.tar && io::stdout().is_terminal() {
        return Err(Failure::usage("a tar is nothing for a terminal").hint("send it somewhere: `... --tar > template.tar`"));
    }
    let client = session.client()?;
    let template = super::find(&client, &arguments.name).await?;
    let version = match &arguments.version {
        Some(name) => super::versions::find(&client, &template, name).await?,
        None => client.version(template.active_version_id).await?,
    };
    let directory = arguments.directory.clone().unwrap_or_else(|| PathBuf::from(&template.name));
    if !arguments.tar {
        // Before the download: it may be long.
        archive::make_empty(&directory)?;
    }
    let bytes = client.download_file(version.job.file_id).await?;
    if arguments.tar {
        return session.printer.bytes(&bytes);
    }
    let files = archive::unpack(&bytes, &directory)?;
    session.printer.say(format_args!(
        "Wrote {files} files of {} version {} into {}.",
        template.name,
        version.name,
        directory.display()
    ));
    Ok(())
}
