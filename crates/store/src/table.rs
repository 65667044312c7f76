//! The table: its keys, its items, and the few requests that all verbs are made of.
//!
//! | row | `pk` | `sk` | `gsi1pk` / `gsi1sk` | besides |
//! |---|---|---|---|---|
//! | the first user | `FIRST` | `FIRST` | | |
//! | user | `USER#id` | `USER` | `USERS` / name | |
//! | user's name, e-mail | `USERNAME#name`, `EMAIL#address` | `NAME` | | body is the user's id |
//! | session | `SESSION#id` | `SESSION` | `SESSIONS#user` / time | `ttl` |
//! | spent ticket to an app | `APP_TICKET#id` | `APP_TICKET` | | `ttl` |
//! | file | `FILE#id` | `FILE` | | |
//! | file by content | `USER#id` | `FILE#sha256` | | body is the file's id |
//! | template | `TEMPLATE#id` | `TEMPLATE` | `TEMPLATES` / name, unless deleted | `uses`: workspaces of it |
//! | template's name | `TEMPLATE_NAME#name` | `NAME` | | body is the template's id |
//! | version | `VERSION#id` | `VERSION` | `VERSIONS#template` / time | |
//! | dry run | `DRY_RUN#id` | `DRY_RUN` | | `ttl`, as its job and its log |
//! | version's name | `TEMPLATE#id` | `VERSION#name` | | body is the version's id |
//! | workspace with its newest build | `WORKSPACE#id` | `NOW` | `WORKSPACES` / `owner#name`, unless deleted | |
//! | agent | `WORKSPACE#id` | `NOW#AGENT#id` | | `lines`, `bytes` of its log |
//! | earlier build | `WORKSPACE#id` | `BUILD#number` | | |
//! | workspace's stop | `WORKSPACE#id` | `STOP` | `DUE` / `time#workspace`, while one is due | body is the workspace's id |
//! | a relay that may sleep and does not | `RELAY` | `RELAY` | `DUE` / `time#relay` | |
//! | repair | `REPAIR#id` | `REPAIR` | | `ttl` |
//! | version of its Terraform state | `WORKSPACE#id` | `STATE#number` | | the bytes are a blob |
//! | workspace's name | `USER#id` | `WORKSPACE#name` | | body is the workspace's id |
//! | agent's workspace, by id and by token | `AGENT#id`, `AGENT_TOKEN#hash` | `AGENT` | | |
//! | EC2 instance's workspace | `INSTANCE#id` | `WORKSPACE` | | `ttl`; body is the workspace's id |
//! | boot of an instance that has had its token | `INSTANCE#id` | `BOOT#time` | | `ttl` |
//! | job | `JOB#kind-id` | `JOB` | `DUE` / `time#job`, while active | `lines`, `bytes` of its log |
//! | timings of a build | `JOB#build-id` | `TIMINGS` | | |
//! | lines of a job's or agent's log | `LOG#...` | id of the last line | | |
//!
//! The domain's part of an item is one JSON text, `body`; `v` grows by one with each change and is the condition of the next.
//! Names in keys are in lower case. A body too large for an item is a blob, and the item holds its key.

mod schema;

