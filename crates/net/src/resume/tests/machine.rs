//! The machine at both ends against a model of ten lines: whatever happens to the connections, the bytes that are read are those that were
//! written, nothing is kept beyond the window, and once the network is well everything arrives.

use super::super::{
    frame::{CREDENTIALS_BYTES, Credentials, Frame, HEADER_BYTES, Reason},
    machine::{Ended, Machine},
    outgoing::WINDOW_BYTES,
};
use berth_wire::tunnel::SessionId;
use proptest::{collection::vec, prelude::*};
use std::{collections::VecDeque, sync::LazyLock, task::Poll, time::Duration};
use tokio::time::Instant;

/// The model: a byte is a function of its offset, so that what was written need not be kept.
#[derive(Debug, Default)]
struct Model {
    written: u64,
    read: u64,
    ended: bool,
}

/// A prime length, so that no block of a power of two looks like another.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let bytes = (0..65_521_u64).map(|at| u8::try_from(at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).unwrap());
    bytes.collect::<Vec<_>>().repeat(80)
});

impl Model {
    /// What belongs at an offset.
    fn bytes(offset: u64, count: usize) -> &'static [u8] {
        let from = usize::try_from(offset % 65_521).unwrap();
        &PATTERN[from..from + count]
    }

    fn write(&mut self, machine: &mut Machine, count: usize) {
        self.written += machine.write(Self::bytes(self.written, count)).unwrap_or(0) as u64;
    }

    fn read(&mut self, machine: &mut Machine, count: usize) {
        let unread = machine.unread();
        let part = &unread[..count.min(unread.len())];
        assert!(part == Self::bytes(self.read, part.len()), "after {} bytes", self.read);
        let count = part.len();
        self.read += count as u64;
        machine.consume(count);
        if machine.unread().is_empty() && matches!(machine.poll_end(), Poll::Ready(Ok(()))) {
            assert!(self.ended && self.read == self.written, "an end after {} of {} bytes", self.read, self.written);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write {
        client: bool,
        count: usize,
    },
    Read {
        client: bool,
        count: usize,
    },
    Send {
        client: bool,
        count: usize,
    },
    Deliver {
        to_client: bool,
        count: usize,
    },
    Finish {
        client: bool,
    },
    Lose {
        client: bool,
    },
    /// The client dials; its request reaches the agent, or an older one does.
    Dial {
        older: bool,
    },
    Wait {
        milliseconds: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![1..20_usize, 1..70_000_usize, Just(3 * 1024 * 1024)];
    let step = prop_oneof![
        4 => (any::<bool>(), size.clone()).prop_map(|(client, count)| Step::Write { client, count }),
        4 => (any::<bool>(), size.clone()).prop_map(|(client, count)| Step::Read { client, count }),
        6 => (any::<bool>(), size.clone()).prop_map(|(client, count)| Step::Send { client, count }),
        6 => (any::<bool>(), size).prop_map(|(to_client, count)| Step::Deliver { to_client, count }),
        1 => any::<bool>().prop_map(|client| Step::Finish { client }),
        2 => any::<bool>().prop_map(|client| Step::Lose { client }),
        3 => any::<bool>().prop_map(|older| Step::Dial { older }),
        1 => (0..3_000_u64).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ];
    vec(step, 1..120)
}

/// Two ends and the network between them.
struct World {
    now: Instant,
    client: Machine,
    agent: Machine,
    /// Whether the agent has the stream at all.
    begun: bool,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    /// Whether each end still believes in the newest connection. What is on its way to one that does arrives, even if the other does not.
    client_on: bool,
    agent_on: bool,
    /// What the client told when it dialled before: a request may be late.
    older: Option<u64>,
    to_agent: Model,
    to_client: Model,
}

impl World {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            client: Machine::new(),
            agent: Machine::new(),
            begun: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            client_on: false,
            agent_on: false,
            older: None,
            to_agent: Model::default(),
            to_client: Model::default(),
        }
    }

    fn dial(&mut self, older: bool) {
        self.lose(true);
        // The driver dials for nothing that is over, and the registry has forgotten what is over at the agent.
        if self.client.is_over() {
            return self.lose(false);
        }
        if self.client.resumption().is_some() && self.agent.is_over() {
            return self.client.end(Ended::Gone);
        }
        (self.client_on, self.agent_on) = (true, true);
        (self.up, self.down) = Default::default();
        match self.client.resumption() {
            Some((_, received)) => {
                self.client.rejoin(self.now);
                if let (true, Some(older)) = (older, self.older) {
                    // The late request wins at the agent until the newer one arrives; one that is too old changes nothing.
                    let _late = self.agent.readmit(older);
                }
                self.agent.readmit(received).unwrap();
                self.older = Some(received);
            }
            None => {
                // The agent's end of before is orphaned: this one is another.
                self.agent = Machine::new();
                self.begun = true;
                self.to_agent.read = 0;
                self.to_client = Model::default();
                self.agent.greet(&Credentials { id: SessionId::new([1; 32]), limit: Duration::from_secs(60) });
                self.client.begin(self.now);
            }
        }
    }

    fn lose(&mut self, client: bool) {
        if client {
            self.client_on = false;
            self.client.lose();
            self.down.clear();
        } else {
            self.agent_on = false;
            self.agent.lose();
            self.up.clear();
        }
    }

    fn send(&mut self, client: bool, mut count: usize) {
        let now = self.now;
        let (machine, wire) = if client { (&mut self.client, &mut self.up) } else { (&mut self.agent, &mut self.down) };
        while count > 0 {
            let pending = machine.pending();
            let part = pending[..count.min(pending.len())].to_vec();
            if part.is_empty() {
                return;
            }
            wire.extend(&part);
            machine.sent(part.len(), now);
            count -= part.len();
        }
    }

    fn deliver(&mut self, to_client: bool, count: usize) {
        let client = (&mut self.down, &mut self.client, self.client_on);
        let (wire, machine, is_on) = if to_client { client } else { (&mut self.up, &mut self.agent, self.agent_on) };
        let bytes: Vec<u8> = wire.drain(..count.min(wire.len())).collect();
        if is_on {
            machine.receive(&bytes, self.now).unwrap();
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { client: true, count } => self.to_agent.write(&mut self.client, count),
            Step::Write { client: false, count } if self.begun => self.to_client.write(&mut self.agent, count),
            Step::Read { client: true, count } => self.to_client.read(&mut self.client, count),
            Step::Read { client: false, count } => self.to_agent.read(&mut self.agent, count),
            Step::Send { client, count } => self.send(client, count),
            Step::Deliver { to_client, count } => self.deliver(to_client, count),
            Step::Finish { client: true } => {
                self.client.finish();
                self.to_agent.ended = true;
            }
            Step::Finish { client: false } if self.begun => {
                self.agent.finish();
                self.to_client.ended = true;
            }
            Step::Lose { client } => self.lose(client),
            Step::Dial { older } => self.dial(older),
            Step::Wait { milliseconds } => {
                self.now += Duration::from_millis(milliseconds);
                if !self.client.check(self.now) {
                    self.lose(true);
                }
            }
            Step::Write { client: false, .. } | Step::Finish { client: false } => {}
        }
        assert!(self.client.kept() <= WINDOW_BYTES && self.agent.kept() <= WINDOW_BYTES);
        assert!(self.client.held() <= WINDOW_BYTES && self.agent.held() <= WINDOW_BYTES);
    }

    /// The network is well, both ends finish and read: everything arrives, and both know that it did.
    fn settle(&mut self) {
        self.dial(false);
        self.step(&Step::Finish { client: true });
        self.step(&Step::Finish { client: false });
        for _ in 0..200 {
            for client in [true, false] {
                self.send(client, usize::MAX);
                self.deliver(!client, usize::MAX);
                self.step(&Step::Read { client, count: 100_000 });
            }
        }
        assert_eq!((self.to_agent.read, self.to_client.read), (self.to_agent.written, self.to_client.written));
        assert!(self.client.conclude() && self.agent.conclude());
        assert_eq!((self.client.kept(), self.agent.kept()), (0, 0));
        assert_eq!(
            (self.client.ended(), self.agent.ended()),
            (Some(&Ended::Closed(Reason::Done)), Some(&Ended::Closed(Reason::Done)))
        );
    }
}

