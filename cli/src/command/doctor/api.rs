//! The API itself, and its clock.

use super::{
    finding::{Finding, Verdict},
    within,
};
use berth_client::{Client, Heard};
use berth_wire::{BuildInfo, domain::Timestamp};
use std::sync::OnceLock;

/// Clocks that differ by more than this are worth a word, in seconds.
const SKEW_WARN_SECONDS: i64 = 30;
/// And by more than this, certificates, tickets and signatures are refused: AWS's own limit.
const SKEW_FAIL_SECONDS: i64 = 300;

/// What the API said of itself.
pub(in crate::command) struct Said {
    pub(in crate::command) findings: Vec<Finding>,
    /// Where its relay is; `None` when it did not say.
    pub(in crate::command) relay_url: Option<String>,
}

/// Asks the API who it is.
pub(in crate::command) async fn ask(client: &Client) -> Said {
    const CHECK: &str = "api";
    let (target, heard) = (client.base_url(), OnceLock::new());
    let work = async {
        match client.look("/api/v2/buildinfo").await {
            Ok(answer) => judge(target, heard.get_or_init(|| answer)),
            Err(error) => Finding::new(CHECK, target, Verdict::Fail, crate::failure::chain(&error))
                .hint("the lines below say how far the way goes; on this machine, `berth server` runs one"),
        }
    };
    let mut findings = vec![within(CHECK, target, work).await];
    let heard: Option<Heard> = heard.into_inner();
    findings.extend(heard.as_ref().and_then(|heard| clock(target, heard)));
    Said { findings, relay_url: heard.and_then(|heard| who(&heard)).map(|info| info.relay_url) }
}

fn who(heard: &Heard) -> Option<BuildInfo> {
    let info: BuildInfo = serde_json::from_str(&heard.body).ok().filter(|_| heard.status == 200)?;
    (info.product == "Berth").then_some(info)
}

fn judge(target: &str, heard: &Heard) -> Finding {
    let found = |verdict, says: String| Finding::new("api", target, verdict, says);
    if let Some(info) = who(heard) {
        let (version, took) = (&info.version, heard.took.as_millis());
        if info.external_url.trim_end_matches('/') != target {
            let says = format!("Berth {version} answers in {took} ms, but calls itself {}", info.external_url);
            return found(Verdict::Warn, says)
                .hint("workspaces and browsers are sent there: is that URL reachable, and the right one?");
        }
        return found(Verdict::Ok, format!("Berth {version} answers in {took} ms"));
    }
    let hint = match heard.status {
        200 => "is this a Berth deployment's URL?",
        403 => {
            "CloudFront and the API must agree on the origin secret (BERTH_ORIGIN_SECRETS), and the path must be one that it passes on"
        }
        404 => "something else answers under this name: is the URL complete?",
        429 => "too many requests at a time: the functions' concurrency in this account is used up",
        500..=599 => "the API's log in CloudWatch (/aws/lambda/...-api) says why",
        _ => "is this the deployment's own URL, and not one that redirects to it?",
    };
    found(Verdict::Fail, format!("answers with status {}, and not as Berth does", heard.status)).hint(hint)
}

/// How far this machine's clock is from the server's; `None` when the server does not tell the time.
fn clock(target: &str, heard: &Heard) -> Option<Finding> {
    let theirs = jiff::fmt::rfc2822::parse(heard.date.as_deref()?).ok()?.timestamp().as_second();
    let skew = Timestamp::now().as_second() - theirs;
    let found = |verdict, says| Finding::new("clock", target, verdict, says);
    let says = match skew {
        0 => "this machine's and the server's agree".to_owned(),
        1.. => format!("this machine's is {skew} s ahead of the server's"),
        _ => format!("this machine's is {} s behind the server's", -skew),
    };
    let hint = "set this machine's clock, and let it be kept (`timedatectl set-ntp true`)";
    let off = skew.abs();
    let found = if off > SKEW_FAIL_SECONDS {
        found(Verdict::Fail, says).hint(hint)
    } else if off > SKEW_WARN_SECONDS {
        found(Verdict::Warn, says).hint(hint)
    } else {
        found(Verdict::Ok, says)
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn heard(skew: i64) -> Heard {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(skew);
        let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        Heard { status: 200, date: Some(date), body: String::new(), took: Duration::ZERO }
    }

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off() {
        let verdict = |skew| clock("h", &heard(skew)).unwrap().verdict;
        assert_eq!([verdict(0), verdict(20), verdict(-20)], [Verdict::Ok; 3]);
        assert_eq!([verdict(90), verdict(-90)], [Verdict::Warn; 2]);
        assert_eq!([verdict(4000), verdict(-4000)], [Verdict::Fail; 2]);
        assert_eq!(clock("h", &Heard { date: None, ..heard(0) }), None);
        let says = clock("h", &heard(-4000)).unwrap().says;
        assert!(says.contains("behind the server's"), "{says}");
    }

    #[test]
    fn what_answers_is_berth_or_not() {
        let answer = |status: u16, body: &str| judge("https://h", &Heard { status, body: body.to_owned(), ..heard(0) });
        let berth = r#"{"version": "v2.99.0-devel+berth.1", "external_url": "https://h", "product": "Berth"}"#;
        assert_eq!(answer(200, berth).verdict, Verdict::Ok);
        assert_eq!(answer(200, &berth.replace("https://h", "https://other")).verdict, Verdict::Warn);
        let coder = r#"{"version": "v2.20.0", "external_url": "https://h"}"#;
        assert_eq!(answer(200, coder).verdict, Verdict::Fail, "somebody else's");
        for (status, word) in [(403, "origin secret"), (404, "something else"), (502, "CloudWatch"), (301, "redirects")] {
            let found = answer(status, "<html>");
            assert!(found.verdict == Verdict::Fail && found.hint.unwrap().contains(word), "{status}");
        }
    }
}
