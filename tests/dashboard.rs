//! The dashboard in a real browser at a real server: the stories are in dashboard/tests, this starts what they need.

use crate::harness::{Berth, binaries, has, repository};

/// Longer than the stories take on a busy machine, in seconds.
const PATIENCE_SECONDS: &str = "300";

#[test]
fn the_dashboard_is_used_from_setting_up_to_starting_again() {
    assert!(has("chromium") && has("node"), "chromium or node is not on PATH; `cargo xtask test` installs them");
    let berth = Berth::start();
    let mut stories = berth.program("timeout");
    stories
        .args([PATIENCE_SECONDS, "node", "--test", "--test-reporter=spec", "tests/"])
        .current_dir(repository().join("dashboard"));
    stories.env("BERTH_STORY_URL", &berth.url).env("BERTH_STORY_BINARY", binaries().join("berth"));
    stories.env("BERTH_STORY_PICTURES", binaries().join("../dashboard-pictures"));
    let told = stories.output().unwrap();
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{text}\n{}\n{}", String::from_utf8_lossy(&told.stderr), berth.server_log());
    assert!(text.contains("skipped 0") && !text.contains("tests 0\n"), "{text}");
}
