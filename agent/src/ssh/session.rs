//! One session channel: a process on pipes or a terminal, from its start to its exit status.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use pty_process::{OwnedReadPty, OwnedWritePty};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::AsyncWrite;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::process::{Processes, Running, signal_group};

use super::environment::{Requested, SessionEnvironment};
use super::flow::Flow;
use super::pump::{self, Control};
use super::sftp::Sftp;
use super::terminal::{Terminal, TerminalRequest};
use super::{Peer, Shared};

/// The code of SSH extended data that is standard error (RFC 4254 section 5.2).
const STDERR: u32 = 1;

/// The exit code when the agent cannot learn the real one.
const UNKNOWN_EXIT: u32 = 255;

/// What the client asked for before it asked to start.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// A terminal, if any.
    pub(super) terminal: Option<TerminalRequest>,
    /// Variables, in the order they came.
    pub(super) variables: Vec<(String, String)>,
    /// Whether the client's SSH agent may be used.
    pub(super) agent_socket: Option<std::path::PathBuf>,
}

/// What to run.
#[derive(Debug)]
pub(super) enum Program {
    /// The login shell.
    Shell,
    /// One command line, given to the user's shell.
    Command(Vec<u8>),
    /// The file server.
    Sftp,
}

/// A program that has been started, not yet joined to its channel.
pub(super) enum Started {
    /// On pipes.
    Piped { running: Running, greeting: Greeting },
    /// On a terminal.
    Terminal { running: Running, pty: pty_process::Pty, greeting: Greeting },
    /// In this process.
    Sftp(Sftp),
}

/// What the user reads before the program's own output.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    motd: Vec<u8>,
    note: Option<String>,
}

impl Started {
    /// Starts `program` with what the client wished for.
    pub(super) fn start(shared: &Shared, peer: &Peer, wishes: &Wishes, program: &Program) -> io::Result<Started> {
        let sessions = shared.sessions();
        let terminal = wishes.terminal.as_ref().filter(|_| !matches!(program, Program::Sftp)).map(Terminal::open).transpose()?;
        let surroundings = sessions.for_session(
            peer,
            &Requested {
                variables: &wishes.variables,
                term: wishes.terminal.as_ref().map(|terminal| terminal.term.as_str()),
                terminal: terminal.as_ref().map(|terminal| terminal.path.as_path()),
                agent_socket: wishes.agent_socket.as_deref(),
            },
        );
        let mut command = match program {
            Program::Sftp => return Ok(Started::Sftp(Sftp::new(surroundings.directory, sessions.user().home))),
            Program::Shell => login_shell(&sessions),
            Program::Command(line) => shell_command(&sessions, line),
        };
        command.env_clear().envs(&surroundings.variables).current_dir(&surroundings.directory);
        let greeting = Greeting { motd: motd(&sessions, program, terminal.is_some()), note: surroundings.note };
        match terminal {
            Some(terminal) => Self::on_terminal(&shared.processes, command, terminal, greeting),
            None => Self::on_pipes(&shared.processes, command, greeting),
        }
    }

    fn on_terminal(processes: &Processes, command: Command, terminal: Terminal, greeting: Greeting) -> io::Result<Started> {
        let running = processes.spawn_on_terminal(command, terminal.pts)?;
        Ok(Started::Terminal { running, pty: terminal.pty, greeting })
    }

    fn on_pipes(processes: &Processes, mut command: Command, greeting: Greeting) -> io::Result<Started> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Started::Piped { running: processes.spawn(command)?, greeting })
    }
}

/// A program on a terminal that belongs to no channel.
pub(crate) struct OnTerminal {
    /// The program.
    pub(crate) running: Running,
    /// The agent's side of its terminal.
    pub(crate) pty: pty_process::Pty,
    /// What the user reads first, as a terminal shows it.
    pub(crate) greeting: Vec<u8>,
}

impl OnTerminal {
    /// Starts the login shell, or a command line given to the user's shell, on a terminal as browsers have it.
    pub(super) fn start(shared: &Shared, command: Option<&str>, size: pty_process::Size) -> io::Result<OnTerminal> {
        let terminal = TerminalRequest { term: "xterm-256color".to_owned(), size, modes: vec![(russh::Pty::IUTF8, 1)] };
        let variables = vec![("COLORTERM".to_owned(), "truecolor".to_owned())];
        let wishes = Wishes { terminal: Some(terminal), variables, agent_socket: None };
        let program = command.map_or(Program::Shell, |line| Program::Command(line.as_bytes().to_vec()));
        match Started::start(shared, &Peer::parse(""), &wishes, &program)? {
            Started::Terminal { running, pty, greeting } => Ok(OnTerminal { running, pty, greeting: greeting.for_terminal() }),
            Started::Piped { .. } | Started::Sftp(_) => Err(io::Error::other("the program was started without its terminal")),
        }
    }
}

impl Greeting {
    /// As a terminal shows it: the text bypasses the terminal's own output processing.
    fn for_terminal(self) -> Vec<u8> {
        let note = self.note.map(String::into_bytes).unwrap_or_default();
        with_carriage_returns(&[self.motd, note].concat())
    }
}

