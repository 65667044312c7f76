//! `external-auth access-token`, and git's question for a password (`GIT_ASKPASS`): both want a token of another service.

use super::words::{Word, Words, unknown};
use super::{Call, Failure, Outcome, Unanswered, say, tell};

const USAGE: &str = "external-auth access-token ID";

/// Prints the token of the provider that is named.
pub(super) fn run(call: &Call<'_>) -> Outcome {
    let mut words = Words::of(call.rest);
    match words.next() {
        Some(Word::Operand(verb)) if verb == "access-token" => {}
        Some(word) => return Err(unknown(&word, USAGE)),
        None => return Err(Failure::usage("a verb is missing".to_owned()).hint(format!("usage: {USAGE}"))),
    }
    let mut wanted = None;
    while let Some(word) = words.next() {
        match word {
            Word::Operand(id) if wanted.is_none() => wanted = Some(id),
            word => return Err(unknown(&word, USAGE)),
        }
    }
    let id = wanted.ok_or_else(|| Failure::usage("the provider's id is missing".to_owned()).hint(format!("usage: {USAGE}")))?;
    let token = call.ask(async |client| client.external_auth("id", &id).await)?;
    say(token.access_token.expose())
}

/// Whether an argument is what git says to the program that it asks for a user's name or password.
pub(super) fn is_prompt(argument: &str) -> bool {
    argument.starts_with("Username for ") || argument.starts_with("Password for ")
}

/// Answers git. When there is nothing to answer, git asks the person, if there is one.
pub(super) fn ask_pass(call: &Call<'_>, prompt: &str) -> Outcome {
    let url = prompt.split('\'').nth(1).unwrap_or_default();
    match call.ask(async |client| client.external_auth("match", url).await) {
        Ok(token) => say(token.access_token.expose()),
        Err(Unanswered::Client(error)) if error.is_not_found() => {
            tell(format_args!("berth: {error}; git goes on without"));
            Ok(1)
        }
        Err(why) => Err(why.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_questions_are_told_from_verbs() {
        assert!(is_prompt("Username for 'https://github.com': ") && is_prompt("Password for 'https://x@github.com': "));
        assert!(!is_prompt("stat") && !is_prompt("Usernames"));
    }
}
