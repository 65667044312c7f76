//! What a build goes by: its template's rules as they were when it was asked for.

use crate::{Timestamp, Transition, limit};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The rules. Times are in milliseconds; 0 means none, or for the timeouts the deployment's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Policy {
    /// A started workspace is stopped after this time, unless its owner chose another.
    pub default_ttl_ms: i64,
    /// The longest time until it is stopped, whatever its owner chose.
    pub max_ttl_ms: i64,
    /// Use of a workspace moves its stop this far away from now.
    pub activity_bump_ms: i64,
    /// A workspace whose start failed is stopped after this time.
    pub failure_ttl_ms: i64,
    /// A build that takes longer is ended.
    pub build_timeout_ms: i64,
    /// A build that says and does nothing for this time is ended.
    pub silence_timeout_ms: i64,
    /// Whether a build that replaces or destroys a disk or a machine needs consent.
    pub replacement_consent: bool,
    /// The most that a workspace may cost a day.
    pub daily_cost_max: i64,
}

/// When a started workspace is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deadlines {
    /// When; `None` is never.
    pub deadline: Option<Timestamp>,
    /// The latest that it can be put off to; `None` is for ever.
    pub max: Option<Timestamp>,
}

/// What is looked at in a plan before it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// Whether what holds data or runs must stay.
    pub keep: bool,
    /// The most that the plan may cost a day; `None` is no limit.
    pub daily_cost_max: Option<i64>,
}

/// Why a workspace's stop was not put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtendError {
    /// It is over already.
    #[error("the deadline must be later than now")]
    Past,
    /// Later than the template lets it be.
    #[error("the template lets it run until {0} at the latest")]
    BeyondMax(Timestamp),
}

impl Policy {
    /// The deadlines of a workspace whose start ended at `started`. `own` is what its owner chose: none is the template's default, 0 never.
    #[must_use]
    pub fn deadlines(&self, started: Timestamp, own: Option<i64>) -> Deadlines {
        let after = |milliseconds: i64| started.checked_add(SignedDuration::from_millis(milliseconds)).ok();
        let max = positive(self.max_ttl_ms);
        let wanted = positive(own.unwrap_or(self.default_ttl_ms));
        let ttl = match (wanted, max) {
            (Some(wanted), Some(max)) => Some(wanted.min(max)),
            (wanted, max) => wanted.or(max),
        };
        Deadlines { deadline: ttl.and_then(after), max: max.and_then(after) }
    }

    /// When a workspace whose start failed at `ended` is stopped; `None` is never.
    #[must_use]
    pub fn stops_failed_at(&self, ended: Timestamp) -> Option<Timestamp> {
        ended.checked_add(SignedDuration::from_millis(positive(self.failure_ttl_ms)?)).ok()
    }

    /// What to look at in a build's plan; `None` when nothing can have changed, or nobody asks. `changed` is whether the version or an
    /// answer is another one than that of the last build, or that build did not succeed.
    #[must_use]
    pub fn gate(&self, transition: Transition, changed: bool, allow_replace: bool) -> Option<Gate> {
        let keep = self.replacement_consent && !allow_replace && transition != Transition::Delete;
        let daily_cost_max = positive(self.daily_cost_max).filter(|_| transition == Transition::Start);
        (changed && (keep || daily_cost_max.is_some())).then_some(Gate { keep, daily_cost_max })
    }

    /// How long a build may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        milliseconds(self.build_timeout_ms).unwrap_or(Duration::from_secs(limit::BUILD_TIMEOUT_SECONDS))
    }

    /// How long a build may say and do nothing.
    #[must_use]
    pub fn silence(&self) -> Duration {
        milliseconds(self.silence_timeout_ms).unwrap_or(Duration::from_secs(limit::BUILD_SILENCE_SECONDS))
    }
}

impl Deadlines {
    /// The same with another deadline.
    ///
    /// # Errors
    /// When it is not later than `now`, or beyond the maximum.
    pub fn extended(self, deadline: Timestamp, now: Timestamp) -> Result<Self, ExtendError> {
        match self.max {
            _ if deadline <= now => Err(ExtendError::Past),
            Some(max) if deadline > max => Err(ExtendError::BeyondMax(max)),
            _ => Ok(Self { deadline: Some(deadline), ..self }),
        }
    }

