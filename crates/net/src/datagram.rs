//! Datagrams on a stream: a `u16` length (big endian), then the bytes. In order and without loss, which UDP does not promise and nobody minds.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest datagram, in bytes.
pub const DATAGRAM_BYTES_MAX: usize = u16::MAX as usize;

/// Reads the next datagram into `buffer`, which holds nothing else afterwards; false at the end of the stream.
///
/// # Errors
/// When the stream breaks, or ends in the middle of a datagram.
pub async fn read_datagram(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 2];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(false);
    }
    from.read_exact(&mut length[1..]).await?;
    buffer.resize(usize::from(u16::from_be_bytes(length)), 0);
    from.read_exact(buffer).await?;
    Ok(true)
}

/// Writes a datagram, in one write.
///
/// # Errors
/// When the stream is over, or the datagram is longer than [`DATAGRAM_BYTES_MAX`].
pub async fn write_datagram(to: &mut (impl AsyncWrite + Unpin), datagram: &[u8]) -> io::Result<()> {
    let length = u16::try_from(datagram.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    to.write_all(&[length.to_be_bytes().as_slice(), datagram].concat()).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_keep_their_borders_and_a_torn_one_is_an_error() {
        let mut wire = Vec::new();
        let sent = [b"one".to_vec(), Vec::new(), vec![7; DATAGRAM_BYTES_MAX]];
        for datagram in &sent {
            write_datagram(&mut wire, datagram).await.unwrap();
        }
        assert!(write_datagram(&mut wire, &vec![0; DATAGRAM_BYTES_MAX + 1]).await.is_err());
        let (mut reader, mut buffer) = (wire.as_slice(), Vec::new());
        for datagram in &sent {
            assert!(read_datagram(&mut reader, &mut buffer).await.unwrap());
            assert!(buffer == *datagram);
        }
        assert!(!read_datagram(&mut reader, &mut buffer).await.unwrap());
        for torn in [&[0][..], &[0, 2, 1][..]] {
            let error = read_datagram(&mut &*torn, &mut buffer).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
