//! Who has something open in the workspace, and the end of it for those who may not stay.
//!
//! A ticket is looked at once, when a connection begins. Somebody who is suspended an hour later, or whose workspace went to somebody else,
//! would stay for as long as the connection does. So, while anything is open, the control plane is asked now and then who may stay
//! ([`watch()`]). Its silence ends nothing: an open session needs neither the API nor the database.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_wire::agent::{SESSION_USERS_MAX, SessionsAnswer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::control::{Control, ControlError};

/// The people who have something open here. Cheap to clone; all clones know the same.
#[derive(Clone, Debug, Default)]
pub struct Visitors {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    here: Mutex<HashMap<Grant, Presence>>,
    count: watch::Sender<usize>,
}

/// What let somebody in: a user, by a ticket that this key had signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Grant {
    user: Uuid,
    key_id: String,
}

#[derive(Debug, Default)]
struct Presence {
    visits: usize,
    ended: CancellationToken,
}

/// Something that one person has open. It is over when this is dropped, and is to be ended when [`Visit::revoked`] returns.
#[derive(Debug)]
pub struct Visit {
    visitors: Visitors,
    grant: Grant,
    ended: CancellationToken,
}

impl Visitors {
    /// Notes that a user, let in by a ticket of this key, has something open: a connection, or a session that waits for one.
    #[must_use]
    pub fn admit(&self, user: Uuid, key_id: &str) -> Visit {
        let grant = Grant { user, key_id: key_id.to_owned() };
        let mut here = self.lock();
        let presence = here.entry(grant.clone()).or_default();
        presence.visits += 1;
        let ended = presence.ended.clone();
        self.shared.count.send_replace(here.len());
        Visit { visitors: self.clone(), grant, ended }
    }

    /// Those who are here, each once.
    fn users(&self) -> BTreeSet<Uuid> {
        self.lock().keys().map(|grant| grant.user).collect()
    }

    /// Ends what the control plane says is to end.
    fn apply(&self, asked: &BTreeSet<Uuid>, answer: &SessionsAnswer) {
        let mut here = self.lock();
        here.retain(|grant, presence| {
            let may_stay =
                !asked.contains(&grant.user) || (!answer.end.contains(&grant.user) && grant.key_id == answer.ticket_key_id);
            if !may_stay {
                tracing::warn!(user.id = %grant.user, visits = presence.visits, "a user may not stay; everything of theirs ends");
                presence.ended.cancel();
            }
            may_stay
        });
        self.shared.count.send_replace(here.len());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Grant, Presence>> {
        self.shared.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Returns when this is to end because its user may not stay.
    pub async fn revoked(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // One that was ended is gone already, and perhaps somebody was let in anew since: that is not ours to count.
        if self.ended.is_cancelled() {
            return;
        }
        let mut here = self.visitors.lock();
        if let Some(presence) = here.get_mut(&self.grant) {
            presence.visits -= 1;
            if presence.visits == 0 {
                here.remove(&self.grant);
            }
        }
        self.visitors.shared.count.send_replace(here.len());
    }
}

/// Asks every `interval` who may stay, while anybody is here, and tells `news` the ticket key when an answer names another than expected.
/// Asks nothing while nobody is.
///
/// # Errors
/// Ends only with [`ControlError::Superseded`].
pub async fn watch(visitors: &Visitors, control: &Control, interval: Duration, news: impl Fn(&str)) -> ControlError {
    let mut count = visitors.shared.count.subscribe();
    loop {
        // Fails only when the sender is gone, which `visitors` holds. What it gives keeps the count from changing: it must not live on.
        drop(count.wait_for(|count| *count > 0).await);
        tokio::time::sleep(interval.mul_f64(rand::random_range(0.8..=1.0))).await;
        let users = visitors.users();
        for some in users.iter().copied().collect::<Vec<_>>().chunks(SESSION_USERS_MAX) {
            match control.sessions(some.to_vec()).await {
                Ok(Some(answer)) => {
                    news(&answer.ticket_key_id);
                    visitors.apply(&some.iter().copied().collect(), &answer);
                }
                Ok(None) => {}
                Err(error) => return error,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Uuid = Uuid::from_u128(1);
    const EVE: Uuid = Uuid::from_u128(2);

    fn answer(end: &[Uuid], key: &str) -> SessionsAnswer {
        SessionsAnswer { end: end.to_vec(), ticket_key_id: key.to_owned() }
    }

    fn is_over(visit: &Visit) -> bool {
        visit.ended.is_cancelled()
    }

    #[test]
    fn who_may_not_stay_is_ended_wherever_they_are_and_nobody_else() {
        let visitors = Visitors::default();
        let (ada, eve, again) = (visitors.admit(ADA, "k"), visitors.admit(EVE, "k"), visitors.admit(EVE, "k"));
        visitors.apply(&visitors.users(), &answer(&[EVE], "k"));
        assert_eq!((is_over(&ada), is_over(&eve), is_over(&again)), (false, true, true));
        assert_eq!(visitors.users(), BTreeSet::from([ADA]));
        drop((eve, again));
        drop(ada);
        assert_eq!((visitors.users(), *visitors.shared.count.borrow()), (BTreeSet::new(), 0));
    }

    #[test]
    fn a_withdrawn_key_ends_what_its_tickets_had_opened() {
        let visitors = Visitors::default();
        let (old, new) = (visitors.admit(ADA, "old"), visitors.admit(ADA, "new"));
        visitors.apply(&visitors.users(), &answer(&[], "new"));
        assert_eq!((is_over(&old), is_over(&new)), (true, false));
    }

    #[test]
    fn somebody_who_comes_while_the_question_is_under_way_is_not_judged_by_its_answer() {
        let visitors = Visitors::default();
        let ada = visitors.admit(ADA, "k");
        let asked = visitors.users();
        let eve = visitors.admit(EVE, "new");
        visitors.apply(&asked, &answer(&[], "k"));
        assert!(!is_over(&ada) && !is_over(&eve));
        // An ended visit that is let go of later takes nothing from one that began since.
        visitors.apply(&asked, &answer(&[ADA], "k"));
        let back = visitors.admit(ADA, "k");
        drop(ada);
        assert_eq!((is_over(&back), visitors.users()), (false, BTreeSet::from([ADA, EVE])));
    }
}