use std::{collections::HashMap, fmt, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::{delete_item::DeleteItemError, transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        AttributeValue, CancellationReason, ConditionCheck, Delete, KeysAndAttributes, ReturnConsumedCapacity::Total,
        ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    BlobError, Blobs, Meter,
    embedded::Keeper,
    meter::Counters,
    write::{Expression, Write},
};

/// The one index.
const INDEX: &str = "gsi1";
/// A body larger than this becomes a blob: an item holds at most 400 KB.
const BODY_BYTES_MAX: usize = 300 * 1024;
/// The most keys of one `BatchGetItem`.
const BATCH_KEYS_MAX: usize = 100;
/// How often a request that met another transaction is made again.
const CONFLICTS_MAX: u32 = 8;
/// How often a verb that lost a race reads and tries again.
pub(crate) const RACES_MAX: u32 = 50;

/// The table failed: nothing that the person who asked can change.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The request failed.
    #[error("the table did not answer {operation}: {cause}")]
    Request {
        /// Which operation.
        operation: &'static str,
        /// Why, with all its causes.
        cause: String,
    },
    /// Others kept changing what was to be changed.
    #[error("{0} kept changing")]
    Contention(String),
    /// A row is not what it should be.
    #[error("row {key} cannot be read: {cause}")]
    Corrupt {
        /// Which row.
        key: String,
        /// Why.
        cause: String,
    },
    /// A value cannot be written.
    #[error("a value cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// A blob failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl TableError {
    /// Whether there is no room on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Blob(BlobError::Full) => true,
            Self::Request { cause, .. } => cause.contains("disk is full"),
            _ => false,
        }
    }
}

/// Where a row is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl Key {
    pub(crate) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }

    fn attributes(&self) -> Item {
        HashMap::from([("pk".to_owned(), text(&self.pk)), ("sk".to_owned(), text(&self.sk))])
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pk, self.sk)
    }
}

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn number(number: impl fmt::Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A row as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Row<T = String> {
    pub(crate) key: Key,
    /// The body.
    pub(crate) value: T,
    /// The condition of the next change.
    pub(crate) version: u64,
    /// Lines of log.
    pub(crate) lines: u64,
    /// Bytes of log.
    pub(crate) bytes: u64,
    /// What counts on it.
    pub(crate) uses: u64,
    /// Its place in the index.
    pub(crate) index: String,
}

impl Row {
    /// The row with its body read as a `T`.
    pub(crate) fn decode<T: DeserializeOwned>(self) -> Result<Row<T>, TableError> {
        let corrupt = |error: serde_json::Error| TableError::Corrupt { key: self.key.to_string(), cause: error.to_string() };
        let value = serde_json::from_str(&self.value).map_err(corrupt)?;
        let Self { key, version, lines, bytes, uses, index, .. } = self;
        Ok(Row { key, value, version, lines, bytes, uses, index })
    }
}

/// Which rows of a partition a Query reads.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) partition: String,
    pub(crate) index: bool,
    pub(crate) bound: Bound,
    pub(crate) limit: Option<usize>,
}

/// Which sort keys.
#[derive(Debug, Clone)]
pub(crate) enum Bound {
    All,
    Prefix(String),
    After(String),
    UpTo(String),
}

impl Range {
    pub(crate) fn of(partition: impl Into<String>, bound: Bound) -> Self {
        Self { partition: partition.into(), index: false, bound, limit: None }
    }

    pub(crate) fn index(partition: impl Into<String>, bound: Bound) -> Self {
        Self { index: true, ..Self::of(partition, bound) }
    }
}

/// Why a write did not happen.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The condition of the write at this position did not hold.
    Refused { at: usize },
    /// The table failed.
    Table(TableError),
}

/// What came of one request to write one row.
enum Outcome {
    Done,
    /// The condition did not hold, for what is there.
    Refused(Option<Item>),
    /// A transaction on the row is under way.
    Conflict,
}

impl From<TableError> for WriteError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

/// The table and its one client.
#[derive(Debug)]
pub(crate) struct Table {
    client: Client,
    name: String,
    blobs: Blobs,
    counters: Counters,
    _keeper: Option<Keeper>,
}

impl Table {
    pub(crate) fn new(client: Client, name: String, blobs: Blobs, keeper: Option<Keeper>) -> Self {
        Self { client, name, blobs, counters: Counters::default(), _keeper: keeper }
    }

    pub(crate) fn meter(&self) -> Meter {
        self.counters.meter()
    }

