//! Web apps: what a browser's way to one asks of the API.
//!
//! | route | body -> answer |
//! |---|---|
//! | `GET /api/v2/applications/host` | -> [`AppHost`] |
//! | `GET /api/v2/applications/auth-redirect?redirect_uri=&state=` | -> 303 to the app's host with a ticket, or to the sign-in |
//! | `POST /api/v2/applications/admission` | [`AdmissionRequest`] -> [`Admission`]; the relay asks, on behalf of a browser |
//! | `POST /api/v2/applications/start` | [`StartRequest`] -> a sentence; the relay asks, when somebody pressed the button |
//!
//! ```text
//! browser -> app's host: no cookie      -> 303 auth-redirect at the dashboard's host (state = hash of a nonce that the app's host keeps in a cookie)
//! browser -> auth-redirect, signed in   -> 303 to where it came from, with a ticket
//! browser -> app's host: ticket + nonce -> the relay shows both to the API, once; a cookie for this host alone; 303 to the clean address
//! browser -> app's host: cookie         -> the relay shows it to the API now and then, and gets a ticket for one target of one agent
//! ```

use crate::agent::Ticket;
use berth_domain::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the relay asks for [`Admission`], below the API's URL.
pub const ADMISSION_PATH: &str = "/api/v2/applications/admission";
/// Where it asks for a start.
pub const START_PATH: &str = "/api/v2/applications/start";
/// Where a browser is sent to prove who it is.
pub const AUTH_REDIRECT_PATH: &str = "/api/v2/applications/auth-redirect";
/// The query parameter in which a ticket arrives at an app's host.
pub const TICKET_PARAMETER: &str = "berth_app_ticket";

/// `GET /api/v2/applications/host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppHost {
    /// The pattern of the hosts of apps, `*.apps.example.com`; empty when this deployment serves none.
    pub host: String,
}

/// A relay asks whether a browser may open an app.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AppAdmissionRequest")]
pub struct AdmissionRequest {
    /// The host's first label, a [`berth_domain::AppAddress`].
    pub app: String,
    /// The tailnet key of the relay's own end, which is the only one that is let in.
    pub endpoint_id: String,
    /// The cookie of the app's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Secret>,
    /// A sign-in that arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
}

/// A ticket and what proves that it was made for this browser.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AppEntry")]
pub struct Entry {
    /// The ticket, from the address.
    pub ticket: Secret,
    /// The secret whose hash the ticket names, from the browser's cookie.
    pub nonce: Secret,
}

/// What the API says of a browser at an app's host.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AppAdmission")]
pub struct Admission {
    /// A new cookie for this host, when there is one to set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Secret>,
    /// What there is to see.
    pub view: View,
}

/// What there is to see at an app's host.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(rename = "AppView")]
pub enum View {
    /// The app.
    Open(Box<Opening>),
    /// It is not known who asks, and that must be known first. Also what a stranger hears of an app that does not exist.
    SignIn,
    /// There is no such app, or it is not theirs to know of.
    Missing,
    /// The app is there and cannot be shown here.
    Unserved {
        /// One clause.
        why: String,
    },
    /// The app is not reachable now. Whoever is told may read the workspace.
    Away(Away),
}

/// How an app is reached.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AppOpening")]
pub struct Opening {
    /// The introduction of the relay to the agent, good for this port alone.
    pub ticket: Ticket,
    /// The port on the workspace's loopback.
    pub port: u16,
    /// Where the app begins, a path with a query, as its template says; `/` for most.
    pub root: String,
}

/// Why an app is not reachable, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AppAway")]
pub struct Away {
    /// The workspace, as `owner/name`.
    pub workspace: String,
    /// One clause that follows the workspace's name: `is stopped`.
    pub what: String,
    /// Whether it comes by itself, so that looking again makes sense.
    pub coming: bool,
    /// Whether whoever asks may start it.
    pub may_start: bool,
}

/// A relay asks for a start of an app's workspace, because its viewer pressed the button.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AppStartRequest")]
pub struct StartRequest {
    /// The host's first label.
    pub app: String,
    /// The cookie of the app's host.
    pub session: Secret,
}

/// Text as the value of a query's parameter (WHATWG URL, the component percent-encode set, and more).
#[must_use]
pub fn query_value(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_query_stays_one_parameter() {
        assert_eq!(query_value("/a?b=c&d=%20é#"), "/a%3Fb%3Dc%26d%3D%2520%C3%A9%23");
    }
}
