//! A bad link: two network namespaces joined by a wire that delays, loses, and carries only so much.
//!
//! ```text
//! near (10.201.0.1) ── tun ── reader ── queue, loss, delay ── writer ── tun ── far (10.201.0.2)     and the same the other way
//! ```
//!
//! The kernel here has no `netem`, so whole IP packets pass through this process. Which packets are lost depends on a seed and on how many
//! went before, so both rivals lose the same ones of theirs.

use crate::run::{Outcome, run};
use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The far side's address.
pub(crate) const FAR: &str = "10.201.0.2";
const NEAR: &str = "10.201.0.1";
const PACKET_BYTES_MAX: usize = 2048;
const CONGESTION_ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// How bad it is; the same in both directions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    /// One way.
    pub(crate) delay: Duration,
    /// Of a million packets, this many are lost.
    pub(crate) lost_of_million: u64,
    pub(crate) bytes_per_second: u64,
    /// What waits beyond this is lost.
    pub(crate) queue: Duration,
}

/// An airplane: 300 ms there and back, 3 % lost each way, 50 Mbit/s.
pub(crate) const AIRPLANE: Quality = Quality {
    delay: Duration::from_millis(150),
    lost_of_million: 30_000,
    bytes_per_second: 50_000_000 / 8,
    queue: Duration::from_millis(200),
};

/// A good line from a home to a region: 20 ms there and back, nothing lost but what overflows, 200 Mbit/s.
pub(crate) const HOME: Quality = Quality {
    delay: Duration::from_millis(10),
    lost_of_million: 0,
    bytes_per_second: 200_000_000 / 8,
    queue: Duration::from_millis(50),
};

/// Which end of the link.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Near,
    Far,
}

/// Both namespaces; removed on drop.
#[derive(Debug)]
pub(crate) struct Link {
    id: u32,
    seed: Arc<AtomicU64>,
    packets: [Arc<AtomicU64>; 2],
}

impl Link {
    /// Needs to be root, as whoever makes namespaces does.
    pub(crate) fn new(quality: Quality) -> Outcome<Self> {
        let link = Self { id: std::process::id(), seed: Arc::default(), packets: [Arc::default(), Arc::default()] };
        let near = link.end(Side::Near, NEAR)?;
        let far = link.end(Side::Far, FAR)?;
        link.use_cubic()?;
        let [up, down] = &link.packets;
        wire(&near, &far, Wire { quality, seed: Arc::clone(&link.seed), packets: Arc::clone(up), way: 0 });
        wire(&far, &near, Wire { quality, seed: Arc::clone(&link.seed), packets: Arc::clone(down), way: 1 });
        Ok(link)
    }

    /// A program that runs at one side.
    pub(crate) fn command(&self, side: Side, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(side)]).arg(program);
        command
    }

    /// From here on the packets numbered from 0 are lost as `seed` says.
    pub(crate) fn reseed(&self, seed: u64) {
        self.seed.store(seed, Ordering::Relaxed);
        for packets in &self.packets {
            packets.store(0, Ordering::Relaxed);
        }
    }

    /// TCP as Linux comes: this machine may have been set up for BBR, which those of most people are not. A namespace may only choose what the
    /// machine allows to all, so that is widened for a moment.
    fn use_cubic(&self) -> Outcome {
        let allowed = std::fs::read_to_string(CONGESTION_ALLOWED).map_err(|error| error.to_string())?;
        let allow = |list: &str| std::fs::write(CONGESTION_ALLOWED, list).map_err(|error| format!("cannot allow cubic: {error}"));
        allow(&format!("{} cubic", allowed.trim()))?;
        let choose = |side| run(self.command(side, "sh").args(["-c", "echo cubic >/proc/sys/net/ipv4/tcp_congestion_control"]));
        let chosen = choose(Side::Near).and_then(|()| choose(Side::Far));
        allow(&allowed)?;
        chosen
    }

    fn namespace(&self, side: Side) -> String {
        let name = match side {
            Side::Near => "near",
            Side::Far => "far",
        };
        format!("berth-{name}-{}", self.id)
    }

    fn end(&self, side: Side, address: &str) -> Outcome<Arc<SyncDevice>> {
        let space = self.namespace(side);
        let device = format!("b{}{}", if matches!(side, Side::Near) { "n" } else { "f" }, self.id);
        ip(&["netns", "add", &space])?;
        // Made here, used there: a device that moves keeps its owner.
        let opened = DeviceBuilder::new().name(&device).mtu(1500).enable(false).build_sync();
        let opened = opened.map_err(|error| format!("cannot make a network device: {error}\nhint: this benchmark runs as root"))?;
        ip(&["link", "set", &device, "netns", &space])?;
        ip(&["-n", &space, "addr", "add", &format!("{address}/24"), "dev", &device])?;
        ip(&["-n", &space, "link", "set", &device, "up"])?;
        ip(&["-n", &space, "link", "set", "lo", "up"])?;
        Ok(Arc::new(opened))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for side in [Side::Near, Side::Far] {
            // The device goes with it, and with the device the threads that read it.
            let mut command = Command::new("ip");
            let _gone = command.args(["netns", "delete", &self.namespace(side)]).stderr(Stdio::null()).status();
        }
    }
}

fn ip(arguments: &[&str]) -> Outcome {
    run(Command::new("ip").args(arguments))
}

/// One direction.
struct Wire {
    quality: Quality,
    seed: Arc<AtomicU64>,
    packets: Arc<AtomicU64>,
    way: u64,
}

impl Wire {
    fn loses(&self) -> bool {
        let number = self.packets.fetch_add(1, Ordering::Relaxed);
        mix(self.seed.load(Ordering::Relaxed), self.way << 62 | number) % 1_000_000 < self.quality.lost_of_million
    }

    /// How long `bytes` occupy the wire.
    fn occupies(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.quality.bytes_per_second)
    }
}

/// SplitMix64 over both numbers.
const fn mix(seed: u64, number: u64) -> u64 {
    let mut value = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Carries packets from one device to the other until a device is gone.
fn wire(from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, wire: Wire) {
    let (from, to) = (Arc::clone(from), Arc::clone(to));
    let (departing, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut packet = [0; PACKET_BYTES_MAX];
        let mut free = Instant::now();
        while let Ok(length) = from.recv(&mut packet) {
            let now = Instant::now();
            let start = free.max(now);
            // IPv6 talks to itself on a new device; only what is asked for counts.
            let is_ipv4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
            if !is_ipv4 || wire.loses() || start - now > wire.quality.queue {
                continue;
            }
            free = start + wire.occupies(length);
            let packet = packet.get(..length).unwrap_or_default().to_vec();
            if departing.send((free + wire.quality.delay, packet)).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, packet) in arriving {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.send(&packet).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_hundred_are_lost_and_the_same_ones_each_time() {
        let wire = Wire { quality: AIRPLANE, seed: Arc::new(AtomicU64::new(7)), packets: Arc::default(), way: 1 };
        let lost: Vec<bool> = (0..100_000).map(|_| wire.loses()).collect();
        let count = lost.iter().filter(|lost| **lost).count();
        assert!((2_800..3_200).contains(&count), "{count}");
        wire.packets.store(0, Ordering::Relaxed);
        assert_eq!((0..100_000).map(|_| wire.loses()).collect::<Vec<_>>(), lost);
    }

    #[test]
    fn a_packet_occupies_the_wire_for_as_long_as_the_rate_says() {
        let wire = Wire { quality: AIRPLANE, seed: Arc::default(), packets: Arc::default(), way: 0 };
        assert_eq!(wire.occupies(1500), Duration::from_micros(240));
    }
}
