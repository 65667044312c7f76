//! One file per verb. This one holds the command line's shape and hands each verb its session.

mod autoupdate;
mod builds;
mod cancel;
mod completion;
mod config_ssh;
mod cp;
mod create;
mod delete;
mod doctor;
mod list;
mod login;
mod logout;
mod logs;
mod mux;
mod netcheck;
mod open;
mod ping;
mod port_forward;
mod public_key;
mod rename;
mod repair;
mod restart;
mod retry;
mod schedule;
mod server;
mod show;
mod speedtest;
mod ssh;
mod start;
mod state;
mod stop;
mod support;
mod templates;
mod tokens;
mod update;
mod version;
mod whoami;

use crate::{
    Program,
    config::{Config, Environment, GlobalFlags},
    failure::{Failure, Outcome},
    mux::Multiplexer,
    printer::Printer,
    session::Session,
};
use clap::{Parser, Subcommand};
use std::future::Future;

/// Development environments in your own cloud account.
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub globals: GlobalFlags,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run Berth on this machine
    Server(server::Arguments),
    /// Sign in to a deployment
    Login(login::Arguments),
    /// End the session
    Logout(logout::Arguments),
    /// Show who is signed in, and where
    Whoami(whoami::Arguments),
    /// Show the key with which git in your workspaces proves who you are
    #[command(name = "publickey")]
    PublicKey(public_key::Arguments),
    /// Make, list and remove API tokens
    Tokens(tokens::Arguments),
    /// Manage templates
    #[command(alias = "template")]
    Templates(templates::Arguments),
    /// Make a workspace
    Create(create::Arguments),
    /// List workspaces
    #[command(alias = "ls")]
    List(list::Arguments),
    /// Show a workspace, its resources and agents
    Show(show::Arguments),
    /// Start a workspace
    Start(start::Arguments),
    /// Stop a workspace, keeping what persists
    Stop(stop::Arguments),
    /// Stop a workspace and start it again
    Restart(restart::Arguments),
    /// Move a workspace to its template's active version
    Update(update::Arguments),
    /// Delete a workspace and all its resources
    #[command(alias = "rm")]
    Delete(delete::Arguments),
    /// Do again what failed or was canceled
    Retry(retry::Arguments),
    /// Give a workspace another name
    Rename(rename::Arguments),
    /// Let each start move a workspace to its template's active version
    Autoupdate(autoupdate::Arguments),
    /// Show and set when a workspace is stopped
    Schedule(schedule::Arguments),
    /// List a workspace's builds, and where their time went
    #[command(alias = "build")]
    Builds(builds::Arguments),
    /// List, fetch, replace and restore a workspace's Terraform state
    State(state::Arguments),
    /// Find what exists of a workspace and is not in its state; import or delete it
    Repair(repair::Arguments),
    /// Show the log of a workspace's build and of its agents
    Logs(logs::Arguments),
    /// End the build that runs
    Cancel(cancel::Arguments),
    /// Open a shell in a workspace or run a command there
    Ssh(Box<ssh::Arguments>),
    /// Let plain `ssh NAME.berth` work, and with it scp, rsync, git and IDEs
    ConfigSsh(config_ssh::Arguments),
    /// Copy files and directories to and from a workspace
    Cp(cp::Arguments),
    /// Run scp with workspaces: NAME:PATH
    Scp(cp::Stock),
    /// Run rsync with workspaces: NAME:PATH
    Rsync(cp::Stock),
    /// Open a workspace in an editor on this machine
    Open(open::Arguments),
    /// Forward ports and sockets to a workspace, and back
    PortForward(port_forward::Arguments),
    /// Measure the way to a workspace
    Ping(ping::Arguments),
    /// Measure how much the way to a workspace carries
    Speedtest(speedtest::Arguments),
    /// Look at this machine's network: UDP, NAT, the relay, proxies
    Netcheck(netcheck::Arguments),
    /// Collect what whoever helps you needs to know
    Support(support::Arguments),
    /// Show and end the process in the background that holds connections
    #[command(hide = true)]
    Mux(mux::Arguments),
    /// Check from here whether a deployment works, and say what to do where it does not
    Doctor(doctor::Arguments),
    /// Show the version
    Version(version::Arguments),
    /// Print the completion script of a shell
    Completion(completion::Arguments),
}

