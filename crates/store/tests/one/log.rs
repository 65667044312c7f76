use super::fixture::{World, claim, job, line, noon, result_with_agent};
use berth_domain::{LogLevel, limit};
use berth_store::AgentLogError;
use berth_wire::agent::{Line, Logs};
use tokio::task::JoinSet;
use uuid::Uuid;

#[tokio::test]
async fn lines_are_numbered_from_one_and_read_from_anywhere() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let (session, _) = claim(&world.store, job(&dev), noon()).await;
    let store = &world.store;
    for batch in 0..40 {
        let lines = (0..5).map(|number| line(&format!("{batch}-{number}"))).collect();
        assert_eq!(store.append_runner_logs(&session, lines).await.unwrap(), (batch + 1) * 5);
    }
    let all = store.logs(job(&dev), 0, 1000).await.unwrap();
    assert_eq!(all.iter().map(|line| line.id).collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    assert_eq!(all[199].output, "39-4");
    for (after, limit) in [(0, 1), (3, 4), (5, 5), (7, 190), (199, 10), (200, 10), (900, 10)] {
        let expected: Vec<_> = all.iter().filter(|line| line.id > after).take(limit).cloned().collect();
        assert_eq!(store.logs(job(&dev), after, limit).await.unwrap(), expected, "{limit} after {after}");
    }
}

#[tokio::test]
async fn writers_at_once_lose_no_line() {
    let world = World::new().await;
    let id = job(&world.queued("dev").await);
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let store = world.store.clone();
        writers.spawn(async move { store.append_logs(id, vec![line(&writer.to_string()), line("more")]).await.unwrap() });
    }
    writers.join_all().await;
    let lines = world.store.logs(id, 0, 100).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.id).collect::<Vec<_>>(), (1..=16).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_ends_at_its_limit_with_a_line_that_says_so() {
    let world = World::new().await;
    let id = job(&world.queued("dev").await);
    let long = "ü".repeat(limit::LOG_LINE_BYTES_MAX);
    let mut last = 0;
    for _ in 0..3 {
        let lines = (0..limit::LOG_BATCH_LINES_MAX).map(|_| line(&long)).collect();
        last = world.store.append_logs(id, lines).await.unwrap().unwrap();
    }
    let lines = world.store.logs(id, last - 2, 10).await.unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].output.len(), limit::LOG_LINE_BYTES_MAX);
    assert_eq!(lines[1].output, "the log is cut here: it reached its limit of 10 MiB");
    assert_eq!(world.store.append_logs(id, vec![line("more")]).await.unwrap(), Some(last));
    let kept: usize = world.store.logs(id, 0, 10_000).await.unwrap().iter().map(|line| line.output.len()).sum();
    assert!((9_000_000..=limit::LOG_BYTES_MAX as usize).contains(&kept), "{kept}");
}

#[tokio::test]
async fn an_agents_log_is_counted_at_the_agent_and_full_at_its_limit() {
    let world = World::new().await;
    world.running("dev", result_with_agent(Uuid::from_u128(1), "t")).await;
    let (agent, _) = world.store.agent_by_token("t").await.unwrap();
    let logs = |text: &str, times: usize| Logs {
        log_source_id: Uuid::from_u128(5),
        logs: (0..times).map(|_| Line { created_at: noon(), level: LogLevel::Info, output: text.to_owned() }).collect(),
    };
    assert_eq!(world.store.append_agent_logs(&agent, logs("hello", 3)).await.unwrap(), 3);
    assert_eq!(world.store.agent(agent.id).await.unwrap().unwrap().logs_length, 3);
    assert_eq!(world.store.agent_logs(agent.id, 2, 10).await.unwrap()[0].source_id, Uuid::from_u128(5));
    let long = "x".repeat(limit::LOG_LINE_BYTES_MAX);
    let full = loop {
        if let Err(error) = world.store.append_agent_logs(&agent, logs(&long, 500)).await {
            break error;
        }
    };
    assert!(matches!(full, AgentLogError::Full(id) if id == agent.id));
    assert!(world.store.agent(agent.id).await.unwrap().unwrap().logs_overflowed);
}
