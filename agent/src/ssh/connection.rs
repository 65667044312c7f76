//! One client's connection: answers its requests, in order, and hands the long work to tasks.
//!
//! russh calls the handler from the loop that also moves every byte of the connection, so nothing here waits for anything but a reply's own queue.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Pty as Opcode};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::flow::Flow;
use super::forward::{self, Client, Forwards, Target};
use super::session::{self, Program, Started, Wishes};
use super::terminal::{self, TerminalRequest};
use super::{Peer, Shared};

/// Variables one session may set. A client has no reason for more.
const VARIABLES_MAX: usize = 256;

/// The handler of one connection. Dropping it ends everything the connection holds.
pub(super) struct Connection {
    shared: Arc<Shared>,
    peer: Peer,
    waiting: HashMap<ChannelId, Waiting>,
    forwards: Forwards,
    agent_socket: Option<PathBuf>,
    flow: Flow,
    closed: CancellationToken,
    _close_on_drop: DropGuard,
}

/// A session channel that is open but runs nothing yet.
struct Waiting {
    wishes: Wishes,
    start: oneshot::Sender<Started>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, peer: Peer, closed: CancellationToken) -> Connection {
        Connection {
            shared,
            peer,
            waiting: HashMap::new(),
            forwards: Forwards::default(),
            agent_socket: None,
            flow: Flow::default(),
            _close_on_drop: closed.clone().drop_guard(),
            closed,
        }
    }

    /// Starts `program` on a channel that has none. Answers the client at once, because russh can only answer its latest request.
    fn start(&mut self, id: ChannelId, program: &Program, session: &mut Session) -> Result<(), russh::Error> {
        let Some(waiting) = self.waiting.remove(&id) else {
            return session.channel_failure(id);
        };
        let started = match Started::start(&self.shared, &self.peer, &waiting.wishes, program) {
            Ok(started) => started,
            Err(error) => {
                tracing::warn!(%error, ?program, "a session did not start");
                return session.channel_failure(id);
            }
        };
        session.channel_success(id)?;
        waiting.start.send(started).ok();
        Ok(())
    }

    /// Connects to `target` and joins it to the channel, all outside the connection's loop.
    fn connect(&self, target: Target, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        let (flow, closed) = (self.flow.clone(), self.closed.clone());
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = forward::connect(target, channel, reply, (&flow, &closed)) => {}
                () = closed.cancelled() => {}
            }
        });
    }

    fn client(&self, session: &Session) -> Client {
        Client { handle: session.handle(), tasks: self.shared.tasks.clone(), flow: self.flow.clone() }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    /// For clients that never try `none`, such as some libraries: whoever is on this stream has been let in, whatever key they hold.
    async fn auth_publickey(&mut self, _user: &str, _key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Self::Error> {
        self.flow.pace(channel, data.len()).await;
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, current: u32) -> u32 {
        self.flow.window_after(channel, current)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let id = channel.id();
        let start = session::spawn_task(&self.shared, channel, (session.handle(), self.flow.clone()), self.closed.clone());
        self.waiting.insert(id, Waiting { wishes: Wishes::default(), start });
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.waiting.remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Opcode, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(waiting) = self.waiting.get_mut(&channel) else {
            return session.channel_failure(channel);
        };
        let size = terminal::size(columns, rows, width, height);
        waiting.wishes.terminal = Some(TerminalRequest { term: term.to_owned(), size, modes: modes.to_vec() });
        session.channel_success(channel)
    }

    async fn env_request(&mut self, channel: ChannelId, name: &str, value: &str, session: &mut Session) -> Result<(), Self::Error> {
        match self.waiting.get_mut(&channel) {
            Some(waiting) if waiting.wishes.variables.len() < VARIABLES_MAX => {
                waiting.wishes.variables.push((name.to_owned(), value.to_owned()));
                session.channel_success(channel)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn agent_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<bool, Self::Error> {
        if self.agent_socket.is_none() {
            match forward::AgentSocket::listen() {
                Ok(socket) => {
                    self.agent_socket = Some(socket.path());
                    self.shared.tasks.spawn(socket.serve(self.client(session), self.closed.clone()));
                }
                Err(error) => tracing::warn!(%error, "no socket for the client's ssh agent"),
            }
        }
        let (Some(waiting), Some(path)) = (self.waiting.get_mut(&channel), &self.agent_socket) else {
            return Ok(false);
        };
        waiting.wishes.agent_socket = Some(path.clone());
        Ok(true)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, &Program::Shell, session)
    }

    async fn exec_request(&mut self, channel: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, &Program::Command(command.to_vec()), session)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        match name {
            "sftp" => self.start(channel, &Program::Sftp, session),
            _ => session.channel_failure(channel),
        }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        match u16::try_from(port) {
            Ok(port) => self.connect(Target::Tcp(host.to_owned(), port), channel, reply),
            Err(_) => reply.reject(russh::ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.connect(Target::Socket(PathBuf::from(path)), channel, reply);
        Ok(())
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, session: &mut Session) -> Result<bool, Self::Error> {
        let Ok(wanted) = u16::try_from(*port) else {
            return Ok(false);
        };
        let client = self.client(session);
        match self.forwards.listen_tcp(address, wanted, &client).await {
            Ok(bound) => {
                *port = u32::from(bound);
                Ok(true)
            }
            Err(error) => {
                tracing::info!(%error, address, port = wanted, "remote forward refused");
                Ok(false)
            }
        }
    }

    async fn cancel_tcpip_forward(&mut self, address: &str, port: u32, _session: &mut Session) -> Result<bool, Self::Error> {
        Ok(self.forwards.cancel_tcp(address, port))
    }

    async fn streamlocal_forward(&mut self, path: &str, session: &mut Session) -> Result<bool, Self::Error> {
        let client = self.client(session);
        match self.forwards.listen_socket(path, &client) {
            Ok(()) => Ok(true),
            Err(error) => {
                tracing::info!(%error, path, "remote socket forward refused");
                Ok(false)
            }
        }
    }

    async fn cancel_streamlocal_forward(&mut self, path: &str, _session: &mut Session) -> Result<bool, Self::Error> {
        Ok(self.forwards.cancel_socket(path))
    }
}
