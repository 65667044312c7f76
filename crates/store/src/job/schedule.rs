//! Random schedules: messages that come twice, late, out of order or never; answers that are lost; clocks that disagree by ten minutes;
//! runners that die or wake late; cancels, sweeps and reaps at any time. Every operation reads a row, decides by the real rules, and writes
//! on the condition that the row is what it read, as the table's verbs do; anything may happen between the two.
//!
//! An onlooker keeps its own account of who holds what, in its own words, and compares after every write. `BERTH_SEED=n` replays one.

use super::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

const SCHEDULES: u64 = 10_000;
const CHOICES: usize = 160;
/// Builds of the one workspace, one after the other.
const BUILDS: usize = 3;
/// How far two machines' clocks may differ from the true time, in seconds.
const SKEW: i64 = 600;
/// How long a launched task has for its claim, in seconds.
const CLAIMS_WITHIN: i64 = 120;

/// What happens next, and to whom and how; both are taken modulo what is possible.
type Choice = (u8, u8);

/// How often each outcome was seen: a schedule that provokes nothing proves nothing.
type Seen = BTreeMap<&'static str, u64>;

#[derive(Debug, Clone)]
enum Verb {
    Offer {
        job: usize,
        token: String,
        task: TaskId,
    },
    Withdraw {
        job: usize,
        hash: TokenHash,
    },
    Claim {
        runner: usize,
    },
    Beat {
        runner: usize,
    },
    Push {
        runner: usize,
    },
    Finish {
        runner: usize,
        outcome: Outcome,
    },
    /// A state with a session that is not the holder's: another job's, or one of an older or a later fence.
    Intrude {
        job: usize,
        session: RunnerSession,
    },
    Cancel {
        job: usize,
    },
    Lose {
        job: usize,
        lost: Lost,
    },
}

/// An operation between its start and its end.
#[derive(Debug, Clone)]
struct Flight {
    verb: Verb,
    skew: i64,
    read: Option<(u64, JobRecord)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Life {
    Launched,
    Working(RunnerSession),
    Over,
}

#[derive(Debug, Clone)]
struct Runner {
    job: usize,
    task: TaskId,
    token: String,
    life: Life,
}

/// What the onlooker knows of a job.
#[derive(Debug, Clone, Default)]
struct Truth {
    holder: Option<usize>,
    lease_ends: i64,
    applies: u32,
    finished: bool,
}

#[derive(Default)]
struct World {
    now: i64,
    rows: Vec<(u64, JobRecord)>,
    truths: Vec<Truth>,
    state: Option<StatePointer>,
    messages: Vec<usize>,
    events: Vec<(usize, TaskId)>,
    flights: Vec<Flight>,
    runners: Vec<Runner>,
    made: u128,
    faults: bool,
    seen: Seen,
    trace: Vec<String>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds)
}

fn pick(length: usize, how: u8) -> Option<usize> {
    usize::from(how).checked_rem(length)
}

