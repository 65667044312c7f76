//! How much a client may send: the receive windows of a connection's channels.
//!
//! russh 0.65 enlarges a channel's window when data arrives, whether or not anybody has read it, and waits in the connection's only loop when a
//! channel's queue is full: a single consumer that has stopped, such as a server at a breakpoint that a port is forwarded to, would stop every channel
//! of the connection. It does ask, after each window it grants, for the size of the next one, whichever channel that will be for. So a channel's task
//! takes what arrives off the queue at once and notes here how much waits, and the next window is small while the channel that asks is behind:
//!
//! | state of the connection | next window |
//! |---|---|
//! | no channel is behind: more than [`BEHIND_BYTES`] wait for no consumer | [`WINDOW_BYTES`] |
//! | one is behind | [`TRICKLE_BYTES`], granted only after a channel has used up what it has |
//! | one is behind, and another that is not has used up a trickle | [`WINDOW_BYTES`], until that other has got it |
//! | more than [`WAITING_BYTES_HIGH`] wait in all | [`TRICKLE_BYTES`] |
//!
//! The trickle cannot be nothing: only data that arrives makes russh ask again. It is paced, so that it costs no more than a few hundred small packets
//! a second. A stopped consumer thus holds its own channel and some 4 MiB, and as much again as the others send meanwhile, because it may take a window
//! that is meant for one of them; therefore the last row. Beyond it, every channel still has the window it has, and a new one starts with a whole one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::ChannelId;

/// What a channel may send before it has to wait for more, as with OpenSSH.
pub(super) const WINDOW_BYTES: u32 = 2 << 20;

/// The window of a channel that is behind. russh grants it when less than half is left: one byte it would never grant.
const TRICKLE_BYTES: u32 = 2;

/// Between two grants of the trickle.
const TRICKLE_PAUSE: Duration = Duration::from_millis(2);

/// Bytes that wait for one consumer above which its channel is behind.
const BEHIND_BYTES: usize = 2 << 20;

/// Bytes that wait for all consumers of a connection above which no channel is favoured any more.
const WAITING_BYTES_HIGH: usize = 16 << 20;

/// Bytes that may wait for one consumer. A client that obeys its window gets here after hours of trickling; one that does not waits, with its
/// whole connection.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// The windows of one connection. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    accounts: Arc<Mutex<HashMap<ChannelId, Account>>>,
}

/// What is known of one channel.
#[derive(Debug, Default)]
struct Account {
    /// Bytes that wait for its consumer.
    waiting: usize,
    /// Windows in a row that were a trickle. With the second, the first has been used up.
    trickles: usize,
}

impl Account {
    fn is_behind(&self) -> bool {
        self.waiting > BEHIND_BYTES
    }

    fn is_starving(&self) -> bool {
        self.trickles > 1 && !self.is_behind()
    }
}

impl Flow {
    /// An account of what waits for one channel's consumer. Dropping it settles it.
    pub(super) fn backlog(&self, channel: ChannelId) -> Backlog {
        self.accounts().insert(channel, Account::default());
        Backlog { flow: self.clone(), channel, bytes: 0 }
    }

    /// The size of the next window, after `channel` was granted one of `granted` bytes.
    pub(super) fn window_after(&self, channel: ChannelId, granted: u32) -> u32 {
        let mut accounts = self.accounts();
        if let Some(account) = accounts.get_mut(&channel) {
            account.trickles = if granted == TRICKLE_BYTES { account.trickles.saturating_add(1) } else { 0 };
        }
        let any = |holds: fn(&Account) -> bool| accounts.values().any(holds);
        let is_full = waiting(&accounts) > WAITING_BYTES_HIGH;
        let is_wide = !is_full && (any(Account::is_starving) || !any(Account::is_behind));
        if is_wide { WINDOW_BYTES } else { TRICKLE_BYTES }
    }

    /// Waits as long as a packet of this length should hold up the next: not at all, unless it is part of a trickle that will go on.
    pub(super) async fn pace(&self, channel: ChannelId, length: usize) {
        if u32::try_from(length).is_ok_and(|length| length <= TRICKLE_BYTES) && self.will_trickle(channel) {
            tokio::time::sleep(TRICKLE_PAUSE).await;
        }
    }

    fn will_trickle(&self, channel: ChannelId) -> bool {
        let accounts = self.accounts();
        accounts.get(&channel).is_some_and(Account::is_behind) || waiting(&accounts) > WAITING_BYTES_HIGH
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<ChannelId, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waiting(accounts: &HashMap<ChannelId, Account>) -> usize {
    accounts.values().map(|account| account.waiting).sum()
}

/// What waits for one channel's consumer.
#[derive(Debug)]
pub(super) struct Backlog {
    flow: Flow,
    channel: ChannelId,
    bytes: usize,
}

impl Backlog {
    /// Notes how many bytes wait now.
    pub(super) fn set(&mut self, bytes: usize) {
        if std::mem::replace(&mut self.bytes, bytes) != bytes
            && let Some(account) = self.flow.accounts().get_mut(&self.channel)
        {
            account.waiting = bytes;
        }
    }

    /// Whether more may be taken off the channel.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < WAITING_BYTES_MAX
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.flow.accounts().remove(&self.channel);
    }
}