proptest! {
    // Half as many as usual: a case moves megabytes. PROPTEST_CASES makes it more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 2))]

    #[test]
    fn bytes_arrive_exactly_whatever_happens_to_the_connections(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }

    #[test]
    fn no_bytes_from_the_other_end_make_it_panic_or_keep_more_than_it_may(
        client: bool,
        frames in vec((prop_oneof![any::<[u8; HEADER_BYTES]>(), header()], vec(any::<u8>(), 0..80)), 0..40),
        cut in 1..64_usize,
    ) {
        let now = Instant::now();
        let mut machine = Machine::new();
        if client {
            machine.begin(now);
            let welcome = Frame::Welcome { received: 0, is_new: true }.encode();
            machine.receive(&welcome, now).unwrap();
            machine.receive(&[7; CREDENTIALS_BYTES], now).unwrap();
        } else {
            machine.greet(&Credentials { id: SessionId::new([1; 32]), limit: Duration::from_secs(60) });
        }
        machine.write(&[1; 1000]).unwrap();
        while !machine.pending().is_empty() {
            let count = machine.pending().len();
            machine.sent(count, now);
        }
        let input: Vec<u8> = frames.into_iter().flat_map(|(header, body)| header.into_iter().chain(body)).collect();
        for part in input.chunks(cut) {
            if machine.receive(part, now).is_err() {
                break;
            }
            prop_assert!(machine.held() <= WINDOW_BYTES && machine.kept() <= 1000);
        }
    }
}

