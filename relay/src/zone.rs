//! The relay's records in a Route 53 zone. Every change is awaited until all of Route 53's servers answer with it.

use aws_sdk_route53::{
    Client,
    error::DisplayErrorContext,
    types::{Change, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord, ResourceRecordSet, RrType},
};
use berth_aws::Aws;
use std::{net::Ipv4Addr, time::Duration};
use tokio::time::Instant;

/// How long resolvers may keep what a certificate authority asks.
const PROOF_TTL: Duration = Duration::from_secs(10);
/// How long a change may take to be everywhere; usually 30 s at the most.
const IN_SYNC: Duration = Duration::from_secs(180);
/// How often we ask whether it is.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A zone.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    client: Client,
    id: String,
}

/// Why a record could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZoneError {
    #[error("cannot tell whether a change of zone {zone} is everywhere: {reason}")]
    Read { zone: String, reason: String },
    #[error("cannot change {names} in zone {zone}: {reason}")]
    Change { zone: String, names: String, reason: String },
    #[error("a change of zone {zone} is not everywhere after {} seconds", IN_SYNC.as_secs())]
    Slow { zone: String },
}

impl Zone {
    /// No request is made.
    pub(crate) fn new(aws: &Aws, id: &str) -> Self {
        Self { client: Client::new(&aws.service("ROUTE_53")), id: id.trim_start_matches("/hostedzone/").to_owned() }
    }

    /// Makes these names lead to this address alone.
    pub(crate) async fn point(&self, names: &[String], address: Ipv4Addr, ttl: Duration) -> Result<(), ZoneError> {
        let records = names.iter().map(|name| record(name, RrType::A, address.to_string(), ttl));
        self.change(ChangeAction::Upsert, records.collect()).await
    }

    /// Publishes TXT records: name and text.
    pub(crate) async fn publish(&self, texts: &[(String, String)]) -> Result<(), ZoneError> {
        self.change(ChangeAction::Upsert, proofs(texts)).await
    }

    /// Removes them again.
    pub(crate) async fn withdraw(&self, texts: &[(String, String)]) -> Result<(), ZoneError> {
        self.change(ChangeAction::Delete, proofs(texts)).await
    }

    async fn change(&self, action: ChangeAction, records: Vec<Result<ResourceRecordSet, String>>) -> Result<(), ZoneError> {
        let records = records.into_iter().collect::<Result<Vec<_>, _>>().map_err(|reason| self.unreadable(reason))?;
        let names = records.iter().map(ResourceRecordSet::name).collect::<Vec<_>>().join(" and ");
        let failed = |reason: String| ZoneError::Change { zone: self.id.clone(), names: names.clone(), reason };
        let changes =
            records.into_iter().map(|record| Change::builder().action(action.clone()).resource_record_set(record).build());
        let changes = changes.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
        let batch = ChangeBatch::builder().comment("berth relay").set_changes(Some(changes)).build();
        let batch = batch.map_err(|error| failed(error.to_string()))?;
        let made = self.client.change_resource_record_sets().hosted_zone_id(&self.id).change_batch(batch).send().await;
        let made = made.map_err(|error| failed(DisplayErrorContext(error).to_string()))?;
        match made.change_info() {
            Some(info) if *info.status() != ChangeStatus::Insync => self.in_sync(info.id()).await,
            _ => Ok(()),
        }
    }

    async fn in_sync(&self, change: &str) -> Result<(), ZoneError> {
        let started = Instant::now();
        loop {
            let status = self.client.get_change().id(change.trim_start_matches("/change/")).send().await;
            let status = status.map_err(|error| self.unreadable(DisplayErrorContext(error).to_string()))?;
            if status.change_info().is_some_and(|info| *info.status() == ChangeStatus::Insync) {
                return Ok(());
            }
            if started.elapsed() >= IN_SYNC {
                return Err(ZoneError::Slow { zone: self.id.clone() });
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn unreadable(&self, reason: String) -> ZoneError {
        ZoneError::Read { zone: self.id.clone(), reason }
    }
}

fn proofs(texts: &[(String, String)]) -> Vec<Result<ResourceRecordSet, String>> {
    texts.iter().map(|(name, text)| record(name, RrType::Txt, format!("\"{text}\""), PROOF_TTL)).collect()
}

fn record(name: &str, kind: RrType, value: String, ttl: Duration) -> Result<ResourceRecordSet, String> {
    let value = ResourceRecord::builder().value(value).build().map_err(|error| error.to_string())?;
    let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let set = ResourceRecordSet::builder().name(name).r#type(kind).ttl(ttl).resource_records(value).build();
    set.map_err(|error| error.to_string())
}
