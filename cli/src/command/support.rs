//! `berth support bundle`: what whoever helps you needs to know, in one file, without secrets.

use super::{doctor, netcheck};
use crate::{
    change,
    config::{read_optional, unwritable},
    failure::{Failure, Outcome},
    mux::{self, Place, Settings},
    name::WorkspaceRef,
    redact::{Redacted, Redactor},
    session::{Session, find_workspace},
    ssh_config,
};
use berth_client::Client;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::{fs::File, io::Write, path::PathBuf};
use zip::{CompressionMethod, ZipWriter, result::ZipError, write::SimpleFileOptions};

/// Variables whose values tell something about a fault. Of others, not even the name is told.
const VARIABLES: [&str; 17] = [
    "BERTH_CONFIG_DIR",
    "BERTH_MUX",
    "BERTH_MUX_IDLE",
    "BERTH_URL",
    "CODER_CONFIG_DIR",
    "CODER_URL",
    "DISPLAY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "NO_PROXY",
    "SHELL",
    "SSH_AUTH_SOCK",
    "TERM",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "https_proxy",
];
/// Variables that hold secrets: they are told to the redactor, and to nobody else.
const SECRETS: [&str; 4] = ["BERTH_SESSION_TOKEN", "CODER_SESSION_TOKEN", "BERTH_FIRST_USER_PASSWORD", "CODER_FIRST_USER_PASSWORD"];
/// The most that is taken of one log, from its end, in bytes.
const LOG_BYTES_MAX: usize = 1024 * 1024;

/// What kind of help.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a zip of what this machine, the deployment and a workspace say of themselves, without secrets
    Bundle(Bundle),
}

/// Of what, and where to.
#[derive(Debug, Args)]
struct Bundle {
    /// [owner/]name[.agent] of a workspace that is part of the trouble
    #[arg(value_name = "NAME")]
    workspace: Option<String>,
    /// The file to write
    #[arg(short = 'O', long, value_name = "FILE", default_value = "berth-support.zip")]
    output_file: PathBuf,
}

/// What this program is and was told.
#[derive(Debug, Serialize)]
struct Own<'a> {
    version: &'a str,
    system: &'a str,
    architecture: &'a str,
    url: Option<String>,
    signed_in: bool,
    directory: String,
    direct: bool,
    variables: Vec<(&'a str, &'a str)>,
}

/// The files of a bundle. Nothing comes in but what a [`Redactor`] has seen.
struct Files {
    redactor: Redactor,
    files: Vec<(String, Redacted)>,
}

impl Files {
    fn add(&mut self, name: impl Into<String>, text: &str) {
        self.files.push((name.into(), self.redactor.text(text)));
    }

    fn add_json(&mut self, name: &str, value: &impl Serialize) {
        self.add(name, &serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string()));
    }

    /// What could not be had is part of the answer.
    fn add_outcome(&mut self, name: &str, outcome: Outcome<impl Serialize>) {
        match outcome {
            Ok(value) => self.add_json(name, &value),
            Err(failure) => self.add(format!("{name}.error.txt"), &failure.to_string()),
        }
    }
}

/// Writes it.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let What::Bundle(bundle) = &arguments.what;
    let mut files = Files { redactor: redactor(session)?, files: Vec::new() };
    own(&mut files, session)?;
    let url = session.config.url()?;
    if let Some(url) = url {
        files.add_outcome("doctor.json", doctor::examine(url.clone(), session, false).await);
        files.add_outcome("netcheck.json", netcheck::examine(url, session, false).await);
    }
    multiplexers(&mut files, session).await;
    if let Some(name) = &bundle.workspace {
        let reference: WorkspaceRef = name.parse()?;
        if let Err(failure) = workspace(&mut files, &session.client()?, &reference).await {
            files.add("workspace.error.txt", &failure.to_string());
        }
    }
    write(bundle, &files.files)?;
    for (name, text) in &files.files {
        session.printer.say(format_args!("  {name} ({} bytes)", text.text().len()));
    }
    session.printer.say(format_args!("Wrote {}.", bundle.output_file.display()));
    session.printer.hint(
        "secrets that are known or look like one were taken out; read it all the same before you send it, above all the logs",
    );
    Ok(())
}

