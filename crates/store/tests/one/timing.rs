//! Where the time of a build went.

use super::fixture::{World, at, job, result, run};
use berth_domain::{BuildId, Timing, TimingStage, limit::TIMINGS_MAX};
use berth_store::{JobId, JobResult};
use berth_wire::runner::Outcome;

fn timing(number: i64) -> Timing {
    Timing {
        started_at: at(number),
        ended_at: at(2 * number),
        stage: TimingStage::Apply,
        source: "aws".to_owned(),
        action: "create".to_owned(),
        resource: format!("module.network.aws_subnet.private[\"eu-central-1{number}\"]"),
    }
}

#[tokio::test]
async fn timings_are_kept_beside_the_build_and_no_list_carries_them() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let build = dev.latest_build.id;
    assert!(world.store.timings(build).await.unwrap().is_empty());
    let many = JobResult { timings: (0..2000).map(timing).collect(), ..result(Outcome::Succeeded) };
    run(&world.store, job(&dev), many).await;
    let kept = world.store.timings(build).await.unwrap();
    assert_eq!(kept.len(), TIMINGS_MAX);
    assert_eq!(kept.last(), Some(&timing(1999)), "the longest are kept");
    let row = serde_json::to_string(&world.store.workspace(dev.id).await.unwrap().unwrap()).unwrap();
    assert!(row.len() < 8 * 1024, "{} bytes", row.len());
    let JobId::Build(id) = job(&dev) else { panic!("a build") };
    assert_eq!((id, world.store.timings(BuildId(uuid::Uuid::from_u128(1))).await.unwrap()), (build, Vec::new()));
}
