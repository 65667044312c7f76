//! Text that may be shown to strangers: what is known or looks to be secret is taken out of it.

use berth_wire::domain::Secret;

/// What stands for what was taken out.
const REDACTED: &str = "[redacted]";
/// A secret shorter than this would take ordinary words out.
const SECRET_CHARS_MIN: usize = 6;
/// Endings of names whose value is a secret.
const SENSITIVE: [&str; 10] =
    ["token", "secret", "password", "passwd", "passphrase", "apikey", "api_key", "access_key", "private_key", "credential"];
/// How a key in PEM begins and ends.
const PEM: (&str, &str) = ("-----BEGIN", "-----END");

/// Text that holds no secret as far as can be told. Only a [`Redactor`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Takes secrets out of texts: those it was told, and what looks like one.
#[derive(Debug, Default)]
pub struct Redactor {
    known: Vec<Secret>,
}

impl Redactor {
    /// Knows these.
    pub fn knowing(secrets: impl IntoIterator<Item = String>) -> Self {
        let long = secrets.into_iter().map(|secret| secret.trim().to_owned()).filter(|secret| secret.len() >= SECRET_CHARS_MIN);
        Self { known: long.map(Secret::new).collect() }
    }

    /// The text without secrets.
    #[must_use]
    pub fn text(&self, text: &str) -> Redacted {
        let known = self.known.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose().as_str(), REDACTED));
        let mut redacted = String::with_capacity(known.len());
        let mut inside_key = false;
        for line in known.split_inclusive('\n') {
            let begins = line.contains(PEM.0) && line.contains("PRIVATE KEY");
            if begins && !inside_key {
                redacted.push_str(REDACTED);
                redacted.push('\n');
            }
            if !begins && !inside_key {
                redacted.push_str(&self::line(line));
            }
            inside_key = (inside_key || begins) && !line.contains(PEM.1);
        }
        Redacted(redacted)
    }
}

/// A line without what looks like a secret.
fn line(line: &str) -> String {
    let (mut redacted, mut rest, mut follows) = (String::with_capacity(line.len()), line, false);
    let mut after_colon = false;
    while !rest.is_empty() {
        let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        if !word.is_empty() {
            redacted.push_str(&if follows && !is_scheme(word) { REDACTED.to_owned() } else { self::word(word, after_colon) });
        }
        let between = after.find(is_word).unwrap_or(after.len());
        let (gap, after) = after.split_at(between);
        follows = (follows && word.is_empty()) || announces(word, gap) || (follows && is_scheme(word));
        after_colon = gap.ends_with(':');
        redacted.push_str(gap);
        rest = after;
    }
    redacted
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || "_-.+/~%@$!^&*?#".contains(character)
}

/// `Bearer` and `Basic` stand between a name and its secret.
fn is_scheme(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic")
}

/// Whether what follows this word is a secret: `token=`, `"password": "`, `Authorization: `, `Bearer `.
fn announces(word: &str, gap: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let is_given = gap.contains(['=', ':']);
    is_scheme(&word) || is_given && (word.ends_with("authorization") || SENSITIVE.iter().any(|name| word.ends_with(name)))
}

/// A word without what looks like a secret. After a colon, `password@host` and `//token@host` are parts of a URL.
fn word(word: &str, after_colon: bool) -> String {
    let is_jwt = word.starts_with("eyJ") && word.matches('.').count() == 2;
    let is_aws = word.len() == 20 && (word.starts_with("AKIA") || word.starts_with("ASIA"));
    if is_jwt || is_aws {
        return REDACTED.to_owned();
    }
    let (slashes, bare) = word.strip_prefix("//").map_or(("", word), |bare| ("//", bare));
    match bare.split_once('@') {
        Some((before, host)) if after_colon && !before.is_empty() && !before.contains('/') => format!("{slashes}{REDACTED}@{host}"),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        Redactor::knowing(["k3y-of-mine".to_owned(), "ab".to_owned()]).text(text).0
    }

    #[test]
    fn what_looks_like_a_secret_is_taken_out() {
        for (text, wanted) in [
            ("a k3y-of-mine b", "a [redacted] b"),
            ("token=abc.def", "token=[redacted]"),
            ("\"session_token\": \"abc def\"", "\"session_token\": \"[redacted] def\""),
            ("Authorization: Bearer abc", "Authorization: Bearer [redacted]"),
            ("curl -H 'Bearer abc'", "curl -H 'Bearer [redacted]'"),
            ("DB_PASSWORD: hunter22, DB_HOST: db", "DB_PASSWORD: [redacted], DB_HOST: db"),
            ("http://ada:s3cret@proxy:3128", "http://ada:[redacted]@proxy:3128"),
            ("https://t0ken@git.example/x", "https://[redacted]@git.example/x"),
            ("t eyJhbGci.eyJzdWIi.c2ln t", "t [redacted] t"),
            ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
            ("x\n-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\ny", "x\n[redacted]\ny"),
        ] {
            assert_eq!(read(text), wanted);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "Ciphers ^aes256-gcm@openssh.com",
            "https://berth.example.com/api/v2/buildinfo: 200",
            "the token is not valid",
            "2026-11-27T18:00:00Z INFO agent.id=7 took_ms=3",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
            "secrets are types",
            "",
        ] {
            assert_eq!(read(text), text);
        }
    }
}
