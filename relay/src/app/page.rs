//! The pages that stand in for an app: why it is not to be seen, and what to do about it. Without script; what is put in is escaped.

use super::START_BUTTON;
use crate::{tunnel::TunnelError, upstream::AskError};
use axum::body::Body;
use berth_wire::app::Away;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use std::fmt::Write as _;

/// How often a page looks again by itself, in seconds.
const AGAIN_SECONDS: u8 = 2;
const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">";
const STYLE: &str = "<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1rem}\
button{font:inherit;padding:.5rem 1rem}h1{font-size:1.4rem}</style></head><body><main>";
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What kind of answer a request can use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asks {
    /// A person goes there with a browser; others get plain text.
    pub(super) is_navigation: bool,
}

impl Asks {
    pub(super) fn of(head: &Parts) -> Self {
        let headers = &head.headers;
        let html =
            headers.get_all(header::ACCEPT).iter().any(|accept| accept.as_bytes().windows(9).any(|part| part == b"text/html"));
        let goes = headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        Self { is_navigation: html && goes && reads && !headers.contains_key(header::UPGRADE) }
    }
}

/// A page in an app's place.
#[derive(Debug)]
pub(super) struct Page {
    status: StatusCode,
    /// One sentence, without its full stop.
    title: String,
    /// What to do.
    text: String,
    /// Looks again by itself.
    again: bool,
    action: Option<Action>,
}

/// What a person can do.
#[derive(Debug)]
enum Action {
    /// Asks to start the workspace.
    Start,
    /// Goes there.
    Link(String, &'static str),
}

impl Page {
    fn new(status: StatusCode, title: impl Into<String>, text: impl Into<String>) -> Self {
        Self { status, title: title.into(), text: text.into(), again: false, action: None }
    }

    fn again(self) -> Self {
        Self { again: true, ..self }
    }

    fn with(self, action: Action) -> Self {
        Self { action: Some(action), ..self }
    }

    pub(super) fn bad_request(why: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "This request is not understood", format!("It was not sent on, because {why}."))
    }

