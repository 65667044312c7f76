//! A function: the process of the real program, with the environment that Lambda gives, and its log.

use crate::runtime_api::{Answer, Event, Service, router};
use serde_json::Value;
use std::{
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

/// How long a function may take until it first asks for an event. Lambda: 10 s; a debug build on a busy machine is slower.
const INIT: Duration = Duration::from_secs(30);
/// How long a function may take for an event.
const LIMIT: Duration = Duration::from_secs(60);

/// A program and the environment that it gets besides Lambda's own.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment; nothing of ours is inherited.
    pub environment: Vec<(String, String)>,
}

/// Why a function did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program cannot be run, or the Runtime API cannot be served.
    #[error("cannot start the function")]
    Io(#[from] io::Error),
    /// It ended before it asked for an event.
    #[error("the function ended with {status} before it asked for an event:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it said.
        log: String,
    },
    /// It never asked for an event.
    #[error("the function did not ask for an event in time:\n{0}")]
    Late(String),
}

/// Why an event has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The function said that it failed.
    #[error("the function failed: {0}")]
    Failed(Value),
    /// The function ended.
    #[error("the function ended:\n{0}")]
    Ended(String),
    /// The function was late and was killed, as Lambda does.
    #[error("the function was late and was killed:\n{0}")]
    Late(String),
    /// The answer is larger than Lambda takes.
    #[error("the function answered {0} bytes, more than Lambda takes")]
    TooLarge(usize),
    /// The answer is not JSON.
    #[error("the function's answer is not JSON")]
    NotJson(#[from] serde_json::Error),
}

/// A running function. It is killed when this is dropped.
#[derive(Debug)]
pub struct Function {
    child: tokio::sync::Mutex<Child>,
    events: mpsc::Sender<Event>,
    log: Arc<Mutex<Vec<String>>>,
    limit: Duration,
    pipes: tokio::sync::Mutex<JoinSet<()>>,
    _server: JoinSet<()>,
}

impl Function {
    /// Starts a program and waits until it asks for its first event.
    ///
    /// # Errors
    /// When it does not get that far; with what it logged.
    pub async fn start(program: &Program) -> Result<Self, StartError> {
        let (events, received) = mpsc::channel(16);
        let service = Service::new(received);
        let asked = service.asked();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mut server, mut pipes, log) = (JoinSet::new(), JoinSet::new(), Arc::<Mutex<Vec<String>>>::default());
        server.spawn(async move { axum::serve(listener, router(service)).await.unwrap_or_default() });
        let mut child = spawn(program, &address.to_string())?;
        pipes.spawn(keep(child.stdout.take(), Arc::clone(&log)));
        pipes.spawn(keep(child.stderr.take(), Arc::clone(&log)));
        let function = Self { child: child.into(), events, log, limit: LIMIT, pipes: pipes.into(), _server: server };
        function.ready(asked).await?;
        Ok(function)
    }

    async fn ready(&self, mut asked: watch::Receiver<u64>) -> Result<(), StartError> {
        let mut child = self.child.lock().await;
        tokio::select! {
            _ = asked.wait_for(|asked| *asked > 0) => Ok(()),
            status = child.wait() => {
                let status = status?;
                Err(StartError::Ended { status, log: self.log_of_the_dead().await })
            }
            () = tokio::time::sleep(INIT) => Err(StartError::Late(self.text())),
        }
    }

    /// The same with another limit of time for an event.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Gives the function an event and waits for its answer.
    ///
    /// # Errors
    /// When the function says that it failed, ends, is late, or answers what Lambda does not take.
    pub async fn invoke(&self, event: Value) -> Result<Value, InvokeError> {
        let (answer, answered) = oneshot::channel();
        let event = Event { body: event, limit: self.limit, answer };
        if self.events.send(event).await.is_err() {
            return Err(InvokeError::Ended(self.text()));
        }
        let mut child = self.child.lock().await;
        let answer = tokio::select! {
            biased;
            answer = answered => answer.ok(),
            _ = child.wait() => None,
            () = tokio::time::sleep(self.limit) => {
                let _gone = child.kill().await;
                return Err(InvokeError::Late(self.log_of_the_dead().await));
            }
        };
        match answer {
            Some(Answer::Response(body)) => Ok(serde_json::from_slice(&body)?),
            Some(Answer::Error(error)) => Err(InvokeError::Failed(error)),
            Some(Answer::TooLarge(bytes)) => Err(InvokeError::TooLarge(bytes)),
            None => Err(InvokeError::Ended(self.log_of_the_dead().await)),
        }
    }

    /// What the function logged so far, line by line; lines that are not JSON are left out.
    #[must_use]
    pub fn log(&self) -> Vec<Value> {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What the function logged so far, as it is.
    #[must_use]
    pub fn text(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Its process id, while it lives.
    pub async fn id(&self) -> Option<u32> {
        self.child.lock().await.id()
    }

    /// Waits until the function has ended by itself, for example after a signal; its log is whole then.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn ended(&self) -> io::Result<ExitStatus> {
        let status = self.child.lock().await.wait().await?;
        self.log_of_the_dead().await;
        Ok(status)
    }

    /// The log of a process that is gone: its last lines may still be in the pipes.
    async fn log_of_the_dead(&self) -> String {
        let mut pipes = self.pipes.lock().await;
        while pipes.join_next().await.is_some() {}
        self.text()
    }
}

fn spawn(program: &Program, api: &str) -> io::Result<Child> {
    Command::new(&program.path)
        .args(&program.arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .env("AWS_LAMBDA_RUNTIME_API", api)
        .env("AWS_LAMBDA_FUNCTION_NAME", "bed")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

async fn keep(pipe: Option<impl AsyncRead + Unpin>, log: Arc<Mutex<Vec<String>>>) {
    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
