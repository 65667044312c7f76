//! Questions, asked on a terminal only.

use crate::failure::{Failure, Outcome};
use crate::printer::Printer;
use inquire::{Confirm, InquireError, Password, PasswordDisplayMode, Select, Text};

/// Interrupted by the person: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Asks for a line of text.
///
/// # Errors
/// Silent when the person interrupts.
pub fn text(question: &str, default: Option<&str>) -> Outcome<String> {
    let ask = Text::new(question);
    answer(default.map_or(ask.clone(), |default| ask.with_default(default)).prompt()).map(|text| text.trim().to_owned())
}

/// Asks for a secret without showing it; `twice` to choose one.
///
/// # Errors
/// Silent when the person interrupts.
pub fn password(question: &str, twice: bool) -> Outcome<String> {
    let ask = Password::new(question).with_display_mode(PasswordDisplayMode::Hidden);
    answer(if twice { ask.with_custom_confirmation_message("Again:").prompt() } else { ask.without_confirmation().prompt() })
}

/// Asks to choose one of several; the answer is its position.
///
/// # Errors
/// Silent when the person interrupts.
pub fn select(question: &str, choices: Vec<String>, start: usize) -> Outcome<usize> {
    answer(Select::new(question, choices).with_starting_cursor(start).raw_prompt()).map(|chosen| chosen.index)
}

/// Asks yes or no.
///
/// # Errors
/// Silent when the person interrupts.
pub fn yes(question: &str, default: bool) -> Outcome<bool> {
    answer(Confirm::new(question).with_default(default).prompt())
}

/// Goes on when the person agrees, or agreed beforehand with `--yes`.
///
/// # Errors
/// When they do not, or cannot be asked.
pub fn confirm(printer: &Printer, agreed: bool, question: &str) -> Outcome {
    if agreed {
        return Ok(());
    }
    if !printer.is_interactive() {
        return Err(Failure::usage("this needs a yes, and there is no terminal to ask on").hint("add --yes"));
    }
    if yes(question, false)? { Ok(()) } else { Err(Failure::new("nothing was changed, as you wished")) }
}

/// The answer, or why there is none.
pub(crate) fn answer<T>(result: Result<T, InquireError>) -> Outcome<T> {
    result.map_err(|error| match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => Failure::silent(INTERRUPTED),
        other => Failure::new(format!("cannot ask: {other}")).hint("give the answer as a flag; see --help"),
    })
}
