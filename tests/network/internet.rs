//! A small internet of network namespaces: machines on cables that meet at one router, some of them behind a NAT of their own.
//!
//! ```text
//! 198.51.1.2 server ──┐
//! 198.51.2.2 client ──┤ middle: counts and filters what passes
//! 198.51.3.2 router ──┘
//!      └── 10.3.0.2 a machine behind NAT
//! ```

use crate::harness::{finish, has};
use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The router in the middle and the machines around it. All of it goes with this value, with every process that still runs in it.
pub(crate) struct Internet {
    name: String,
    machines: AtomicU32,
}

/// A machine.
pub(crate) struct Machine {
    /// Its network namespace.
    pub(crate) namespace: String,
    /// Its address as others see it, unless it changed.
    pub(crate) address: String,
    number: u32,
    middle: String,
}

/// How a router translates addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Nat {
    /// It keeps the port where it can, as most at home do.
    PortPreserving,
    /// It takes another port for each destination, as those of clouds and large networks do.
    Random,
}

/// What has passed in the middle, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    pub(crate) udp: u64,
    pub(crate) tcp: u64,
}

impl Internet {
    /// `None`, said loudly, where namespaces cannot be made.
    pub(crate) fn lay() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() || !has("ip") || !has("nft") {
            eprintln!("SKIPPED: networks are tried in namespaces, which takes root, iproute2 and nftables");
            return None;
        }
        let name = format!("b{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let internet = Self { name, machines: AtomicU32::new(0) };
        internet.add("middle");
        let rules = "
            table ip middle {
                counter by_udp {}
                counter by_tcp {}
                chain count {
                    type filter hook forward priority -1; policy accept;
                    meta l4proto udp counter name by_udp
                    meta l4proto tcp counter name by_tcp
                }
            }";
        nft(&internet.namespace("middle"), rules);
        Some(internet)
    }

    /// A machine with an address of its own.
    pub(crate) fn machine(&self, name: &str) -> Machine {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        let (namespace, middle) = (self.add(name), self.namespace("middle"));
        cable(
            (&middle, &format!("to{number}"), &format!("198.51.{number}.1")),
            (&namespace, "eth0", &format!("198.51.{number}.2")),
        );
        nft(&middle, &format!("add chain ip middle wall{number} {{ type filter hook forward priority 0; policy accept; }}"));
        Machine { namespace, address: format!("198.51.{number}.2"), number, middle }
    }

    /// A machine behind a router that lets nobody in who was not called.
    pub(crate) fn behind(&self, name: &str, nat: Nat) -> Machine {
        let router = self.machine(&format!("{name}-router"));
        let (namespace, number) = (self.add(name), router.number);
        cable((&router.namespace, "inside", &format!("10.{number}.0.1")), (&namespace, "eth0", &format!("10.{number}.0.2")));
        let how = match nat {
            Nat::PortPreserving => "masquerade",
            Nat::Random => "masquerade fully-random",
        };
        let rules = format!(
            "table ip nat {{
                chain out {{ type nat hook postrouting priority 100; oifname \"eth0\" {how}; }}
                chain wall {{
                    type filter hook forward priority 0; policy accept;
                    iifname \"eth0\" ct state new drop
                }}
                chain own {{ type filter hook input priority 0; policy accept; iifname \"eth0\" ct state new drop; }}
            }}"
        );
        nft(&router.namespace, &rules);
        Machine { namespace, ..router }
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    fn add(&self, name: &str) -> String {
        let namespace = self.namespace(name);
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        run(within(&namespace, "sysctl").args(["-qw", "net.ipv4.ip_forward=1"]));
        namespace
    }

    /// What has passed so far.
    pub(crate) fn passed(&self) -> Passed {
        let answer = run(within(&self.namespace("middle"), "nft").args(["-j", "list", "counters"]));
        let listed: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let bytes = |name: &str| {
            let mut counters = listed["nftables"].as_array().unwrap().iter().map(|one| &one["counter"]);
            counters.find(|counter| counter["name"] == name).unwrap()["bytes"].as_u64().unwrap()
        };
        Passed { udp: bytes("by_udp"), tcp: bytes("by_tcp") }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        let listed = finish(Command::new("ip").args(["netns", "list"])).stdout;
        let ours = listed
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| name.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('-')));
        for namespace in ours {
            for pid in finish(Command::new("ip").args(["netns", "pids", namespace])).stdout.split_whitespace() {
                let _gone =
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse().unwrap()), nix::sys::signal::Signal::SIGKILL);
            }
            finish(Command::new("ip").args(["netns", "del", namespace]));
        }
    }
}

