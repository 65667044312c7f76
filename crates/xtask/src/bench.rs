//! Placeholder.
use crate::run::Outcome;
pub(crate) fn bench(_arguments: &[String]) -> Outcome { Err("no benchmark yet".into()) }
