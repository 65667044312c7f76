//! Two lanes in front of the runners: people's builds go first, and automatic ones still go on.

use berth_domain::{Priority, limit::PEOPLE_IN_A_ROW_MAX};
use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
};

/// What waits, each once.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    people: VecDeque<T>,
    automatic: VecDeque<T>,
    known: HashSet<T>,
    /// How many of people's went in a row while an automatic one waited.
    row: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { people: VecDeque::new(), automatic: VecDeque::new(), known: HashSet::new(), row: 0 }
    }
}

impl<T: Copy + Eq + Hash> Lanes<T> {
    /// Queues something at the end of its lane, unless it waits already.
    pub(super) fn push(&mut self, item: T, priority: Priority) {
        if self.known.insert(item) {
            match priority {
                Priority::Person => self.people.push_back(item),
                Priority::Automatic => self.automatic.push_back(item),
            }
        }
    }

    /// The next to go: a person's, but after some of those in a row an automatic one, if such a one may go now.
    pub(super) fn pop(&mut self, automatic_may: bool) -> Option<(T, Priority)> {
        let waits = automatic_may && !self.automatic.is_empty();
        let next = if waits && (self.people.is_empty() || self.row >= PEOPLE_IN_A_ROW_MAX) {
            self.row = 0;
            self.automatic.pop_front().map(|item| (item, Priority::Automatic))
        } else {
            self.row = if waits { self.row + 1 } else { 0 };
            self.people.pop_front().map(|item| (item, Priority::Person))
        };
        if let Some((item, _)) = &next {
            self.known.remove(item);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Automatic, Person};

    fn drained(lanes: &mut Lanes<u32>) -> Vec<u32> {
        std::iter::from_fn(|| lanes.pop(true)).map(|(item, _)| item).collect()
    }

    #[test]
    fn people_go_first_and_nobody_starves() {
        let mut lanes = Lanes::default();
        (100..103).for_each(|item| lanes.push(item, Automatic));
        (0..10).for_each(|item| lanes.push(item, Person));
        assert_eq!(drained(&mut lanes), [0, 1, 2, 3, 100, 4, 5, 6, 7, 101, 8, 9, 102]);
    }

    #[test]
    fn what_waits_is_queued_once_and_may_come_again_later() {
        let mut lanes = Lanes::default();
        lanes.push(1, Person);
        lanes.push(1, Person);
        lanes.push(1, Automatic);
        assert_eq!(drained(&mut lanes), [1]);
        lanes.push(1, Automatic);
        assert_eq!(lanes.pop(true), Some((1, Automatic)));
        assert_eq!(lanes.pop(true), None);
    }

    #[test]
    fn an_automatic_one_waits_while_it_may_not_go() {
        let mut lanes = Lanes::default();
        lanes.push(100, Automatic);
        assert_eq!(lanes.pop(false), None);
        (0..9).for_each(|item| lanes.push(item, Person));
        assert!((0..9).all(|item| lanes.pop(false) == Some((item, Person))));
        assert_eq!(lanes.pop(true), Some((100, Automatic)));
    }
}
