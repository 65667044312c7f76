//! The TCP connections of the port: each takes a slot for as long as it is open, whoever holds it by then, and all can be hung up on.
//!
//! An upgraded connection belongs to the handler that asked for it. Only the socket itself can tell when that handler let go, hence the
//! slot travels with it.

use crate::presence::lock;
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, IoSlice},
    os::fd::OwnedFd,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// A connection has so long to ask for something before it may have to make room: what it has sent must be read first.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// All open connections.
#[derive(Debug)]
pub(crate) struct Sockets {
    most: u32,
    slots: Arc<Semaphore>,
    open: Arc<Mutex<Open>>,
}

/// A second handle on each socket, to hang up on it while someone else reads and writes.
#[derive(Debug, Default)]
struct Open {
    last: u64,
    handles: HashMap<u64, OwnedFd>,
    /// Those that have not asked for anything yet, the oldest first, and since when they are there.
    silent: BTreeMap<u64, Instant>,
    /// The one that has to make room.
    leaving: Option<u64>,
}

impl Sockets {
    /// Room for `most` connections.
    pub(crate) fn new(most: u32) -> Self {
        Self { most, slots: Arc::new(Semaphore::new(most as usize)), open: Arc::default() }
    }

    /// Waits for a slot. When there is none, whoever has been silent for longest makes room: people who connect and ask for nothing keep
    /// nobody out who does.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        let mut slot = pin!(Arc::clone(&self.slots).acquire_owned());
        while let Some(again) = self.make_room() {
            tokio::select! {
                slot = slot.as_mut() => return slot.ok(),
                () = sleep_until(again) => {}
            }
        }
        slot.await.ok()
    }

    /// As [`Open::make_room`].
    fn make_room(&self) -> Option<Instant> {
        lock(&self.open).make_room(Instant::now())
    }

    /// Puts a connection into a slot.
    pub(crate) fn open(&self, stream: TcpStream, slot: OwnedSemaphorePermit) -> io::Result<Socket> {
        let handle = rustix::io::dup(&stream)?;
        let mut open = lock(&self.open);
        open.last += 1;
        let number = open.last;
        open.handles.insert(number, handle);
        open.silent.insert(number, Instant::now());
        drop(open);
        Ok(Socket { stream, place: Some(Place { number, open: Arc::clone(&self.open), _slot: slot }) })
    }

    /// How many connections are open, those of admitted endpoints excepted.
    pub(crate) fn count(&self) -> usize {
        lock(&self.open).handles.len()
    }

    /// Waits until none is open.
    pub(crate) async fn none(&self) {
        drop(self.slots.acquire_many(self.most).await);
    }

    /// Hangs up on all. Whoever reads one finds its end, whoever writes to one fails.
    pub(crate) fn hang_up(&self) {
        for handle in lock(&self.open).handles.values() {
            // Fails when the peer hung up first.
            rustix::net::shutdown(handle, rustix::net::Shutdown::Both).ok();
        }
    }
}

impl Open {
    /// Hangs up on the oldest silent one, unless one is on its way out already. Gives the time to try again when the oldest has not had its
    /// [`FIRST_WORD`] yet.
    fn make_room(&mut self, now: Instant) -> Option<Instant> {
        if self.leaving.is_some() {
            return None;
        }
        let oldest = self.silent.first_entry()?;
        let patience = *oldest.get() + FIRST_WORD;
        if now < patience {
            return Some(patience);
        }
        let number = *oldest.key();
        oldest.remove();
        if let Some(handle) = self.handles.get(&number) {
            self.leaving = Some(number);
            rustix::net::shutdown(handle, rustix::net::Shutdown::Both).ok();
        }
        None
    }
}

/// Tells that a connection has asked for something.
#[derive(Debug)]
pub(crate) struct Voice {
    number: u64,
    open: Arc<Mutex<Open>>,
}

impl Voice {
    /// From now on it keeps its slot.
    pub(crate) fn spoke(&self) {
        lock(&self.open).silent.remove(&self.number);
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    place: Option<Place>,
}

impl Socket {
    /// Who tells that it has asked for something; none once it has left its slot.
    pub(crate) fn voice(&self) -> Option<Voice> {
        self.place.as_ref().map(|place| Voice { number: place.number, open: Arc::clone(&place.open) })
    }

    /// Frees the slot, for a connection that another limit counts from now on and another hand closes.
    pub(crate) fn leave_slot(&mut self) {
        self.place = None;
    }
}

/// A slot in use.
#[derive(Debug)]
struct Place {
    number: u64,
    open: Arc<Mutex<Open>>,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.handles.remove(&self.number);
        open.silent.remove(&self.number);
        if open.leaving == Some(self.number) {
            open.leaving = None;
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
