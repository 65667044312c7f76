//! The dashboard: pages and their files, which are part of this program ([`build.rs`](../build.rs) puts them in). On AWS CloudFront
//! serves the same files from a bucket, with the same headers (infra/edge.yaml).
//!
//! A page is one file, whatever its address: the address is read in the browser. Whoever does not ask for a page gets the API's answer.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::LazyLock};

/// A file of the dashboard.
struct File {
    path: &'static str,
    bytes: &'static [u8],
    compressed: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// The file that every page is.
const PAGE: &str = "index.html";
/// Files below it have their content's hash in their names.
const HASHED: &str = "assets/";
/// The pictures of the starter templates.
const ICONS: &str = "icon/";
/// The folders of files; everything else is a page, or not ours.
const FOLDERS: &[&str] = &[HASHED, ICONS];
/// What answers there is the API, or another part of the server.
const ELSEWHERE: &[&str] = &["api/", "bin/", "healthz", ".well-known/"];
/// Nothing but our own files, no inline script or style, and no text that becomes a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The files by path, each with the tag of its content.
static BY_PATH: LazyLock<BTreeMap<&str, (&File, HeaderValue)>> =
    LazyLock::new(|| FILES.iter().map(|file| (file.path, tagged(file))).collect());

fn tagged(file: &File) -> (&File, HeaderValue) {
    let tag = format!("\"{:.32}\"", hex::encode(Sha256::digest(file.bytes)));
    (file, HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")))
}

/// Answers with a file of the dashboard, or passes the request on.
pub(crate) async fn serve(request: Request, next: Next) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads || ELSEWHERE.iter().any(|prefix| path.starts_with(prefix)) {
        return next.run(request).await;
    }
    let is_page = !FOLDERS.iter().any(|folder| path.starts_with(folder));
    if is_page && !wants_page(request.headers()) {
        return next.run(request).await;
    }
    match (MISSING, BY_PATH.get(if is_page { PAGE } else { path })) {
        (_, Some((file, tag))) => answer(file, tag, request.headers()),
        // The API has plain pages for what cannot wait.
        (Some(_), None) if matches!(path, "login" | "cli-auth") => next.run(request).await,
        (Some(why), None) if is_page => missing(why),
        // It draws those that we do not have.
        (_, None) if path.starts_with(ICONS) => next.run(request).await,
        (_, None) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Whether it is a browser that goes to a page. Programs, IDE plugins among them, ask for anything or for JSON.
fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn answer(file: &File, tag: &HeaderValue, asked: &HeaderMap) -> Response {
    let has = |name: HeaderName, wanted: &str| {
        asked.get(name).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains(wanted))
    };
    let lasting = if file.path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = if has(header::IF_NONE_MATCH, tag.to_str().unwrap_or_default()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if has(header::ACCEPT_ENCODING, "gzip") {
        ([(header::CONTENT_ENCODING, "gzip")], Body::from(file.compressed)).into_response()
    } else {
        Body::from(file.bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(file.path)));
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(lasting));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    guarded(response)
}

fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// In place of the dashboard: what is missing, and what does the same meanwhile.
fn missing(why: &str) -> Response {
    let text = format!(
        "The dashboard is not part of this server: when it was built, {why}.\n\n\
        With Node 20.19 or newer and a way to an npm registry, build it again: cargo build -p berth-local\n\
        Everything else works. From a terminal: berth login, berth create, berth ssh.\n"
    );
    guarded((StatusCode::NOT_FOUND, text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: File = File { path: "assets/a-1.js", bytes: b"one", compressed: b"1" };

    fn asked(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_a_browser_that_goes_somewhere_gets_a_page() {
        assert!(wants_page(&asked(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")));
        assert!(!wants_page(&asked(header::ACCEPT, "application/json, text/plain, */*")));
        assert!(!wants_page(&HeaderMap::new()));
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let (_, tag) = tagged(&FILE);
        let first = answer(&FILE, &tag, &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        let mut known = HeaderMap::new();
        known.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(answer(&FILE, &tag, &known).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(&FILE, &tag, &asked(header::IF_NONE_MATCH, "\"other\"")).status(), StatusCode::OK);
    }

    #[test]
    fn a_file_is_compressed_for_whoever_takes_it_so_and_never_guessed_at() {
        let (_, tag) = tagged(&FILE);
        let compressed = answer(&FILE, &tag, &asked(header::ACCEPT_ENCODING, "gzip, br"));
        assert_eq!(compressed.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(!answer(&FILE, &tag, &HeaderMap::new()).headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(compressed.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(compressed.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
    }
}
