//! A command line, a word at a time.

use std::ffi::OsString;
use std::slice::Iter;

use super::Failure;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// `-x` or `--name`; [`Words::value`] gives what belongs to it.
    Option(String),
    /// Anything else.
    Operand(String),
}

/// The words after a verb.
#[derive(Debug)]
pub(super) struct Words<'a> {
    rest: Iter<'a, OsString>,
    /// The value that came with an option: `--name=value`, `-xvalue`.
    given: Option<String>,
    only_operands: bool,
}

impl<'a> Words<'a> {
    pub(super) fn of(rest: &'a [OsString]) -> Self {
        Self { rest: rest.iter(), given: None, only_operands: false }
    }

    /// The next word. After `--` all are operands.
    pub(super) fn next(&mut self) -> Option<Word> {
        let word = self.rest.next()?.to_string_lossy().into_owned();
        if self.only_operands || word == "-" || !word.starts_with('-') {
            return Some(Word::Operand(word));
        }
        if word == "--" {
            self.only_operands = true;
            return self.next();
        }
        let (option, given) = match word.split_once('=') {
            Some((option, value)) if word.starts_with("--") => (option, Some(value)),
            _ if word.starts_with("--") => (word.as_str(), None),
            _ => word.split_at_checked(2).map_or((word.as_str(), None), |(option, value)| {
                (option, Some(value.trim_start_matches('=')).filter(|value| !value.is_empty()))
            }),
        };
        self.given = given.map(str::to_owned);
        Some(Word::Option(option.to_owned()))
    }

    /// The value of the option that came last.
    pub(super) fn value(&mut self, option: &str) -> Result<String, Failure> {
        let value = self.given.take().or_else(|| self.rest.next().map(|word| word.to_string_lossy().into_owned()));
        value.ok_or_else(|| Failure::usage(format!("{option} needs a value")))
    }
}

/// Why a word is not understood.
pub(super) fn unknown(word: &Word, usage: &str) -> Failure {
    let text = match word {
        Word::Option(text) | Word::Operand(text) => text,
    };
    Failure::usage(format!("{text:?} is not understood")).hint(format!("usage: {usage}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_their_values_beside_them_or_after_them() {
        let line: Vec<OsString> =
            ["a", "-o", "json", "--path=/x=y", "-ojson", "--host", "-", "--", "-y"].map(OsString::from).into();
        let mut words = Words::of(&line);
        let option = |text: &str| Some(Word::Option(text.to_owned()));
        let operand = |text: &str| Some(Word::Operand(text.to_owned()));
        assert_eq!(words.next(), operand("a"));
        assert_eq!((words.next(), words.value("-o").unwrap()), (option("-o"), "json".to_owned()));
        assert_eq!((words.next(), words.value("--path").unwrap()), (option("--path"), "/x=y".to_owned()));
        assert_eq!((words.next(), words.value("-o").unwrap()), (option("-o"), "json".to_owned()));
        assert_eq!((words.next(), words.next(), words.next()), (option("--host"), operand("-"), operand("-y")));
        assert!(words.value("-y").is_err());
        assert_eq!(words.next(), None);
    }
}
