//! A UDP port here that leads to one in the workspace: one stream for each client, until it has been silent for a while.

use super::listen::Door;
use berth_net::{DATAGRAM_BYTES_MAX, read_datagram, write_datagram};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// A client that was silent for so long is forgotten.
const IDLE: Duration = Duration::from_secs(120);
/// Clients of one port at a time.
const CLIENTS_MAX: usize = 256;
/// Datagrams of one client that wait; more are lost, as UDP's are.
const WAITING_MAX: usize = 256;

/// Moves datagrams for ever.
pub(super) async fn serve(socket: UdpSocket, door: Arc<Door>) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, from) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // On some systems, that an answer found nobody shows here.
                Err(_) => continue,
            },
            Some(_) = tasks.join_next() => {
                clients.retain(|_, client| !client.is_closed());
                continue;
            }
        };
        if !clients.contains_key(&from) && clients.len() >= CLIENTS_MAX {
            tracing::warn!(%from, "there are {CLIENTS_MAX} clients already");
            continue;
        }
        let client = clients.entry(from).or_insert_with(|| {
            let (client, waiting) = mpsc::channel(WAITING_MAX);
            tasks.spawn(converse((Arc::clone(&socket), from), waiting, Arc::clone(&door)));
            client
        });
        // Full, or about to end: the datagram is lost.
        let _lost = client.try_send(buffer.get(..length).unwrap_or_default().to_vec());
    }
}

/// One client's datagrams, both ways.
async fn converse((socket, client): (Arc<UdpSocket>, SocketAddr), mut waiting: mpsc::Receiver<Vec<u8>>, door: Arc<Door>) {
    let Some(stream) = door.open().await else { return };
    let (mut from_agent, mut to_agent) = tokio::io::split(stream);
    let heard = Heard::default();
    let up = async {
        while let Some(datagram) = waiting.recv().await {
            heard.now();
            write_datagram(&mut to_agent, &datagram).await?;
        }
        Ok(())
    };
    let down = async {
        let mut datagram = Vec::new();
        while read_datagram(&mut from_agent, &mut datagram).await? {
            heard.now();
            // Who asked may be gone.
            let _lost = socket.send_to(&datagram, client).await;
        }
        Ok(())
    };
    let ended: io::Result<()> = tokio::select! {
        ended = up => ended,
        ended = down => ended,
        () = heard.silence() => Ok(()),
    };
    door.ended(ended.err().as_ref());
}

/// When anything was heard last.
struct Heard(Mutex<Instant>);

impl Default for Heard {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Heard {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing has been heard for [`IDLE`].
    async fn silence(&self) {
        while self.last().elapsed() < IDLE {
            sleep_until(self.last() + IDLE).await;
        }
    }
}