impl World {
    fn new() -> Self {
        let mut world = Self { faults: true, ..Self::default() };
        world.queue_build();
        world
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn random(&mut self) -> u128 {
        self.made += 1;
        self.made
    }

    /// As [`Store::create_build`](crate::Store::create_build): refused while the latest has not ended.
    fn queue_build(&mut self) {
        if self.rows.len() == BUILDS || self.rows.last().is_some_and(|(_, job)| job.job.status.is_active()) {
            return;
        }
        let number = self.rows.len();
        let id = JobId::Build(BuildId(Uuid::from_u128(number as u128 + 1)));
        let home = Home::Workspace { id: WorkspaceId(Uuid::from_u128(9)), number: number as u64 };
        self.rows.push((1, JobRecord::queued(id, home, self.state.clone(), at(self.now))));
        self.truths.push(Truth::default());
        self.messages.push(number);
    }

    fn start(&mut self, verb: Verb, how: u8) {
        let skew = if self.faults { (i64::from(how) - 128) * SKEW / 128 } else { 0 };
        self.flights.push(Flight { verb, skew, read: None });
    }

    /// One thing happens.
    fn step(&mut self, (what, how): Choice) -> Result<(), String> {
        match what % 21 {
            0 | 1 => self.deliver(how),
            2..=8 => return self.advance_one(what, how),
            9..=12 => self.act(what, how),
            13 => self.now += i64::from(how % 64),
            14 => self.sweep(how),
            15 => self.reap(how),
            16 if how < 40 => {
                let job = self.rows.len() - 1;
                self.start(Verb::Cancel { job }, how);
            }
            17 if how < 60 => self.die(how),
            18 => self.queue_build(),
            19 => self.intrude(how),
            _ => self.now += 1,
        }
        Ok(())
    }

    fn deliver(&mut self, how: u8) {
        let Some(position) = pick(self.messages.len(), how) else { return };
        let job = self.messages[position];
        // One in four stays in the queue and comes again; one in eight is lost.
        if !how.is_multiple_of(4) {
            self.messages.swap_remove(position);
        }
        if how.is_multiple_of(8) && self.faults {
            return self.saw("a message is lost");
        }
        let (token, task) = (self.random().to_string(), TaskId(Uuid::from_u128(self.random())));
        self.start(Verb::Offer { job, token, task }, how);
    }

    fn act(&mut self, what: u8, how: u8) {
        let Some(runner) = pick(self.runners.len(), how) else { return };
        let verb = match (&self.runners[runner].life, what % 21) {
            (Life::Over, _) => return,
            // A runner waits for its claim's answer before it does anything else.
            (Life::Launched, _)
                if self.flights.iter().any(|flight| matches!(flight.verb, Verb::Claim { runner: of } if of == runner)) =>
            {
                return;
            }
            (Life::Launched, _) => Verb::Claim { runner },
            (Life::Working(_), 9) => Verb::Beat { runner },
            (Life::Working(_), 10 | 11) => Verb::Push { runner },
            (Life::Working(_), _) if how < 160 && self.faults => Verb::Push { runner },
            (Life::Working(_), _) => {
                let error = "quota".to_owned();
                let outcomes = [Outcome::Succeeded, Outcome::Failed { error }, Outcome::Canceled];
                Verb::Finish { runner, outcome: outcomes[usize::from(how) % 3].clone() }
            }
        };
        self.start(verb, how.wrapping_mul(31));
    }

    fn intrude(&mut self, how: u8) {
        let Some(runner) = pick(self.runners.len(), how) else { return };
        let Life::Working(own) = self.runners[runner].life.clone() else { return };
        let job = self.rows.len() - 1;
        let target = self.rows[job].1.id;
        let fence = match how % 3 {
            0 if target == own.job => return,
            0 => self.rows[job].1.fence,
            1 => own.fence.next(),
            _ => Fence(own.fence.0.saturating_sub(1)),
        };
        self.start(Verb::Intrude { job, session: RunnerSession { job: target, fence, ..own } }, how);
    }

    /// A process is killed; its end is told later, perhaps twice, perhaps never.
    fn die(&mut self, how: u8) {
        let Some(runner) = pick(self.runners.len(), how) else { return };
        self.over(runner);
    }

    fn over(&mut self, runner: usize) {
        if self.runners[runner].life != Life::Over {
            self.runners[runner].life = Life::Over;
            self.events.push((self.runners[runner].job, self.runners[runner].task));
        }
    }

    fn reap(&mut self, how: u8) {
        let Some(position) = pick(self.events.len(), how) else { return };
        let (job, task) = self.events[position];
        if !how.is_multiple_of(4) {
            self.events.swap_remove(position);
        }
        if how.is_multiple_of(8) && self.faults {
            return self.saw("a task's end is never told");
        }
        self.start(Verb::Lose { job, lost: Lost::TaskEnded { task, reason: String::new() } }, how);
    }

    fn sweep(&mut self, how: u8) {
        let skew = if self.faults { (i64::from(how) - 128) * SKEW / 128 } else { 0 };
        for job in 0..self.rows.len() {
            let record = &self.rows[job].1;
            if record.due_at().is_none_or(|due| due > at(self.now + skew)) {
                continue;
            }
            match record.lease {
                Some(_) => self.flights.push(Flight { verb: Verb::Lose { job, lost: Lost::LeaseEnded }, skew, read: None }),
                None => self.messages.push(job),
            }
        }
    }

    fn advance_one(&mut self, what: u8, how: u8) -> Result<(), String> {
        let Some(position) = pick(self.flights.len(), what.wrapping_mul(7).wrapping_add(how)) else { return Ok(()) };
        let mut flight = self.flights.swap_remove(position);
        let job = self.job_of(&flight.verb);
        let Some((version, record)) = flight.read.take() else {
            flight.read = Some(self.rows[job].clone());
            self.flights.push(flight);
            return Ok(());
        };
        let decided = self.decide(&flight, record);
        match decided {
            None => self.refused(&flight, how),
            Some(_) if self.rows[job].0 != version => {
                self.saw("a conditional write is refused");
                self.flights.push(flight);
            }
            Some(next) => return self.commit(flight, job, next, how),
        }
        Ok(())
    }

    fn job_of(&self, verb: &Verb) -> usize {
        match verb {
            Verb::Offer { job, .. } | Verb::Withdraw { job, .. } | Verb::Intrude { job, .. } => *job,
            Verb::Cancel { job } | Verb::Lose { job, .. } => *job,
            Verb::Claim { runner } | Verb::Beat { runner } | Verb::Push { runner } | Verb::Finish { runner, .. } => {
                self.runners[*runner].job
            }
        }
    }

    /// What the rules make of it; `None` when they refuse, or when there is nothing to write.
    fn decide(&self, flight: &Flight, record: JobRecord) -> Option<JobRecord> {
        let now = at(self.now + flight.skew);
        let stated = |record: JobRecord, session: &RunnerSession| {
            let serial = record.state.as_ref().map_or(1, |state| state.serial + 1);
            let state = StatePointer { serial, key: String::new(), size: 1, sha256: String::new(), head: None };
            record.is_held_by(session).then_some(JobRecord { state: Some(state), ..record })
        };
        let session = |runner: usize| match &self.runners[runner].life {
            Life::Working(session) => Some(session.clone()),
            _ => None,
        };
        match &flight.verb {
            Verb::Offer { token, task, .. } => {
                let ends = now + SignedDuration::from_secs(CLAIMS_WITHIN);
                record.offered(Offer { task: *task, hash: TokenHash::of(token), ends }, now).ok()
            }
            Verb::Withdraw { hash, .. } => record.withdrawn(hash, now),
            Verb::Claim { runner } => {
                let Runner { token, task, .. } = &self.runners[*runner];
                record.claimed(token, *task, TokenHash::of(&secret_of(*runner)), now).ok()
            }
            Verb::Beat { runner } => record.renewed(&session(*runner)?, now).ok(),
            Verb::Push { runner } => stated(record, &session(*runner)?),
            Verb::Intrude { session, .. } => stated(record, session),
            Verb::Finish { runner, outcome } => record.finished(&session(*runner)?, outcome, now).ok().flatten(),
            Verb::Cancel { .. } => record.canceled(now).ok(),
            Verb::Lose { lost, .. } => record.lost(lost, now).ok(),
        }
    }

    fn refused(&mut self, flight: &Flight, how: u8) {
        match flight.verb {
            Verb::Claim { runner } => {
                self.saw("a claim is refused");
                self.over(runner);
            }
            Verb::Beat { runner } | Verb::Push { runner } if matches!(self.runners[runner].life, Life::Working(_)) => {
                self.saw("a late holder is refused");
                // It ends, or it is stuck and tries again later.
                if !how.is_multiple_of(4) || !self.faults {
                    self.over(runner);
                }
            }
            Verb::Finish { runner, .. } => {
                self.saw("a finish is refused or repeated");
                self.over(runner);
            }
            Verb::Lose { .. } => self.saw("a runner said to be lost is not"),
            Verb::Intrude { .. } => self.saw("a stranger is refused"),
            _ => {}
        }
    }

    /// The write happens; the onlooker compares it with what may happen.
    fn commit(&mut self, flight: Flight, job: usize, next: JobRecord, how: u8) -> Result<(), String> {
        let (version, before) = self.rows[job].clone();
        if !before.job.status.is_active() {
            return Err(format!("job {job} had ended and was changed by {:?}", flight.verb));
        }
        if next.fence < before.fence {
            return Err(format!("the fence of job {job} fell"));
        }
        let ended = !next.job.status.is_active();
        if ended {
            self.state.clone_from(&next.state);
        }
        if next.due_at().is_some() == ended {
            return Err(format!("nobody would ever look at job {job} again, or for ever: {next:?}"));
        }
        self.trace.push(format!(
            "{:>5} s {:+4}: {:?} -> {}, fence {}",
            self.now, flight.skew, flight.verb, next.job.status, next.fence.0
        ));
        self.rows[job] = (version + 1, next);
        self.follow(flight, job, how)
    }

    /// What the write means for those around it.
    fn follow(&mut self, flight: Flight, job: usize, how: u8) -> Result<(), String> {
        let clock = self.now + flight.skew;
        let answered = !self.faults || !how.is_multiple_of(5);
        let again = flight.verb.clone();
        match flight.verb {
            Verb::Offer { token, task, .. } => self.launch(job, token, task, how),
            Verb::Withdraw { .. } => self.saw("an offer is withdrawn"),
            Verb::Claim { runner } => {
                if let Some(other) = self.truths[job].holder.replace(runner) {
                    return Err(format!("job {job} was claimed by {runner} while {other} held it"));
                }
                self.truths[job].lease_ends = clock + limit::LEASE_SECONDS;
                if answered {
                    return self.begin(runner, job);
                }
                self.saw("a claim's answer is lost");
                self.start(again, how);
            }
            Verb::Beat { runner } | Verb::Push { runner } | Verb::Finish { runner, .. } => {
                if self.truths[job].holder != Some(runner) {
                    return Err(format!("job {job} is held by {:?}, and {runner} wrote {again:?}", self.truths[job].holder));
                }
                match &again {
                    Verb::Beat { .. } => self.truths[job].lease_ends = clock + limit::LEASE_SECONDS,
                    Verb::Finish { .. } => {
                        self.truths[job].finished = true;
                        self.saw("a runner finishes");
                        if answered {
                            self.over(runner);
                        }
                    }
                    _ => self.saw("a state is pushed"),
                }
                if !answered {
                    self.start(again, how);
                }
            }
            Verb::Intrude { session, .. } => return Err(format!("job {job} took a state from a stranger with {session:?}")),
            Verb::Cancel { .. } => self.saw("a job is canceled"),
            Verb::Lose { lost, .. } => return self.lose(job, &lost, clock),
        }
        Ok(())
    }

    /// The dispatcher launches, fails to, dies before it, or hears of a failure that was none.
    fn launch(&mut self, job: usize, token: String, task: TaskId, how: u8) {
        let hash = TokenHash::of(&token);
        let chance = if self.faults { how % 10 } else { 9 };
        if chance > 2 {
            self.runners.push(Runner { job, task, token, life: Life::Launched });
        }
        match chance {
            0 => self.saw("a dispatcher dies before the launch"),
            1 | 3 => self.start(Verb::Withdraw { job, hash }, how),
            2 => self.start(Verb::Lose { job, lost: Lost::Unlaunchable { reason: String::new() } }, how),
            4 => self.messages.push(job),
            _ => {}
        }
    }

    /// The runner heard that the job is its own: it applies.
    fn begin(&mut self, runner: usize, job: usize) -> Result<(), String> {
        let session =
            RunnerSession { job: self.rows[job].1.id, fence: self.rows[job].1.fence, secret: Secret::new(secret_of(runner)) };
        if self.runners[runner].life == Life::Over {
            return Ok(());
        }
        self.runners[runner].life = Life::Working(session);
        self.truths[job].applies += 1;
        self.saw("an apply begins");
        if job > 0 && self.rows[job].1.state.is_some() {
            self.saw("a build goes on from the state before");
        }
        if self.truths[job].applies > 1 {
            return Err(format!("job {job} is applied a second time"));
        }
        Ok(())
    }

    fn lose(&mut self, job: usize, lost: &Lost, clock: i64) -> Result<(), String> {
        let holder = self.truths[job].holder.take();
        match (lost, holder) {
            (Lost::LeaseEnded, Some(_)) if clock >= self.truths[job].lease_ends => self.saw("a lease ends"),
            (Lost::TaskEnded { task, .. }, Some(runner)) if self.runners[runner].task == *task => self.saw("a holder is reaped"),
            (Lost::TaskEnded { .. } | Lost::Unlaunchable { .. }, None) => self.saw("a job is lost before it is claimed"),
            _ => return Err(format!("job {job}, held by {holder:?}, was lost without a reason: {lost:?} at {clock}")),
        }
        Ok(())
    }

    /// Nothing goes wrong any more: everything must come to its end.
    fn heal(&mut self) -> Result<(), String> {
        self.faults = false;
        self.flights.iter_mut().for_each(|flight| flight.skew = 0);
        for _round in 0..300 {
            while !self.flights.is_empty() {
                self.advance_one(0, 1)?;
            }
            if self.rows.iter().all(|(_, job)| !job.job.status.is_active()) {
                return Ok(());
            }
            for runner in 0..self.runners.len() {
                let how = u8::try_from(runner).unwrap_or_default();
                self.act(if self.now % 2 == 0 { 9 } else { 12 }, how);
            }
            while !self.messages.is_empty() {
                self.deliver(1);
            }
            while !self.events.is_empty() {
                self.reap(1);
            }
            self.now += 15;
            self.sweep(128);
        }
        Err(format!("a job never ends: {:?}", self.rows.iter().map(|(_, job)| job).collect::<Vec<_>>()))
    }

    fn judge(&self) -> Result<(), String> {
        for (job, truth) in self.truths.iter().enumerate() {
            let record = &self.rows[job].1;
            if truth.finished && truth.applies != 1 || record.job.status == JobStatus::Succeeded && !truth.finished {
                return Err(format!("job {job} ended as {} after {} applies", record.job.status, truth.applies));
            }
            let inherited =
                job.checked_sub(1).and_then(|earlier| self.rows[earlier].1.state.as_ref()).map_or(0, |state| state.serial);
            if record.state.as_ref().map_or(0, |state| state.serial) < inherited {
                return Err(format!("job {job} lost a state of the build before it"));
            }
        }
        Ok(())
    }
}

fn secret_of(runner: usize) -> String {
    format!("{runner:08x}")
}

fn run(choices: &[Choice]) -> (World, Result<(), String>) {
    let mut world = World::new();
    let outcome =
        choices.iter().try_for_each(|choice| world.step(*choice)).and_then(|()| world.heal()).and_then(|()| world.judge());
    (world, outcome)
}

fn schedule(seed: u64) -> Vec<Choice> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..CHOICES).map(|_| random.random()).collect()
}

