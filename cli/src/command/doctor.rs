//! `berth doctor`: looks at a deployment from outside, as an endpoint and a browser would, and says what to do where something is wrong.

mod api;
mod finding;
mod name;
mod place;
mod relay;

use crate::{
    config::normalize_url,
    failure::{Failure, Outcome},
    printer::{Format, FormatFlag},
    session::Session,
};
use berth_client::Client;
use clap::Args;
use finding::{Finding, Verdict};
use futures_util::{StreamExt, future::LocalBoxFuture, stream};
use place::{Place, Role};
use serde::Serialize;
use std::time::Duration;

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which deployment.
#[derive(Debug, Args)]
pub struct Arguments {
    /// URL of the deployment; else --url, else the one signed in to last
    #[arg(value_name = "URL")]
    deployment: Option<String>,
    #[command(flatten)]
    format: FormatFlag,
}

/// What `-o json` shows.
#[derive(Debug, Serialize)]
struct Report {
    url: String,
    healthy: bool,
    findings: Vec<Finding>,
}

/// Checks all of it. Needs no token, and changes nothing.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let url = match &arguments.deployment {
        Some(url) => normalize_url(url)?,
        None => session.config.deployment()?.url,
    };
    let client = Client::new(&url, None)?;
    let place = Place::parse(&url).ok_or_else(|| Failure::usage(format!("{url:?} names no host")))?;
    let mut progress = session.printer.progress();
    progress.stage(&format!("Asking {url}"));
    let heard = api::ask(&client).await;
    let relay_url = heard.relay_url.clone().filter(|url| !url.is_empty()).or_else(|| place.usual_relay());
    let relay = relay_url.as_deref().and_then(Place::parse);
    progress.stage("Looking at names, certificates and the relay");
    let all = stream::iter(checks(&client, &place, relay.as_ref())).buffered(usize::MAX);
    let mut report = Report { url, healthy: true, findings: Vec::new() };
    let mut findings = std::pin::pin!(stream::iter(heard.findings).chain(all));
    while let Some(finding) = findings.next().await {
        if arguments.format.output == Format::Table {
            progress.clear_of(|| session.printer.data(&finding))?;
        }
        report.findings.push(finding);
    }
    drop(progress);
    let failed = report.findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    report.healthy = failed == 0;
    if arguments.format.output == Format::Json {
        session.printer.json(&report)?;
    }
    if failed == 0 {
        return Ok(());
    }
    let says = format!("{failed} of {} checks failed", report.findings.len());
    Err(Failure::new(says).hint("each says below it what to do; the first one is often the cause of the others"))
}

/// All checks but the API's own, in the order of the report; each begins at once.
fn checks<'a>(client: &'a Client, api: &'a Place, relay: Option<&'a Place>) -> Vec<LocalBoxFuture<'a, Finding>> {
    let mut all: Vec<LocalBoxFuture<'a, Finding>> =
        vec![Box::pin(name::resolve(Role::Api, api.clone())), Box::pin(name::certificate(Role::Api, api.clone()))];
    let Some(relay) = relay else { return all };
    if !relay.is_at(api) {
        all.push(Box::pin(name::resolve(Role::Relay, relay.clone())));
        all.push(Box::pin(name::certificate(Role::Relay, relay.clone())));
    }
    match api.apps(relay) {
        Some(apps) => {
            all.push(Box::pin(name::resolve(Role::Apps, apps.clone())));
            all.push(Box::pin(name::certificate(Role::Apps, apps)));
        }
        None => {
            let says = "this deployment has no domain for web apps";
            all.push(Box::pin(async move { Finding::new("apps", "", Verdict::Skip, says) }));
        }
    }
    all.push(Box::pin(relay::answers(relay)));
    all.push(Box::pin(relay::discovers(relay)));
    all.push(Box::pin(relay::upgrades(client)));
    all
}

/// A check that may take [`PATIENCE`] and no longer.
async fn within(check: &'static str, target: &str, work: impl Future<Output = Finding>) -> Finding {
    let late = || Finding::new(check, target, Verdict::Fail, format!("no answer in {} seconds", PATIENCE.as_secs()));
    let hint = "is something in between that drops packets without a word, such as a firewall or a security group?";
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| late().hint(hint))
}
