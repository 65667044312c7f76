//! How much the way carries: bytes in one direction for some seconds.

use crate::session::Request;
use berth_wire::tunnel::{Direction, SPEEDTEST_SECONDS_MAX};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

/// How much is moved at a time.
const CHUNK_BYTES: usize = 128 * 1024;
/// How long after the last byte was sent the other end may take to hear it, and an end that never comes is waited for.
const SETTLE: Duration = Duration::from_secs(30);

/// What came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// How many bytes arrived.
    pub bytes: u64,
    /// In how long.
    pub took: Duration,
}

/// The agent's half. Ends in bounded time, whatever the client does.
pub(crate) async fn answer(request: Request, direction: Direction, seconds: u32) -> io::Result<()> {
    let length = Duration::from_secs(seconds.clamp(1, SPEEDTEST_SECONDS_MAX).into());
    let mut stream = request.accept().await?;
    match direction {
        Direction::Down => {
            send(&mut stream, length).await?;
            timeout(SETTLE, receive(&mut stream)).await.map(drop)?;
        }
        Direction::Up => {
            let received = timeout(length + SETTLE, receive(&mut stream)).await??;
            stream.write_u64(received).await?;
            stream.shutdown().await?;
        }
    }
    Ok(())
}

/// The client's half, on a stream to the speedtest of this direction and length. Takes `seconds`, and as long as what is then on its way needs.
///
/// # Errors
/// When the stream breaks, or its end does not come.
pub async fn measure(mut stream: impl AsyncRead + AsyncWrite + Unpin, direction: Direction, seconds: u32) -> io::Result<Measured> {
    let length = Duration::from_secs(seconds.into());
    let started = Instant::now();
    let bytes = match direction {
        Direction::Down => {
            let bytes = timeout(length + SETTLE, receive(&mut stream)).await??;
            stream.shutdown().await?;
            bytes
        }
        Direction::Up => {
            send(&mut stream, length).await?;
            timeout(SETTLE, stream.read_u64()).await??
        }
    };
    Ok(Measured { bytes, took: started.elapsed() })
}

async fn send(to: &mut (impl AsyncWrite + Unpin), length: Duration) -> io::Result<()> {
    let (chunk, ends) = (vec![0; CHUNK_BYTES], Instant::now() + length);
    while Instant::now() < ends {
        // Whole, also when it takes longer: a stream by way of another process cannot end in the middle of what was begun.
        timeout_at(ends + SETTLE, to.write_all(&chunk)).await??;
        // A way that is faster than we are would keep everything else of this process waiting.
        tokio::task::yield_now().await;
    }
    to.shutdown().await
}

/// Counts what comes until its end.
async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
    let (mut chunk, mut count) = (vec![0; CHUNK_BYTES], 0);
    loop {
        match from.read(&mut chunk).await? {
            0 => return Ok(count),
            read => count += read as u64,
        }
    }
}
