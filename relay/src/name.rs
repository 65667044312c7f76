//! The relay's public side: its certificate first, then the DNS records that lead to it, then both kept current.

use crate::{
    address::{AddressError, Interface},
    bucket::{Bucket, BucketError},
    certificate::{Authority, Current, Keeper, OrderError},
    config::Public,
    health::Health,
    leader::Leader,
    tls::Certificates,
    zone::{Zone, ZoneError},
};
use berth_wire::domain::Timestamp;
use std::{net::SocketAddr, time::Duration};

/// How long to wait after the first failure of a step; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// How long at the most. What may cost a certificate authority's patience has waits of its own.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// For how many lives of a record in a row a successor may not answer until its predecessor leads again: 5 minutes.
const MISSED_MAX: u32 = 5;
/// How many lives of a record pass until it is written again, in case someone changed it. A change that changes nothing costs nothing.
const LIVES: u32 = 15;

/// The public side of one relay.
#[derive(Debug)]
pub(crate) struct Name {
    names: Vec<String>,
    bucket: Bucket,
    zone: Zone,
    keeper: Keeper,
    interface: Option<Interface>,
    port: u16,
    ttl: Duration,
    health: Health,
}

/// Why a step failed. All are tried again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

/// Why the public side cannot be set up at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the relay's public side: {0}")]
pub struct NameError(String);

impl Name {
    /// Reads and changes nothing yet.
    pub(crate) fn new(public: &Public, port: u16, certificates: Certificates, health: Health) -> Result<Self, NameError> {
        let bucket = Bucket::new(&public.aws, &public.bucket, public.kms_key.as_deref());
        let zone = Zone::new(&public.aws, &public.zone);
        let authority = Authority::new(&public.acme_directory, public.acme_contact.as_deref());
        let authority = authority.map_err(|error| NameError(error.to_string()))?;
        let keeper = Keeper::new((bucket.clone(), zone.clone()), authority, public.names(), certificates);
        let interface = public.task_metadata.as_deref().map(|uri| Interface::new(uri, public.aws.service("EC2"))).transpose();
        let interface = interface.map_err(|error| NameError(error.to_string()))?;
        Ok(Self { names: public.names(), bucket, zone, keeper, interface, port, ttl: public.address_ttl, health })
    }

    /// Never ends by itself; dropping the future leaves everything as it is, for the next relay.
    pub(crate) async fn hold(self) {
        let (leader, current) = self.certificate().await;
        self.health.has_certificate();
        // Nobody is sent to a relay that could let nobody in.
        self.health.keys().await;
        let leader = match leader {
            Some(leader) => leader,
            None => retry("take over from the relay before", || self.claim()).await,
        };
        retry("make the DNS records lead here", || self.point(&leader)).await;
        // Only when resolvers have forgotten the relay before may ECS stop that one.
        let settled = async {
            tokio::time::sleep(self.ttl).await;
            self.health.has_records();
            self.keep_records(&leader).await;
        };
        tokio::join!(settled, self.keeper.keep(&leader, current));
    }

    /// The kept certificate; the first time a new one, for which one must lead.
    async fn certificate(&self) -> (Option<Leader>, Current) {
        let kept = retry("read the kept certificate", || async { Ok(self.keeper.load(Timestamp::now()).await?) }).await;
        if let Some(current) = kept {
            return (None, current);
        }
        let leader = retry("take over from the relay before", || self.claim()).await;
        let current = retry("get a certificate", || async {
            let now = Timestamp::now();
            match self.keeper.order(&leader, now).await {
                // Whoever followed us may have got one meanwhile.
                Err(OrderError::NotLeader) => Ok(self.keeper.load(now).await?.ok_or(OrderError::NotLeader)?),
                ordered => Ok(ordered?),
            }
        });
        let current = current.await;
        (Some(leader), current)
    }

    async fn claim(&self) -> Result<Leader, StepError> {
        let address = match &self.interface {
            Some(interface) => Some(SocketAddr::from((interface.address().await?, self.port))),
            None => None,
        };
        Ok(Leader::claim(self.bucket.clone(), address, Timestamp::now()).await?)
    }

    /// Writes the records now and then, without end, as long as we lead.
    async fn keep_records(&self, leader: &Leader) {
        loop {
            // The relay before may have been at its last write while we made our first.
            match retry("keep the DNS records", || self.point(leader)).await {
                Pointed::Here => self.lead(leader).await,
                Pointed::Elsewhere => self.stand_by(leader).await,
            }
        }
    }

    /// Waits until it is time to write again, or until someone has followed. A read of the bucket in each life of a record.
    async fn lead(&self, leader: &Leader) {
        for _ in 0..LIVES {
            tokio::time::sleep(self.ttl).await;
            match leader.stands().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(%error, "cannot look whether this relay still leads"),
            }
        }
    }

    /// Waits, for as long as the relay that leads answers. When it answers no more, its rollout has failed: we lead again.
    async fn stand_by(&self, leader: &Leader) {
        tracing::info!("another relay leads: this one serves whom it has, and writes no DNS records");
        let mut missed = 0;
        while missed < MISSED_MAX {
            tokio::time::sleep(self.ttl).await;
            match leader.answers().await {
                Ok(true) => missed = 0,
                Ok(false) => missed += 1,
                Err(error) => tracing::warn!(%error, "cannot look at the relay that leads"),
            }
        }
        tracing::warn!("the relay that leads answers no more; this one takes over again");
        retry("take over again", || async { Ok(leader.claim_again(Timestamp::now()).await?) }).await;
    }

    /// Makes our names lead to our address, if nobody has followed us.
    async fn point(&self, leader: &Leader) -> Result<Pointed, StepError> {
        if !leader.stands().await? {
            return Ok(Pointed::Elsewhere);
        }
        let Some(interface) = &self.interface else {
            tracing::warn!(
                "ECS_CONTAINER_METADATA_URI_V4 is not set: this is no Fargate task, and its DNS records are yours to write"
            );
            return Ok(Pointed::Here);
        };
        let address = interface.address().await?;
        self.zone.point(&self.names, address, self.ttl).await?;
        tracing::info!(%address, names = self.names.join(", "), "the DNS records lead here");
        Ok(Pointed::Here)
    }
}

/// Where the DNS records lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pointed {
    Here,
    Elsewhere,
}

/// Does a step until it succeeds.
async fn retry<T, F: Future<Output = Result<T, StepError>>>(step: &'static str, mut attempt: impl FnMut() -> F) -> T {
    let mut wait = FIRST_WAIT;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => tracing::error!(%error, again_in_s = wait.as_secs(), "cannot {step}"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
