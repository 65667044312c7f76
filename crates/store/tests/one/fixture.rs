//! What the stories begin with.

use berth_domain::{
    Actor, AutomaticUpdates, BuildId, BuildReason, Fence, FileId, JobStatus, Lease, LogLevel, LogSource, Policy, Role, Secret,
    TaskId, TemplateId, TemplateName, TemplateSettings, Timestamp, TokenHash, Transition, UserId, Username, VersionId, WorkspaceId,
    WorkspaceName,
};
use berth_store::{Build, Claim, Imported, Job, JobId, JobResult, Offer, RunnerSession, Store, Template, User, Version, Workspace};
use berth_wire::runner::{self, LogLine, Outcome};
use bytes::Bytes;
use jiff::SignedDuration;
use std::{cell::Cell, collections::BTreeMap};
use uuid::Uuid;

/// Noon of a day to come: a table forgets what has run out.
pub(crate) fn noon() -> Timestamp {
    "2036-06-01T12:00:00Z".parse().unwrap()
}

/// So many seconds after noon.
pub(crate) fn at(seconds: i64) -> Timestamp {
    noon() + SignedDuration::from_secs(seconds)
}

thread_local! {
    /// Each story has a thread and a store of its own.
    static NEXT: Cell<u64> = const { Cell::new(1) };
}

/// Another ten bytes each time.
pub(crate) fn random() -> [u8; 10] {
    let mut bytes = [7; 10];
    bytes[..8].copy_from_slice(&NEXT.replace(NEXT.get() + 1).to_be_bytes());
    bytes
}

pub(crate) fn user(name: &str) -> User {
    User {
        id: UserId::new(noon(), random()),
        username: Username::parse(name).unwrap(),
        email: format!("{name}@example.com"),
        name: name.to_owned(),
        roles: vec![Role::Owner],
        password_hash: Some(Secret::new("$argon2id$".to_owned())),
        suspended: false,
        created_at: noon(),
        updated_at: noon(),
        last_seen_at: noon(),
    }
}

pub(crate) fn version(owner: &User, template: Option<TemplateId>, name: &str) -> Version {
    Version {
        id: VersionId::new(noon(), random()),
        template,
        name: name.to_owned(),
        message: String::new(),
        file: FileId::new(noon(), random()),
        created_by: owner.id,
        created_by_name: owner.username.clone(),
        created_at: noon(),
        updated_at: noon(),
        variables: BTreeMap::new(),
        job: Job::queued(noon()),
        imported: Imported::default(),
        archived: false,
    }
}

pub(crate) fn template(owner: &User, version: VersionId, name: &str) -> Template {
    Template {
        id: TemplateId::new(noon(), random()),
        name: TemplateName::parse(name).unwrap(),
        display_name: String::new(),
        description: String::new(),
        icon: String::new(),
        active_version: version,
        previous_version: None,
        created_by: owner.id,
        created_by_name: owner.username.clone(),
        created_at: noon(),
        updated_at: noon(),
        deleted: false,
        settings: TemplateSettings::default(),
    }
}

pub(crate) fn result(outcome: Outcome) -> JobResult {
    JobResult { outcome, resources: Vec::new(), imported: None, timings: Vec::new(), found: Vec::new() }
}

/// A result with one resource that has one agent.
pub(crate) fn result_with_agent(id: Uuid, token: &str) -> JobResult {
    let agent = serde_json::json!({
        "id": id, "name": "main", "token": token, "auth": "token", "arch": "amd64", "os": "linux", "env": {"A": "secret"},
        "connection_timeout_seconds": 120, "startup_script_behavior": "non-blocking",
        "scripts": [{"id": Uuid::from_u128(5), "display_name": "start", "script": "echo hi"}],
    });
    let resource = serde_json::json!({"type": "berth_process", "name": "dev", "agents": [agent]});
    JobResult { resources: vec![serde_json::from_value(resource).unwrap()], ..result(Outcome::Succeeded) }
}

pub(crate) fn failed(error: &str) -> JobResult {
    result(Outcome::Failed { error: error.to_owned() })
}

pub(crate) fn line(text: &str) -> LogLine {
    LogLine {
        created_at: noon(),
        source: LogSource::Provisioner,
        level: LogLevel::Info,
        stage: "Applying".to_owned(),
        output: text.to_owned(),
    }
}

