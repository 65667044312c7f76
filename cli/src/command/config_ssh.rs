//! `berth config-ssh`.

use crate::{
    config::{plain, private_directory, read_optional, unwritable, write_whole},
    failure::{Failure, Outcome},
    name::DEFAULT_SUFFIX,
    prompt,
    session::Session,
    ssh_config::{self, HostBlocks},
};
use clap::Args;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// How, and with what.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show what would change, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Answer the question with yes
    #[arg(short, long)]
    yes: bool,
    /// Take everything away again
    #[arg(long, alias = "uninstall")]
    remove: bool,
    /// Ending of host names: NAME.SUFFIX
    #[arg(long, value_name = "SUFFIX", default_value = DEFAULT_SUFFIX)]
    hostname_suffix: String,
    /// A beginning of host names, besides: PREFIXowner--name
    #[arg(long, value_name = "PREFIX")]
    ssh_host_prefix: Option<String>,
    /// Whether a connection waits for the start scripts: yes, no, or auto, which is what the template says
    #[arg(long, value_name = "WHEN", value_parser = ["yes", "no", "auto"])]
    wait: Option<String>,
    /// SSH option for these hosts, e.g. "ForwardAgent yes"; may be repeated
    #[arg(short = 'o', long = "ssh-option", value_name = "OPTION")]
    option: Vec<String>,
    /// The file to change instead of ~/.ssh/config
    #[arg(long, value_name = "FILE")]
    ssh_config_file: Option<PathBuf>,
}

/// A file as it is and as it is to be.
struct Change {
    path: PathBuf,
    before: Option<String>,
    after: Option<String>,
    mode: u32,
}

impl Change {
    fn is_needed(&self) -> bool {
        self.before != self.after
    }

    fn shown(&self) -> String {
        let text = |content: &Option<String>| content.clone().unwrap_or_default();
        ssh_config::difference(&self.path.display().to_string(), &text(&self.before), &text(&self.after))
    }

    fn make(&self) -> Outcome {
        let made = match &self.after {
            Some(text) => self
                .path
                .parent()
                .map_or(Ok(()), private_directory)
                .and_then(|()| write_whole(&self.path, text.as_bytes(), self.mode)),
            None => fs::remove_file(&self.path),
        };
        made.map_err(|error| unwritable(&self.path, &error))
    }
}

/// Lets plain `ssh NAME.berth` work.
pub(super) fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let printer = session.printer;
    let all = changes(arguments, session)?;
    let needed: Vec<&Change> = all.iter().filter(|change| change.is_needed()).collect();
    if needed.is_empty() {
        printer.say("Nothing to change.");
        return Ok(());
    }
    let shown: String = needed.iter().map(|change| change.shown()).collect();
    if arguments.dry_run {
        return printer.text(&shown);
    }
    if !arguments.yes && printer.is_interactive() {
        printer.say(shown.trim_end());
        prompt::confirm(&printer, false, "Write this?")?;
    }
    needed.iter().try_for_each(|change| change.make().map_err(|failure| by_hand(failure, change, session)))?;
    let files: Vec<String> = needed.iter().map(|change| change.path.display().to_string()).collect();
    printer.say(format_args!("Changed {}.", files.join(" and ")));
    if !arguments.remove {
        printer.hint(format_args!("`ssh NAME.{}`, and with it scp, sftp, rsync, git and your editor", arguments.hostname_suffix));
    }
    Ok(())
}

/// Some configurations are written by another program, and are read-only: then its line belongs there.
fn by_hand(failure: Failure, change: &Change, session: &Session) -> Failure {
    let own = session.config.directory().join(ssh_config::FILE);
    match ssh_config::include(&own) {
        Ok(line) if change.path != own => {
            failure.hint(format!("put this line at the beginning of what makes {}: {line}", change.path.display()))
        }
        _ => failure,
    }
}

/// What is to be written. Our own file comes first: what the other includes is then there.
fn changes(arguments: &Arguments, session: &Session) -> Outcome<Vec<Change>> {
    let own = session.config.directory().join(ssh_config::FILE);
    let config = resolved(arguments, session)?;
    let before = read_optional(&config)?;
    let after = ssh_config::with_include(before.as_deref().unwrap_or_default(), (!arguments.remove).then_some(own.as_path()))?;
    let mode = fs::metadata(&config).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
    // A file that did not exist is not made to hold nothing.
    let after = Some(after).filter(|after| before.is_some() || !after.is_empty());
    let theirs = Change { path: config, before, after, mode };
    let blocks = if arguments.remove { None } else { Some(blocks(arguments, session)?) };
    let ours = Change { before: read_optional(&own)?, path: own, after: blocks, mode: 0o600 };
    Ok(if arguments.remove { vec![theirs, ours] } else { vec![ours, theirs] })
}

fn blocks(arguments: &Arguments, session: &Session) -> Outcome<String> {
    let executable =
        std::env::current_exe().map_err(|error| Failure::new(format!("cannot tell where berth is: {}", plain(&error))))?;
    HostBlocks {
        executable: &executable,
        directory: session.config.directory(),
        suffix: &arguments.hostname_suffix,
        prefix: arguments.ssh_host_prefix.as_deref(),
        wait: arguments.wait.as_deref(),
        options: &arguments.option,
    }
    .text()
}

/// The file to change: where a link leads, so that the link stays.
fn resolved(arguments: &Arguments, session: &Session) -> Outcome<PathBuf> {
    let path = match &arguments.ssh_config_file {
        Some(path) => {
            std::path::absolute(path).map_err(|error| Failure::new(format!("cannot resolve {}: {error}", path.display())))?
        }
        None => session.config.home()?.join(".ssh/config"),
    };
    if !is_link(&path) {
        return Ok(path);
    }
    path.canonicalize().map_err(|error| {
        Failure::new(format!("{} is a link that leads nowhere: {}", path.display(), plain(&error))).hint("mend or remove the link")
    })
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}
