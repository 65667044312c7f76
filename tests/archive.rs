//! Hostile archives: each of more than two hundred is refused within a second and 64 MiB, by the API when it is uploaded, and by the
//! runner, which does not rely on that; nothing is ever written outside the directory it was meant for.

mod corpus;

use crate::harness::{Berth, finish};
use corpus::{Hostile, corpus};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// How long refusing one archive may take a process, as the kernel counts its work: others share the machine.
const SECONDS_MAX: f64 = 1.0;
/// How much memory it may take beyond what the process and the archive itself have, in KiB.
const MEMORY_KIB_MAX: u64 = 64 * 1024;

/// What a process holds at the most since [`forget_peak`], and now, in KiB.
fn memory(process: &str) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap_or_default()
    };
    (field("VmHWM:"), field("VmRSS:"))
}

/// Makes the kernel count the peak anew (proc(5), clear_refs).
fn forget_peak(process: &str) {
    fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
}

/// The work of a process so far, in seconds: fields 14 and 15 of `/proc/<pid>/stat`, in hundredths.
fn seconds(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

#[test]
fn the_corpus_has_two_hundred_archives_that_differ() {
    let corpus = corpus();
    let mut names = BTreeSet::new();
    let twice: Vec<_> = corpus.iter().map(|hostile| &hostile.name).filter(|name| !names.insert(*name)).collect();
    let contents: BTreeSet<_> = corpus.iter().map(|hostile| &hostile.bytes).collect();
    assert!(twice.is_empty(), "each has a name of its own: {twice:?}");
    assert_eq!(contents.len(), corpus.len(), "and is another");
    assert!(corpus.len() >= 200, "{}", corpus.len());
}

#[tokio::test]
async fn every_hostile_archive_is_refused_at_once_and_in_little_memory() {
    let berth = Berth::signed_in();
    let client = berth.client();
    let server = berth.server_pid().to_string();
    let (mut wrong, mut slowest, mut largest) = (Vec::new(), Duration::ZERO, 0);
    for Hostile { name, bytes, .. } in corpus() {
        let length = bytes.len() as u64;
        forget_peak(&server);
        let (begun, work, (_, before)) = (Instant::now(), seconds(&server), memory(&server));
        let answer = client.upload_file(std::io::Cursor::new(bytes), length, |_| ()).await;
        let (work, took) = (seconds(&server) - work, begun.elapsed());
        let grown = memory(&server).0.saturating_sub(before);
        (slowest, largest) = (slowest.max(took), largest.max(grown));
        match answer {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(error) if error.to_string().contains('\n') => wrong.push(format!("{name}: {error}")),
            Err(_) if work > SECONDS_MAX || grown > MEMORY_KIB_MAX => wrong.push(format!("{name}: {work} s, {grown} KiB")),
            Err(_) => {}
        }
    }
    eprintln!("the slowest took {slowest:?}, the largest {largest} KiB");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every path below a directory, and whether it is a plain file or directory.
fn tree(directory: &Path, found: &mut Vec<(String, bool)>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        found.push((entry.path().to_string_lossy().into_owned(), kind.is_file() || kind.is_dir()));
        if kind.is_dir() {
            tree(&entry.path(), found);
        }
    }
}

/// The runner's side, in a process of its own whose memory is looked at: a child of the next story.
#[test]
#[ignore = "the next story runs it in a process of its own"]
fn unpack_each_archive_of_the_corpus() {
    for Hostile { name, bytes, harms } in corpus() {
        let room = tempfile::tempdir().unwrap();
        let inside = room.path().join("inside");
        fs::create_dir(&inside).unwrap();
        forget_peak("self");
        let (work, (_, before)) = (seconds("self"), memory("self"));
        let refused = berth_runner::archive::unpack(&bytes, &inside).is_err();
        let (work, grown) = (seconds("self") - work, memory("self").0.saturating_sub(before));
        let mut found = Vec::new();
        tree(room.path(), &mut found);
        let outside = found.iter().filter(|(path, plain)| !plain || !Path::new(path).starts_with(&inside)).count();
        let line = json!({"name": name, "harms": harms, "refused": refused, "outside": outside, "seconds": work, "kib": grown});
        println!("archive {line}");
    }
}

#[test]
fn the_runner_refuses_what_would_do_harm_and_writes_nothing_outside() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = finish(child.args(["--exact", "archive::unpack_each_archive_of_the_corpus", "--ignored", "--nocapture"]));
    assert_eq!(child.code, Some(0), "{child:?}");
    let lines = child.stdout.lines().filter_map(|line| line.split_once("archive {").map(|(_, rest)| format!("{{{rest}")));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
    assert!(lines.len() >= 200, "{}", lines.len());
    let is_wrong = |line: &&Value| {
        let harm = line["harms"] == true && line["refused"] == false;
        let cost = line["seconds"].as_f64().unwrap() > SECONDS_MAX || line["kib"].as_u64().unwrap() > MEMORY_KIB_MAX;
        harm || line["outside"] != 0 || cost
    };
    let wrong: Vec<_> = lines.iter().filter(is_wrong).map(Value::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