/// Does what was asked.
///
/// # Errors
/// Whatever the verb reports.
pub fn run(cli: Cli, program: Program, printer: Printer, environment: Environment) -> Outcome {
    match &cli.verb {
        Verb::Server(arguments) => return server::run(arguments),
        Verb::Version(arguments) => return version::run(arguments, program, printer),
        Verb::Completion(arguments) => return completion::run(arguments, printer),
        Verb::Mux(arguments) if arguments.serves() => detach()?,
        _ => {}
    }
    let session = Session { config: Config::load(&cli.globals, environment)?, printer };
    wait_for(dispatch(cli.verb, &session))
}

impl Verb {
    /// Whether a workspace's name may stand for another agent afterwards.
    const fn changes_workspaces(&self) -> bool {
        matches!(
            self,
            Self::Create(_)
                | Self::Start(_)
                | Self::Stop(_)
                | Self::Restart(_)
                | Self::Update(_)
                | Self::Delete(_)
                | Self::Retry(_)
                | Self::Rename(_)
        )
    }
}

async fn dispatch(verb: Verb, session: &Session) -> Outcome {
    let changes = verb.changes_workspaces();
    let outcome = perform(verb, session).await;
    // However it ended: a command that was interrupted may have changed them all the same.
    if changes && let Ok(Some(multiplexer)) = Multiplexer::of(session) {
        multiplexer.forget().await;
    }
    outcome
}

async fn perform(verb: Verb, session: &Session) -> Outcome {
    match verb {
        Verb::Server(_) | Verb::Version(_) | Verb::Completion(_) => Ok(()),
        Verb::Login(arguments) => login::run(arguments, session).await,
        Verb::Logout(_) => logout::run(session).await,
        Verb::Whoami(arguments) => whoami::run(&arguments, session).await,
        Verb::PublicKey(arguments) => public_key::run(&arguments, session).await,
        Verb::Tokens(arguments) => tokens::run(arguments, session).await,
        Verb::Templates(arguments) => templates::run(arguments, session).await,
        Verb::Create(arguments) => create::run(arguments, session).await,
        Verb::List(arguments) => list::run(&arguments, session).await,
        Verb::Show(arguments) => show::run(&arguments, session).await,
        Verb::Start(arguments) => start::run(&arguments, session).await,
        Verb::Stop(arguments) => stop::run(&arguments, session).await,
        Verb::Restart(arguments) => restart::run(&arguments, session).await,
        Verb::Update(arguments) => update::run(&arguments, session).await,
        Verb::Delete(arguments) => delete::run(&arguments, session).await,
        Verb::Retry(arguments) => retry::run(&arguments, session).await,
        Verb::Rename(arguments) => rename::run(&arguments, session).await,
        Verb::Autoupdate(arguments) => autoupdate::run(&arguments, session).await,
        Verb::Schedule(arguments) => schedule::run(arguments, session).await,
        Verb::Builds(arguments) => builds::run(arguments, session).await,
        Verb::State(arguments) => state::run(&arguments, session).await,
        Verb::Repair(arguments) => repair::run(&arguments, session).await,
        Verb::Logs(arguments) => logs::run(&arguments, session).await,
        Verb::Cancel(arguments) => cancel::run(&arguments, session).await,
        Verb::Ssh(arguments) => ssh::run(*arguments, session).await,
        Verb::ConfigSsh(arguments) => config_ssh::run(&arguments, session),
        Verb::Cp(arguments) => cp::run(&arguments, session),
        Verb::Scp(arguments) => cp::scp(&arguments, session),
        Verb::Rsync(arguments) => cp::rsync(&arguments, session),
        Verb::Open(arguments) => open::run(&arguments, session).await,
        Verb::PortForward(arguments) => port_forward::run(&arguments, session).await,
        Verb::Ping(arguments) => ping::run(&arguments, session).await,
        Verb::Speedtest(arguments) => speedtest::run(&arguments, session).await,
        Verb::Netcheck(arguments) => netcheck::run(&arguments, session).await,
        Verb::Support(arguments) => support::run(&arguments, session).await,
        Verb::Mux(arguments) => mux::run(&arguments, session).await,
        Verb::Doctor(arguments) => doctor::run(&arguments, session).await,
    }
}

