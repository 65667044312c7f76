//! The bed: our own template deployed on this machine, with the real functions, runners, agents and relay. `tests/aws/README.md` says how.
//!
//! One bed serves all stories of a run; each story has a person of its own. It ends with this process.

use crate::{
    harness::{PASSWORD, binaries, repository},
    moto,
};
use berth_client::Client;
use berth_domain::Secret;
use berth_wire::user::{CreateFirstUser, CreateUser, Login};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, Once, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The address of the deployment's first user.
const FIRST: &str = "grace@example.com";

/// The running bed.
pub(crate) struct Bed {
    /// Ends when its input does, which is when this process ends.
    _server: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    ready: Value,
    people: AtomicUsize,
    /// A story that makes the next task fail, whosever it is, is alone.
    alone: RwLock<()>,
    /// The starter template `local` is pushed once, by whoever needs it first.
    pub(crate) local: Once,
}

/// The bed of this run, started by the first story that asks. `None`, said loudly, when it is not installed.
pub(crate) fn bed() -> Option<&'static Bed> {
    static BED: OnceLock<Option<Bed>> = OnceLock::new();
    BED.get_or_init(|| Bed::start("bed.log", &[])).as_ref()
}

impl Bed {
    /// A bed with parameters of the template that are not the usual ones. What it says goes to a file beside the programs.
    pub(crate) fn start(log: &str, parameters: &[&str]) -> Option<Self> {
        let Some(python) = moto::python("bed") else {
            eprintln!("SKIPPED: MiniStack is not installed, so nothing runs on AWS's shape; `cargo xtask test` installs it");
            return None;
        };
        let log = binaries().join(log);
        let mut command = Command::new(&python);
        command.arg(repository().join("tests/aws/bed.py")).arg(binaries()).arg(repository().join("infra")).args(parameters);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
        let mut server = command.spawn().unwrap();
        let talk = (server.stdin.take().unwrap(), BufReader::new(server.stdout.take().unwrap()));
        let (talk, people, alone, local) = (Mutex::new(talk), AtomicUsize::new(0), RwLock::new(()), Once::new());
        let mut bed = Self { _server: server, talk, ready: Value::Null, people, alone, local };
        bed.ready = bed.hear().unwrap_or_else(|| panic!("the bed did not start: {} says why", log.display()))["ready"].clone();
        bed.first_user();
        Some(bed)
    }

    fn hear(&self) -> Option<Value> {
        let mut line = String::new();
        self.talk.lock().unwrap_or_else(PoisonError::into_inner).1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).ok()
    }

    /// One command to the bed, see `bed.py`; its answer.
    pub(crate) fn ask(&self, what: &str, mut arguments: Value) -> Value {
        arguments["do"] = json!(what);
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(talk.0, "{arguments}").unwrap();
        let mut line = String::new();
        talk.1.read_line(&mut line).unwrap();
        let mut said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the bed is gone: see target/debug/bed.log"));
        assert!(said["error"].is_null(), "{what} {arguments}: {said}");
        said["answer"].take()
    }

    /// One call by the AWS SDK as the operator.
    pub(crate) fn call(&self, service: &str, operation: &str, arguments: &Value) -> Value {
        self.ask("call", json!({ "service": service, "operation": operation, "arguments": arguments }))
    }

    /// What AWS calls a resource of the template.
    pub(crate) fn resource(&self, logical: &str) -> String {
        self.ready["resources"][logical].as_str().unwrap_or_else(|| panic!("the template has no {logical}")).to_owned()
    }

    /// The address that people and agents know.
    pub(crate) fn url(&self) -> String {
        self.ready["url"].as_str().unwrap().to_owned()
    }

    /// The address of AWS.
    pub(crate) fn cloud_url(&self) -> String {
        self.ready["cloud_url"].as_str().unwrap().to_owned()
    }

    /// Where workspaces that are processes have their directories.
    pub(crate) fn workspaces(&self) -> PathBuf {
        self.ready["workspaces"].as_str().unwrap().into()
    }

    /// What functions, runners and the relay logged last.
    pub(crate) fn logs(&self) -> String {
        let logs = self.ask("logs", json!({}));
        let said = |(name, text): (&String, &Value)| format!("=== {name}\n{}", text.as_str().unwrap_or_default());
        logs.as_object().unwrap().iter().map(said).collect::<Vec<_>>().join("\n")
    }

    /// Held by a story whose tasks shall start.
    pub(crate) fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.alone.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by a story that makes a task fail.
    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.alone.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every task there was for a job, as ECS knows them.
    pub(crate) fn tasks(&self, job: &str) -> Vec<Value> {
        let tasks = self.ask("tasks", json!({}));
        tasks["all"].as_array().unwrap().iter().filter(|task| task["job"] == job).cloned().collect()
    }

    /// The task that works on a job.
    fn working(&self, job: &str) -> Option<Value> {
        let tasks = self.ask("tasks", json!({}));
        tasks["running"].as_array().unwrap().iter().find(|task| task["job"] == job).cloned()
    }

    /// The process of the runner that works on a job.
    pub(crate) fn runner(&self, job: &str) -> Option<i32> {
        i32::try_from(self.working(job)?["pid"].as_i64()?).ok()
    }

    /// What ECS calls the task that works on a job.
    pub(crate) fn task(&self, job: &str) -> String {
        self.working(job).unwrap()["arn"].as_str().unwrap().to_owned()
    }

    fn first_user(&self) {
        let user = CreateFirstUser {
            email: FIRST.to_owned(),
            username: "grace".to_owned(),
            name: String::new(),
            password: Secret::new(PASSWORD.to_owned()),
        };
        block_on(async { Client::new(&self.url(), None).unwrap().create_first_user(&user).await.unwrap() });
    }

    /// A new person, who may make templates; their e-mail address.
    pub(crate) fn person(&self) -> String {
        let username = format!("person{}", self.people.fetch_add(1, Ordering::Relaxed) + 1);
        let email = format!("{username}@example.com");
        let password = Secret::new(PASSWORD.to_owned());
        let roles = vec!["template-admin".to_owned()];
        let user = CreateUser { email: email.clone(), username, name: String::new(), password: password.clone(), roles };
        block_on(async {
            let client = Client::new(&self.url(), None).unwrap();
            let session = client.login(&Login { email: FIRST.to_owned(), password }).await.unwrap().session_token;
            client.with_token(&session).unwrap().create_user(&user).await.unwrap();
        });
        email
    }
}

/// Runs to the end, also where a story has a runtime of its own.
fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(work)).join().unwrap())
}