/// The user's shell as `login` starts it: a name with a leading dash makes it read the profile.
fn login_shell(sessions: &SessionEnvironment) -> Command {
    let user = sessions.user();
    let mut command = Command::new(&user.shell);
    command.arg0(format!("-{}", user.shell_name()));
    command
}

/// A command line given to the user's shell, as `sshd` does.
fn shell_command(sessions: &SessionEnvironment, line: &[u8]) -> Command {
    let user = sessions.user();
    let mut command = Command::new(&user.shell);
    let line: OsString = std::os::unix::ffi::OsStringExt::from_vec(line.to_vec());
    command.arg0(user.shell_name()).arg("-c").arg(line);
    command
}

/// The message of the day: only for a shell on a terminal, and not where the user asked for quiet.
fn motd(sessions: &SessionEnvironment, program: &Program, on_terminal: bool) -> Vec<u8> {
    let is_quiet = sessions.user().home.join(".hushlogin").exists();
    match &sessions.motd_file {
        Some(path) if on_terminal && matches!(program, Program::Shell) && !is_quiet => std::fs::read(path).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Serves one session channel to its end.
pub(super) struct SessionTask {
    pub(super) channel: Channel<Msg>,
    pub(super) started: oneshot::Receiver<Started>,
    pub(super) handle: Handle,
    pub(super) flow: Flow,
    pub(super) closed: CancellationToken,
}

impl SessionTask {
    /// Waits for the start, runs the program and reports how it ended. If the client goes first, the program loses its terminal or its standard
    /// input and is waited for all the same, so that it never becomes a zombie.
    pub(super) async fn run(mut self) {
        let Some(started) = self.wait_for_start().await else {
            return;
        };
        let (input, output) = self.channel.split();
        let link = Link { input, output, handle: self.handle, flow: self.flow, closed: self.closed };
        match started {
            Started::Sftp(sftp) => link.serve_files(sftp).await,
            Started::Piped { running, greeting } => link.run_piped(running, greeting).await,
            Started::Terminal { running, pty, greeting } => link.run_on_terminal(running, pty, greeting).await,
        }
    }

    /// The channel is read meanwhile: russh delivers requests there as well, and a full queue would stop the connection.
    async fn wait_for_start(&mut self) -> Option<Started> {
        loop {
            tokio::select! {
                biased;
                started = &mut self.started => return started.ok(),
                message = self.channel.wait() => if matches!(message, None | Some(ChannelMsg::Close)) {
                    return None;
                },
                () = self.closed.cancelled() => return None,
            }
        }
    }
}

/// A running session's side of its channel.
struct Link {
    input: ChannelReadHalf,
    output: ChannelWriteHalf<Msg>,
    handle: Handle,
    flow: Flow,
    closed: CancellationToken,
}

/// Where a program's output comes from.
enum Output {
    Pipes(Option<ChildStdout>, Option<ChildStderr>),
    Terminal(OwnedReadPty),
}

impl Link {
    async fn run_piped(self, mut running: Running, greeting: Greeting) {
        let stdin = running.take_stdin();
        let output = Output::Pipes(running.take_stdout(), running.take_stderr());
        match stdin {
            Some(stdin) => self.run(running, stdin, output, (greeting, |_: &ChildStdin, _| ())).await,
            None => self.run(running, tokio::io::sink(), output, (greeting, |_: &tokio::io::Sink, _| ())).await,
        }
    }

    async fn run_on_terminal(self, running: Running, pty: pty_process::Pty, greeting: Greeting) {
        let (reader, writer) = pty.into_split();
        let resize = |writer: &OwnedWritePty, size| {
            if let Err(error) = writer.resize(size) {
                tracing::debug!(%error, "terminal not resized");
            }
        };
        self.run(running, writer, Output::Terminal(reader), (greeting, resize)).await;
    }

    async fn run<W, R>(mut self, mut running: Running, stdin: W, output: Output, (greeting, resize): (Greeting, R))
    where
        W: AsyncWrite + Unpin,
        R: Fn(&W, pty_process::Size),
    {
        let pid = running.pid();
        let control = |control, writer: Option<&W>| match control {
            Control::Resize(size) => drop(writer.map(|writer| resize(writer, size))),
            Control::Signal(signal) => drop(as_signal(&signal).map(|signal| signal_group(pid, signal))),
        };
        let unheard = CancellationToken::new();
        let (to_client, handle, ended) = (&self.output, &self.handle, CancellationToken::new());
        let work = async {
            let waited = async {
                let status = running.wait().await;
                ended.cancel();
                status
            };
            let (status, ()) = tokio::join!(waited, send_output(output, to_client, greeting, &ended));
            report_exit(to_client, handle, status).await;
        };
        tokio::select! {
            () = pump::inward(&mut self.input, stdin, self.flow.backlog(self.output.id()), &unheard, control) => {}
            () = work => return,
            () = self.closed.cancelled() => {}
        }
        // The client is gone. Its side of the terminal or the pipes is closed by now; the process may go on without.
        drop(self);
        running.wait().await.ok();
    }

    async fn serve_files(mut self, sftp: Sftp) {
        tokio::select! {
            () = sftp.serve(&mut self.input, &self.output, self.flow.backlog(self.output.id())) => {
                self.output.exit_status(0).await.ok();
                self.output.eof().await.ok();
                self.output.close().await.ok();
            }
            () = self.closed.cancelled() => {}
        }
    }
}

/// Sends the greeting, then everything the program writes.
async fn send_output(output: Output, channel: &ChannelWriteHalf<Msg>, greeting: Greeting, ended: &CancellationToken) {
    match output {
        Output::Terminal(reader) => {
            let text = greeting.for_terminal();
            if !text.is_empty() {
                channel.data_bytes(text).await.ok();
            }
            pump::outward(reader, channel, None, ended).await;
        }
        Output::Pipes(stdout, stderr) => {
            if let Some(note) = greeting.note {
                channel.extended_data_bytes(STDERR, note.into_bytes()).await.ok();
            }
            tokio::join!(
                async {
                    if let Some(stdout) = stdout {
                        pump::outward(stdout, channel, None, ended).await;
                    }
                },
                async {
                    if let Some(stderr) = stderr {
                        pump::outward(stderr, channel, Some(STDERR), ended).await;
                    }
                },
            );
        }
    }
}

fn with_carriage_returns(text: &[u8]) -> Vec<u8> {
    text.split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| match line.strip_suffix(b"\n") {
            Some(line) => [line, b"\r\n"].concat(),
            None => line.to_vec(),
        })
        .collect()
}

/// The exit status or signal, then end of file, then close, as `sshd`: a client that has ended its own input answers our end of file with a close,
/// and nothing may follow that.
async fn report_exit(channel: &ChannelWriteHalf<Msg>, handle: &Handle, status: io::Result<ExitStatus>) {
    match status.as_ref().map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => drop(channel.exit_status(u32::try_from(code).unwrap_or(UNKNOWN_EXIT)).await),
        Ok((None, Some(signal))) => {
            let core_dumped = status.is_ok_and(|status| status.core_dumped());
            handle.exit_signal_request(channel.id(), signal_name(signal), core_dumped, String::new(), String::new()).await.ok();
        }
        Ok((None, None)) | Err(_) => drop(channel.exit_status(UNKNOWN_EXIT).await),
    }
    channel.eof().await.ok();
    channel.close().await.ok();
}

