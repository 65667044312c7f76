//! The built-in SSH client: one session over a stream of the tailnet.
//!
//! The tailnet has already proven who is at the other end; the host key is checked against the ticket all the same, and no other
//! authentication takes place.

mod escape;
mod route;

use crate::{
    away,
    failure::{Failure, NO_CONNECTION, Outcome},
    forward::Reached,
    signal,
    splice::{Input, Output},
    terminal::{self, RawMode, Size},
};
use berth_net::{Phase, Resumable};
use bytes::BytesMut;
use escape::{Escapes, Key};
use russh::{
    Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, cipher,
    client::{self, AuthResult, ChannelOpenHandle, Msg, Session},
    keys::{PublicKey, PublicKeyOrCertificate},
};
use std::{borrow::Cow, io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

pub use route::Routes;

/// How much of stdin is read at a time.
const INPUT_BYTES: usize = 32 * 1024;
/// The type of data that stderr is (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// The key Ctrl-C in a raw terminal.
const INTERRUPT: u8 = 3;
/// How long a signal may take to get to the other side.
const FAREWELL: Duration = Duration::from_millis(400);
/// How often a session in which nothing may happen for hours is asked whether it is still there.
const ALIVE: Duration = Duration::from_secs(15);

/// What to run and how.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The command; none is a shell.
    pub command: Option<String>,
    /// The type of the remote terminal; none is no terminal.
    pub terminal: Option<String>,
    /// Variables to set.
    pub variables: Vec<(String, String)>,
    /// The socket of the SSH agent to forward.
    pub agent_socket: Option<PathBuf>,
    /// Sockets of the workspace that lead here.
    pub routes: Routes,
    /// Whether `~` at the beginning of a line is for us; only on a terminal.
    pub escapes: bool,
}

/// Runs one session over `stream`, joined to our stdin, stdout and stderr. Gives the remote exit code, 128 + n after signal n.
///
/// `say` hears what becomes of each route.
///
/// # Errors
/// When the connection does not come about or is lost.
pub async fn run(stream: Resumable, host_key: &str, wish: &Wish, mut say: impl FnMut(&str)) -> Outcome<u8> {
    let phase = stream.phase();
    let handler = Handler::new(host_key, wish.agent_socket.clone(), wish.routes.clone())?;
    let handle = connect(stream, handler, config()).await?;
    if !wish.routes.is_empty() {
        wish.routes.ask(&handle).await.0.iter().for_each(|line| say(line));
    }
    let channel = handle.channel_open_session().await.map_err(lost)?;
    begin(&channel, wish).await.map_err(lost)?;
    let (reader, writer) = channel.split();
    // Raw only now: until here Ctrl-C is for us.
    let raw = match wish.terminal {
        Some(_) if terminal::is_present() => RawMode::enter().ok(),
        _ => None,
    };
    let escapes = raw.as_ref().filter(|_| wish.escapes);
    let keyboard = Keyboard { is_terminal: wish.terminal.is_some(), escapes, phase: &phase };
    let code = converse(reader, &writer, &keyboard).await;
    drop(raw);
    code
}

/// Holds a session that runs nothing, for the sockets of the workspace that lead here.
///
/// # Errors
/// When the connection does not come about, or the workspace agrees to none of them.
pub async fn hold<S>(stream: S, host_key: &str, routes: &Routes) -> Outcome<Held>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handler = Handler::new(host_key, None, routes.clone())?;
    let config = client::Config { keepalive_interval: Some(ALIVE), ..config() };
    let handle = connect(stream, handler, config).await?;
    let (lines, any) = routes.ask(&handle).await;
    if !any {
        return Err(Failure::new(lines.join("; ")).hint("choose other ports, or end what has them"));
    }
    Ok(Held { handle, lines })
}

/// A session that is held.
pub struct Held {
    handle: client::Handle<Handler>,
    /// What became of each socket, in words.
    pub lines: Vec<String>,
}

impl Held {
    /// Waits for its end, and says why it came.
    pub async fn ended(self) -> Failure {
        self.handle.await.map_or_else(lost, |()| broken("the workspace ended the session"))
    }
}

async fn connect<S>(stream: S, handler: Handler, config: client::Config) -> Outcome<client::Handle<Handler>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut handle = client::connect_stream(Arc::new(config), stream, handler).await.map_err(lost)?;
    match handle.authenticate_none("berth").await.map_err(lost)? {
        AuthResult::Success => Ok(handle),
        AuthResult::Failure { .. } => Err(broken("the workspace's SSH server wants a password or key")),
    }
}

