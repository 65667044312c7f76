//! Why a call failed, in words for the person who made it.

use berth_wire::ErrorBody;
use std::{error::Error, fmt, time::Duration};

/// Why a call to the API failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The text given as Berth's URL is not one.
    #[error("{url:?} is not a URL of Berth: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token holds characters that cannot be sent.
    #[error("the session token holds characters that a token never has")]
    Token,
    /// No answer: no such host, nobody listens, the connection broke, time ran out.
    #[error("cannot reach Berth at {url}: {reason}")]
    Unreachable {
        /// The deployment's URL.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// Berth answered, and said no.
    #[error("{}", api_text(*.status, .body))]
    Api {
        /// The HTTP status, 400 and above.
        status: u16,
        /// The answer; its message is made up from the status when there was none.
        body: ErrorBody,
    },
    /// Berth answered with something this version does not understand.
    #[error("the answer of {url} is not what this version of berth expects")]
    Decode {
        /// What was asked.
        url: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The answer is larger than anything that could be right.
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The most that is read.
        limit: usize,
    },
    /// A large body is to be sent to or read from another host, and that host cannot be reached or did not take it.
    #[error("{url} keeps large bodies at {host}, but {reason}")]
    Elsewhere {
        /// The deployment's URL.
        url: String,
        /// The other host. The rest of its address is a secret.
        host: String,
        /// What happened.
        reason: String,
    },
    /// A followed stream ended before its end.
    #[error("the stream from {url} broke off: {reason}")]
    Broken {
        /// What was followed.
        url: String,
        /// What happened.
        reason: String,
    },
    /// What was to be sent cannot be read.
    #[error("cannot read what is to be sent")]
    File {
        /// Why.
        source: std::io::Error,
    },
    /// No HTTP client could be set up on this machine.
    #[error("cannot set up TLS")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
}

impl ClientError {
    /// The HTTP status, when Berth answered.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the thing asked for does not exist, or not for this user.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the session or token is missing, wrong or over.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }

    /// Whether the caller is known and may not.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.status() == Some(403)
    }

    /// Whether the state of the thing is in the way.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether asking again later may help: nobody answered, or the server said that it is its own fault or too much.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Elsewhere { .. } => true,
            Self::Api { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Whether there is no websocket to be had there, though the same may be asked for plainly: a relay that sleeps or restarts, a proxy
    /// that lets none through.
    #[must_use]
    pub fn is_without_socket(&self) -> bool {
        self.is_transient() || matches!(self, Self::Api { status: 426, .. })
    }

    /// No answer from `base`.
    pub(crate) fn from_reqwest(base: &str, error: &reqwest::Error) -> Self {
        Self::Unreachable { url: base.to_owned(), reason: unanswered(error) }
    }

    /// No answer from another host, of which `url` shows no more than its name.
    pub(crate) fn elsewhere(base: &str, url: &str, reason: impl Into<String>) -> Self {
        let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Self::Elsewhere { url: base.to_owned(), host: host.unwrap_or_else(|| "another host".to_owned()), reason: reason.into() }
    }

    pub(crate) fn timed_out(base: &str, after: Duration) -> Self {
        Self::Unreachable { url: base.to_owned(), reason: format!("no answer in {} seconds", after.as_secs()) }
    }
}

/// Why there was no answer.
pub(crate) fn unanswered(error: &reqwest::Error) -> String {
    match (error.is_timeout(), error.is_connect()) {
        (true, false) => "no answer in time".to_owned(),
        (true, true) => "no connection in time".to_owned(),
        (false, _) => root_cause(error),
    }
}

/// The innermost cause, without the operating system's error number: what a person needs of `error sending request: client error
/// (Connect): tcp connect error: Connection refused (os error 111)`.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        // Lower-case the first word, but leave acronyms alone.
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain([second]).chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}

fn api_text(status: u16, body: &ErrorBody) -> impl fmt::Display {
    let mut text = if body.message.is_empty() { format!("berth answered {status}") } else { body.message.clone() };
    for refused in body.validations.iter().filter(|refused| !body.message.contains(&refused.detail)) {
        text.push_str(&format!("; {}: {}", refused.field, refused.detail));
    }
    if let Some(detail) = body.detail.as_deref().filter(|detail| !detail.is_empty()) {
        text.push_str(&format!(": {detail}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_wire::Validation;

    #[test]
    fn a_refusal_names_its_fields_and_its_detail() {
        let body = ErrorBody {
            message: "the workspace cannot be made".into(),
            detail: Some("it is too long".into()),
            validations: vec![Validation { field: "name".into(), detail: "at most 32 characters".into() }],
        };
        let text = ClientError::Api { status: 400, body }.to_string();
        assert_eq!(text, "the workspace cannot be made; name: at most 32 characters: it is too long");
    }

    #[test]
    fn an_operating_system_error_loses_its_number() {
        let error = std::io::Error::from_raw_os_error(111);
        assert_eq!(root_cause(&error), "connection refused");
    }
}
