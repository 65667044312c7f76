//! Units: named parts of start scripts that wait for each other (`coder exp sync`). A graph without cycles, in memory only: a new agent runs the
//! scripts anew.
//!
//! ```text
//! not registered --want--> pending --start, once all it wants are completed--> started --complete--> completed
//! ```

pub mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most units.
const UNITS_MAX: usize = 1000;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// How far a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nobody has said anything of it but that it is waited for.
    #[default]
    NotRegistered,
    /// It is known, and has not begun.
    Pending,
    /// It has begun.
    Started,
    /// It has ended, and whatever waits for it may go on.
    Completed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRegistered => "not registered",
            Self::Pending => "pending",
            Self::Started => "started",
            Self::Completed => "completed",
        })
    }
}

/// Why a unit cannot be what it was told to be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Such names are not taken: they are empty, too long, or hold control characters.
    #[error("{0:?} is not a name of a unit")]
    Name(String),
    /// There are too many.
    #[error("there are {UNITS_MAX} units already")]
    Full,
    /// They would wait for each other for ever.
    #[error("unit {unit:?} cannot want {on:?}, which wants {unit:?} itself")]
    Cycle {
        /// Which one.
        unit: String,
        /// What it was to wait for.
        on: String,
    },
    /// It has not begun.
    #[error("unit {0:?} is not registered: start it first")]
    NotRegistered(String),
}

/// All units.
#[derive(Clone, Debug, Default)]
pub struct Units(BTreeMap<String, Unit>);

#[derive(Clone, Debug, Default)]
struct Unit {
    status: Status,
    wants: BTreeSet<String>,
}

impl Units {
    /// Lets `unit` wait for others, which need not be known yet.
    ///
    /// # Errors
    /// When a name is none, there are too many, or they would wait for each other; then nothing has changed.
    pub fn want(&mut self, unit: &str, on: &[&str]) -> Result<(), UnitError> {
        on.iter().chain([&unit]).try_for_each(|name| checked(name))?;
        if let Some(on) = on.iter().find(|on| self.reaches(on, unit)) {
            return Err(UnitError::Cycle { unit: unit.to_owned(), on: (*on).to_owned() });
        }
        let new: BTreeSet<&str> = on.iter().copied().chain([unit]).filter(|name| !self.0.contains_key(*name)).collect();
        if self.0.len() + new.len() > UNITS_MAX {
            return Err(UnitError::Full);
        }
        for name in on {
            self.0.entry((*name).to_owned()).or_default();
        }
        let entry = self.0.entry(unit.to_owned()).or_default();
        entry.wants.extend(on.iter().map(|on| (*on).to_owned()));
        if entry.status == Status::NotRegistered {
            entry.status = Status::Pending;
        }
        Ok(())
    }

    /// Whether all that `unit` wants are completed.
    #[must_use]
    pub fn is_ready(&self, unit: &str) -> bool {
        self.wants(unit).all(|(_, status)| status == Status::Completed)
    }

    /// `unit` has begun. One that has begun before stays as it is.
    ///
    /// # Errors
    /// As [`Units::want`].
    pub fn start(&mut self, unit: &str) -> Result<(), UnitError> {
        self.want(unit, &[])?;
        self.0.entry(unit.to_owned()).and_modify(|entry| {
            if entry.status == Status::Pending {
                entry.status = Status::Started;
            }
        });
        Ok(())
    }

    /// `unit` has ended.
    ///
    /// # Errors
    /// [`UnitError::NotRegistered`].
    pub fn complete(&mut self, unit: &str) -> Result<(), UnitError> {
        match self.0.get_mut(unit).filter(|unit| unit.status != Status::NotRegistered) {
            Some(unit) => {
                unit.status = Status::Completed;
                Ok(())
            }
            None => Err(UnitError::NotRegistered(unit.to_owned())),
        }
    }

    /// How far a unit is.
    #[must_use]
    pub fn status(&self, unit: &str) -> Status {
        self.0.get(unit).map(|unit| unit.status).unwrap_or_default()
    }

    /// What a unit waits for, and how far that is.
    pub fn wants(&self, unit: &str) -> impl Iterator<Item = (&str, Status)> {
        self.0.get(unit).into_iter().flat_map(|unit| &unit.wants).map(|on| (on.as_str(), self.status(on)))
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether `from` is `to`, or waits for it, directly or not.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(name) = open.pop() {
            if name == to {
                return true;
            }
            if seen.insert(name) {
                open.extend(self.wants(name).map(|(on, _)| on));
            }
        }
        false
    }
}

fn checked(name: &str) -> Result<(), UnitError> {
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if is_name { Ok(()) } else { Err(UnitError::Name(name.chars().take(64).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_ready_when_all_that_it_wants_are_completed() {
        let mut units = Units::default();
        units.want("app", &["clone", "install"]).unwrap();
        assert_eq!((units.status("app"), units.status("clone")), (Status::Pending, Status::NotRegistered));
        assert_eq!(units.complete("clone"), Err(UnitError::NotRegistered("clone".to_owned())));
        for name in ["clone", "install"] {
            assert!(!units.is_ready("app") && units.is_ready(name));
            units.start(name).unwrap();
            assert_eq!(units.status(name), Status::Started);
            units.complete(name).unwrap();
            units.start(name).unwrap();
            assert_eq!(units.status(name), Status::Completed, "a script that runs again makes nobody wait again");
        }
        assert!(units.is_ready("app"));
    }

    #[test]
    fn units_never_wait_for_each_other() {
        let mut units = Units::default();
        units.want("a", &["b"]).unwrap();
        units.want("b", &["c"]).unwrap();
        for on in ["a", "b", "c"] {
            assert!(matches!(units.want("c", &["d", on]), Err(UnitError::Cycle { .. })), "{on}");
        }
        assert_eq!(units.wants("c").count(), 0, "what was refused has changed nothing");
        units.want("a", &["c"]).unwrap();
    }

    #[test]
    fn names_and_their_number_are_limited() {
        let mut units = Units::default();
        for name in ["", "a\tb", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(matches!(units.start(name), Err(UnitError::Name(_))), "{name:?}");
        }
        (0..UNITS_MAX).for_each(|number| units.start(&number.to_string()).unwrap());
        units.start("0").unwrap();
        assert_eq!(units.start("one more"), Err(UnitError::Full));
        assert_eq!(units.want("0", &["one more"]), Err(UnitError::Full));
    }
}
