//! How many followers there may be: in all, and of one holder of credentials.

use crate::presence::lock;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// The limits on followers.
#[derive(Debug, Clone, Copy)]
pub struct FollowersMax {
    /// In all.
    pub all: usize,
    /// With the same credentials.
    pub each: usize,
}

impl Default for FollowersMax {
    /// 2 000 in all, each of which asks the API about once in two seconds; 64 of one holder, whose editor opens some.
    fn default() -> Self {
        Self { all: 2_000, each: 64 }
    }
}

/// Who follows now.
#[derive(Debug)]
pub(crate) struct Followers {
    max: FollowersMax,
    seated: Arc<Mutex<HashMap<[u8; 32], usize>>>,
}

/// Why there is no place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NoPlace {
    #[error("the relay holds as many live connections as it can; try again later")]
    Full,
    #[error("you hold {0} live connections already; close some")]
    TooMany(usize),
}

impl Followers {
    pub(crate) fn new(max: FollowersMax) -> Self {
        Self { max, seated: Arc::default() }
    }

    /// A place for one more, until it is dropped.
    pub(crate) fn seat(&self, holder: [u8; 32]) -> Result<Place, NoPlace> {
        let mut seated = lock(&self.seated);
        if seated.values().sum::<usize>() >= self.max.all {
            return Err(NoPlace::Full);
        }
        let own = seated.entry(holder).or_default();
        if *own >= self.max.each {
            return Err(NoPlace::TooMany(*own));
        }
        *own += 1;
        drop(seated);
        Ok(Place { holder, seated: Arc::clone(&self.seated) })
    }
}

/// A place in use.
#[derive(Debug)]
pub(crate) struct Place {
    holder: [u8; 32],
    seated: Arc<Mutex<HashMap<[u8; 32], usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seated = lock(&self.seated);
        if let Some(own) = seated.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                seated.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_follower_leaves() {
        let followers = Followers::new(FollowersMax { all: 3, each: 2 });
        let (ada, grace) = ([1; 32], [2; 32]);
        let first = followers.seat(ada).unwrap();
        let _second = followers.seat(ada).unwrap();
        assert_eq!(followers.seat(ada).unwrap_err(), NoPlace::TooMany(2));
        let third = followers.seat(grace).unwrap();
        assert_eq!(followers.seat(grace).unwrap_err(), NoPlace::Full);
        drop((first, third));
        assert_eq!(lock(&followers.seated).len(), 1);
        let _fourth = followers.seat(ada).unwrap();
    }
}
