//! `terraform-provider-berth`: the provider as an executable that Terraform or OpenTofu starts. Installed a second time (or linked) as
//! `terraform-provider-coder`, it serves templates for that provider too.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use berth_provider::plugin::{self, Config, HandshakeError, PluginError, VERSION};

const HELP: &str = "\
The Terraform provider of Berth, also for templates that name the provider coder/coder.

Terraform and OpenTofu start it by themselves; docs/templates.md tells how to install it to check a template on your laptop.

Usage: terraform-provider-berth [OPTION]

Options:
  --debug     Serve until Ctrl-C and print the TF_REATTACH_PROVIDERS line with which Terraform finds this process
  --mirror DIRECTORY
              Make DIRECTORY a filesystem mirror from which terraform init installs this very file
  --version   Print the version by which Terraform knows the provider
  --help      Print this help

What it tells a template of the workspace comes from the environment, such as CODER_WORKSPACE_NAME and CODER_WORKSPACE_TRANSITION.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let option = std::env::args().nth(1);
    let ended = match option.as_deref().map(|option| option.trim_start_matches('-')) {
        None => plugin::serve(Config::from_env()).await,
        Some("debug") => plugin::debug(Config::from_env().environment).await,
        Some("mirror") => return mirror(std::env::args_os().nth(2)),
        Some("version") => return print(VERSION),
        Some("help" | "h") => return print(HELP),
        Some(_) => return usage(&option.unwrap_or_default()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn mirror(directory: Option<OsString>) -> ExitCode {
    let Some(directory) = directory else {
        talk("error: --mirror needs a directory\nhint: ~/.terraform.d/plugins is one that Terraform looks into by itself");
        return ExitCode::from(2);
    };
    match std::env::current_exe().and_then(|executable| plugin::mirror(Path::new(&directory), &executable)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            talk(&format!("error: cannot lay out {}: {why}", Path::new(&directory).display()));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    writeln!(io::stdout().lock(), "{text}").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn usage(option: &str) -> ExitCode {
    talk(&format!("error: \"{option}\" is not an option\nhint: see --help"));
    ExitCode::from(2)
}

/// Says what went wrong, why, and what to do. Terraform keeps it in its log (`TF_LOG=debug`).
fn complain(error: &PluginError) {
    let causes =
        std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source()).map(|cause| format!(": {cause}"));
    talk(&format!("error: {error}{}", causes.collect::<String>()));
    let hint = match error {
        PluginError::Handshake(HandshakeError::NotStarted) => {
            "put its directory under dev_overrides in your Terraform CLI configuration and run terraform plan, or serve it with --debug"
        }
        PluginError::Handshake(HandshakeError::Protocol { .. }) => "use Terraform 1.0 or newer, or OpenTofu",
        PluginError::Handshake(HandshakeError::NoCertificate) => "let Terraform or OpenTofu start it, or serve it with --debug",
        PluginError::Serve(_) => "set TMPDIR to a directory with a short path",
        _ => return,
    };
    talk(&format!("hint: {hint}"));
}

fn talk(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
