//! What goes on in a workspace by itself: schedules, the health of apps, and how scripts are said to have run.

use std::fs;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use berth_wire::agent::CheckedApp;
use berth_wire::domain::{AppHealth, Lifecycle, LogLevel, ScriptStage, ScriptStatus};
use berth_wire::resource::AppHealthcheck;
use berth_wire::runner::Script;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::plane::{Plane, eventually, script, terminate};

#[tokio::test]
async fn each_script_is_said_to_have_run_as_it_did() {
    let good = script(40, "exit 0");
    let bad = script(41, "exit 9");
    let killed = script(42, "kill -KILL $$");
    let late = Script { timeout_seconds: 1, ..script(43, "exec sleep 1000") };
    let absent = script(44, "#!/no/such/program\n");
    let stop = Script { run_on_start: false, run_on_stop: true, ..script(45, "exit 3") };
    let all = [&good, &bad, &killed, &late, &absent, &stop];
    let plane = Plane::start(all.map(Clone::clone).to_vec(), &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::StartError).await;
    assert_eq!(terminate(agent).await, Some(0));
    let told = all.map(|script| {
        let runs = plane.runs(script);
        assert_eq!(runs.len(), 1, "{}: {runs:?}", script.display_name);
        assert!(runs[0].started_at <= runs[0].ended_at);
        (runs[0].stage, runs[0].status, runs[0].exit_code)
    });
    assert_eq!(
        told,
        [
            (ScriptStage::Start, ScriptStatus::Ok, 0),
            (ScriptStage::Start, ScriptStatus::ExitFailure, 9),
            (ScriptStage::Start, ScriptStatus::ExitFailure, 255),
            (ScriptStage::Start, ScriptStatus::TimedOut, 255),
            (ScriptStage::Start, ScriptStatus::ExitFailure, 255),
            (ScriptStage::Stop, ScriptStatus::ExitFailure, 3),
        ]
    );
    assert_eq!(plane.states()[2..], [Lifecycle::ShuttingDown, Lifecycle::ShutdownError]);
}

#[tokio::test]
async fn a_script_that_leaves_its_output_open_has_ended_well_and_says_so() {
    let held = script(50, "sleep 1000 &");
    let plane = Plane::start(vec![held.clone()], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::Ready).await;
    let run = plane.runs(&held)[0];
    assert_eq!((run.status, run.exit_code), (ScriptStatus::PipesLeftOpen, 0));
    eventually("the warning", || plane.lines(&held).iter().any(|(level, _)| *level == LogLevel::Warn)).await;
    assert_eq!(terminate(agent).await, Some(0));
}

#[tokio::test]
async fn a_schedule_runs_its_script_again_and_again_after_the_start() {
    let slow = script(60, "sleep 1; echo start >> order");
    let every_second = Script {
        run_on_start: false,
        cron: "* * * * * *".to_owned(),
        ..script(61, "echo run >> order; test $(grep -c run order) -lt 3 || exit 7")
    };
    let nonsense = Script { run_on_start: false, cron: "at tea time".to_owned(), ..script(62, "echo never > never") };
    let plane = Plane::start(vec![slow, every_second.clone(), nonsense.clone()], &[]).await;
    let agent = plane.agent();
    let order = plane.home.path().join("order");
    let ran = || fs::read_to_string(&order).unwrap_or_default();
    eventually("three runs", || ran().lines().filter(|line| *line == "run").count() >= 3).await;
    assert!(ran().starts_with("start\nrun\n"), "the scripts of the start come first: {}", ran());
    let failed = (LogLevel::Error, "the script failed: exit status: 7".to_owned());
    eventually("the failure's line", || plane.lines(&every_second).contains(&failed)).await;
    assert_eq!(plane.runs(&every_second), [], "runs on a schedule are not reported: nothing is to be written");
    eventually("the schedule's error", || plane.lines(&nonsense).iter().any(|(_, line)| line.contains("at tea time"))).await;
    assert_eq!(plane.states(), [Lifecycle::Starting, Lifecycle::Ready], "what a schedule runs does not change the state");
    assert_eq!(terminate(agent).await, Some(0));
    assert!(!plane.home.path().join("never").exists());
}

/// A web app that answers with this status, until it is dropped.
async fn web_app(address: &str, status: StatusCode) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().route("/healthz", get(async move || status));
    (address, AbortOnDropHandle::new(tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() })))
}

fn checked(number: u128, address: &str, threshold: i64) -> CheckedApp {
    let healthcheck = AppHealthcheck { url: format!("http://{address}/healthz"), interval: 1, threshold };
    CheckedApp { id: Uuid::from_u128(number), slug: format!("app-{number}"), healthcheck }
}

#[tokio::test]
async fn an_apps_health_is_told_when_it_changes_and_only_then() {
    let (sick_address, _sick) = web_app("127.0.0.1:0", StatusCode::INTERNAL_SERVER_ERROR).await;
    let (shy_address, _shy) = web_app("127.0.0.1:0", StatusCode::UNAUTHORIZED).await;
    let (address, app) = web_app("127.0.0.1:0", StatusCode::OK).await;
    let (good, shy, sick) = (checked(1, &address, 2), checked(2, &shy_address, 1), checked(3, &sick_address, 2));
    let plane = Plane::start_with((Vec::new(), vec![good.clone(), shy.clone(), sick.clone()]), &[]).await;
    let agent = plane.agent();
    let told = |app: &CheckedApp| {
        let heard = plane.heard.lock().unwrap();
        heard.healths.iter().filter(|(id, _)| *id == app.id).map(|(_, health)| *health).collect::<Vec<_>>()
    };
    eventually("who is well", || told(&good) == [AppHealth::Healthy] && told(&shy) == [AppHealth::Healthy]).await;
    eventually("who is not", || told(&sick) == [AppHealth::Unhealthy]).await;
    drop(app);
    eventually("the end of it", || told(&good) == [AppHealth::Healthy, AppHealth::Unhealthy]).await;
    let (_, _again) = web_app(&address, StatusCode::OK).await;
    eventually("it is back", || told(&good) == [AppHealth::Healthy, AppHealth::Unhealthy, AppHealth::Healthy]).await;
    assert_eq!((told(&shy), told(&sick)), (vec![AppHealth::Healthy], vec![AppHealth::Unhealthy]), "what stays is not told again");
    assert_eq!(terminate(agent).await, Some(0));
}