    pub(super) fn bad_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "This method is not for apps", "CONNECT and TRACE are not sent on.")
    }

    pub(super) fn bad_host() -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "This is no app's host",
            "The request must name its host once and in full, as in slug--agent--workspace--owner and the domain of the apps.",
        )
    }

    pub(super) fn no_address() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is no such app",
            "The host of an app is slug--agent--workspace--owner, or a port in place of the slug. Open the app from the dashboard.",
        )
    }

    pub(super) fn foreign() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "The page of another site sent this",
            "Requests that change something, sockets, and whatever rides on your sign-in come from the app's own pages, or from apps of the same workspace.",
        )
    }

    pub(super) fn signed_out() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "You are signed out of this app", "Load its page again to sign in.")
    }

    pub(super) fn missing(dashboard: &str) -> Self {
        let text =
            "It does not exist, or it is not shared with you. Its owner can share it in the template: share = \"authenticated\".";
        Self::new(StatusCode::NOT_FOUND, "There is no such app", text).with(Action::dashboard(dashboard))
    }

    pub(super) fn unserved(why: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "This app is not shown here", format!("Because {why}."))
    }

    pub(super) fn not_pressed() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Nothing was started", "Only the button of a page of this host starts a workspace.")
    }

    pub(super) fn not_startable(dashboard: &str) -> Self {
        let text = "The template asks something that has no answer yet. Start the workspace from the dashboard, which asks you.";
        Self::new(StatusCode::CONFLICT, "The workspace cannot be started from here", text).with(Action::dashboard(dashboard))
    }

    /// A ticket that is no good: an old one, or one that another browser asked for.
    pub(super) fn not_arrived(clean: &str) -> Self {
        let text = "Its ticket is good once, for one minute, and only in the browser that asked for it. If this comes again, let the browser keep cookies of this host.";
        Self::new(StatusCode::UNAUTHORIZED, "The sign-in did not arrive", text).with(Action::Link(clean.to_owned(), "Try again"))
    }

    /// The API gave no answer that helps.
    pub(super) fn api(error: &AskError) -> Self {
        tracing::warn!(%error, "cannot ask the API about an app");
        let text = "The relay cannot ask it who may see this app. The page looks again by itself.";
        Self::new(StatusCode::BAD_GATEWAY, "The API does not answer", text).again()
    }

    pub(super) fn away(away: &Away, dashboard: &str) -> Self {
        let (title, at) = (format!("{} {}", away.workspace, away.what), format!("{dashboard}/@{}", away.workspace));
        let page = |text: &str| Self::new(StatusCode::SERVICE_UNAVAILABLE, title.clone(), text);
        match away {
            Away { coming: true, .. } => {
                page("The page looks again by itself.").again().with(Action::Link(at, "See how far it is"))
            }
            Away { may_start: true, .. } => page("Nothing is started until you say so.").with(Action::Start),
            _ => page("Its owner can start it.").with(Action::Link(at, "Go to the workspace")),
        }
    }

    /// The agent is there, and nothing listens at the app's port.
    pub(super) fn not_listening(port: u16) -> Self {
        let title = format!("Nothing listens on port {port} of the workspace");
        let text = "The app has not started yet, or has ended. The page looks again by itself.";
        Self::new(StatusCode::BAD_GATEWAY, title, text).again()
    }

    pub(super) fn broken(why: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "The app did not answer", format!("{why}. Load the page again."))
    }

    pub(super) fn slow(seconds: u64) -> Self {
        let text = format!("It has said nothing for {seconds} seconds. Load the page again.");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "The app does not answer", text)
    }

    pub(super) fn tunnel(error: &TunnelError) -> Self {
        tracing::info!(error = error as &dyn std::error::Error, "an agent cannot be reached for an app");
        let text = format!("Because {error}. The page looks again by itself.");
        Self::new(StatusCode::BAD_GATEWAY, "The workspace cannot be reached", text).again()
    }

    /// The page for a person, its words for a program.
    pub(super) fn answer(self, asks: Asks) -> Response<Body> {
        let (kind, body) = match asks.is_navigation {
            true => ("text/html; charset=utf-8", self.html()),
            false => ("text/plain; charset=utf-8", format!("{}. {}\n", self.title, self.text)),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // With `no-referrer` a browser says `Origin: null` when the button is pressed.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        if self.again {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(AGAIN_SECONDS)));
        }
        response
    }

    fn html(&self) -> String {
        let (title, text) = (escaped(&self.title), escaped(&self.text));
        let again = if self.again { format!("<meta http-equiv=\"refresh\" content=\"{AGAIN_SECONDS}\">") } else { String::new() };
        let live = if self.again { " role=\"status\"" } else { "" };
        let mut html = format!("{HEAD}<title>{title}</title>{again}{STYLE}<h1{live}>{title}</h1><p>{text}</p>");
        match &self.action {
            None => {}
            Some(Action::Start) => {
                let button = "<button>Start the workspace</button>";
                // Writing to text cannot fail.
                let _written = write!(html, "<form method=\"post\" action=\"{START_BUTTON}\">{button}</form>");
            }
            Some(Action::Link(to, words)) => {
                let _written = write!(html, "<p><a href=\"{}\">{words}</a></p>", escaped(to));
            }
        }
        html.push_str("</main></body></html>");
        html
    }
}

impl Action {
    fn dashboard(dashboard: &str) -> Self {
        Self::Link(format!("{dashboard}/"), "Go to the dashboard")
    }
}

/// Text as it may stand in a page, attributes included.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut page, character| {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            other => page.push(other),
        }
        page
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_page_is_text() {
        let page = Page::not_arrived("https://a/\"><script>alert(1)</script>'&").html();
        assert!(page.contains("href=\"https://a/&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39;&amp;\""), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    #[test]
    fn only_a_stopped_workspace_has_the_button_and_only_for_who_may_press_it() {
        let away = |coming, may_start| Away { workspace: "ada/dev".into(), what: "is stopped".into(), coming, may_start };
        let html = |away: &Away| Page::away(away, "https://berth.example.com").html();
        assert!(html(&away(false, true)).contains("<form method=\"post\" action=\"/.well-known/berth/start\">"));
        assert!(!html(&away(false, false)).contains("<form"));
        let starting = html(&away(true, false));
        assert!(!starting.contains("<form") && starting.contains("http-equiv=\"refresh\""), "{starting}");
        assert!(starting.contains("href=\"https://berth.example.com/@ada/dev\""), "{starting}");
    }
}