impl Machine {
    /// A program on this machine, with nothing to read.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = within(&self.namespace, program);
        command.stdin(Stdio::null());
        command
    }

    /// From now on this machine may only call this port of that machine; whatever else it sends or is sent vanishes without a word.
    pub(crate) fn allow_only(&self, other: &Machine, port: u16) {
        self.wall(&[
            format!("ip saddr {} ip daddr {} tcp dport {port} accept", self.network(), other.address),
            format!("ip saddr {} ip daddr {} tcp sport {port} accept", other.address, self.network()),
            format!("ip saddr {} drop", self.network()),
            format!("ip daddr {} drop", self.network()),
        ]);
    }

    /// No UDP passes to or from this machine from now on, or it does again.
    pub(crate) fn block_udp(&self, blocked: bool) {
        let rules = ["saddr", "daddr"].map(|side| format!("ip {side} {} meta l4proto udp drop", self.network()));
        self.wall(if blocked { &rules } else { &[] });
    }

    /// The rules of the middle for this machine.
    fn wall(&self, rules: &[String]) {
        let chain = format!("ip middle wall{}", self.number);
        let add = rules.iter().map(|rule| format!("add rule {chain} {rule}\n"));
        nft(&self.middle, &format!("flush chain {chain}\n{}", add.collect::<String>()));
    }

    fn network(&self) -> String {
        format!("198.51.{}.0/24", self.number)
    }

    /// The machine goes to another network: its address changes, and what it had open is not told.
    pub(crate) fn change_address(&self) {
        let namespace = self.namespace.as_str();
        ip(&["-n", namespace, "addr", "flush", "dev", "eth0"]);
        ip(&["-n", namespace, "addr", "add", &format!("198.51.{}.7/24", self.number), "dev", "eth0"]);
        self.route();
    }

    /// The cable is pulled, or put back.
    pub(crate) fn plug(&self, in_place: bool) {
        ip(&["-n", &self.namespace, "link", "set", "eth0", if in_place { "up" } else { "down" }]);
        if in_place {
            self.route();
        }
    }

    fn route(&self) {
        ip(&["-n", &self.namespace, "route", "replace", "default", "via", &format!("198.51.{}.1", self.number)]);
    }

    /// Counts the UDP packets that leave this machine from now on; see [`Machine::udp_sent`].
    pub(crate) fn count_udp(&self) {
        let rules = "table inet own {
            counter sent {}
            chain out { type filter hook output priority 0; policy accept; oifname != \"lo\" meta l4proto udp counter name sent; }
        }";
        nft(&self.namespace, rules);
    }

    /// How many UDP packets have left.
    pub(crate) fn udp_sent(&self) -> u64 {
        let answer = run(within(&self.namespace, "nft").args(["-j", "list", "counters"]));
        let listed: serde_json::Value = serde_json::from_str(&answer).unwrap();
        listed["nftables"].as_array().unwrap().iter().find_map(|one| one["counter"]["packets"].as_u64()).unwrap()
    }
}

fn cable((one, near, near_address): (&str, &str, &str), (other, far, far_address): (&str, &str, &str)) {
    ip(&["link", "add", near, "netns", one, "type", "veth", "peer", "name", far, "netns", other]);
    for (namespace, device, address) in [(one, near, near_address), (other, far, far_address)] {
        ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", device]);
        ip(&["-n", namespace, "link", "set", device, "up"]);
    }
    ip(&["-n", other, "route", "add", "default", "via", near_address]);
}

fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn nft(namespace: &str, rules: &str) {
    let mut command = within(namespace, "nft");
    let mut nft = command.args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut nft.stdin.take().unwrap(), rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft does not take these rules:\n{rules}");
}

fn run(command: &mut Command) -> String {
    let answer = finish(command);
    assert_eq!(answer.code, Some(0), "{command:?}: {answer:?}");
    answer.stdout
}
