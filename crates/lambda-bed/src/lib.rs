//! A bed for Lambda functions: the service's side of the Runtime API on loopback, and the process of one real function under it. For tests
//! and measurements; nothing of a deployment links it.
//!
//! As the service does, it gives one event at a time, kills a function that is late, refuses an answer that is too large, and
//! starts nothing again: whoever asks decides. <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

mod function;
mod runtime_api;

pub use function::{Function, InvokeError, Program, StartError};
pub use runtime_api::ANSWER_BYTES_MAX;

use base64::{Engine, engine::general_purpose::STANDARD};

/// The event of a Function URL (payload version 2.0), as CloudFront's request arrives there. A body that is no text comes in base64.
/// <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>
#[must_use]
pub fn url_event(method: &str, path_and_query: &str, headers: &[(&str, &str)], body: &[u8]) -> serde_json::Value {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws";
    let mut named: serde_json::Map<_, _> =
        headers.iter().map(|&(name, value)| (name.to_ascii_lowercase(), serde_json::Value::from(value))).collect();
    named.entry("host").or_insert_with(|| host.into());
    let (body, encoded) = match std::str::from_utf8(body) {
        Ok("") => (serde_json::Value::Null, false),
        Ok(text) if !text.contains('\0') => (text.into(), false),
        _ => (STANDARD.encode(body).into(), true),
    };
    serde_json::json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": named,
        "requestContext": {
            "accountId": "anonymous", "apiId": "abcdefghijklmnopqrstuvwxyz012345", "domainName": host,
            "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345", "requestId": "0190a6a0-0000-7000-8000-00000000c0de",
            "routeKey": "$default", "stage": "$default", "time": "01/Jun/2026:12:00:00 +0000", "timeEpoch": 1_780_315_200_000_i64,
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "198.51.100.7", "userAgent": "bed" },
        },
        "body": body, "isBase64Encoded": encoded,
    })
}
