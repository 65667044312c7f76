//! Our own stdin and stdout as asynchronous streams, and the joining of them to a stream of the tailnet.
//!
//! Pipes and sockets, which is what `ssh` hands to its ProxyCommand, are read and written when they are ready, on the one thread we have. For
//! terminals and files, which cannot be waited for or share their flags with a shell, tokio's threads do it.

use rustix::{
    fs::{FileType, OFlags},
    io::dup,
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{UnixStream, unix::pipe},
};

/// How much is moved at a time: 128 KiB carries 1.4 times what 8 KiB do.
const BUFFER_BYTES: usize = 128 * 1024;
/// How long the other side may go on sending after our stdin has ended.
const LINGER: Duration = Duration::from_secs(10);

/// A second descriptor of one that is made non-blocking. Dropping it gives the description its flags back: others may share it.
#[derive(Debug)]
struct Flags {
    fd: OwnedFd,
    before: OFlags,
}

impl Drop for Flags {
    fn drop(&mut self) {
        let _restored = rustix::fs::fcntl_setfl(&self.fd, self.before);
    }
}

/// What can be waited for.
enum Kind {
    Pipe(OwnedFd),
    Socket(UnixStream),
}

/// Takes a second descriptor of a pipe or socket. None for what cannot be waited for.
fn waitable(fd: impl AsFd) -> io::Result<Option<(Kind, Flags)>> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if !matches!(kind, FileType::Fifo | FileType::Socket) {
        return Ok(None);
    }
    let (own, kept) = (dup(&fd)?, dup(&fd)?);
    let flags = Flags { before: rustix::fs::fcntl_getfl(&kept)?, fd: kept };
    if kind == FileType::Fifo {
        return Ok(Some((Kind::Pipe(own), flags)));
    }
    let socket = std::os::unix::net::UnixStream::from(own);
    socket.set_nonblocking(true)?;
    Ok(Some((Kind::Socket(UnixStream::from_std(socket)?), flags)))
}

/// Our stdin.
#[derive(Debug)]
pub struct Input {
    reading: Reading,
    _flags: Option<Flags>,
}

#[derive(Debug)]
enum Reading {
    Pipe(pipe::Receiver),
    Socket(UnixStream),
    Thread(tokio::io::Stdin),
}

impl Input {
    /// Takes stdin.
    ///
    /// # Errors
    /// When it is closed.
    pub fn stdin() -> io::Result<Self> {
        Self::of(io::stdin(), tokio::io::stdin)
    }

    fn of(fd: impl AsFd, thread: impl FnOnce() -> tokio::io::Stdin) -> io::Result<Self> {
        Ok(match waitable(fd)? {
            None => Self { reading: Reading::Thread(thread()), _flags: None },
            Some((Kind::Pipe(fd), flags)) => {
                Self { reading: Reading::Pipe(pipe::Receiver::from_owned_fd(fd)?), _flags: Some(flags) }
            }
            Some((Kind::Socket(socket), flags)) => Self { reading: Reading::Socket(socket), _flags: Some(flags) },
        })
    }
}

impl AsyncRead for Input {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.reading {
            Reading::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            Reading::Socket(socket) => Pin::new(socket).poll_read(cx, buffer),
            Reading::Thread(stdin) => Pin::new(stdin).poll_read(cx, buffer),
        }
    }
}

/// Our stdout or stderr.
#[derive(Debug)]
pub struct Output {
    writing: Writing,
    _flags: Option<Flags>,
}

#[derive(Debug)]
enum Writing {
    Pipe(pipe::Sender),
    Socket(UnixStream),
    Stdout(tokio::io::Stdout),
    Stderr(tokio::io::Stderr),
}

impl Output {
    /// Takes stdout.
    ///
    /// # Errors
    /// When it is closed.
    pub fn stdout() -> io::Result<Self> {
        Self::of(io::stdout(), || Writing::Stdout(tokio::io::stdout()))
    }

    /// Takes stderr.
    ///
    /// # Errors
    /// When it is closed.
    pub fn stderr() -> io::Result<Self> {
        Self::of(io::stderr(), || Writing::Stderr(tokio::io::stderr()))
    }

    fn of(fd: impl AsFd, thread: impl FnOnce() -> Writing) -> io::Result<Self> {
        Ok(match waitable(fd)? {
            None => Self { writing: thread(), _flags: None },
            Some((Kind::Pipe(fd), flags)) => Self { writing: Writing::Pipe(pipe::Sender::from_owned_fd(fd)?), _flags: Some(flags) },
            Some((Kind::Socket(socket), flags)) => Self { writing: Writing::Socket(socket), _flags: Some(flags) },
        })
    }
}

