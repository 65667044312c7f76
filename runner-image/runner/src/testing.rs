//! What the unit tests of this package share.

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, routing::get};
use sha2::{Digest, Sha256};
use tokio_util::task::AbortOnDropHandle;

use crate::{Config, task::owned};

/// A configuration that names no API and finds nothing on PATH but the system's own tools.
pub(crate) fn config(home: &Path) -> Config {
    let id = "0190a6a0-0000-7000-8000-000000000001";
    let variables = [
        ("BERTH_API_URL", "http://127.0.0.1:1".to_owned()),
        ("BERTH_JOB_ID", id.to_owned()),
        ("BERTH_JOB_TOKEN", "token".to_owned()),
        ("BERTH_TASK_ID", id.to_owned()),
        ("HOME", home.display().to_string()),
        ("PATH", "/usr/bin:/bin".to_owned()),
    ];
    Config::from_variables(variables.map(|(name, value)| (name.into(), value.into())), PathBuf::new()).unwrap()
}

/// Writes an executable file. Renamed into place, so that no other test's child can hold it open for writing.
pub(crate) fn executable(directory: &Path, name: &str, text: &str) -> PathBuf {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", text])
        .arg(&new)
        .status()
        .unwrap();
    assert!(status.success());
    fs::rename(&new, &path).unwrap();
    path
}

/// A tar with these files.
pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A release site on loopback.
pub(crate) struct Site {
    pub(crate) url: String,
    archives: Arc<AtomicUsize>,
    _server: AbortOnDropHandle<()>,
}

impl Site {
    /// How often the archive was fetched.
    pub(crate) fn archives_served(&self) -> usize {
        self.archives.load(Ordering::SeqCst)
    }
}

/// Serves a release as the public site does: a zip with one executable `terraform`, and the list of checksums.
pub(crate) async fn release_site(version: &str, archive: &str, executable: &str, sum: Option<String>) -> Site {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("LICENSE.txt", zip::write::SimpleFileOptions::default()).unwrap();
    zip.start_file("terraform", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(executable.as_bytes()).unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    let sum = sum.unwrap_or_else(|| hex::encode(Sha256::digest(&bytes)));
    let sums = format!("{}  terraform_other.zip\n{sum}  {archive}\n", "1".repeat(64));
    let archives = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&archives);
    let zip_route = get(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let bytes = bytes.clone();
        async move { bytes }
    });
    let router = Router::new()
        .route(&format!("/terraform/{version}/{archive}"), zip_route)
        .route(&format!("/terraform/{version}/terraform_{version}_SHA256SUMS"), get(move || async move { sums }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = owned(async move { axum::serve(listener, router).await.unwrap() });
    Site { url, archives, _server: server }
}