fn config() -> client::Config {
    let mut config = client::Config::default();
    config.preferred.cipher = Cow::Borrowed(&[cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR]);
    config
}

/// Sends all requests at once: only the last one's answer matters.
async fn begin(channel: &Channel<Msg>, wish: &Wish) -> Result<(), russh::Error> {
    if wish.agent_socket.is_some() {
        channel.agent_forward(false).await?;
    }
    for (name, value) in &wish.variables {
        channel.set_env(false, name.as_str(), value.as_str()).await?;
    }
    if let Some(term) = &wish.terminal {
        let Size { columns, rows, width, height } = Size::now();
        channel.request_pty(false, term, columns, rows, width, height, &terminal::modes()).await?;
    }
    match &wish.command {
        Some(command) => channel.exec(true, command.as_bytes()).await,
        None => channel.request_shell(true).await,
    }
}

/// Moves bytes, window sizes and signals until the remote side closes the session.
async fn converse(reader: ChannelReadHalf, writer: &ChannelWriteHalf<Msg>, keyboard: &Keyboard<'_>) -> Outcome<u8> {
    let (stdin, stdout, stderr) = (Input::stdin(), Output::stdout(), Output::stderr());
    let closed = |error: io::Error| broken(&format!("stdin, stdout or stderr is closed: {}", crate::config::plain(&error)));
    let (stdin, output) = (stdin.map_err(closed)?, (stdout.map_err(closed)?, stderr.map_err(closed)?));
    tokio::select! {
        code = receive(reader, output) => code,
        ended = send(stdin, writer, keyboard) => ended,
        never = resize(writer), if keyboard.is_terminal => never,
        code = signal::ended() => {
            let code = code.unwrap_or(NO_CONNECTION);
            // The remote program hears it, too; if the message is lost, the closed session tells it.
            let told = async {
                let _told = writer.signal(match code { 130 => Sig::INT, 129 => Sig::HUP, _ => Sig::TERM }).await;
                let _closed = writer.close().await;
            };
            let _heard = tokio::time::timeout(FAREWELL, told).await;
            Ok(code)
        }
    }
}

/// Writes what comes, in order, until the session is closed.
async fn receive(mut reader: ChannelReadHalf, (mut stdout, mut stderr): (Output, Output)) -> Outcome<u8> {
    let mut code = None;
    while let Some(message) = reader.wait().await {
        let written = match message {
            ChannelMsg::Data { data } => write(&mut stdout, &data).await,
            ChannelMsg::ExtendedData { data, ext: STDERR } => write(&mut stderr, &data).await,
            ChannelMsg::ExitStatus { exit_status } => {
                // A status is a byte on Unix; others fold into one that is not success.
                code = Some(u8::try_from(exit_status).unwrap_or(NO_CONNECTION));
                Ok(())
            }
            ChannelMsg::ExitSignal { signal_name, .. } => {
                code = Some(128_u8.saturating_add(number(&signal_name)));
                Ok(())
            }
            ChannelMsg::Failure => return Err(broken("the workspace did not start the shell or command")),
            ChannelMsg::Close => break,
            _ => Ok(()),
        };
        if let Err(error) = written {
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Err(Failure::silent(crate::failure::CLOSED_PIPE)),
                _ => Err(broken(&format!("cannot write the output: {}", crate::config::plain(&error)))),
            };
        }
    }
    code.ok_or_else(|| {
        broken("the connection was lost before the command ended").hint("connect again; what has no terminal may still be running")
    })
}

async fn write(output: &mut Output, data: &[u8]) -> io::Result<()> {
    output.write_all(data).await?;
    output.flush().await
}

/// What our stdin is to the session.
struct Keyboard<'a> {
    is_terminal: bool,
    /// The terminal, when `~` at the beginning of a line is for us.
    escapes: Option<&'a RawMode>,
    /// Whether there is a connection at the moment.
    phase: &'a watch::Receiver<Phase>,
}