fn detach() -> Outcome {
    crate::mux::detach().map_err(|error| Failure::new(format!("cannot leave what was open: {error}")).hint("is /proc mounted?"))
}

/// Runs a command on one thread: there is one connection and one person.
fn wait_for(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(format!("cannot start: {error}")).hint("does this user have too many processes or open files?")
    })?;
    let outcome = runtime.block_on(work);
    // A thread that still reads stdin must not keep the process.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn accepts(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_ide_extensions_type_is_understood() {
        for line in [
            "coder --global-config /d ssh --disable-autostart --stdio --usage-app=vscode --network-info-dir /n --log-dir /l -v \
             --ssh-host-prefix coder-vscode.h-- coder-vscode.h--ada--dev.main",
            "coder --global-config /d ssh --stdio --usage-app=jetbrains --ssh-host-prefix coder-jetbrains.h-- -- coder-jetbrains.h--ada--dev.main",
            "coder version --output json",
            "coder --global-config /d login --use-token-as-session https://h",
            "coder login https://h --token t",
            "coder login token --url https://h",
            "coder --global-config /d logout --url https://h --yes",
            "coder --global-config /d start --yes --reason vscode_connection ada/dev",
            "coder start --yes --reason jetbrains_connection -- ada/dev",
            "coder update --parameter cpu=2 ada/dev",
            "coder ping dev",
        ] {
            assert!(accepts(line), "{line}");
        }
    }

    #[test]
    fn what_people_type_is_understood() {
        for line in [
            "berth ssh dev",
            "berth ssh dev make",
            "berth ssh dev -- make -j2 test",
            "berth ssh -t dev -- top",
            "berth port-forward dev --tcp 8080:80,9000 --tcp 0.0.0.0:1:2",
            "berth create ada/dev -t linux --parameter cpu=2 --parameter disk=10 -y",
            "berth templates push -d . --variable a=b -m words --activate=false -y",
            "berth templates versions linux -o json",
            "berth templates versions list linux --include-archived",
            "berth templates versions promote -t linux --template-version v2",
            "berth templates versions archive linux v1 v2 -y",
            "berth templates edit linux --default-ttl 8h --allow-user-cancel-workspace-jobs=false --require-active-version --deprecated why",
            "berth templates archive linux mac --all --yes",
            "berth templates pull linux --version v1 --tar",
            "berth server --data /d --port 0 --help",
            "berth list -a --search owner:me -o json",
            "berth start dev --allow-replace",
            "berth builds list dev -o json",
            "berth builds timings dev -n -1",
            "berth show dev --build 3",
            "berth retry ada/dev --debug",
            "berth doctor",
            "berth doctor https://berth.example.com -o json",
            "berth rename dev work -y",
            "berth autoupdate dev always",
            "berth schedule stop dev manual",
            "berth schedule extend dev 2h",
            "berth port-forward dev --tcp 8080,9000-9002:3000-3002 --udp 53:5353 --unix ./a:/b -R 3000 -R 9000:localhost:80",
            "berth ssh dev -R 3000 -A --escape-char none",
            "berth ping dev -n 3 -t 2s --wait 1s",
            "berth speedtest dev -d up -t 10 -o json",
            "berth netcheck -o json",
            "berth support bundle dev -O out.zip",
            "berth cp -p a b dev:c",
            "berth scp -r a dev:b",
            "berth rsync -avz --delete a/ dev:b/",
            "berth open vscode dev /src -o json",
            "berth config-ssh --wait yes --ssh-host-prefix b- --hostname-suffix example -o ForwardAgent=yes",
            "berth mux status",
            "berth publickey --reset -y",
        ] {
            assert!(accepts(line), "{line}");
        }
        assert!(!accepts("berth list --nonsense"));
        assert!(!accepts("berth templates versions"), "a template or a verb is wanted");
    }
}