/// Leaves out whatever the failure does not need.
fn shrunk(mut choices: Vec<Choice>) -> Vec<Choice> {
    let mut at = choices.len();
    while at > 0 {
        at -= 1;
        let left_out = choices.remove(at);
        if run(&choices).1.is_ok() {
            choices.insert(at, left_out);
        }
    }
    choices
}

#[expect(clippy::disallowed_methods, reason = "replaying one schedule is for the person at the test")]
fn seeds() -> std::ops::Range<u64> {
    std::env::var("BERTH_SEED").ok().and_then(|seed| seed.parse().ok()).map_or(0..SCHEDULES, |seed: u64| seed..seed + 1)
}

#[test]
fn in_ten_thousand_schedules_a_build_is_applied_once_by_its_holder_and_ends() {
    let seeds = seeds();
    let all = seeds.end - seeds.start > 1;
    let mut seen = Seen::new();
    for seed in seeds {
        let (world, outcome) = run(&schedule(seed));
        if let Err(why) = outcome {
            let least = shrunk(schedule(seed));
            let (world, least_why) = run(&least);
            panic!("BERTH_SEED={seed}: {why}\nthe least that fails so: {least:?}\n{}\n{least_why:?}", world.trace.join("\n"));
        }
        for (what, count) in world.seen {
            *seen.entry(what).or_default() += count;
        }
    }
    println!("{seen:#?}");
    let provoked = [
        "a message is lost",
        "a task's end is never told",
        "a dispatcher dies before the launch",
        "an offer is withdrawn",
        "a claim's answer is lost",
        "a claim is refused",
        "a conditional write is refused",
        "a late holder is refused",
        "a stranger is refused",
        "a finish is refused or repeated",
        "a runner said to be lost is not",
        "a state is pushed",
        "a build goes on from the state before",
        "a lease ends",
        "a holder is reaped",
        "a job is lost before it is claimed",
        "a job is canceled",
        "a runner finishes",
        "an apply begins",
    ];
    for what in provoked.into_iter().filter(|_| all) {
        assert!(seen.get(what).is_some_and(|count| *count > SCHEDULES / 100), "hardly ever: {what}: {seen:?}");
    }
}
