//! Whatever AWS does to one request of a workspace's life, what the table holds in the end is the same: each verb has one effect.

use super::*;
use crate::{
    UserChange,
    fixture::{self, World, at, claim, failed, job, line, noon, result, result_with_agent, state},
};
use berth_domain::Transition;
use berth_wire::{
    agent::{Line, Logs},
    runner::Outcome,
};
use dynoxide::actions::scan::ScanRequest;
use std::sync::Mutex;
use uuid::Uuid;

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Not done: too many requests.
    Throttled,
    /// Not done: more than the table or one of its partitions gives.
    Exceeded,
    /// Not done: something failed inside.
    Failed,
    /// Not done: a transaction on the same row is under way. Writes only.
    Conflict,
    /// Not done: the connection broke before it was sent.
    Reset,
    /// Done, but the answer says that something failed inside.
    DoneAndFailed,
    /// Done, but the connection broke before the answer.
    DoneAndReset,
    /// Done, but the answer took longer than anybody waits.
    DoneAndLate,
}

impl Fault {
    fn is_done(self) -> bool {
        matches!(self, Self::DoneAndFailed | Self::DoneAndReset | Self::DoneAndLate)
    }

    fn answer(self, operation: &str) -> Result<HttpResponse, ConnectorError> {
        let error = |status: u16, code: &str, more: &str| {
            let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"a fault"{more}}}"#);
            Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)))
        };
        match self {
            Self::Throttled => error(400, "ThrottlingException", ""),
            Self::Exceeded => error(400, "ProvisionedThroughputExceededException", ""),
            Self::Failed | Self::DoneAndFailed => error(500, "InternalServerError", ""),
            Self::Conflict if operation == "TransactWriteItems" => error(
                400,
                "TransactionCanceledException",
                r#","CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict","Message":"ongoing"}]"#,
            ),
            Self::Conflict => error(400, "TransactionConflictException", ""),
            Self::Reset => Err(ConnectorError::io("connection reset".into()).never_connected()),
            Self::DoneAndReset => Err(ConnectorError::io("connection reset".into())),
            Self::DoneAndLate => Err(ConnectorError::timeout("no answer in time".into())),
        }
    }
}

/// The engine, whose request number `at` meets a fault; and the operations so far.
#[derive(Clone, Debug)]
struct Faulty {
    engine: Arc<Engine>,
    due: Option<(usize, Fault)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl HttpConnector for Faulty {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(operation.clone());
            asked.len() - 1
        };
        let fault = self.due.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let engine = Arc::clone(&self.engine);
        HttpConnectorFuture::new(async move {
            let Some(fault) = fault else { return engine.call(request).await };
            if fault.is_done() {
                engine.call(request).await?;
            }
            fault.answer(&operation)
        })
    }
}

/// All rows in order.
fn rows(database: &Database) -> String {
    let request: ScanRequest = serde_json::from_value(serde_json::json!({ "TableName": TABLE })).unwrap();
    let answer = serde_json::to_value(database.scan(request).unwrap()).unwrap();
    let mut rows: Vec<_> = answer["Items"].as_array().unwrap().iter().map(ToString::to_string).collect();
    assert!(answer["LastEvaluatedKey"].is_null(), "one page");
    rows.sort();
    rows.join("\n")
}

/// A workspace's life with this fault at this request: the rows at its end, and the operations that it asked for.
async fn life(due: Option<(usize, Fault)>) -> (String, Vec<String>) {
    let database = Database::memory().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let connector = Faulty { engine: Arc::new(Engine(database.clone())), due: None, asked: Arc::clone(&asked) };
    let retries = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
    let keeper = Keeper::new(database.clone(), None);
    let mut store = Store::made(client(connector.clone(), retries.clone()), Blobs::temporary().unwrap(), keeper).await.unwrap();
    asked.lock().unwrap().clear();
    let faulty = client(Faulty { due, ..connector }, retries);
    store.table = Arc::new(Table::new(faulty, TABLE.to_owned(), store.blobs.clone(), None));
    live(World::on(store).await).await;
    let asked = asked.lock().unwrap().clone();
    (rows(&database), asked)
}

async fn live(world: World) {
    let store = &world.store;
    let change = UserChange { suspended: Some(false), ..UserChange::default() };
    store.update_user(world.ada.id, change, at(1)).await.unwrap();
    let dev = world.queued("dev").await;
    let (session, _) = claim(store, job(&dev), noon()).await;
    store.append_runner_logs(&session, vec![line("one"), line("two")]).await.unwrap();
    store.heartbeat(&session, at(5)).await.unwrap();
    store.push_state(&session, state(1, "x"), at(6)).await.unwrap();
    store.push_state(&session, state(2, "y"), at(7)).await.unwrap();
    store.append_runner_logs(&session, vec![line("three")]).await.unwrap();
    let finished = result_with_agent(Uuid::from_u128(1), "agent-token");
    store.finish(&session, finished, at(8)).await.unwrap();
    let (agent, _) = store.agent_by_token("agent-token").await.unwrap();
    let lines = vec![Line { created_at: noon(), level: berth_domain::LogLevel::Info, output: "up".to_owned() }];
    store.append_agent_logs(&agent, Logs { log_source_id: Uuid::nil(), logs: lines }).await.unwrap();
    assert_eq!(store.logs(job(&dev), 0, 10).await.unwrap().len(), 3);

    let stop = world.next(&dev, Transition::Stop).await;
    fixture::run(store, stop, failed("no")).await;
    let canceled = world.next(&dev, Transition::Stop).await;
    store.cancel(canceled, at(9)).await.unwrap();
    let delete = world.next(&dev, Transition::Delete).await;
    fixture::run(store, delete, result(Outcome::Succeeded)).await;
    assert!(store.workspaces(None).await.unwrap().is_empty());
}

/// Which faults a request meets: a read one of those that any may, in turn; a write that, the conflict, and two that come after it.
fn faults(number: usize, operation: &str) -> Vec<Fault> {
    let [before, after] =
        [[Fault::Throttled, Fault::Exceeded, Fault::Failed, Fault::Reset].as_slice(), &[Fault::DoneAndFailed, Fault::DoneAndReset]];
    let in_turn = |faults: &[Fault]| faults[number % faults.len()];
    let writes = ["UpdateItem", "DeleteItem", "TransactWriteItems"].contains(&operation);
    if writes { vec![in_turn(before), Fault::Conflict, in_turn(after), Fault::DoneAndLate] } else { vec![in_turn(before)] }
}

fn run(due: Option<(usize, Fault)>) -> (String, Vec<String>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(life(due))
}

#[test]
fn each_verb_has_one_effect_whatever_happens_to_one_of_its_requests() {
    let (expected, asked) = run(None);
    let due = asked
        .iter()
        .enumerate()
        .flat_map(|(number, operation)| faults(number, operation).into_iter().map(move |fault| (number, fault)));
    let due: Vec<_> = due.collect();
    assert!(due.len() > 100, "{} faults are too few to mean anything", due.len());
    let meet = |&(number, fault): &(usize, Fault)| {
        let (rows, again) = run(Some((number, fault)));
        let met = format!("{fault:?} at request {number}, {}", asked[number]);
        assert_eq!(again.len(), asked.len() + 1, "{met}: it is made once more, not twice");
        assert_eq!(rows, expected, "{met}");
    };
    // The SDK waits before it asks again: many wait at the same time.
    std::thread::scope(|scope| {
        for some in due.chunks(due.len().div_ceil(12)) {
            scope.spawn(move || some.iter().for_each(meet));
        }
    });
}
