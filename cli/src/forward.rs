//! What is forwarded where, as people write it: `8080`, `9000-9002:8080-8082`, `0.0.0.0:53:5353`, `./docker.sock:/var/run/docker.sock`.

use crate::failure::{Failure, Outcome};
use berth_wire::tunnel::Target;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// How many forwards one range may stand for.
const RANGE_MAX: usize = 1024;

/// An end of a forward on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Here {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A UDP port.
    Udp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Udp(address) => write!(f, "udp {address}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A socket here that leads to one in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where is listened.
    pub here: Here,
    /// Where it leads.
    pub there: Target,
}

impl Forward {
    /// The other end in words.
    #[must_use]
    pub fn there(&self) -> String {
        match &self.there {
            Target::Tcp { port } => format!("port {port}"),
            Target::Udp { port } => format!("udp port {port}"),
            Target::Unix { path } => path.clone(),
            other => format!("{other:?}"),
        }
    }

    /// Reads `--tcp`: `[ADDRESS:][LOCAL:]REMOTE`, each a port or a range of ports.
    ///
    /// # Errors
    /// When it names no ports.
    pub fn tcp(text: &str) -> Outcome<Vec<Self>> {
        let pair = |(local, port)| Self { here: Here::Tcp(local), there: Target::Tcp { port } };
        Ok(ports("--tcp", text)?.into_iter().map(pair).collect())
    }

    /// Reads `--udp`, which is written as `--tcp`.
    ///
    /// # Errors
    /// When it names no ports.
    pub fn udp(text: &str) -> Outcome<Vec<Self>> {
        let pair = |(local, port)| Self { here: Here::Udp(local), there: Target::Udp { port } };
        Ok(ports("--udp", text)?.into_iter().map(pair).collect())
    }

    /// Reads `--unix`: `LOCAL:REMOTE`, of which one is the path of a socket, and the other one too, or a port.
    ///
    /// # Errors
    /// When it names no sockets.
    pub fn unix(text: &str) -> Outcome<Self> {
        let refused = || {
            Failure::usage(format!("--unix {text:?} names no sockets"))
                .hint("write ./here.sock:/run/there.sock, 2375:/var/run/docker.sock or ./pg.sock:5432")
        };
        let (local, remote) = text.rsplit_once(':').ok_or_else(refused)?;
        if local.is_empty() || remote.is_empty() || port(remote) == Some(0) {
            return Err(refused());
        }
        let here = address(local).map_or_else(|| Here::Unix(local.into()), Here::Tcp);
        let there = port(remote).map_or_else(|| Target::Unix { path: remote.to_owned() }, |port| Target::Tcp { port });
        if matches!((&here, &there), (Here::Tcp(_), Target::Tcp { .. })) {
            return Err(refused().hint(format!("two ports are --tcp {text}")));
        }
        Ok(Self { here, there })
    }
}

/// A socket in the workspace that leads to one here, as `ssh -R` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverse {
    /// Where is listened in the workspace.
    pub there: Bound,
    /// Where it leads.
    pub here: Reached,
}

/// Where is listened in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// A TCP port; 0 is any.
    Tcp {
        /// The address; `localhost` is loopback.
        address: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(String),
}

/// Where a reverse forward leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// A TCP port.
    Tcp {
        /// Resolved here.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Reverse {
    /// Reads `PORT`, `THERE:HERE`, `THERE:HOST:PORT` or `ADDRESS:PORT:HOST:PORT`, in which a path stands for a port or for address and port.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Outcome<Self> {
        let fields = fields(text);
        let words: Vec<&str> = fields.iter().map(String::as_str).collect();
        let read = match words.as_slice() {
            [there] => bound("localhost", there).zip(reached("localhost", there)),
            [there, here] => bound("localhost", there).zip(reached("localhost", here)),
            [address, there, here] if is_path(here) => bound(address, there).zip(reached("", here)),
            [there, host, here] => bound("localhost", there).zip(reached(host, here)),
            [address, there, host, here] => bound(address, there).zip(reached(host, here)),
            _ => None,
        };
        let read = read.filter(|(there, _)| words.len() > 1 || matches!(there, Bound::Tcp { port: 1.., .. }));
        read.map(|(there, here)| Self { there, here }).ok_or_else(|| {
            Failure::usage(format!("-R {text:?} names no ports or sockets"))
                .hint("write 3000, 9000:3000, 9000:localhost:3000 or /run/there.sock:./here.sock")
        })
    }
}

/// The parts between colons; those within brackets, as IPv6 addresses have them, do not count.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut inside) = (vec![String::new()], false);
    for character in text.chars() {
        match character {
            '[' => inside = true,
            ']' => inside = false,
            ':' if !inside => fields.push(String::new()),
            other => fields.last_mut().into_iter().for_each(|field| field.push(other)),
        }
    }
    fields
}

fn bound(address: &str, text: &str) -> Option<Bound> {
    if is_path(text) {
        return Some(Bound::Unix(text.to_owned()));
    }
    port(text).map(|port| Bound::Tcp { address: address.to_owned(), port })
}

fn reached(host: &str, text: &str) -> Option<Reached> {
    if is_path(text) {
        return Some(Reached::Unix(text.into()));
    }
    port(text).filter(|port| *port > 0).map(|port| Reached::Tcp { host: host.to_owned(), port })
}

fn is_path(text: &str) -> bool {
    text.contains('/') || text.starts_with('~')
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok()
}

