//! Questions, asked on a terminal only. Lines are edited as in a shell (Ctrl-U, Ctrl-W, Ctrl-A, ...), lists with arrows.

use crate::failure::{Failure, Outcome};
use crate::printer::Printer;
use inquire::{InquireError, MultiSelect, Password, PasswordDisplayMode, Select};
use rustyline::{
    Behavior, Config, Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::{Hint, Hinter},
    history::DefaultHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};

/// Interrupted by the person: 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// A list longer than this is filtered by typing; in a shorter one letters do nothing.
const FILTERED_CHOICES: usize = 12;

/// A question whose answer is typed.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// The question, without a colon.
    pub question: &'a str,
    /// What an empty line answers.
    pub offered: Option<&'a str>,
    /// Why an answer will not do: shown while it is typed.
    pub check: &'a dyn Fn(&str) -> Result<(), String>,
}

/// Asks for a line of text.
///
/// # Errors
/// Silent when the person interrupts.
pub fn text(question: &str, default: Option<&str>) -> Outcome<String> {
    let check = |_: &str| Ok(());
    line(Line { question: question.trim_end_matches(':'), offered: default, check: &check }).map(|text| text.trim().to_owned())
}

/// Asks for a line until it will do.
///
/// # Errors
/// Silent when the person interrupts.
pub fn line(line: Line<'_>) -> Outcome<String> {
    read(Typed { line, is_long: false })
}

/// Asks for lines until they will do; an empty line ends them.
///
/// # Errors
/// Silent when the person interrupts.
pub fn lines(line: Line<'_>) -> Outcome<String> {
    read(Typed { line, is_long: true })
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
    let is_short = choices.len() <= FILTERED_CHOICES;
    let ask = Select::new(question, choices).with_starting_cursor(start).with_page_size(FILTERED_CHOICES);
    let ask = if is_short { ask.without_filtering().with_help_message("arrows to move, enter to choose") } else { ask };
    answer(ask.raw_prompt()).map(|chosen| chosen.index)
}

/// Asks to choose any number of several; the answer is their positions, in order.
///
/// # Errors
/// Silent when the person interrupts.
pub fn select_several(question: &str, choices: Vec<String>, marked: &[usize]) -> Outcome<Vec<usize>> {
    let is_short = choices.len() <= FILTERED_CHOICES;
    let ask = MultiSelect::new(question, choices).with_default(marked).with_page_size(FILTERED_CHOICES);
    let help = "arrows to move, space to mark, right for all, left for none, enter when done";
    let ask = if is_short { ask.without_filtering().with_help_message(help) } else { ask };
    answer(ask.raw_prompt()).map(|chosen| chosen.iter().map(|one| one.index).collect())
}

/// Asks yes or no.
///
/// # Errors
/// Silent when the person interrupts.
pub fn yes(question: &str, default: bool) -> Outcome<bool> {
    decide(question, Some(default))
}

/// Asks yes or no, without an answer beforehand when `offered` is none.
///
/// # Errors
/// Silent when the person interrupts.
pub fn decide(question: &str, offered: Option<bool>) -> Outcome<bool> {
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let question = format!("{question} (yes/no)");
    let check = |text: &str| decided(text).map(drop).ok_or_else(|| "yes or no?".to_owned());
    let text = line(Line { question: &question, offered: offered.map(word), check: &check })?;
    Ok(decided(&text).unwrap_or_default())
}

fn decided(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "y" | "yes" | "true" => Some(true),
        "n" | "no" | "false" => Some(false),
        _ => None,
    }
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
fn answer<T>(result: Result<T, InquireError>) -> Outcome<T> {
    result.map_err(|error| match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => Failure::silent(INTERRUPTED),
        other => cannot_ask(&other),
    })
}

fn cannot_ask(why: &dyn std::error::Error) -> Failure {
    Failure::new(format!("cannot ask: {why}")).hint("give the answer as a flag; see --help")
}

/// Reads from the terminal itself: stdout may go elsewhere.
fn read(typed: Typed<'_>) -> Outcome<String> {
    let Line { question, offered, .. } = typed.line;
    let end = if typed.is_long { " (an empty line ends it)" } else { "" };
    let prompt = match offered {
        Some(offered) if !offered.is_empty() => {
            format!("? {question}{end} [{}]: ", crate::printer::printable(offered).replace('\n', " "))
        }
        _ => format!("? {question}{end}: "),
    };
    let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(false).build();
    let mut editor = Editor::<Typed<'_>, DefaultHistory>::with_config(config).map_err(|error| cannot_ask(&error))?;
    editor.set_helper(Some(typed));
    match editor.readline(&prompt) {
        Ok(text) if text.is_empty() => Ok(offered.unwrap_or_default().to_owned()),
        Ok(text) if typed.is_long => Ok(text.trim_end_matches('\n').to_owned()),
        Ok(text) => Ok(text),
        Err(ReadlineError::Interrupted | ReadlineError::Eof) => Err(Failure::silent(INTERRUPTED)),
        Err(other) => Err(cannot_ask(&other)),
    }
}

/// What the line editor is told about the line.
#[derive(Clone, Copy)]
struct Typed<'a> {
    line: Line<'a>,
    is_long: bool,
}

impl Typed<'_> {
    fn objection(&self, text: &str) -> Option<String> {
        if text.is_empty() {
            return self.line.offered.is_none().then(|| "an answer is needed".to_owned());
        }
        (self.line.check)(text).err().map(|why| why.replace('\n', " "))
    }
}

impl Helper for Typed<'_> {}
impl Highlighter for Typed<'_> {}
impl Completer for Typed<'_> {
    type Candidate = String;
}

/// A remark behind the typed text; it cannot be completed to.
struct Remark(String);

impl Hint for Remark {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Typed<'_> {
    type Hint = Remark;

    fn hint(&self, text: &str, position: usize, _: &Context<'_>) -> Option<Remark> {
        let is_shown = !self.is_long && !text.is_empty() && position == text.len();
        self.objection(text).filter(|_| is_shown).map(|why| Remark(format!("   <- {why}")))
    }
}

impl Validator for Typed<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        if self.is_long && !text.is_empty() && !text.ends_with('\n') {
            return Ok(ValidationResult::Incomplete);
        }
        let text = if self.is_long { text.trim_end_matches('\n') } else { text };
        Ok(match self.objection(text) {
            Some(why) => ValidationResult::Invalid(Some(format!("   <- {why}"))),
            None => ValidationResult::Valid(None),
        })
    }
}
