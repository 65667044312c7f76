//! The first frame of a stream and the byte that answers it.

use berth_wire::tunnel::{OPEN_BYTES_MAX, Open};
use iroh::endpoint::RecvStream;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::Instant,
};

/// The first frame must be whole within this time of the stream's beginning.
pub(crate) const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// Why a first frame is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// It ended or broke before it was whole.
    #[error("the first frame of the stream did not arrive")]
    Read(#[source] io::Error),
    /// It was not there by its deadline, usually [`OPEN_WITHIN`].
    #[error("the first frame of the stream did not arrive in time")]
    Late,
    /// It is longer than [`OPEN_BYTES_MAX`], or not what we speak.
    #[error("the first frame of the stream is not understood")]
    Malformed,
}

/// `u16` length, then JSON.
pub(crate) fn encode(open: &Open) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(open)?;
    let length = u16::try_from(json.len()).ok().filter(|_| json.len() <= OPEN_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the ticket is too long"))?;
    Ok([length.to_be_bytes().as_slice(), &json].concat())
}

/// Reads a first frame.
pub(crate) async fn read(recv: &mut RecvStream) -> Result<Open, OpenError> {
    read_by(Instant::now() + OPEN_WITHIN, recv).await
}

/// The same with a deadline of the caller's.
pub(crate) async fn read_by(deadline: Instant, recv: &mut RecvStream) -> Result<Open, OpenError> {
    tokio::time::timeout_at(deadline, read_frame(recv)).await.map_err(|_| OpenError::Late)?
}

async fn read_frame(recv: &mut (impl AsyncRead + Unpin)) -> Result<Open, OpenError> {
    let length = usize::from(recv.read_u16().await.map_err(OpenError::Read)?);
    if length > OPEN_BYTES_MAX {
        return Err(OpenError::Malformed);
    }
    let mut json = vec![0; length];
    recv.read_exact(&mut json).await.map_err(OpenError::Read)?;
    serde_json::from_slice(&json).map_err(|_| OpenError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_wire::{domain::Secret, tunnel::Target};

    #[tokio::test]
    async fn a_frame_survives_the_wire_and_a_long_or_foreign_one_is_refused() {
        let open = Open { ticket: Some(Secret::new("t".to_owned())), target: Target::Tcp { port: 8080 } };
        let bytes = encode(&open).unwrap();
        assert_eq!(read_frame(&mut bytes.as_slice()).await.unwrap().target, open.target);
        assert!(matches!(read_frame(&mut [0xff, 0xff, 0].as_slice()).await, Err(OpenError::Malformed)));
        assert!(matches!(read_frame(&mut [0, 2, b'{', b'}'].as_slice()).await, Err(OpenError::Malformed)));
        assert!(matches!(read_frame(&mut [0, 9, b'{'].as_slice()).await, Err(OpenError::Read(_))));
        let long = Open { ticket: Some(Secret::new("t".repeat(OPEN_BYTES_MAX))), target: Target::Ssh };
        assert!(encode(&long).is_err());
    }
}