/// A Terraform state of one lineage.
pub(crate) fn state(serial: u64, note: &str) -> Bytes {
    format!(r#"{{"version":4,"serial":{serial},"lineage":"l","outputs":{{"note":{{"value":"{note}"}}}},"resources":[]}}"#).into()
}

pub(crate) fn task() -> TaskId {
    TaskId::new(noon(), random())
}

/// Puts a token out.
pub(crate) async fn offer(store: &Store, job: JobId, now: Timestamp) -> String {
    let token = hex(random());
    let offer = Offer { task: task(), hash: TokenHash::of(&token), ends: now + SignedDuration::from_secs(900) };
    store.offer(job, offer, now).await.unwrap();
    token
}

pub(crate) fn hex(bytes: [u8; 10]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Offers and claims a job, as the dispatcher and a runner do.
pub(crate) async fn claim(store: &Store, job: JobId, now: Timestamp) -> (RunnerSession, Claim) {
    let token = offer(store, job, now).await;
    let secret = hex(random());
    let claim = store.claim(job, &token, task(), TokenHash::of(&secret), now).await.unwrap();
    assert_eq!(claim.lease_ends, Lease::end_from(now));
    (RunnerSession { job, fence: claim.fence, secret: Secret::new(secret) }, claim)
}

pub(crate) async fn run(store: &Store, job: JobId, result: JobResult) {
    let (session, _) = claim(store, job, noon()).await;
    store.finish(&session, result, noon()).await.unwrap();
}

/// A store with a user and an imported template.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) ada: User,
    pub(crate) template: Template,
}

impl World {
    /// The same each time, down to the ids.
    pub(crate) async fn on(store: Store) -> Self {
        NEXT.set(1);
        let ada = user("ada");
        store.create_first_user(&ada).await.unwrap();
        let first = version(&ada, None, "one");
        store.create_version(&first).await.unwrap();
        run(&store, JobId::Import(first.id), result(Outcome::Succeeded)).await;
        let template = template(&ada, first.id, "linux");
        store.create_template(&template).await.unwrap();
        Self { store, ada, template }
    }

    pub(crate) fn build(&self, workspace: WorkspaceId, name: &str, transition: Transition) -> Build {
        Build {
            id: BuildId::new(noon(), random()),
            workspace,
            workspace_name: WorkspaceName::parse(name).unwrap(),
            owner: self.ada.id,
            owner_name: self.ada.username.clone(),
            number: 0,
            transition,
            version: self.template.active_version,
            version_name: "one".to_owned(),
            template: self.template.id,
            template_name: self.template.name.to_string(),
            parameters: Vec::new(),
            preset: None,
            ephemeral: Vec::new(),
            previous_parameters: Vec::new(),
            orphan: false,
            log_level: None,
            reason: BuildReason::Initiator,
            initiator: self.ada.id,
            initiator_name: self.ada.username.clone(),
            created_at: noon(),
            updated_at: noon(),
            job: Job::queued(noon()),
            resources: Vec::new(),
            allow_replace: false,
            imports: Vec::new(),
            policy: Policy::default(),
            gate: None,
            deadline: None,
            max_deadline: None,
        }
    }

    pub(crate) fn draft(&self, name: &str) -> Workspace {
        let id = WorkspaceId::new(noon(), random());
        Workspace {
            id,
            owner: self.ada.id,
            owner_name: self.ada.username.clone(),
            name: WorkspaceName::parse(name).unwrap(),
            template: self.template.id,
            template_name: self.template.name.to_string(),
            template_display_name: String::new(),
            template_icon: String::new(),
            created_at: noon(),
            updated_at: noon(),
            last_used_at: noon(),
            autostart_schedule: None,
            ttl_ms: None,
            automatic_updates: AutomaticUpdates::Never,
            deleted: false,
            latest_build: self.build(id, name, Transition::Start),
            state: None,
            live_build: None,
            repair: None,
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor { user: self.ada.id, username: self.ada.username.clone(), roles: self.ada.roles.clone() }
    }

    /// A workspace whose first build waits.
    pub(crate) async fn queued(&self, name: &str) -> Workspace {
        let permit = self.actor().may_create_workspace(self.ada.id).unwrap();
        self.store.create_workspace(&permit, self.draft(name)).await.unwrap()
    }

    /// A workspace that runs, with the agents of `result`.
    pub(crate) async fn running(&self, name: &str, result: JobResult) -> Workspace {
        let workspace = self.queued(name).await;
        run(&self.store, JobId::Build(workspace.latest_build.id), result).await;
        self.store.workspace(workspace.id).await.unwrap().unwrap()
    }

    /// Queues another build.
    pub(crate) async fn next(&self, workspace: &Workspace, transition: Transition) -> JobId {
        let build = self.build(workspace.id, workspace.name.as_str(), transition);
        JobId::Build(self.store.create_build(build).await.unwrap().latest_build.id)
    }

    pub(crate) async fn status(&self, workspace: &Workspace) -> JobStatus {
        self.store.workspace(workspace.id).await.unwrap().unwrap().latest_build.job.status
    }
}

pub(crate) fn job(workspace: &Workspace) -> JobId {
    JobId::Build(workspace.latest_build.id)
}

pub(crate) fn stranger(session: &RunnerSession) -> RunnerSession {
    RunnerSession { secret: Secret::new("00".repeat(10)), ..session.clone() }
}

pub(crate) fn older(session: &RunnerSession) -> RunnerSession {
    RunnerSession { fence: Fence(session.fence.0 + 1), ..session.clone() }
}

pub(crate) type Resource = runner::Resource;