/// Headers that are nearly right: small values, kinds that exist.
fn header() -> impl Strategy<Value = [u8; HEADER_BYTES]> {
    (0..8_u8, 0..70_u8, 0..80_u8).prop_map(|(kind, length, value)| [kind, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, value])
}

#[test]
fn a_dead_path_is_noticed_within_seconds_while_something_is_unanswered_and_an_idle_one_is_left_alone() {
    let mut world = World::new();
    world.dial(false);
    let exchange = |world: &mut World| {
        for client in [true, false, true] {
            world.send(client, usize::MAX);
            world.deliver(!client, usize::MAX);
        }
    };
    exchange(&mut world);
    world.to_agent.write(&mut world.client, 1);
    world.send(true, usize::MAX);
    // Nothing comes back: ask, then give up.
    let began = world.now;
    let mut asked = None;
    loop {
        world.now = world.client.deadline().unwrap();
        if !world.client.check(world.now) {
            break;
        }
        if !world.client.pending().is_empty() {
            asked.get_or_insert(world.now - began);
            world.send(true, usize::MAX);
        }
    }
    assert_eq!(asked, Some(Duration::from_secs(2)));
    assert_eq!(world.now - began, Duration::from_secs(5));

    world.dial(false);
    exchange(&mut world);
    exchange(&mut world);
    // In use it is asked now and then; after ten minutes without a byte nobody asks any more.
    let began = world.now;
    let mut pings = 0;
    while let Some(deadline) = world.client.deadline() {
        world.now = deadline;
        assert!(world.client.check(world.now));
        pings += 1;
        exchange(&mut world);
    }
    assert!((25..=35).contains(&pings), "{pings}");
    assert!(world.now - began <= Duration::from_secs(601));
}

#[test]
fn a_connection_that_is_lost_before_the_last_farewell_leaves_nothing_behind() {
    let mut world = World::new();
    world.dial(false);
    world.step(&Step::Finish { client: false });
    world.step(&Step::Finish { client: true });
    for client in [false, true, false] {
        world.send(client, usize::MAX);
        world.deliver(!client, usize::MAX);
    }
    // The client has heard the agent's farewell and cannot answer it.
    assert_eq!(world.client.ended(), Some(&Ended::Closed(Reason::Done)));
    assert_eq!(world.agent.ended(), None);
    world.settle();
}

#[test]
fn a_client_process_that_is_gone_ends_the_stream_but_a_given_up_connection_does_not() {
    let mut world = World::new();
    world.dial(false);
    for client in [false, true] {
        world.send(client, usize::MAX);
        world.deliver(!client, usize::MAX);
    }
    // An attempt that the client gave up before the welcome ends in order, too.
    world.agent.readmit(0).unwrap();
    world.agent.lose_in_order(false);
    assert_eq!(world.agent.ended(), None);
    world.dial(false);
    for client in [false, true] {
        world.send(client, usize::MAX);
        world.deliver(!client, usize::MAX);
    }
    world.agent.lose_in_order(false);
    assert_eq!(world.agent.ended(), Some(&Ended::Vanished));
}
