//! `/cli-auth`: where an IDE or the CLI sends a person to fetch a token to paste. Plain HTML without script; a GET makes nothing.

use crate::{
    Shared,
    answer::{Page, Raw},
    body::Unread,
    error::{Answer, ApiError},
    guard,
    user::{self, Peer},
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use berth_domain::Secret;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// What the form sends, as a browser writes it.
#[derive(schemars::JsonSchema)]
#[expect(dead_code)]
pub(crate) struct Form {
    email: String,
    password: String,
}

/// The largest form, in bytes.
const FORM_BYTES_MAX: usize = 4 * 1024;

const HEAD: &str = r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Berth: sign in</title><style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem}
label{display:block;margin:1rem 0 .25rem}input,button{font:inherit;width:100%;box-sizing:border-box;padding:.5rem}button{margin-top:1.5rem}
code{display:block;padding:.75rem;border:1px solid;overflow-wrap:anywhere;user-select:all}</style></head><body><main>"#;
const TAIL: &str = "</main></body></html>";
const FORM: &str = r#"<h1>Sign in to Berth</h1><form method="post" action="/cli-auth"><label for="email">E-mail address</label>
<input id="email" name="email" type="email" autocomplete="username" required autofocus><label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required><button>Show me a token</button></form>"#;

fn page(status: StatusCode, parts: &[&str]) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
    ];
    (status, headers, [&[HEAD], parts, &[TAIL]].concat().concat()).into_response()
}

/// The form.
pub(crate) async fn form() -> Raw<Page> {
    page(StatusCode::OK, &[FORM]).into()
}

/// Takes the form and shows a token, once. What is wrong is said above the form.
pub(crate) async fn token(
    State(api): State<Shared>,
    Peer(peer): Peer,
    headers: HeaderMap,
    body: Unread<Form>,
) -> Answer<Raw<Page>> {
    if !guard::same_origin(&headers) {
        return Err(ApiError::forbidden("the form was sent by a page of another site"));
    }
    let form = body.whole(FORM_BYTES_MAX).await?;
    let (mut email, mut password) = (String::new(), String::new());
    for (name, value) in fields(&form) {
        match name.as_str() {
            "email" => email = value,
            "password" => password = value,
            _ => {}
        }
    }
    match user::sign_in(&api, peer, &email, Secret::new(password)).await {
        // A token is hexadecimal digits and a hyphen: nothing to escape.
        Ok(token) => Ok(page(
            StatusCode::OK,
            &[
                "<h1>Your token</h1><p>Paste it where you were asked for it. It is shown this once.</p><code>",
                token.expose(),
                "</code>",
            ],
        )
        .into()),
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
            let said = "<p role=\"alert\"><strong>The e-mail address or the password is wrong.</strong></p>";
            Ok(page(StatusCode::UNAUTHORIZED, &[said, FORM]).into())
        }
        Err(error) => Err(error),
    }
}

/// The pairs of an `application/x-www-form-urlencoded` body (WHATWG URL, section 5.1). What is not UTF-8 is replaced.
fn fields(form: &[u8]) -> impl Iterator<Item = (String, String)> {
    form.split(|byte| *byte == b'&').map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        (decode(halves.next().unwrap_or_default()), decode(halves.next().unwrap_or_default()))
    })
}

fn decode(text: &[u8]) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.first_chunk::<2>().filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok());
        match (first, escaped) {
            (_, Some(byte)) => {
                bytes.extend(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', None) => bytes.push(b' '),
            (other, None) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let found: Vec<_> = fields(b"email=ada%40example.com&password=a+b%26%25%zz%&x").collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(found, [pair("email", "ada@example.com"), pair("password", "a b&%%zz%"), pair("x", "")]);
    }
}
