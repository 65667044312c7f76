//! How often someone may try to sign in: in memory, bounded, forgotten by a restart.

use crate::error::ApiError;
use berth_domain::Timestamp;
use jiff::SignedDuration;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// Failed attempts that one peer has for one e-mail address, per window.
const FAILURES_PER_ACCOUNT: u32 = 10;
/// Attempts that one peer has for all addresses, per window.
const ATTEMPTS_PER_PEER: u32 = 120;
/// The window, in seconds.
const WINDOW_SECONDS: i64 = 60;
/// How many counters are kept; beyond that the ended ones go, then all: an attacker can cause forgetting, not growth.
const COUNTERS_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(Option<IpAddr>, String),
    Peer(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    count: u32,
    began: Timestamp,
}

impl Counter {
    fn age(&self, now: Timestamp) -> i64 {
        now.duration_since(self.began).as_secs()
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<HashMap<Key, Counter>>);

/// An attempt that was let in. It counts as failed unless it is [`Attempt::succeeded`].
#[must_use]
pub(crate) struct Attempt<'a> {
    logins: &'a Logins,
    account: Key,
}

impl Logins {
    /// Counts an attempt, or refuses it.
    pub(crate) fn attempt(&self, peer: Option<IpAddr>, email: &str, now: Timestamp) -> Result<Attempt<'_>, ApiError> {
        let account = Key::Account(peer, email.chars().take(254).collect::<String>().to_lowercase());
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= COUNTERS_MAX {
            counters.retain(|_, counter| counter.age(now) < WINDOW_SECONDS);
        }
        if counters.len() >= COUNTERS_MAX {
            counters.clear();
        }
        if let Some(peer) = peer {
            count(&mut counters, Key::Peer(peer), ATTEMPTS_PER_PEER, now)?;
        }
        count(&mut counters, account.clone(), FAILURES_PER_ACCOUNT, now)?;
        Ok(Attempt { logins: self, account })
    }
}

fn count(counters: &mut HashMap<Key, Counter>, key: Key, limit: u32, now: Timestamp) -> Result<(), ApiError> {
    let counter = counters.entry(key).or_insert(Counter { count: 0, began: now });
    if counter.age(now) >= WINDOW_SECONDS {
        *counter = Counter { count: 0, began: now };
    }
    if counter.count >= limit {
        let left = SignedDuration::from_secs(WINDOW_SECONDS - counter.age(now)).as_secs();
        return Err(ApiError::slow_down(u64::try_from(left).unwrap_or(1).max(1)));
    }
    counter.count += 1;
    Ok(())
}

impl Attempt<'_> {
    /// The password was right: the account's failures are forgotten.
    pub(crate) fn succeeded(self) {
        self.logins.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_failure_waits_and_a_success_starts_anew() {
        let (logins, now) = (Logins::default(), Timestamp::UNIX_EPOCH);
        let peer = Some(IpAddr::from([10, 0, 0, 1]));
        for _ in 0..FAILURES_PER_ACCOUNT {
            let _ = logins.attempt(peer, "ada@example.com", now).unwrap();
        }
        assert!(logins.attempt(peer, "ADA@example.com", now).is_err());
        assert!(
            logins.attempt(Some(IpAddr::from([10, 0, 0, 2])), "ada@example.com", now).is_ok(),
            "another peer is not locked out"
        );
        let later = now + SignedDuration::from_secs(WINDOW_SECONDS);
        for _ in 0..3 * FAILURES_PER_ACCOUNT {
            logins.attempt(peer, "ada@example.com", later).unwrap().succeeded();
        }
    }

    #[test]
    fn one_peer_cannot_try_many_accounts_and_counters_are_bounded() {
        let (logins, now) = (Logins::default(), Timestamp::UNIX_EPOCH);
        let peer = Some(IpAddr::from([10, 0, 0, 1]));
        let let_in = (0..1000).filter(|user| logins.attempt(peer, &format!("{user}@example.com"), now).is_ok()).count();
        assert_eq!(let_in, ATTEMPTS_PER_PEER as usize);
        for user in 0..2 * COUNTERS_MAX {
            let _ = logins.attempt(None, &format!("{user}@example.com"), now);
        }
        assert!(logins.0.lock().unwrap().len() <= COUNTERS_MAX);
    }
}
