//! The same stories on moto, by the way that a deployment goes: HTTP, signatures, S3.

use super::bed::{BED, on_aws};
use bytes::Bytes;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Stories that are not told there, and why. Where moto differs from DynamoDB, `tests/aws.py` corrects it; what it still gets wrong (it
/// takes no notice of `ClientRequestToken`, counts no capacity for an index and never removes a row whose time has passed) no story here
/// can meet: no answer is lost on loopback, and units and times are told on the embedded table.
const NOT_TOLD: &[(&str, &str)] = &[
    ("one::moto::", "it is this one"),
    ("one::durable::", "they are of a directory"),
    ("a_thousand_stopped_workspaces", "it takes minutes there, and is about units"),
];

/// A moto server that ends with this value.
pub(crate) struct Moto {
    server: Child,
    pub(crate) url: String,
}

impl Moto {
    /// Starts one. `None`, said loudly, when moto is not installed.
    #[allow(clippy::print_stderr)]
    pub(crate) fn start() -> Option<Self> {
        let Some(python) = python() else {
            eprintln!("SKIPPED: moto is not installed, so no story of the store runs on AWS's API; `cargo xtask test` installs it");
            return None;
        };
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/aws.py");
        let mut command = Command::new(python);
        command.arg(program).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "moto did not start");
        Some(Self { server, url: url.trim().to_owned() })
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _reaped = self.server.wait();
    }
}

/// The Python that has moto: `cargo xtask test` keeps it below the target directory, beside where this program is.
fn python() -> Option<PathBuf> {
    let program = std::env::current_exe().unwrap();
    let moto = program.ancestors().map(|above| above.join("moto")).find(|moto| moto.is_dir())?;
    let mut environments: Vec<_> = std::fs::read_dir(moto).ok()?.flatten().map(|entry| entry.path()).collect();
    environments.retain(|environment| environment.join("complete").is_file());
    environments.sort();
    Some(environments.pop()?.join("bin/python"))
}

#[test]
fn the_same_stories_hold_on_moto() {
    let Some(moto) = Moto::start() else { return };
    let mut suite = Command::new(std::env::current_exe().unwrap());
    suite.env(BED, &moto.url).args(["--test-threads", "2"]);
    suite.args(NOT_TOLD.iter().flat_map(|(story, _)| ["--skip", story]));
    let output = suite.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = |line: &str| {
        let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
        Some((name.to_owned(), outcome.to_owned()))
    };
    let outcomes: Vec<_> = text.lines().filter_map(outcome).collect();
    assert!(outcomes.len() > 50, "the suite did not run: {text}");
    let failed: BTreeSet<_> = outcomes.iter().filter(|(_, outcome)| outcome != "ok").map(|(name, _)| name.as_str()).collect();
    assert!(failed.is_empty(), "{failed:?} do not hold on moto:\n{text}");
}

#[tokio::test]
async fn a_bucket_keeps_blobs_as_a_directory_does() {
    let Some(moto) = Moto::start() else { return };
    let store = on_aws(&moto.url).await;
    let blobs = store.blobs();
    assert_eq!(blobs.get("state/a/1").await.unwrap(), None);
    blobs.put("state/a/1", Bytes::from_static(b"one")).await.unwrap();
    blobs.put("state/a/1", Bytes::from_static(b"two")).await.unwrap();
    assert_eq!(blobs.get("state/a/1").await.unwrap().unwrap(), "two");
    assert!(!blobs.put_new("state/a/1", Bytes::from_static(b"three")).await.unwrap());
    assert_eq!(blobs.get("state/a/1").await.unwrap().unwrap(), "two");
    blobs.delete("state/a/1").await.unwrap();
    blobs.delete("state/a/1").await.unwrap();
    assert_eq!(blobs.get("state/a/1").await.unwrap(), None);
    assert!(blobs.put_new("state/a/1", Bytes::from_static(b"three")).await.unwrap());
    assert!(blobs.get("a/../b").await.is_err());

    let keys = store.keys().await.unwrap();
    assert_eq!(store.keys().await.unwrap(), keys, "made once");
}

#[tokio::test]
async fn an_address_is_signed_for_these_bytes_and_for_minutes() {
    let Some(moto) = Moto::start() else { return };
    let blobs = on_aws(&moto.url).await.blobs().clone();
    let place = blobs.place("uploads/ada/1", 5, [7; 32]).await.unwrap().unwrap();
    let parameter = |url: &str, name: &str| {
        let query = url.split_once('?').unwrap().1.to_owned();
        query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    let signed = parameter(&place.url, "X-Amz-SignedHeaders").unwrap();
    for header in ["content-length", "host", "x-amz-checksum-sha256"] {
        assert!(signed.split("%3B").any(|one| one == header), "{header} is signed: {signed}");
    }
    assert_eq!(parameter(&place.url, "X-Amz-Expires").as_deref(), Some("900"));
    assert_eq!(
        place.headers.get("x-amz-checksum-sha256").map(String::as_str),
        Some("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
    );
    let address = blobs.address("uploads/ada/1", "application/json").await.unwrap().unwrap();
    assert_eq!(parameter(&address, "X-Amz-Expires").as_deref(), Some("300"));
}