impl AsyncWrite for Output {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.writing {
            Writing::Pipe(pipe) => Pin::new(pipe).poll_write(cx, data),
            Writing::Socket(socket) => Pin::new(socket).poll_write(cx, data),
            Writing::Stdout(stdout) => Pin::new(stdout).poll_write(cx, data),
            Writing::Stderr(stderr) => Pin::new(stderr).poll_write(cx, data),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.writing {
            Writing::Pipe(_) | Writing::Socket(_) => Poll::Ready(Ok(())),
            Writing::Stdout(stdout) => Pin::new(stdout).poll_flush(cx),
            Writing::Stderr(stderr) => Pin::new(stderr).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Others may still write there.
        self.poll_flush(cx)
    }
}

/// Bytes moved so far.
#[derive(Debug, Default)]
pub struct Traffic {
    /// From here to there.
    pub up: AtomicU64,
    /// From there to here.
    pub down: AtomicU64,
}

/// Which side ended, and how.
#[derive(Debug)]
pub enum End {
    /// The other side ended in order.
    Remote,
    /// Whoever started us went away.
    Local,
    /// The way there broke.
    Broken(io::Error),
}

/// Moves bytes between the tunnel and our stdin and stdout until one side ends.
pub async fn join(tunnel: impl AsyncRead + AsyncWrite + Unpin, mut local: (Input, Output), traffic: &Traffic) -> End {
    let (mut from, mut to) = tokio::io::split(tunnel);
    let up = async {
        let moved = copy(&mut local.0, &mut to, &traffic.up).await;
        match moved {
            Ok(()) => {
                let _half_closed = to.shutdown().await;
                tokio::time::sleep(LINGER).await;
                End::Local
            }
            Err(Side::From(_)) => End::Local,
            Err(Side::To(error)) => End::Broken(error),
        }
    };
    let down = async {
        match copy(&mut from, &mut local.1, &traffic.down).await {
            Ok(()) => End::Remote,
            Err(Side::From(error)) => End::Broken(error),
            Err(Side::To(_)) => End::Local,
        }
    };
    // What the other side still has to say comes before the news that it does not listen.
    tokio::select! {
        biased;
        end = down => end,
        end = up => end,
    }
}

/// Which side of a copy failed.
enum Side {
    From(io::Error),
    To(io::Error),
}

async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), count: &AtomicU64) -> Result<(), Side> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await.map_err(Side::From)?;
        if read == 0 {
            return to.flush().await.map_err(Side::To);
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await.map_err(Side::To)?;
        to.flush().await.map_err(Side::To)?;
        count.fetch_add(read as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::net::UnixStream};

    fn input(fd: impl AsFd) -> Input {
        Input::of(fd, tokio::io::stdin).unwrap()
    }

    fn output(fd: impl AsFd) -> Output {
        Output::of(fd, || Writing::Stdout(tokio::io::stdout())).unwrap()
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_the_remote_end_ends_it() {
        let (stdin, mut typed) = UnixStream::pair().unwrap();
        let (shown, stdout) = UnixStream::pair().unwrap();
        let (near, far) = tokio::io::duplex(1024);
        let traffic = Traffic::default();
        let echo = async {
            let (mut from, mut to) = tokio::io::split(far);
            let mut word = [0; 4];
            from.read_exact(&mut word).await.unwrap();
            to.write_all(&word.repeat(50_000)).await.unwrap();
            to.shutdown().await.unwrap();
            from
        };
        let read = async {
            let mut shown = input(&shown);
            let mut all = vec![0; 200_000];
            shown.read_exact(&mut all).await.unwrap();
            all
        };
        typed.write_all(b"ping").unwrap();
        let (end, _, all) = tokio::join!(join(near, (input(&stdin), output(&stdout)), &traffic), echo, read);
        assert!(matches!(end, End::Remote), "{end:?}");
        assert_eq!(all, b"ping".repeat(50_000));
        assert_eq!((traffic.up.load(Ordering::Relaxed), traffic.down.load(Ordering::Relaxed)), (4, 200_000));
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_ends_it() {
        let (stdin, _typed) = UnixStream::pair().unwrap();
        let (shown, stdout) = UnixStream::pair().unwrap();
        drop(shown);
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(b"unwanted").await.unwrap();
        let end = join(near, (input(&stdin), output(&stdout)), &Traffic::default()).await;
        assert!(matches!(end, End::Local), "{end:?}");
    }

    #[tokio::test]
    async fn flags_are_given_back() {
        let (one, _other) = UnixStream::pair().unwrap();
        let flags = || rustix::fs::fcntl_getfl(&one).unwrap().contains(OFlags::NONBLOCK);
        let taken = input(&one);
        assert!(flags());
        drop(taken);
        assert!(!flags());
    }
}