fn redactor(session: &Session) -> Outcome<Redactor> {
    let config = &session.config;
    let variables = SECRETS.iter().filter_map(|name| config.environment.get(name)).map(str::to_owned);
    let given = config.given_token().map(|token| token.expose().clone());
    // Without a deployment there is no session.
    let stored = config.deployment().ok().and_then(|deployment| deployment.token).map(|token| token.expose().clone());
    let file = read_optional(&config.directory().join(crate::config::SESSION_FILE))?;
    Ok(Redactor::knowing(variables.chain(given).chain(stored).chain(file)))
}

fn own(files: &mut Files, session: &Session) -> Outcome {
    let config = &session.config;
    let variables = VARIABLES.iter().filter_map(|name| Some((*name, config.environment.get(name)?))).collect();
    files.add_json(
        "berth.json",
        &Own {
            version: env!("CARGO_PKG_VERSION"),
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            url: config.url()?,
            signed_in: config.deployment().is_ok_and(|deployment| deployment.token.is_some()),
            directory: config.directory().display().to_string(),
            direct: config.direct,
            variables,
        },
    );
    if let Some(text) = read_optional(&config.directory().join(ssh_config::FILE))? {
        files.add("ssh_config", &text);
    }
    Ok(())
}

async fn multiplexers(files: &mut Files, session: &Session) {
    let mut all = Vec::new();
    for place in Place::all(&session.config).unwrap_or_default() {
        all.extend(mux::status(&place).await);
    }
    files.add_json("mux.json", &all);
    let settings = session.config.deployment().and_then(|deployment| Settings::of(&session.config, &deployment));
    if let Ok(Some(settings)) = settings
        && let Ok(Some(text)) = read_optional(Place::of(&session.config, &settings).log())
    {
        files.add("mux.log", end(&text));
    }
}

/// Its state and its logs. Its parameters' values are not among it: what a template asks may be a secret.
async fn workspace(files: &mut Files, client: &Client, reference: &WorkspaceRef) -> Outcome {
    let found = find_workspace(client, reference).await?;
    files.add_json("workspace.json", &found);
    let build = &found.latest_build;
    let lines = client.build_logs(build.id, 0).await?;
    let lines: Vec<String> =
        lines.iter().map(|line| format!("{} {} {}", line.created_at, line.stage, line.output.trim_end())).collect();
    files.add("build.log", end(&lines.join("\n")));
    for agent in change::agents(build) {
        let lines = client.agent_logs(agent.id, 0).await?;
        let lines: Vec<String> = lines.iter().map(|line| format!("{} {}", line.created_at, line.output.trim_end())).collect();
        files.add(format!("agent-{}.log", agent.name), end(&lines.join("\n")));
    }
    Ok(())
}

/// The last lines of a log that is too long.
fn end(text: &str) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(LOG_BYTES_MAX));
    text.get(from..).unwrap_or_default()
}

fn write(bundle: &Bundle, files: &[(String, Redacted)]) -> Outcome {
    let path = &bundle.output_file;
    let file = File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(format!("{} exists already", path.display())).hint("name another file with --output-file, or remove it")
        }
        _ => unwritable(path, &error),
    })?;
    zipped(file, files).map_err(|error| match error {
        ZipError::Io(error) => unwritable(path, &error),
        other => Failure::new(format!("cannot write {}: {other}", path.display())).hint("try again"),
    })
}

fn zipped(file: File, files: &[(String, Redacted)]) -> Result<(), ZipError> {
    // Stored, not packed: these are small texts, and packing would make `berth` larger.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o600);
    let mut zip = ZipWriter::new(file);
    for (name, text) in files {
        zip.start_file(name.as_str(), options)?;
        zip.write_all(text.text().as_bytes())?;
    }
    zip.finish()?.sync_all()?;
    Ok(())
}
