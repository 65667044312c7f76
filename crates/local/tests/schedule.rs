//! The random schedules of `berth-store` again, on the real thing: the embedded table, the real dispatcher, reaper and sweep, with up to
//! three of them at work at the same moment. Fewer, since each step costs real transactions: `BERTH_SCHEDULES=n` runs more of them,
//! `BERTH_SEED=n` replays one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr, clippy::disallowed_methods)]

use berth_dispatch::{Launch, LaunchError, LaunchRequest, dispatch};
use berth_domain::{Actor, Fence, Priority, Role, Secret, TaskId, Timestamp, TokenHash, UserId, WorkspaceId};
use berth_reap::reap;
use berth_store::{Build, JobId, JobResult, LeaseError, Offer, RunnerSession, Store, User, Workspace};
use berth_sweep::{Announce, Power, PowerError, sweep};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use jiff::SignedDuration;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

const SCHEDULES: u64 = 40;
const BATCHES: usize = 45;
const BUILDS: usize = 2;
/// How far two machines' clocks may differ from the true time, in seconds.
const SKEW: i64 = 600;

/// Takes a value through the form in which it is stored: what these rows hold besides is none of this story's business.
fn row<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    "2026-06-01T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn id(random: &mut StdRng) -> String {
    TaskId::new(at(0), random.random()).to_string()
}

struct Deployment {
    store: Store,
    ada: String,
    version: String,
    template: String,
}

impl Deployment {
    /// A user and an imported template.
    async fn new() -> Self {
        let mut random = StdRng::seed_from_u64(0);
        let store = Store::memory().await.unwrap();
        let [ada, version, template] = std::array::from_fn(|_| id(&mut random));
        let now = at(0);
        let user: User = row(json!({
            "id": ada, "username": "ada", "email": "ada@example.com", "name": "Ada", "roles": ["owner"], "password_hash": null,
            "suspended": false, "created_at": now, "updated_at": now, "last_seen_at": now,
        }));
        store.create_first_user(&user).await.unwrap();
        let job = json!({"status": "pending", "created_at": now, "started_at": null, "completed_at": null, "canceled_at": null, "error": ""});
        store
            .create_version(&row(json!({
                "id": version, "template": null, "name": "one", "message": "", "file": id(&mut random), "created_by": ada,
                "created_by_name": "ada", "created_at": now, "updated_at": now, "variables": {}, "job": job, "readme": "",
                "parameters": [], "warnings": [],
            })))
            .await
            .unwrap();
        let import = JobId::Import(version.parse().unwrap());
        let offer = Offer { task: row(json!(id(&mut random))), hash: TokenHash::of("token"), ends: at(60) };
        let task = offer.task;
        store.offer(import, offer, now).await.unwrap();
        let claim = store.claim(import, "token", task, TokenHash::of("00"), now).await.unwrap();
        let session = RunnerSession { job: import, fence: claim.fence, secret: Secret::new("00".to_owned()) };
        store.finish(&session, succeeded(), now).await.unwrap();
        store
            .create_template(&row(json!({
                "id": template, "name": "local", "display_name": "", "description": "", "icon": "", "active_version": version,
                "created_by": ada, "created_by_name": "ada", "created_at": now, "updated_at": now, "deleted": false,
            })))
            .await
            .unwrap();
        Self { store, ada, version, template }
    }

    fn build(&self, random: &mut StdRng, (workspace, name): (&str, &str), now: Timestamp) -> Value {
        let job = json!({"status": "pending", "created_at": now, "started_at": null, "completed_at": null, "canceled_at": null, "error": ""});
        json!({
            "id": id(random), "workspace": workspace, "workspace_name": name, "owner": self.ada, "owner_name": "ada", "number": 0,
            "transition": "start", "version": self.version, "version_name": "one", "template": self.template, "template_name": "local",
            "parameters": [], "previous_parameters": [], "orphan": false, "log_level": null, "reason": "initiator",
            "initiator": self.ada, "initiator_name": "ada", "created_at": now, "updated_at": now, "job": job, "resources": [],
        })
    }