/// A signal as SSH names it (RFC 4254 section 6.10); others carry the suffix OpenSSH gives them.
fn signal_name(number: i32) -> Sig {
    let Ok(signal) = Signal::try_from(number) else {
        return Sig::Custom("SIG@openssh.com".to_owned());
    };
    let name = signal.as_str().trim_start_matches("SIG");
    match name {
        "ABRT" => Sig::ABRT,
        "ALRM" => Sig::ALRM,
        "FPE" => Sig::FPE,
        "HUP" => Sig::HUP,
        "ILL" => Sig::ILL,
        "INT" => Sig::INT,
        "KILL" => Sig::KILL,
        "PIPE" => Sig::PIPE,
        "QUIT" => Sig::QUIT,
        "SEGV" => Sig::SEGV,
        "TERM" => Sig::TERM,
        "USR1" => Sig::USR1,
        "USR2" => Sig::Custom("USR2".to_owned()),
        _ => Sig::Custom("SIG@openssh.com".to_owned()),
    }
}

/// The signal a client names, if this system has it.
fn as_signal(signal: &Sig) -> Option<Signal> {
    let name: Cow<'_, str> = match signal {
        Sig::Custom(name) => name.trim_end_matches("@openssh.com").into(),
        known => format!("{known:?}").into(),
    };
    format!("SIG{name}").parse().ok()
}

/// Starts the task of a session channel; the sender in return starts the program.
pub(super) fn spawn_task(
    shared: &Arc<Shared>,
    channel: Channel<Msg>,
    (handle, flow): (Handle, Flow),
    closed: CancellationToken,
) -> oneshot::Sender<Started> {
    let (start, started) = oneshot::channel();
    let task = SessionTask { channel, started, handle, flow, closed };
    shared.tasks.spawn(task.run());
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_openssh_uses() {
        assert!(matches!(signal_name(15), Sig::TERM));
        assert!(matches!(signal_name(9), Sig::KILL));
        assert!(matches!(signal_name(12), Sig::Custom(name) if name == "USR2"));
        assert!(matches!(signal_name(64), Sig::Custom(name) if name == "SIG@openssh.com"));
        assert_eq!(as_signal(&Sig::INT), Some(Signal::SIGINT));
        assert_eq!(as_signal(&Sig::Custom("USR2".to_owned())), Some(Signal::SIGUSR2));
        assert_eq!(as_signal(&Sig::Custom("NONSENSE".to_owned())), None);
    }

    #[test]
    fn a_greeting_on_a_terminal_returns_the_carriage() {
        assert_eq!(with_carriage_returns(b"one\n\ntwo"), b"one\r\n\r\ntwo");
    }
}
