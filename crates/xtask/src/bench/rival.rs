//! Two commands in turn, A B A B ..., after one round that is not counted.

use super::{median, spread};
use crate::run::Outcome;
use std::{
    process::{Command, Stdio},
    time::Instant,
};

/// What two commands took, in milliseconds.
pub(crate) struct Duel {
    pub(crate) ours: Vec<f64>,
    pub(crate) rival: Vec<f64>,
}

impl Duel {
    /// Runs both `rounds` times.
    pub(crate) fn run(rounds: usize, mut ours: impl FnMut() -> Command, mut rival: impl FnMut() -> Command) -> Outcome<Self> {
        let mut duel = Self { ours: Vec::new(), rival: Vec::new() };
        for round in 0..=rounds {
            let (a, b) = (wall(&mut ours())?, wall(&mut rival())?);
            if round > 0 {
                duel.ours.push(a);
                duel.rival.push(b);
            }
        }
        Ok(duel)
    }

    /// The ratio pair by pair, ours over the rival's: the median.
    pub(crate) fn ratio(&self) -> f64 {
        median(self.ours.iter().zip(&self.rival).map(|(ours, rival)| ours / rival).collect())
    }
}

/// `median (min-max) ms`.
pub(crate) fn milliseconds(values: &[f64]) -> String {
    let (low, high) = spread(values);
    format!("{:.1} ({low:.1}-{high:.1}) ms", median(values.to_vec()))
}

/// Runs to the end; milliseconds.
pub(crate) fn wall(command: &mut Command) -> Outcome<f64> {
    let started = Instant::now();
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}"));
    }
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}
