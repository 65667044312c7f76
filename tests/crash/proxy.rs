//! A proxy before the API that kills: before it passes a request on, or once the API has answered and nobody has heard it yet.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Request, Response, StatusCode, Uri},
};
use hyper_util::rt::TokioIo;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// The largest body that is passed on, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Which request of a job, or of the person, is struck, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    /// `PUT state`, `POST finish`: the method and the path's last part.
    pub(super) request: (&'static str, &'static str),
    /// 1 for the first such request of the job.
    pub(super) nth: u32,
    pub(super) when: When,
    pub(super) whom: Whom,
    /// How long the blow waits.
    pub(super) delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    Runner,
    Server,
    Both,
}

/// What is known of a job.
#[derive(Debug, Default)]
struct Job {
    at: Option<At>,
    seen: HashMap<(String, String), u32>,
    struck: bool,
    /// States that the API said it has, in order.
    acknowledged: Vec<Bytes>,
    /// A state on its way when the server died: it may be there or not.
    uncertain: Option<Bytes>,
}

struct Shared {
    server: Mutex<(SocketAddr, Pid)>,
    /// Jobs by their id as the path has it; requests of one that is not here yet wait.
    jobs: watch::Sender<HashMap<String, Job>>,
    /// The person's own next request that is struck.
    person: Mutex<Option<At>>,
    /// Whether unknown jobs wait; not while the template is imported.
    waits: Mutex<bool>,
}

/// The proxy; it ends when dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: Mutex::new((SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), Pid::from_raw(0))),
            jobs: watch::Sender::default(),
            person: Mutex::default(),
            waits: Mutex::new(false),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, shared, _serving: serving }
    }

    /// Where the server is now.
    pub(super) fn serve_for(&self, url: &str, pid: Pid) {
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        *self.shared.server.lock().unwrap() = (authority.parse().unwrap(), pid);
    }

    /// From now on every job must be named by [`Proxy::expect`] before its requests are passed on.
    pub(super) fn hold_unknown_jobs(&self) {
        *self.shared.waits.lock().unwrap() = true;
    }

    /// Lets a job's requests pass, up to the point at which to strike.
    pub(super) fn expect(&self, job: uuid::Uuid, at: Option<At>) {
        self.shared.jobs.send_modify(|jobs| jobs.entry(job.to_string()).or_default().at = at);
    }

    pub(super) fn strike_person(&self, at: Option<At>) {
        *self.shared.person.lock().unwrap() = at;
    }

    pub(super) fn person_was_struck(&self) -> bool {
        self.shared.person.lock().unwrap().is_none()
    }

    pub(super) fn was_struck(&self, job: uuid::Uuid) -> bool {
        self.shared.jobs.borrow().get(&job.to_string()).is_some_and(|job| job.struck)
    }

    /// Whether the job was named before.
    pub(super) fn knows(&self, job: uuid::Uuid) -> bool {
        self.shared.jobs.borrow().contains_key(&job.to_string())
    }

    /// The last state that the API said it has from this job, and one of which it died before it could say so.
    pub(super) fn newest_states(&self, job: uuid::Uuid) -> (Option<Bytes>, Option<Bytes>) {
        let jobs = self.shared.jobs.borrow();
        jobs.get(&job.to_string()).map_or((None, None), |job| (job.acknowledged.last().cloned(), job.uncertain.clone()))
    }
}

impl Shared {
    /// Whether this request of a job is the one to strike. Waits until the job is named.
    async fn blow(&self, job: &str, request: (String, String)) -> Option<At> {
        if *self.waits.lock().unwrap() {
            let mut jobs = self.jobs.subscribe();
            jobs.wait_for(|jobs| jobs.contains_key(job)).await.unwrap();
        }
        let mut blow = None;
        self.jobs.send_if_modified(|jobs| {
            let Some(job) = jobs.get_mut(job) else { return false };
            let seen = job.seen.entry(request.clone()).or_default();
            *seen += 1;
            blow = job.at.filter(|at| at.request == (&*request.0, &*request.1) && at.nth == *seen);
            job.struck |= blow.is_some();
            false
        });
        blow
    }

    fn note_state(&self, job: &str, state: &Bytes, answered: bool) {
        self.jobs.send_if_modified(|jobs| {
            if let Some(job) = jobs.get_mut(job) {
                if answered {
                    job.acknowledged.push(state.clone());
                    job.uncertain = None;
                } else {
                    job.uncertain = Some(state.clone());
                }
            }
            false
        });
    }

    async fn strike(&self, at: At, runner: Option<Pid>) {
        tokio::time::sleep(at.delay).await;
        let server = self.server.lock().unwrap().1;
        let victims = match at.whom {
            Whom::Runner => vec![runner],
            Whom::Server => vec![Some(server)],
            Whom::Both => vec![Some(server), runner],
        };
        for pid in victims.into_iter().flatten().filter(|pid| pid.as_raw() > 1) {
            let _gone_already = kill(pid, Signal::SIGKILL);
        }
    }
}

fn gone() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

/// `/pid/7/rest` as the process and `/rest`; a person's path has no process.
fn split(path: &str) -> (Option<Pid>, String) {
    let found = path.strip_prefix("/pid/").and_then(|rest| rest.split_once('/'));
    match found.and_then(|(pid, rest)| Some((pid.parse().ok()?, format!("/{rest}")))) {
        Some((pid, rest)) => (Some(Pid::from_raw(pid)), rest),
        None => (None, path.to_owned()),
    }
}

async fn pass(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let (runner, path) = split(uri.path());
    let job = path.strip_prefix("/api/v2/runner/jobs/").and_then(|rest| rest.split('/').next()).map(str::to_owned);
    let verb = path.rsplit('/').next().unwrap_or_default().to_owned();
    let blow = match &job {
        Some(job) => shared.blow(job, (method.to_string(), verb.clone())).await,
        None => {
            let mut person = shared.person.lock().unwrap();
            if person.is_some_and(|at| at.request == (method.as_str(), &*verb)) { person.take() } else { None }
        }
    };
    if let Some(at) = blow.filter(|at| at.when == When::Before) {
        shared.strike(at, runner).await;
        if at.whom != Whom::Runner {
            return gone();
        }
    }
    let server = shared.server.lock().unwrap().0;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let is_state = job.is_some() && method == Method::PUT && verb == "state";
    let killed_before = blow.is_some_and(|at| at.when == When::Before);
    if killed_before {
        return gone();
    }
    // Before it is passed on: the runner may die in the middle, and this task with its connection.
    if let Some(job) = job.as_ref().filter(|_| is_state) {
        shared.note_state(job, &body, false);
    }
    let answer = forward(server, (method, format!("{path}{query}"), headers), body.clone()).await;
    let is_kept = answer.as_ref().is_some_and(|(parts, _)| parts.status.is_success());
    if let Some(job) = job.as_ref().filter(|_| is_state && is_kept) {
        shared.note_state(job, &body, true);
    }
    if let Some(at) = blow {
        shared.strike(at, runner).await;
        return gone();
    }
    answer.map_or_else(gone, |(parts, bytes)| Response::from_parts(parts, Body::from(bytes)))
}

/// `None` when the server is not there, or dies before its answer is whole.
async fn forward(
    server: SocketAddr,
    (method, path, headers): (Method, String, HeaderMap),
    body: Bytes,
) -> Option<(axum::http::response::Parts, Bytes)> {
    let stream = TcpStream::connect(server).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().ok()?;
    *request.headers_mut() = headers;
    let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
    Some((parts, axum::body::to_bytes(Body::new(body), BODY_BYTES_MAX).await.ok()?))
}
