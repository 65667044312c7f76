//! DynamoDB inside the process: the SDK's requests go to the engine without a socket, so that nobody else on the machine can ask.
//!
//! The engine is `dynoxide` over one SQLite file: one fsync per acknowledged write. Streams stay off (nothing deletes their rows);
//! rows whose `ttl` has passed go once a minute.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig},
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::JoinSet;

use crate::{Blobs, SealError, Store, TableError, session::Owners, table::Table};

/// Why a local store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server uses the directory.
    #[error("another server uses the data directory {}", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be used.
    #[error("cannot use the data directory {}", .dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a table.
    #[error("cannot open the table in {}", .dir.display())]
    Engine {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The keys that blobs are sealed with cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The table cannot be made.
    #[error("cannot make the table")]
    Table(#[from] TableError),
}

/// The table's name.
const TABLE: &str = "berth";
/// How often rows whose `ttl` has passed are looked for.
const TTL_SWEEP: Duration = Duration::from_secs(60);

impl Store {
    /// Opens the store in `dir`, which is made if need be; the table is `table.db`, blobs are in `blobs/`, the keys that they are
    /// sealed with in `keys/`.
    ///
    /// Only one process can have it open. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When another process has it open, or the directory or the file in it cannot be used.
    pub async fn open_local(dir: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory { dir: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let lock = private(&dir.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let file = dir.join("table.db");
        private(&file).map_err(failed)?;
        let database = Database::new(&file.to_string_lossy()).map_err(|error| engine(dir, error))?;
        let blobs = Blobs::directory(&dir.join("blobs"), &dir.join("keys"))?;
        let keeper = Keeper::new(database.clone(), Some(lock));
        Ok(Self::made(client(Engine(database), RetryConfig::disabled()), blobs, keeper).await?)
    }

    /// A store in memory, its blobs in a directory that goes with it. For tests.
    ///
    /// # Errors
    /// When the temporary directory cannot be made.
    pub async fn memory() -> Result<Self, OpenError> {
        let dir = Path::new(":memory:");
        let database = Database::memory().map_err(|error| engine(dir, error))?;
        let blobs = Blobs::temporary().map_err(|source| OpenError::Directory { dir: dir.to_owned(), source })?;
        let keeper = Keeper::new(database.clone(), None);
        Ok(Self::made(client(Engine(database), RetryConfig::disabled()), blobs, keeper).await?)
    }

    /// The same, whose table other processes reach by HTTP on `listener`, as long as a handle lives: for stories of the functions'
    /// programs, which have no other way to an embedded table.
    ///
    /// # Errors
    /// When the temporary directory cannot be made.
    pub async fn memory_served(listener: tokio::net::TcpListener) -> Result<Self, OpenError> {
        let dir = Path::new(":memory:");
        let database = Database::memory().map_err(|error| engine(dir, error))?;
        let blobs = Blobs::temporary().map_err(|source| OpenError::Directory { dir: dir.to_owned(), source })?;
        let mut keeper = Keeper::new(database.clone(), None);
        keeper.tasks.spawn(dynoxide::server::serve_on(listener, database.clone()));
        Ok(Self::made(client(Engine(database), RetryConfig::disabled()), blobs, keeper).await?)
    }

    async fn made(client: Client, blobs: Blobs, keeper: Keeper) -> Result<Self, TableError> {
        let table = Table::new(client, TABLE.to_owned(), blobs.clone(), Some(keeper));
        table.make().await?;
        Ok(Self { table: Arc::new(table), blobs, sessions: Arc::new(Owners::default()) })
    }
}

fn engine(dir: &Path, error: DynoxideError) -> OpenError {
    OpenError::Engine { dir: dir.to_owned(), source: error.into() }
}

/// Opens a file that only its owner may read: what is in the table is nobody else's business.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What lives as long as an embedded table.
#[derive(Debug)]
pub(crate) struct Keeper {
    _lock: Option<File>,
    tasks: JoinSet<()>,
}

impl Keeper {
    fn new(database: Database, lock: Option<File>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(sweep(database));
        Self { _lock: lock, tasks }
    }
}

async fn sweep(database: Database) {
    let mut ticker = tokio::time::interval(TTL_SWEEP);
    loop {
        ticker.tick().await;
        let database = database.clone();
        match tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(rows)) => tracing::debug!(rows, "removed rows whose time had passed"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot remove rows whose time has passed"),
        }
    }
}

/// The SDK's client over an engine in the process. A request there is either done or not, so nothing is gained by asking again, and
/// nobody reads a signature.
fn client(engine: impl HttpConnector + 'static, retries: RetryConfig) -> Client {
    let connector = SharedHttpConnector::new(engine);
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url("http://embedded.invalid")
        .allow_no_auth()
        .timeout_config(TimeoutConfig::disabled())
        .retry_config(retries)
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    Client::from_conf(config)
}

/// The engine as the SDK's HTTP connector.
struct Engine(Database);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl HttpConnector for Engine {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let database = self.0.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
            let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
            let done =
                tokio::task::spawn_blocking(move || answer(&database, &operation, request.body().bytes().unwrap_or_default()));
            let (status, body) = done.await.map_err(|error| ConnectorError::other(error.into(), None))?;
            let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
            Ok(HttpResponse::new(status, SdkBody::from(body)))
        })
    }
}

/// The engine's answer to one request, as an HTTP status and a JSON body.
fn answer(database: &Database, operation: &str, body: &[u8]) -> (u16, String) {
    let answer = match operation {
        "GetItem" => run(body, |request| database.get_item(request)),
        "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
        "Query" => run(body, |request| database.query(request)),
        "UpdateItem" => run(body, |request| database.update_item(request)),
        "DeleteItem" => run(body, |request| database.delete_item(request)),
        "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
        "CreateTable" => run(body, |request| database.create_table(request)),
        "UpdateTimeToLive" => run(body, |request| database.update_time_to_live(request)),
        _ => Err(DynoxideError::ValidationException(format!("the embedded table does not offer {operation}"))),
    };
    match answer {
        Ok(body) => (200, body),
        Err(error) => (error.status_code(), error.to_json()),
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> dynoxide::Result<A>,
) -> dynoxide::Result<String> {
    let request = serde_json::from_slice(body).map_err(|error| DynoxideError::SerializationException(error.to_string()))?;
    serde_json::to_string(&operation(request)?).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