    /// Reads one row. One request.
    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Row<T>>, TableError> {
        self.counters.read();
        let get = self.client.get_item().table_name(&self.name).set_key(Some(key.attributes())).consistent_read(true);
        let answer = get.return_consumed_capacity(Total).send().await.map_err(|error| failed("GetItem", &error))?;
        self.counters.spent_reading(answer.consumed_capacity());
        match answer.item {
            Some(item) => Ok(Some(self.row(item).await?.decode()?)),
            None => Ok(None),
        }
    }

    /// Asks whether a row is there, for the connection's sake: the cheapest request.
    pub(crate) async fn touch(&self, key: &Key) -> Result<(), TableError> {
        self.counters.read();
        let get = self.client.get_item().table_name(&self.name).set_key(Some(key.attributes())).projection_expression("pk");
        let answer = get.return_consumed_capacity(Total).send().await.map_err(|error| failed("GetItem", &error))?;
        self.counters.spent_reading(answer.consumed_capacity());
        Ok(())
    }

    /// Reads rows that are there, in no order. One request per 100 keys.
    pub(crate) async fn get_all(&self, keys: &[Key]) -> Result<Vec<Row>, TableError> {
        let mut rows = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH_KEYS_MAX) {
            let mut wanted: Vec<Item> = keys.iter().map(Key::attributes).collect();
            for attempt in 0.. {
                let keys = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true).build();
                let keys = keys.map_err(|error| failed("BatchGetItem", &error))?;
                self.counters.read();
                let get = self.client.batch_get_item().request_items(&self.name, keys).return_consumed_capacity(Total);
                let mut answer = get.send().await.map_err(|error| failed("BatchGetItem", &error))?;
                self.counters.spent_reading(answer.consumed_capacity());
                for item in answer.responses.take().and_then(|mut tables| tables.remove(&self.name)).unwrap_or_default() {
                    rows.push(self.row(item).await?);
                }
                let left = answer.unprocessed_keys.take().and_then(|mut tables| tables.remove(&self.name));
                match left.map(|left| left.keys).filter(|keys| !keys.is_empty()) {
                    None => break,
                    Some(_) if attempt >= CONFLICTS_MAX => return Err(TableError::Contention("the table".to_owned())),
                    Some(keys) => wanted = keys,
                }
                pause(attempt).await;
            }
        }
        Ok(rows)
    }

    /// Reads a range in order of its sort keys. One request per megabyte.
    pub(crate) async fn query<T: DeserializeOwned>(&self, range: Range) -> Result<Vec<Row<T>>, TableError> {
        self.query_raw(range).await?.into_iter().map(Row::decode).collect()
    }

    pub(crate) async fn query_raw(&self, range: Range) -> Result<Vec<Row>, TableError> {
        let (pk, sk) = if range.index { ("gsi1pk", "gsi1sk") } else { ("pk", "sk") };
        let (condition, value) = match range.bound {
            Bound::All => (String::new(), None),
            Bound::Prefix(value) => (format!(" AND begins_with({sk}, :sk)"), Some(value)),
            Bound::After(value) => (format!(" AND {sk} > :sk"), Some(value)),
            Bound::UpTo(value) => (format!(" AND {sk} <= :sk"), Some(value)),
        };
        let mut rows = Vec::new();
        let mut start = None;
        loop {
            self.counters.read();
            let mut query = self
                .client
                .query()
                .table_name(&self.name)
                .set_index_name(range.index.then(|| INDEX.to_owned()))
                .consistent_read(!range.index)
                .key_condition_expression(format!("{pk} = :pk{condition}"))
                .expression_attribute_values(":pk", text(&range.partition))
                .set_exclusive_start_key(start)
                .set_limit(range.limit.and_then(|limit| i32::try_from(limit.saturating_sub(rows.len()).max(1)).ok()));
            if let Some(value) = &value {
                query = query.expression_attribute_values(":sk", text(value));
            }
            let answer = query.return_consumed_capacity(Total).send().await.map_err(|error| failed("Query", &error))?;
            self.counters.spent_reading(answer.consumed_capacity());
            for item in answer.items.unwrap_or_default() {
                rows.push(self.row(item).await?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || range.limit.is_some_and(|limit| rows.len() >= limit) {
                return Ok(rows);
            }
        }
    }

    async fn row(&self, mut item: Item) -> Result<Row, TableError> {
        let mut take = |name: &str| match item.remove(name) {
            Some(AttributeValue::S(text) | AttributeValue::N(text)) => Some(text),
            _ => None,
        };
        let key = Key::new(take("pk").unwrap_or_default(), take("sk").unwrap_or_default());
        let value = match (take("body"), take("blob")) {
            (Some(body), _) => body,
            (None, Some(blob)) => {
                let bytes = self.blobs.get(&blob).await?.ok_or(BlobError::Missing(blob))?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            (None, None) => "null".to_owned(),
        };
        let mut count = |name: &str| take(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (version, lines, bytes, uses) = (count("v"), count("lines"), count("bytes"), count("uses"));
        Ok(Row { key, value, version, lines, bytes, uses, index: take("gsi1sk").unwrap_or_default() })
    }

    /// Makes one conditional write. It waits for a transaction on the same row to end.
    pub(crate) async fn write(&self, mut write: Write) -> Result<(), WriteError> {
        self.outsource(&mut write).await?;
        for attempt in 0..=CONFLICTS_MAX {
            let refused = match self.write_once(&write).await? {
                Outcome::Done => return Ok(()),
                Outcome::Refused(there) => there,
                Outcome::Conflict => {
                    pause(attempt).await;
                    continue;
                }
            };
            // The SDK may have asked twice because the first answer was lost: then what stands there is ours.
            let ours = refused.is_some_and(|item| write.stands_in(&item));
            return if ours { Ok(()) } else { Err(WriteError::Refused { at: 0 }) };
        }
        Err(TableError::Contention(write.key.to_string()).into())
    }

    async fn write_once(&self, write: &Write) -> Result<Outcome, TableError> {
        self.counters.wrote();
        let Expression { update, condition, names, values } = write.expression();
        let key = write.key.attributes();
        let old = ReturnValuesOnConditionCheckFailure::AllOld;
        let Some(update) = update else {
            let request = self.client.delete_item().table_name(&self.name).set_key(Some(key)).return_consumed_capacity(Total);
            let request = request.set_condition_expression(condition).set_expression_attribute_names(names);
            let request = request.set_expression_attribute_values(values).return_values_on_condition_check_failure(old);
            let answer = request.send().await.map_err(SdkError::into_service_error);
            self.counters.spent_writing(answer.iter().filter_map(|answer| answer.consumed_capacity()));
            return match answer {
                Ok(_) => Ok(Outcome::Done),
                Err(DeleteItemError::ConditionalCheckFailedException(refused)) => Ok(Outcome::Refused(refused.item)),
                Err(DeleteItemError::TransactionConflictException(_)) => Ok(Outcome::Conflict),
                Err(error) => Err(failed("DeleteItem", &error)),
            };
        };
        let request = self.client.update_item().table_name(&self.name).set_key(Some(key)).update_expression(update);
        let request = request.set_condition_expression(condition).set_expression_attribute_names(names);
        let request = request.set_expression_attribute_values(values).return_values_on_condition_check_failure(old);
        let answer = request.return_consumed_capacity(Total).send().await.map_err(SdkError::into_service_error);
        self.counters.spent_writing(answer.iter().filter_map(|answer| answer.consumed_capacity()));
        match answer {
            Ok(_) => Ok(Outcome::Done),
            Err(UpdateItemError::ConditionalCheckFailedException(refused)) => Ok(Outcome::Refused(refused.item)),
            Err(UpdateItemError::TransactionConflictException(_)) => Ok(Outcome::Conflict),
            Err(error) => Err(failed("UpdateItem", &error)),
        }
    }

    /// Makes all of the writes or none. One request; at most 100 writes.
    pub(crate) async fn transact(&self, mut writes: Vec<Write>) -> Result<(), WriteError> {
        for write in &mut writes {
            self.outsource(write).await?;
        }
        for attempt in 0.. {
            let items = writes.iter().map(|write| self.transaction_item(write)).collect::<Result<Vec<_>, _>>()?;
            self.counters.wrote();
            // The SDK adds a token, the same for all its attempts, by which DynamoDB knows a repeat.
            let request = self.client.transact_write_items().set_transact_items(Some(items)).return_consumed_capacity(Total);
            let answer = request.send().await;
            let error = match answer.map_err(SdkError::into_service_error) {
                Ok(done) => {
                    self.counters.spent_writing(done.consumed_capacity());
                    return Ok(());
                }
                Err(error) => error,
            };
            let TransactWriteItemsError::TransactionCanceledException(canceled) = &error else {
                return Err(failed("TransactWriteItems", &error).into());
            };
            let reasons = canceled.cancellation_reasons();
            if let Some(at) = reasons.iter().position(|reason| is(reason, "ConditionalCheckFailed")) {
                return Err(WriteError::Refused { at });
            }
            let passing = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
            if attempt >= CONFLICTS_MAX || !reasons.iter().any(|reason| passing.iter().any(|code| is(reason, code))) {
                return Err(failed("TransactWriteItems", &error).into());
            }
            pause(attempt).await;
        }
        Ok(())
    }

    fn transaction_item(&self, write: &Write) -> Result<TransactWriteItem, TableError> {
        let Expression { update, condition, names, values } = write.expression();
        let key = Some(write.key.attributes());
        let item = TransactWriteItem::builder();
        let unbuilt = |error| failed("TransactWriteItems", &error);
        if write.is_check() {
            let check = ConditionCheck::builder().table_name(&self.name).set_key(key).set_condition_expression(condition);
            let check = check.set_expression_attribute_names(names).set_expression_attribute_values(values).build();
            return Ok(item.condition_check(check.map_err(unbuilt)?).build());
        }
        let Some(update) = update else {
            let delete = Delete::builder().table_name(&self.name).set_key(key).set_condition_expression(condition);
            let delete = delete.set_expression_attribute_names(names).set_expression_attribute_values(values).build();
            return Ok(item.delete(delete.map_err(unbuilt)?).build());
        };
        let change =
            Update::builder().table_name(&self.name).set_key(key).update_expression(update).set_condition_expression(condition);
        let change = change.set_expression_attribute_names(names).set_expression_attribute_values(values).build();
        Ok(item.update(change.map_err(unbuilt)?).build())
    }

    /// Puts a body that is too large for an item into a blob.
    async fn outsource(&self, write: &mut Write) -> Result<(), TableError> {
        let key = format!("item/{}/{}", hex::encode(write.key.to_string()), Uuid::new_v4().simple());
        if let Some(body) = write.outsource(BODY_BYTES_MAX, &key) {
            self.blobs.put(&key, body.into()).await?;
        }
        Ok(())
    }
}

fn is(reason: &CancellationReason, code: &str) -> bool {
    reason.code.as_deref() == Some(code)
}

/// An error with all its causes, as text: the SDK's own errors hide them.
fn failed(operation: &'static str, error: &(dyn std::error::Error + 'static)) -> TableError {
    TableError::Request { operation, cause: DisplayErrorContext(error).to_string() }
}

/// Waits before the next attempt: 2 ms doubled each time, at most 200 ms, half of it by chance so that rivals part.
pub(crate) async fn pause(attempt: u32) {
    let longest = 2_u64.saturating_mul(1 << attempt.min(7)).min(200) * 1000;
    let chance = Uuid::new_v4().as_u64_pair().1 % (longest / 2 + 1);
    tokio::time::sleep(Duration::from_micros(longest / 2 + chance)).await;
}

/// A value as the body of an item.
pub(crate) fn encode(value: &impl Serialize) -> Result<String, TableError> {
    Ok(serde_json::to_string(value)?)
}
