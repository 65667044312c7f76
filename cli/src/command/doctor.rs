//! `berth doctor`: looks at a deployment from outside, as an endpoint and a browser would, and says what to do where something is wrong.

pub(super) mod api;
pub(super) mod finding;
mod name;
pub(super) mod place;
pub(super) mod relay;

use crate::{
    config::normalize_url,
    failure::{Failure, Outcome},
    printer::{Format, FormatFlag, Printer, Progress},
    session::Session,
};
use berth_client::Client;
use clap::Args;
use finding::{Finding, Verdict};
use futures_util::{Stream, StreamExt, future::LocalBoxFuture, stream};
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
pub(super) struct Report {
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
    let is_table = arguments.format.output == Format::Table;
    let report = examine(url, session, is_table).await?;
    if !is_table {
        session.printer.json(&report)?;
    }
    report.verdict()
}

/// Looks at the deployment at `url`; prints each finding as it comes if it is told to.
pub(super) async fn examine(url: String, session: &Session, prints: bool) -> Outcome<Report> {
    let client = Client::new(&url, None)?;
    let place = Place::parse(&url).ok_or_else(|| Failure::usage(format!("{url:?} names no host")))?;
    let mut progress = session.printer.progress();
    progress.stage(&format!("Asking {url}"));
    let heard = api::ask(&client).await;
    let relay_url = heard.relay_url.clone().filter(|url| !url.is_empty()).or_else(|| place.usual_relay());
    let relay = relay_url.as_deref().and_then(Place::parse);
    progress.stage("Looking at names, certificates and the relay");
    let all = stream::iter(checks(&client, &place, relay.as_ref())).buffered(usize::MAX);
    collect(url, stream::iter(heard.findings).chain(all), (&progress, session.printer), prints).await
}

/// Takes findings as they come.
pub(super) async fn collect(
    url: String,
    findings: impl Stream<Item = Finding>,
    (progress, printer): (&Progress, Printer),
    prints: bool,
) -> Outcome<Report> {
    let mut report = Report { url, healthy: true, findings: Vec::new() };
    let mut findings = std::pin::pin!(findings);
    while let Some(finding) = findings.next().await {
        if prints {
            progress.clear_of(|| printer.data(&finding))?;
        }
        report.healthy &= finding.verdict != Verdict::Fail;
        report.findings.push(finding);
    }
    Ok(report)
}

impl Report {
    /// What the command ends with.
    pub(super) fn verdict(&self) -> Outcome {
        let failed = self.findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
        if failed == 0 {
            return Ok(());
        }
        let says = format!("{failed} of {} checks failed", self.findings.len());
        Err(Failure::new(says).hint("each says below it what to do; the first one is often the cause of the others"))
    }
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
pub(super) async fn within(check: &'static str, target: &str, work: impl Future<Output = Finding>) -> Finding {
    let late = || Finding::new(check, target, Verdict::Fail, format!("no answer in {} seconds", PATIENCE.as_secs()));
    let hint = "is something in between that drops packets without a word, such as a firewall or a security group?";
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| late().hint(hint))
}
