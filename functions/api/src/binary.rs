//! `/bin/*`: the CLI and the agent for every platform, from a directory. The ETag is the file's SHA-1 in hexadecimal: IDE plugins
//! compare it with the binary they have.

use crate::{
    Shared,
    answer::{self, Raw},
    body::Segment,
    error::ApiError,
};
use axum::{body::Body, extract::State, response::IntoResponse};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha1::{Digest, Sha1};
use std::{
    collections::HashMap,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};
use tokio_util::io::ReaderStream;

/// The bytes of a file that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// How many files' hashes are kept.
const ETAGS_MAX: usize = 256;

/// A file as it is now: path, length, time of change.
type Seen = (PathBuf, u64, Option<SystemTime>);

/// Hashes of files that did not change since.
#[derive(Debug, Default)]
pub(crate) struct Etags(Mutex<HashMap<Seen, String>>);

/// A program of ours for one platform.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    product: &'static str,
    platform: String,
    suffix: &'static str,
}

impl Program {
    /// Reads `berth-linux-amd64`, `berth-agent-darwin-arm64`, `coder-windows-amd64.exe`; nothing else is a name.
    fn parse(name: &str) -> Option<Self> {
        let (stem, suffix) = name.strip_suffix(".exe").map_or((name, ""), |stem| (stem, ".exe"));
        let mut parts = stem.rsplitn(3, '-');
        let (arch, os, product) = (parts.next()?, parts.next()?, parts.next()?);
        let product = match product {
            "berth" | "coder" => "berth",
            "berth-agent" => "berth-agent",
            _ => return None,
        };
        let known = matches!(os, "linux" | "darwin" | "windows") && matches!(arch, "amd64" | "arm64" | "armv7");
        let suffixed = (os == "windows") == (suffix == ".exe");
        (known && suffixed).then(|| Self { product, platform: format!("{os}-{arch}"), suffix })
    }

    /// The file names it may have, best first: a directory of freshly built binaries has those of its own platform by bare name.
    fn files(&self) -> Vec<String> {
        let mut files = vec![format!("{}-{}{}", self.product, self.platform, self.suffix)];
        if self.platform == native_platform() {
            files.push(format!("{}{}", self.product, self.suffix));
        }
        files
    }
}

fn native_platform() -> String {
    let os = if std::env::consts::OS == "macos" { "darwin" } else { std::env::consts::OS };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "armv7",
        other => other,
    };
    format!("{os}-{arch}")
}

/// Serves a program, or 304 when the client has it.
pub(crate) async fn serve(
    State(api): State<Shared>,
    Segment(name): Segment<String>,
    headers: HeaderMap,
) -> Result<Raw<answer::Program>, ApiError> {
    let none = || ApiError::new(StatusCode::NOT_FOUND, "there is no such binary here");
    let program = Program::parse(&name).ok_or_else(none)?;
    let directory = api.app.config.binaries.clone().ok_or_else(none)?;
    let opened = tokio::task::spawn_blocking({
        let api = Shared::clone(&api);
        move || open(&api.binaries, &directory, &program)
    });
    let opened = opened.await.map_err(|error| ApiError::internal("read the binary", &error))?;
    let (file, length, etag) = opened.map_err(|error| ApiError::internal("read the binary", &error))?.ok_or_else(none)?;
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| names(tags, &etag));
    let quoted = HeaderValue::from_str(&format!("\"{etag}\"")).map_err(|error| ApiError::internal("name the binary", &error))?;
    let cached = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if known {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, quoted), cached]).into_response().into());
    }
    let body = Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK_BYTES));
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(([(header::ETAG, quoted), cached, kind, (header::CONTENT_LENGTH, length.into())], body).into_response().into())
}

/// Whether an `If-None-Match` names the tag (RFC 9110, section 13.1.2).
pub(crate) fn names(tags: &str, etag: &str) -> bool {
    tags.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"')).any(|tag| tag == "*" || tag == etag)
}

/// The file, its length and its hash, all of one open file: replacing it meanwhile mixes nothing.
fn open(etags: &Etags, directory: &Path, program: &Program) -> io::Result<Option<(std::fs::File, u64, String)>> {
    for name in program.files() {
        let path = directory.join(name);
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            continue;
        }
        let etag = etags.of(&mut file, (path, metadata.len(), metadata.modified().ok()))?;
        return Ok(Some((file, metadata.len(), etag)));
    }
    Ok(None)
}

impl Etags {
    fn of(&self, file: &mut std::fs::File, key: Seen) -> io::Result<String> {
        if let Some(etag) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(etag.clone());
        }
        let (mut hash, mut buffer) = (Sha1::new(), vec![0; CHUNK_BYTES]);
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            hash.update(buffer.get(..length).unwrap_or_default());
        }
        file.rewind()?;
        let etag = hex::encode(hash.finalize());
        let mut etags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if etags.len() >= ETAGS_MAX {
            etags.clear();
        }
        etags.insert(key, etag.clone());
        Ok(etag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_programs_have_names() {
        for good in ["berth-linux-amd64", "coder-darwin-arm64", "berth-agent-linux-armv7", "coder-windows-amd64.exe"] {
            assert!(Program::parse(good).is_some(), "{good}");
        }
        assert_eq!(Program::parse("coder-linux-amd64").unwrap().files()[0], "berth-linux-amd64");
        for bad in [
            "berth-linux-amd64.asc",
            "berth-local-linux-amd64",
            "../berth-linux-amd64",
            "berth-windows-amd64",
            "berth",
            "a/berth-linux-amd64",
            "berth-linux-amd64.exe",
            "-linux-amd64",
        ] {
            assert!(Program::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_etag_is_found_in_a_list() {
        assert!(names("\"a\", W/\"b\"", "b"));
        assert!(names("*", "b"));
        assert!(!names("\"a\"", "b"));
    }
}
