//! The `sftp` subsystem: SFTP version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions, which scp, sshfs, rsync-like tools and IDEs use.
//!
//! Files are read and written by one blocking thread per session, in the order of the requests, as OpenSSH's `sftp-server` does; the async side only
//! cuts the stream into packets. A packet and the replies in flight are all that is held.

mod files;
mod packet;
mod path;

use std::path::PathBuf;

use bytes::{Buf, Bytes, BytesMut};
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::mpsc;

use files::Files;

use super::flow::Backlog;

/// The longest packet accepted and sent, as in OpenSSH.
const PACKET_BYTES_MAX: usize = 256 << 10;

/// The most file data in one read or write, as in OpenSSH.
const DATA_BYTES_MAX: usize = PACKET_BYTES_MAX - 1024;

/// Requests, and replies, that wait for the other side. Together with [`DATA_BYTES_MAX`] this bounds a session's memory.
const QUEUE_PACKETS: usize = 16;

/// A file server for one channel.
pub(super) struct Sftp {
    directory: PathBuf,
    home: PathBuf,
}

/// How the client's side of the channel ended.
enum Input {
    /// End of file: answer what was asked, then end.
    Ended,
    /// Closed, broken or nonsense: end now.
    Gone,
}

impl Sftp {
    /// A server for which relative paths start in `directory` and `~` is `home`.
    pub(super) fn new(directory: PathBuf, home: PathBuf) -> Sftp {
        Sftp { directory, home }
    }

    /// Answers requests until the client stops sending them.
    pub(super) async fn serve(self, input: &mut ChannelReadHalf, output: &ChannelWriteHalf<Msg>, backlog: Backlog) {
        let (to_worker, mut requests) = mpsc::channel::<Bytes>(QUEUE_PACKETS);
        let (to_client, mut replies) = mpsc::channel::<Vec<u8>>(QUEUE_PACKETS);
        let mut files = Files::new(self.directory, self.home);
        let worker = tokio::task::spawn_blocking(move || {
            while let Some(packet) = requests.blocking_recv() {
                if to_client.blocking_send(files.answer(&packet)).is_err() {
                    return;
                }
            }
        });
        let receive = read_packets(input, to_worker, backlog);
        let send = async {
            while let Some(reply) = replies.recv().await {
                if output.data_bytes(reply).await.is_err() {
                    return;
                }
            }
        };
        tokio::pin!(send);
        tokio::select! {
            ended = receive => if matches!(ended, Input::Ended) {
                send.await;
                worker.await.ok();
            },
            () = &mut send => {}
        }
    }
}

/// Takes what arrives off the channel even while the worker is busy; `backlog` is told what waits.
async fn read_packets(input: &mut ChannelReadHalf, packets: mpsc::Sender<Bytes>, mut backlog: Backlog) -> Input {
    let (mut buffer, mut ended) = (BytesMut::new(), false);
    let mut next = None;
    loop {
        if next.is_none() {
            next = match next_packet(&mut buffer) {
                Ok(None) if ended => return Input::Ended,
                Ok(packet) => packet,
                Err(TooLong) => return Input::Gone,
            };
        }
        backlog.set(buffer.len());
        tokio::select! {
            permit = packets.reserve(), if next.is_some() => match (permit, next.take()) {
                (Ok(permit), Some(packet)) => permit.send(packet),
                _ => return Input::Gone,
            },
            message = input.wait(), if backlog.has_room() && !ended => match message {
                Some(ChannelMsg::Data { data }) => buffer.extend_from_slice(&data),
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Close) | None => return Input::Gone,
                Some(_) => {}
            },
        }
    }
}

/// A packet longer than [`PACKET_BYTES_MAX`]: the stream cannot be trusted any more.
#[derive(Debug)]
struct TooLong;

/// Takes the first whole packet, without its length, off `buffer`.
fn next_packet(buffer: &mut BytesMut) -> Result<Option<Bytes>, TooLong> {
    let Some(length) = buffer.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)) else {
        return Ok(None);
    };
    let length = usize::try_from(length).map_err(|_| TooLong)?;
    if length > PACKET_BYTES_MAX {
        return Err(TooLong);
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_cut_at_their_length_wherever_the_stream_is_split() {
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for byte in [0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9, 0, 0] {
            buffer.extend_from_slice(&[byte]);
            found.extend(next_packet(&mut buffer).unwrap());
        }
        assert_eq!(found, vec![Bytes::from_static(&[7, 8]), Bytes::from_static(&[9])]);
        assert_eq!(buffer.len(), 2);
    }

    #[test]
    fn an_oversized_packet_ends_the_stream() {
        let mut buffer = BytesMut::from(&[0xff, 0, 0, 0][..]);
        assert!(next_packet(&mut buffer).is_err());
    }
}