fn address(text: &str) -> Option<SocketAddr> {
    let (address, local) = text.rsplit_once(':').map_or((None, text), |(address, local)| (Some(address), local));
    Some(SocketAddr::new(address.map_or(Some(LOOPBACK), ip)?, port(local)?))
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn ip(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare == "localhost" { Some(LOOPBACK) } else { bare.parse().ok() }
}

/// Pairs of a local address and a remote port.
fn ports(flag: &str, text: &str) -> Outcome<Vec<(SocketAddr, u16)>> {
    let refused = || {
        Failure::usage(format!("{flag} {text:?} names no ports"))
            .hint("write 8080, 8080:80, 127.0.0.1:8080:80 or 9000-9002:8080-8082")
    };
    let (rest, remote) = text.rsplit_once(':').unwrap_or((text, text));
    let (address, local) = rest.rsplit_once(':').map_or((None, rest), |(address, local)| (Some(address), local));
    let address = address.map_or(Some(LOOPBACK), ip).ok_or_else(refused)?;
    let (local, remote) = (range(local).ok_or_else(refused)?, range(remote).ok_or_else(refused)?);
    if local.len() != remote.len() {
        let clause = format!("{flag} {text:?} has {} ports here and {} there", local.len(), remote.len());
        return Err(Failure::usage(clause).hint("both ranges must be of one length"));
    }
    if remote.contains(&0) || local.len() > RANGE_MAX {
        return Err(refused());
    }
    Ok(local.into_iter().map(|port| SocketAddr::new(address, port)).zip(remote).collect())
}

fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then(|| (first..=last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(forwards: Outcome<Vec<Forward>>) -> String {
        let shown = |forward: &Forward| format!("{}>{}", forward.here, forward.there());
        forwards.map_or_else(|failure| failure.to_string(), |all| all.iter().map(shown).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn ports_are_read_in_each_form() {
        let read = |text: &str| read(Forward::tcp(text));
        assert_eq!(read("8080"), "127.0.0.1:8080>port 8080");
        assert_eq!(read("8080:80"), "127.0.0.1:8080>port 80");
        assert_eq!(read("0:80"), "127.0.0.1:0>port 80");
        assert_eq!(read("0.0.0.0:8080:80"), "0.0.0.0:8080>port 80");
        assert_eq!(read("localhost:8080:80"), "127.0.0.1:8080>port 80");
        assert_eq!(read("[::1]:8080:80"), "[::1]:8080>port 80");
        assert_eq!(read("8080-8081"), "127.0.0.1:8080>port 8080 127.0.0.1:8081>port 8081");
        assert_eq!(read("9000-9001:80-81"), "127.0.0.1:9000>port 80 127.0.0.1:9001>port 81");
        assert_eq!(read("9000-9001:80"), "--tcp \"9000-9001:80\" has 2 ports here and 1 there");
        for text in ["", "0", "x", "80:", ":80", "1:2:3", "70000", "host:80:80", "80:0", "9-8", "1-2-3", "1-65535"] {
            assert!(Forward::tcp(text).is_err(), "{text:?}");
        }
        assert_eq!(super::tests::read(Forward::udp("53:5353")), "udp 127.0.0.1:53>udp port 5353");
    }

    #[test]
    fn sockets_are_read_at_either_end() {
        let read = |text: &str| self::read(Forward::unix(text).map(|one| vec![one]));
        assert_eq!(read("./a.sock:/run/b.sock"), "./a.sock>/run/b.sock");
        assert_eq!(read("2375:~/docker.sock"), "127.0.0.1:2375>~/docker.sock");
        assert_eq!(read("0.0.0.0:2375:/run/docker.sock"), "0.0.0.0:2375>/run/docker.sock");
        assert_eq!(read("./pg.sock:5432"), "./pg.sock>port 5432");
        assert_eq!(read("a.sock:b.sock"), "a.sock>b.sock");
        for text in ["", "./a.sock", "80:80", "./a.sock:0", ":/run/b.sock", "./a.sock:"] {
            assert!(Forward::unix(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn reverse_forwards_are_read_as_openssh_reads_them() {
        let read = |text: &str| {
            let Reverse { there, here } = Reverse::parse(text).unwrap();
            match there {
                Bound::Tcp { address, port } => format!("{address} {port}>{here}"),
                Bound::Unix(path) => format!("{path}>{here}"),
            }
        };
        assert_eq!(read("3000"), "localhost 3000>localhost:3000");
        assert_eq!(read("0:3000"), "localhost 0>localhost:3000");
        assert_eq!(read("9000:3000"), "localhost 9000>localhost:3000");
        assert_eq!(read("9000:example.com:80"), "localhost 9000>example.com:80");
        assert_eq!(read("0.0.0.0:9000:[::1]:80"), "0.0.0.0 9000>::1:80");
        assert_eq!(read("/run/a.sock:./b.sock"), "/run/a.sock>./b.sock");
        assert_eq!(read("/run/a.sock:localhost:80"), "/run/a.sock>localhost:80");
        assert_eq!(read("127.0.0.1:9000:/b.sock"), "127.0.0.1 9000>/b.sock");
        for text in ["", "0", "x", "1:2:3:4:5", "9000:0", "a:b", "1:", ":1"] {
            assert!(Reverse::parse(text).is_err(), "{text:?}");
        }
    }
}
