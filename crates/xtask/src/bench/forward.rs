//! A forwarded port, against `ssh -L`.

use super::{
    Row, median,
    rival::Duel,
    ssh::CIPHER,
    world::{Running, World},
};
use crate::run::{Outcome, wait_for};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
pub(crate) const MIB: u32 = 512;
const PIECE_BYTES: usize = 128 * 1024;

/// Bytes from and to a server beside the agent, through `berth port-forward` and through `ssh -L`.
pub(crate) fn forward(world: &World) -> Outcome<Vec<Row>> {
    let server = Server::start()?;
    let (ours, rival) = (free_port()?, free_port()?);
    let _ours = open(world, ours, server.port)?;
    let _rival = Running::start(
        world.ssh_direct(&["-o", CIPHER, "-N", "-L", &format!("127.0.0.1:{rival}:127.0.0.1:{}", server.port)], &[]),
    )?;
    wait_until_open(rival)?;
    let mut rows = Vec::new();
    for (what, direction) in [("512 MiB down, `berth port-forward`", b'd'), ("512 MiB up, `berth port-forward`", b'u')] {
        let mut duel = Duel { ours: Vec::new(), rival: Vec::new() };
        for round in 0..=ROUNDS {
            let (a, b) = (carry(ours, direction)?, carry(rival, direction)?);
            // The first round warms up.
            if round > 0 {
                duel.ours.push(a);
                duel.rival.push(b);
            }
        }
        let rate = |values: &[f64]| format!("{:.0} MiB/s", f64::from(MIB) / median(values.to_vec()) * 1000.0);
        rows.push(Row {
            what,
            ours: rate(&duel.ours),
            rival: format!("ssh -L, aes256-gcm {}", rate(&duel.rival)),
            ratio: format!("{:.2}", 1.0 / duel.ratio()),
            aim: "at least 1",
        });
    }
    Ok(rows)
}

/// `berth port-forward` to a port, ready for connections.
pub(crate) fn open(world: &World, local: u16, remote: u16) -> Outcome<Running> {
    let ports = format!("{local}:{remote}");
    let running = Running::start(world.berth(&["port-forward", "dev", "--tcp", &ports]))?;
    wait_until_open(local)?;
    Ok(running)
}

/// A port that nobody uses.
pub(crate) fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// Asks for no bytes until an answer comes.
pub(crate) fn wait_until_open(port: u16) -> Outcome {
    let answers = || {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(b"p")?;
        socket.read_exact(&mut [0])
    };
    wait_for("the forwarded port's opening", Duration::from_secs(30), || Ok(answers().ok()))
}

/// Moves [`MIB`] through a port that leads to a [`Server`]; milliseconds.
pub(crate) fn carry(port: u16, direction: u8) -> Outcome<f64> {
    let moved = || {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let began = Instant::now();
        socket.write_all(&[direction])?;
        match direction {
            b'u' => {
                send(&mut socket)?;
                socket.shutdown(Shutdown::Write)?;
                socket.read_exact(&mut [0])?;
            }
            _ => receive(&mut socket)?,
        }
        Ok(began.elapsed().as_secs_f64() * 1000.0)
    };
    moved().map_err(|error: std::io::Error| format!("the bytes did not arrive: {error}"))
}

fn send(socket: &mut TcpStream) -> std::io::Result<()> {
    let piece = vec![0; PIECE_BYTES];
    let pieces = MIB as usize * 1024 * 1024 / PIECE_BYTES;
    (0..pieces).try_for_each(|_| socket.write_all(&piece))
}

/// All of them, or it is an error.
fn receive(socket: &mut TcpStream) -> std::io::Result<()> {
    let (mut piece, mut missing) = (vec![0; PIECE_BYTES], MIB as usize * 1024 * 1024);
    while missing > 0 {
        match socket.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => missing = missing.saturating_sub(count),
        }
    }
    Ok(())
}

/// Sends, takes or answers, as the first byte of a connection says: `d`, `u` or `p`. Lives as long as this process.
pub(crate) struct Server {
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start() -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                // A client that goes away in the middle notices by itself.
                thread::spawn(move || serve(socket).is_ok());
            }
        });
        Ok(Self { port })
    }
}

fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let mut wish = [0];
    socket.read_exact(&mut wish)?;
    match &wish {
        b"d" => send(&mut socket),
        b"u" => {
            receive(&mut socket)?;
            socket.write_all(&wish)
        }
        _ => socket.write_all(&wish),
    }
}
