//! The rules against a model of ten lines, and the texts.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Offer,
    Claim { holder: u8, right_token: bool },
    Renew { holder: u8 },
    Finish { holder: u8 },
    Cancel,
    Lose,
    TaskEnds { holder: u8 },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let holder = 1..4_u8;
    prop_oneof![
        3 => Just(Step::Offer),
        4 => (holder.clone(), prop::bool::weighted(0.8)).prop_map(|(holder, right_token)| Step::Claim { holder, right_token }),
        3 => holder.clone().prop_map(|holder| Step::Renew { holder }),
        2 => holder.clone().prop_map(|holder| Step::Finish { holder }),
        1 => Just(Step::Cancel),
        2 => Just(Step::Lose),
        1 => holder.prop_map(|holder| Step::TaskEnds { holder }),
        3 => Just(Step::Wait),
    ]
}

/// The model: a status, a token's end, a holder and its lease's end, in seconds since noon.
#[derive(Debug, Clone, Copy, Default)]
struct Model {
    ended: bool,
    canceling: bool,
    token_ends: Option<i64>,
    holder: Option<(u8, i64)>,
}

impl Model {
    /// Whether the step is allowed at `now`, and what it leaves.
    fn apply(&mut self, step: Step, now: i64) -> bool {
        let holds = |holder| self.holder.is_some_and(|(who, _)| who == holder) && !self.ended;
        let pending = !self.ended && self.holder.is_none();
        let (allowed, next) = match step {
            Step::Offer => {
                (pending && self.token_ends.is_none_or(|ends| ends <= now), Self { token_ends: Some(now + 40), ..*self })
            }
            Step::Claim { holder, right_token } => {
                let good = right_token && self.token_ends.is_some_and(|ends| ends > now);
                (pending && good, Self { token_ends: None, holder: Some((holder, now + 60)), ..*self })
            }
            Step::Renew { holder } => (holds(holder), Self { holder: Some((holder, now + 60)), ..*self }),
            Step::Finish { holder } => (holds(holder), Self { ended: true, ..*self }),
            Step::Cancel => (!self.ended, Self { ended: pending, canceling: !pending, ..*self }),
            Step::Lose => {
                (!self.ended && self.holder.is_some_and(|(_, ends)| ends <= now), Self { ended: true, holder: None, ..*self })
            }
            Step::TaskEnds { holder } => (holds(holder), Self { ended: true, holder: None, ..*self }),
            Step::Wait => (true, *self),
        };
        if allowed {
            *self = next;
        }
        allowed
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn task(holder: u8) -> TaskId {
    TaskId(Uuid::from_u128(u128::from(holder)))
}

fn session(job: &JobRecord, holder: u8) -> RunnerSession {
    RunnerSession { job: job.id, fence: job.fence, secret: Secret::new(holder.to_string()) }
}

/// The real rules: `None` when the step is refused.
fn apply(job: &JobRecord, step: Step, now: Timestamp) -> Option<JobRecord> {
    let job = job.clone();
    match step {
        Step::Offer => {
            let ends = now + SignedDuration::from_secs(40);
            job.offered(Offer { task: task(9), hash: TokenHash::of("right"), ends }, now).ok()
        }
        Step::Claim { holder, right_token } => {
            let token = if right_token { "right" } else { "wrong" };
            job.claimed(token, task(holder), TokenHash::of(&holder.to_string()), now).ok()
        }
        Step::Renew { holder } => job.clone().renewed(&session(&job, holder), now).ok(),
        Step::Finish { holder } => job.clone().finished(&session(&job, holder), &Outcome::Succeeded, now).ok().flatten(),
        Step::Cancel => job.canceled(now).ok(),
        Step::Lose => job.lost(&Lost::LeaseEnded, now).ok(),
        Step::TaskEnds { holder } => job.lost(&Lost::TaskEnded { task: task(holder), reason: String::new() }, now).ok(),
        Step::Wait => Some(job),
    }
}

fn queued() -> JobRecord {
    let id = VersionId(Uuid::from_u128(1));
    JobRecord::queued(JobId::Import(id), Home::Version(id), None, at(0))
}

proptest! {
    #[test]
    fn a_job_follows_the_model(steps in prop::collection::vec(step(), 0..40)) {
        let (mut job, mut model, mut now) = (queued(), Model::default(), 0);
        for step in steps {
            now += if matches!(step, Step::Wait) { 25 } else { 1 };
            let next = apply(&job, step, at(now));
            prop_assert_eq!(next.is_some(), model.apply(step, now), "{:?} at {} on {:?}", step, now, job);
            let Some(next) = next else { continue };
            let rises = matches!(step, Step::Claim { .. } | Step::Lose | Step::TaskEnds { .. });
            prop_assert_eq!(next.fence, if rises { job.fence.next() } else { job.fence });
            job = next;
            prop_assert_eq!(job.job.status.is_active(), !model.ended);
            prop_assert_eq!(job.due_at().is_some(), !model.ended, "what is active is looked at, what ended is not");
            prop_assert_eq!(job.job.completed_at.is_some(), model.ended);
            prop_assert_eq!(job.job.status == JobStatus::Canceling, model.canceling && !model.ended);
            prop_assert_eq!(job.lease.is_some(), model.holder.is_some() && !model.ended);
            prop_assert!(job.offer.is_none() || job.lease.is_none());
        }
    }

    #[test]
    fn a_session_survives_its_text(id in any::<u128>(), fence in any::<u64>(), secret in "[0-9a-f]{1,64}", import in any::<bool>()) {
        let id = Uuid::from_u128(id);
        let job = if import { JobId::Import(VersionId(id)) } else { JobId::Build(BuildId(id)) };
        let session = RunnerSession { job, fence: Fence(fence), secret: Secret::new(secret) };
        prop_assert_eq!(RunnerSession::parse(&session.expose()), Some(session));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,80}|(build|import)-[0-9a-f-]{0,40}-[0-9]{0,20}-[0-9a-f]{0,4}") {
        if let Some(session) = RunnerSession::parse(&text) {
            prop_assert_eq!(RunnerSession::parse(&session.expose()), Some(session));
        }
    }
}

#[test]
fn a_session_never_prints_its_secret() {
    let session = session(&queued(), 7);
    assert!(!format!("{session:?}").contains('7'));
}