/// Sends stdin and its end; then never returns, unless the person ends the connection: by an escape, or on a raw terminal by Ctrl-C while there
/// is no connection that could carry it.
async fn send(mut stdin: Input, writer: &ChannelWriteHalf<Msg>, keyboard: &Keyboard<'_>) -> Outcome<u8> {
    let (mut buffer, mut escapes) = (BytesMut::new(), Escapes::Begin);
    loop {
        buffer.reserve(INPUT_BYTES);
        // A read error is an end, as it is for ssh.
        let read = stdin.read_buf(&mut buffer).await.unwrap_or(0);
        if keyboard.is_terminal && buffer.contains(&INTERRUPT) && away::is_away(keyboard.phase) {
            return Err(broken("given up while there was no connection"));
        }
        let sent = match keyboard.escapes {
            _ if read == 0 => writer.eof().await,
            None => writer.data_bytes(buffer.split().freeze()).await,
            Some(raw) => {
                for key in escapes.read(&buffer.split()) {
                    if press(key, writer, raw).await {
                        return Err(Failure::silent(NO_CONNECTION));
                    }
                }
                Ok(())
            }
        };
        if read == 0 || sent.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Does what a key wants; whether it ends the connection.
async fn press(key: Key, writer: &ChannelWriteHalf<Msg>, raw: &RawMode) -> bool {
    match key {
        // The reader notices a lost connection.
        Key::Send(bytes) => drop(writer.data_bytes(bytes).await),
        Key::Help => show(escape::HELP).await,
        Key::Suspend => {
            show("\r\n").await;
            if raw.suspend().is_ok() {
                let Size { columns, rows, width, height } = Size::now();
                let _told = writer.window_change(columns, rows, width, height).await;
            }
        }
        Key::End => {
            show("\r\nConnection ended.\r\n").await;
            return true;
        }
    }
    false
}

/// Says something on a terminal in raw mode.
async fn show(text: &str) {
    if let Ok(mut stderr) = Output::stderr() {
        // Nobody is there to be told that it cannot be shown.
        let _shown = write(&mut stderr, text.as_bytes()).await;
    }
}

/// Tells the other side each new size of the terminal; never returns.
async fn resize(writer: &ChannelWriteHalf<Msg>) -> Outcome<u8> {
    let Ok(mut resized) = signal(SignalKind::window_change()) else { return std::future::pending().await };
    while resized.recv().await.is_some() {
        let Size { columns, rows, width, height } = Size::now();
        // The reader notices a lost connection.
        let _told = writer.window_change(columns, rows, width, height).await;
    }
    std::future::pending().await
}

/// The number of a signal on Linux, which shells show as 128 + n.
const fn number(signal: &Sig) -> u8 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(_) => 127,
    }
}

fn broken(clause: &str) -> Failure {
    Failure::new(clause).code(NO_CONNECTION).hint("try again; `berth ping` tells how the way there is")
}

fn lost(error: russh::Error) -> Failure {
    let clause = match error {
        russh::Error::UnknownKey => "the workspace shows another host key than the deployment announced".to_owned(),
        russh::Error::IO(error) => format!("the connection broke: {}", crate::config::plain(&error)),
        other => format!("the SSH connection failed: {other}"),
    };
    broken(&clause)
}

/// What the server asks of us.
struct Handler {
    host_key: PublicKey,
    agent_socket: Option<PathBuf>,
    routes: Routes,
    forwards: JoinSet<()>,
}

impl Handler {
    fn new(host_key: &str, agent_socket: Option<PathBuf>, routes: Routes) -> Outcome<Self> {
        let host_key =
            PublicKey::from_openssh(host_key).map_err(|_| broken("the deployment's host key for this workspace is not one"))?;
        Ok(Self { host_key, agent_socket, routes, forwards: JoinSet::new() })
    }

    /// Joins a channel from the workspace to what it leads to, if anything was agreed on.
    async fn lead(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle, to: Option<Reached>) {
        while self.forwards.try_join_next().is_some() {}
        match to {
            Some(to) => drop(self.forwards.spawn(route::lead(channel, reply, to))),
            None => reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await,
        }
    }
}

impl client::Handler for Handler {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(matches!(shown, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.host_key.key_data()))
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(socket) = self.agent_socket.clone() else {
            reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        while self.forwards.try_join_next().is_some() {}
        self.forwards.spawn(async move {
            match UnixStream::connect(socket).await {
                Ok(mut agent) => {
                    reply.accept().await;
                    // An agent that goes away ends its channel; nothing else is to be done.
                    let _moved = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut agent).await;
                }
                Err(_) => reply.reject(russh::ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }
    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let to = self.routes.of_port(address, port);
        self.lead(channel, reply, to).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let to = self.routes.of_socket(path);
        self.lead(channel, reply, to).await;
        Ok(())
    }
}
