//! Timings: where the time of a build went, resource by resource.

use crate::{DateTime, Timestamp, build::words, limit::TIMINGS_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

words! {
    /// A part of a build, in Coder's words.
    TimingStage {
        /// `terraform init`.
        Init = "init",
        /// Refreshing what there is, and deciding what is to change.
        Plan = "plan",
        /// Changing it.
        Apply = "apply",
    }
}

/// How long one thing took. The span of a whole stage has `terraform` as its source and resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// When it began.
    #[schemars(with = "DateTime")]
    pub started_at: Timestamp,
    /// When it ended, well or not.
    #[schemars(with = "DateTime")]
    pub ended_at: Timestamp,
    /// The part of the build.
    pub stage: TimingStage,
    /// Who did it: the provider's name, or `terraform`.
    pub source: String,
    /// What was done: `create`, `read`, `update`, `delete`, `provision`, or the command's name.
    pub action: String,
    /// The resource's address.
    pub resource: String,
}

impl Timing {
    fn took(&self) -> jiff::SignedDuration {
        self.ended_at.duration_since(self.started_at)
    }
}

/// At most [`TIMINGS_MAX`] of them, the longest, in the order of their beginnings.
#[must_use]
pub fn bounded(mut timings: Vec<Timing>) -> Vec<Timing> {
    if timings.len() > TIMINGS_MAX {
        timings.sort_by_key(|timing| std::cmp::Reverse(timing.took()));
        timings.truncate(TIMINGS_MAX);
    }
    timings.sort_by_key(|timing| timing.started_at);
    timings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(start: i64, seconds: i64) -> Timing {
        let at = |second| Timestamp::from_second(second).unwrap();
        Timing {
            started_at: at(start),
            ended_at: at(start + seconds),
            stage: TimingStage::Apply,
            source: "aws".to_owned(),
            action: "create".to_owned(),
            resource: format!("aws_instance.vm[{start}]"),
        }
    }

    #[test]
    fn the_shortest_are_left_out_and_the_order_is_that_of_time() {
        let many: Vec<_> = (0..900).map(|start| timing(900 - start, start % 600)).collect();
        let kept = bounded(many);
        assert_eq!(kept.len(), TIMINGS_MAX);
        assert!(kept.is_sorted_by_key(|timing| timing.started_at));
        let shortest = kept.iter().map(Timing::took).min().unwrap();
        assert!(shortest.as_secs() >= 150, "{shortest:?}");
    }
}