    /// The same after use at `now`, which moves the deadline, if there is one, this far away from it but not beyond the maximum.
    #[must_use]
    pub fn bumped(self, now: Timestamp, bump_ms: i64) -> Self {
        let moved = positive(bump_ms).and_then(|bump| now.checked_add(SignedDuration::from_millis(bump)).ok());
        let moved = moved.map(|moved| self.max.map_or(moved, |max| moved.min(max)));
        Self { deadline: self.deadline.map(|deadline| moved.map_or(deadline, |moved| deadline.max(moved))), ..self }
    }
}

fn positive(number: i64) -> Option<i64> {
    Some(number).filter(|number| *number > 0)
}

fn milliseconds(number: i64) -> Option<Duration> {
    positive(number).and_then(|number| u64::try_from(number).ok()).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    #[test]
    fn the_owner_chooses_within_the_templates_limits() {
        let hours = |default, max, own: Option<i64>| {
            let policy = Policy { default_ttl_ms: default * HOUR, max_ttl_ms: max * HOUR, ..Policy::default() };
            let deadlines = policy.deadlines(at(0), own.map(|own| own * HOUR));
            let hour = |at: Timestamp| at.as_second() / 3600;
            (deadlines.deadline.map(hour), deadlines.max.map(hour))
        };
        assert_eq!(hours(0, 0, None), (None, None));
        assert_eq!(hours(8, 0, None), (Some(8), None));
        assert_eq!(hours(8, 0, Some(2)), (Some(2), None));
        assert_eq!(hours(8, 0, Some(0)), (None, None), "0 is never");
        assert_eq!(hours(8, 12, Some(24)), (Some(12), Some(12)), "clamped");
        assert_eq!(hours(8, 12, Some(0)), (Some(12), Some(12)), "never is longer than the maximum");
        assert_eq!(hours(0, 12, None), (Some(12), Some(12)));
        assert_eq!(hours(0, 0, Some(i64::MAX / HOUR)), (None, None), "beyond the end of time is never");
    }

    #[test]
    fn a_deadline_moves_within_its_limits() {
        let deadlines = Deadlines { deadline: Some(at(2)), max: Some(at(4)) };
        assert_eq!(deadlines.extended(at(4), at(1)).unwrap().deadline, Some(at(4)));
        assert_eq!(deadlines.extended(at(5), at(1)), Err(ExtendError::BeyondMax(at(4))));
        assert_eq!(deadlines.extended(at(1), at(1)), Err(ExtendError::Past));
        assert_eq!(deadlines.bumped(at(1), 2 * HOUR).deadline, Some(at(3)));
        assert_eq!(deadlines.bumped(at(1), HOUR / 2), deadlines, "use never brings the stop nearer");
        assert_eq!(deadlines.bumped(at(1), 9 * HOUR).deadline, Some(at(4)));
        assert_eq!(Deadlines::default().bumped(at(1), HOUR), Deadlines::default(), "what runs for ever goes on");
    }

    #[test]
    fn a_plan_is_looked_at_only_when_a_rule_could_break() {
        let consent = Policy { replacement_consent: true, ..Policy::default() };
        let both = Policy { daily_cost_max: 100, ..consent };
        let keep = Some(Gate { keep: true, daily_cost_max: None });
        assert_eq!(Policy::default().gate(Transition::Start, true, false), None);
        assert_eq!(consent.gate(Transition::Start, false, false), None, "nothing changed");
        assert_eq!(consent.gate(Transition::Start, true, false), keep);
        assert_eq!(consent.gate(Transition::Stop, true, false), keep);
        assert_eq!(consent.gate(Transition::Delete, true, false), None, "a delete destroys");
        assert_eq!(consent.gate(Transition::Start, true, true), None, "consented");
        assert_eq!(both.gate(Transition::Start, true, true), Some(Gate { keep: false, daily_cost_max: Some(100) }));
        assert_eq!(both.gate(Transition::Stop, true, true), None, "a stop is never too expensive");
    }
}
