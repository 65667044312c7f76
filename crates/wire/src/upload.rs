//! Large bodies, where the API runs as a function: a request and an answer of AWS Lambda hold at most 6 MB, and a body that is not
//! text a third less. What is larger travels by a signed address of the bucket.
//!
//! | route (all under `/api/v2`) | body -> answer |
//! |---|---|
//! | `POST uploads` | [`CreateUpload`] -> 201 [`Upload`]; 204 where a body of any size goes with its request |
//!
//! Up: ask for a place, `PUT` the bytes there, and send the request without a body but with the header [`UPLOAD_HEADER`], whose
//! value is the SHA-256 of the bytes. An upload is for the person or the job that asked, and is kept for a day.
//!
//! Down: any `GET` may be answered with 307 to an address that needs no token and is good for minutes. Such an answer has the
//! header [`ELSEWHERE_HEADER`], by which our clients know it from the redirects of proxies, which they do not follow.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The header of a request whose body was uploaded: its SHA-256, 64 hexadecimal digits.
pub const UPLOAD_HEADER: &str = "x-berth-upload";
/// The header of an answer whose body is at its `Location`.
pub const ELSEWHERE_HEADER: &str = "x-berth-elsewhere";
/// The largest body that goes with its request or answer, in bytes, where there is another way.
pub const INLINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// `POST /api/v2/uploads`: where do I put a large body?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateUpload {
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// There, by `PUT`, with these headers and no token. The address is good for these bytes only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    /// Where. Whoever has it can put these bytes there, for minutes.
    pub url: String,
    /// Headers without which it is refused.
    pub headers: BTreeMap<String, String>,
}
