//! A transfer that goes on while networks change, and must end as if they had not.

use crate::harness::{Berth, PATIENCE, eventually};
use std::{
    io::{Read, Write},
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How much is sent at a time, and how long until the next: 4 MB in a second, which leaves the machine to others.
const PIECE_BYTES: usize = 64 * 1024;
const PACE: Duration = Duration::from_millis(16);
/// How much has to pass by one way, more than by the other, to say that it goes there.
const CLEAR_BYTES: u64 = 2_000_000;

/// Bytes to `cat` in the workspace and back, by stock `ssh`; each is compared with what it must be.
pub(crate) struct Transfer {
    ssh: Child,
    ends: Arc<AtomicBool>,
    back: Arc<AtomicU64>,
    slowest: Arc<Mutex<Duration>>,
    writer: JoinHandle<u64>,
    reader: JoinHandle<()>,
}

impl Transfer {
    /// Begins one to `dev`, with these flags of `berth ssh`.
    pub(crate) fn start(berth: &Berth, flags: &str) -> Self {
        let proxy = format!("ProxyCommand=berth ssh --stdio {flags} dev");
        let mut ssh = berth.program("ssh");
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        ssh.args(["-o", &proxy, "me@dev", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut ssh = ssh.spawn().unwrap();
        let (mut stdin, mut stdout) = (ssh.stdin.take().unwrap(), ssh.stdout.take().unwrap());
        let (ends, back, slowest) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<Mutex<Duration>>::default());
        let ended = Arc::clone(&ends);
        let writer = std::thread::spawn(move || {
            let (mut number, mut sent) = (Numbers::default(), 0);
            while !ended.load(Ordering::Relaxed) {
                let mut piece = vec![0; PIECE_BYTES];
                number.fill(&mut piece);
                stdin.write_all(&piece).unwrap();
                sent += PIECE_BYTES as u64;
                std::thread::sleep(PACE);
            }
            sent
        });
        let (counted, gap) = (Arc::clone(&back), Arc::clone(&slowest));
        let reader = std::thread::spawn(move || {
            let (mut number, mut wanted, mut piece) = (Numbers::default(), vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
            let mut last = Instant::now();
            loop {
                let count = stdout.read(&mut piece).unwrap();
                if count == 0 {
                    return;
                }
                number.fill(&mut wanted[..count]);
                let before = counted.fetch_add(count as u64, Ordering::Relaxed);
                assert!(wanted[..count] == piece[..count], "another byte came back after {before} right ones");
                let mut slowest = gap.lock().unwrap();
                *slowest = last.elapsed().max(*slowest);
                last = Instant::now();
            }
        });
        Self { ssh, ends, back, slowest, writer, reader }
    }

    /// Waits until this much more has come back; gives the longest time that nothing came since the last call.
    pub(crate) fn goes_on(&self, what: &str) -> Duration {
        let before = self.back.load(Ordering::Relaxed);
        eventually(&format!("the transfer goes on {what}"), || {
            assert!(!self.reader.is_finished() && !self.writer.is_finished(), "the transfer ended {what}");
            (self.back.load(Ordering::Relaxed) > before + CLEAR_BYTES).then_some(())
        });
        let slowest = std::mem::take(&mut *self.slowest.lock().unwrap());
        eprintln!("{what}: the longest silence was {slowest:?}");
        slowest
    }

    /// Waits until it goes by UDP, or by TCP, and by nothing else.
    pub(crate) fn goes(&self, internet: &super::internet::Internet, udp: bool, what: &str) -> Duration {
        let started = Instant::now();
        loop {
            let before = internet.passed();
            let gap = self.goes_on(what);
            let (by_udp, by_tcp) = (internet.passed().udp - before.udp, internet.passed().tcp - before.tcp);
            let (this, other) = if udp { (by_udp, by_tcp) } else { (by_tcp, by_udp) };
            if this >= CLEAR_BYTES && other < CLEAR_BYTES / 20 {
                return gap;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: {by_udp} bytes went by UDP and {by_tcp} by TCP");
        }
    }

    /// Ends it in order: everything that was sent has come back.
    pub(crate) fn end(mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let sent = self.writer.join().unwrap();
        let code = eventually("the end of ssh", || self.ssh.try_wait().unwrap());
        self.reader.join().unwrap();
        assert_eq!((code.code(), self.back.load(Ordering::Relaxed)), (Some(0), sent));
        eprintln!("{} MB went and came back, each byte as it was", sent / 1_000_000);
    }
}

/// Bytes that repeat after 2^64: whatever is lost, doubled or exchanged shows.
#[derive(Default)]
struct Numbers {
    next: u64,
    rest: Vec<u8>,
}

impl Numbers {
    fn fill(&mut self, mut place: &mut [u8]) {
        while !place.is_empty() {
            if self.rest.is_empty() {
                self.rest = self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().to_vec();
                self.next += 1;
            }
            let count = self.rest.len().min(place.len());
            place[..count].copy_from_slice(&self.rest[..count]);
            self.rest.drain(..count);
            place = &mut place[count..];
        }
    }
}