    async fn workspace(&self, random: &mut StdRng, name: &str) -> Workspace {
        let (workspace, now) = (id(random), at(0));
        let build = self.build(random, (&workspace, name), now);
        let ada: UserId = self.ada.parse().unwrap();
        let actor = Actor { user: ada, username: "ada".parse().unwrap(), roles: vec![Role::Owner] };
        let draft = json!({
            "id": workspace, "owner": self.ada, "owner_name": "ada", "name": name, "template": self.template,
            "template_name": "local", "template_display_name": "", "template_icon": "", "created_at": now, "updated_at": now,
            "last_used_at": now, "autostart_schedule": null, "ttl_ms": null, "deleted": false, "latest_build": build,
            "state": null, "live_build": null,
        });
        self.store.create_workspace(&actor.may_create_workspace(ada).unwrap(), row(draft)).await.unwrap()
    }
}

fn succeeded() -> JobResult {
    row(json!({"outcome": {"kind": "succeeded"}}))
}

/// Where launched tasks and announced jobs end up. A launch does what the schedule says.
#[derive(Default)]
struct Hands {
    launched: Mutex<Vec<LaunchRequest>>,
    announced: Mutex<Vec<JobId>>,
    how: Mutex<u8>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Launch for Hands {
    async fn launch(&self, request: LaunchRequest) -> Result<(), LaunchError> {
        let how = *locked(&self.how) % 10;
        if how != 0 {
            locked(&self.launched).push(request);
        }
        // It may also be said to have failed when it has not.
        if how < 3 { Err(LaunchError::Later("no capacity".to_owned())) } else { Ok(()) }
    }
}

impl Power for Hands {
    async fn set(&self, _: bool) -> Result<(), PowerError> {
        Ok(())
    }
}

impl Announce for Hands {
    async fn announce(&self, job: JobId, _priority: Priority) {
        locked(&self.announced).push(job);
    }
}

struct Runner {
    request: LaunchRequest,
    session: Option<RunnerSession>,
    over: bool,
    pushed: u32,
}

/// One schedule: a workspace, its builds, and everything that happens to them.
struct Schedule<'a> {
    deployment: &'a Deployment,
    random: StdRng,
    name: String,
    workspace: WorkspaceId,
    jobs: Vec<JobId>,
    now: i64,
    faults: bool,
    hands: Hands,
    messages: Vec<JobId>,
    runners: Vec<Runner>,
    applies: Vec<(JobId, usize)>,
    trace: Vec<String>,
}

/// What one operation came to.
#[derive(Debug)]
enum Came {
    Nothing,
    Claimed { runner: usize, session: RunnerSession },
    Refused { runner: usize },
    Wrote { runner: usize, what: &'static str },
}

impl<'a> Schedule<'a> {
    async fn new(deployment: &'a Deployment, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let name = format!("dev-{seed}");
        let workspace = deployment.workspace(&mut random, &name).await;
        let job = JobId::Build(workspace.latest_build.id);
        Self {
            deployment,
            random,
            name,
            workspace: workspace.id,
            jobs: vec![job],
            now: 0,
            faults: true,
            hands: Hands::default(),
            messages: vec![job],
            runners: Vec::new(),
            applies: Vec::new(),
            trace: Vec::new(),
        }
    }

    fn clock(&mut self) -> Timestamp {
        let skew = if self.faults { self.random.random_range(-SKEW..=SKEW) } else { 0 };
        at(self.now + skew)
    }

    /// Something, as a future that may run beside others.
    fn operation<'s>(&'s self, choice: u8, how: u8, clock: Timestamp, random: [u8; 32]) -> BoxFuture<'s, Came>
    where
        'a: 's,
    {
        let store = &self.deployment.store;
        let job = self.jobs[usize::from(how) % self.jobs.len()];
        let runner = usize::from(how).checked_rem(self.runners.len());
        match (choice % 12, runner) {
            (0 | 1, _) if !self.messages.is_empty() => {
                let message = self.messages[usize::from(how) % self.messages.len()];
                async move {
                    dispatch(store, &self.hands, message, clock, random).await.unwrap();
                    Came::Nothing
                }
                .boxed()
            }
            (2..=7, Some(runner)) => self.runs(runner, how, clock),
            (8, _) => async move {
                sweep(store, &self.hands, &self.hands, clock).await.unwrap();
                Came::Nothing
            }
            .boxed(),
            (9, Some(runner)) if self.runners[runner].over || how < 30 => {
                let LaunchRequest { job, task, .. } = self.runners[runner].request;
                async move {
                    reap(store, job, task, "the task ended", clock).await.unwrap();
                    Came::Nothing
                }
                .boxed()
            }
            (10, _) if how < 40 => async move {
                let _ended = store.cancel(job, clock).await;
                Came::Nothing
            }
            .boxed(),
            _ => async { Came::Nothing }.boxed(),
        }
    }

    fn runs<'s>(&'s self, index: usize, how: u8, clock: Timestamp) -> BoxFuture<'s, Came>
    where
        'a: 's,
    {
        let store = &self.deployment.store;
        let runner = &self.runners[index];
        let Some(session) = &runner.session else {
            if runner.over {
                return async { Came::Nothing }.boxed();
            }
            return async move {
                let secret = format!("{index:08x}");
                let LaunchRequest { job, task, token, .. } = &runner.request;
                match store.claim(*job, token.expose(), *task, TokenHash::of(&secret), clock).await {
                    Ok(claim) => {
                        let session = RunnerSession { job: *job, fence: claim.fence, secret: Secret::new(secret) };
                        Came::Claimed { runner: index, session }
                    }
                    Err(_) => Came::Refused { runner: index },
                }
            }
            .boxed();
        };
        let serial = u64::from(runner.pushed) + 1 + 1000 * index as u64; // Later runners know of the earlier ones' states.
        let bytes = format!("{{\"version\": 4, \"lineage\": \"schedule\", \"serial\": {serial}}}");
        let lost = LeaseError::Lost(session.job);
        async move {
            let (what, result) = match how % 8 {
                0..=2 => ("heartbeat", store.heartbeat(session, clock).await.map(drop)),
                3..=5 => ("push", store.push_state(session, bytes.into(), clock).await.map(drop).map_err(|_| lost)),
                6 => ("log", store.append_runner_logs(session, Vec::new()).await.map(drop)),
                _ => ("finish", store.finish(session, succeeded(), clock).await.map_err(|_| LeaseError::Lost(session.job))),
            };
            if result.is_ok() { Came::Wrote { runner: index, what } } else { Came::Refused { runner: index } }
        }
        .boxed()
    }

    /// Up to three things at the same moment.
    async fn batch(&mut self) {
        let count = self.random.random_range(1..=3);
        let mut choices = Vec::new();
        for _ in 0..count {
            let clock = self.clock();
            choices.push((self.random.random::<u8>(), self.random.random::<u8>(), clock, self.random.random::<[u8; 32]>()));
        }
        *locked(&self.hands.how) = self.random.random();
        // Whom a runner's write must belong to: nobody else may have ended the job before.
        let mut ended = Vec::new();
        for job in &self.jobs {
            let record = self.deployment.store.job(*job).await.unwrap().unwrap();
            ended.push((*job, !record.job.status.is_active(), record.fence));
        }
        let came =
            join_all(choices.iter().map(|(choice, how, clock, random)| self.operation(*choice, *how, *clock, *random))).await;
        self.trace.push(format!("{:>4} s {choices:?}: {came:?}", self.now));
        for came in came {
            self.follow(came, &ended);
        }
        if self.random.random_ratio(1, 3) && !self.messages.is_empty() {
            let position = self.random.random_range(0..self.messages.len());
            self.messages.swap_remove(position);
        }
        self.messages.append(&mut locked(&self.hands.announced));
        self.take_launched();
        if self.random.random_ratio(1, 12) && !self.runners.is_empty() {
            let position = self.random.random_range(0..self.runners.len());
            self.runners[position].over = true;
        }
        self.now += self.random.random_range(0..30);
    }

    fn take_launched(&mut self) {
        for request in locked(&self.hands.launched).drain(..) {
            // The message of a launched task may come again.
            self.messages.push(request.job);
            self.runners.push(Runner { request, session: None, over: false, pushed: 0 });
        }
    }

    fn follow(&mut self, came: Came, before: &[(JobId, bool, Fence)]) {
        let was = |job: JobId| before.iter().find(|(id, ..)| *id == job).map(|(_, ended, fence)| (*ended, *fence)).unwrap();
        match came {
            Came::Nothing => {}
            Came::Claimed { runner, session } => {
                assert!(!was(session.job).0, "a job that had ended was claimed");
                self.applies.push((session.job, runner));
                self.runners[runner].session = Some(session);
            }
            Came::Refused { runner } => self.runners[runner].over |= self.runners[runner].session.is_none() || !self.faults,
            Came::Wrote { runner, what } => {
                let session = self.runners[runner].session.clone().unwrap();
                let (ended, fence) = was(session.job);
                assert!(fence <= session.fence, "{what} of an older fence was accepted");
                assert!(!ended || what == "finish" || what == "log", "{what} was accepted after the end");
                assert!(self.applies.contains(&(session.job, runner)), "{what} of a stranger was accepted");
                match what {
                    "push" => self.runners[runner].pushed += 1,
                    "finish" => self.runners[runner].over = true,
                    _ => {}
                }
            }
        }
    }

    async fn next_build(&mut self) {
        if self.jobs.len() == BUILDS {
            return;
        }
        let workspace = self.workspace.to_string();
        let build = self.deployment.build(&mut self.random, (&workspace, &self.name), at(self.now));
        let build: Build = row(build);
        let id = JobId::Build(build.id);
        if self.deployment.store.create_build(build).await.is_ok() {
            self.jobs.push(id);
            self.messages.push(id);
        }
    }

    async fn all_ended(&self) -> bool {
        for job in &self.jobs {
            if self.deployment.store.job(*job).await.unwrap().unwrap().job.status.is_active() {
                return false;
            }
        }
        true
    }

    /// Nothing goes wrong any more: everything must end.
    async fn heal(&mut self) {
        self.faults = false;
        *locked(&self.hands.how) = 9;
        let unchanged: Vec<(JobId, bool, Fence)> = self.jobs.iter().map(|job| (*job, false, Fence(0))).collect();
        for _round in 0..200 {
            if self.all_ended().await {
                return;
            }
            let store = &self.deployment.store;
            sweep(store, &self.hands, &self.hands, at(self.now)).await.unwrap();
            self.messages.append(&mut locked(&self.hands.announced));
            for message in std::mem::take(&mut self.messages) {
                let random = self.random.random();
                dispatch(store, &self.hands, message, at(self.now), random).await.unwrap();
            }
            self.take_launched();
            self.messages.clear();
            for runner in 0..self.runners.len() {
                if !self.runners[runner].over {
                    for how in [3, 7] {
                        let came = self.runs(runner, how, at(self.now)).await;
                        self.follow(came, &unchanged);
                    }
                }
            }
            self.now += 15;
        }
        panic!("a build never ends");
    }

    async fn judge(&self) {
        for job in &self.jobs {
            let applies = self.applies.iter().filter(|(of, _)| of == job).count();
            assert!(applies <= 1, "{job} was claimed {applies} times");
            let record = self.deployment.store.job(*job).await.unwrap().unwrap();
            if record.job.status == berth_domain::JobStatus::Succeeded {
                assert_eq!(applies, 1, "{job} succeeded");
            }
            let pushed: u32 = self.runners.iter().filter(|runner| runner.request.job == *job).map(|runner| runner.pushed).sum();
            assert!(pushed == 0 || record.state.is_some(), "{job} lost its states");
            assert_eq!(self.deployment.store.job_state(&record).await.unwrap().is_some(), record.state.is_some());
        }
        let shown = self.deployment.store.workspace(self.workspace).await.unwrap().unwrap();
        let last = self.deployment.store.job(*self.jobs.last().unwrap()).await.unwrap().unwrap();
        assert_eq!(shown.state, last.state, "the workspace has what its last build left");
        assert_eq!(shown.latest_build.job, last.job, "people see where the job stands");
    }

    async fn run(&mut self) {
        for batch in 0..BATCHES {
            self.batch().await;
            if batch % 9 == 8 {
                self.next_build().await;
            }
        }
        self.heal().await;
        self.judge().await;
    }
}

/// Says which schedule it was when one panics.
struct Teller<'a>(u64, Schedule<'a>);

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\nBERTH_SEED={} replays this", self.1.trace.join("\n"), self.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_dozens_of_schedules_on_the_real_table_a_build_is_claimed_once_and_ends() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = number("BERTH_SEED").map_or(0..number("BERTH_SCHEDULES").unwrap_or(SCHEDULES), |seed| seed..seed + 1);
    let deployment = Deployment::new().await;
    let mut applied = 0;
    for seed in seeds.clone() {
        let mut teller = Teller(seed, Schedule::new(&deployment, seed).await);
        teller.1.run().await;
        applied += teller.1.applies.len();
    }
    assert!(seeds.end - seeds.start == 1 || applied > 10, "{applied} applies are too few to say anything");
}
