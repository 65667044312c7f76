//! How an EC2 instance proves that it is the machine of an agent, where the template wants no token in it (`auth = "aws-instance-identity"`).
//!
//! The instance sends its identity document and AWS's signature over it. Both are looked at as coming from anybody: the signature must be over exactly
//! these bytes, by the key of the region that the document names; account, region and instance must be those of the machine that the build made; the
//! boot must be a recent one; and each boot is good for one token, which is made then. Nothing is fetched from anywhere.

mod keys;
mod signed;

use crate::{
    Api, Shared,
    body::Json,
    error::{Answer, ApiError},
};
use axum::extract::State;
use base64::{Engine, engine::general_purpose::STANDARD};
use berth_domain::{Secret, Timestamp, TokenHash};
use berth_store::{Agent, MintError};
use berth_wire::agent::{InstanceIdentity, InstanceSession};
use http::StatusCode;
use jiff::SignedDuration;
use serde::Deserialize;

pub use keys::InstanceKeys;

/// The longest signature and the longest document, in bytes; AWS's have some 2,000 and 500.
const SIGNATURE_BYTES_MAX: usize = 16 * 1024;
const DOCUMENT_BYTES_MAX: usize = 8 * 1024;
/// How long after its boot an instance may ask: as long as a build may take to record it, with room.
const BOOT_AGE_MAX: SignedDuration = SignedDuration::from_hours(2);
/// How far AWS's clock may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What AWS says of an instance. Nothing of it is believed before its signature was verified, but for which key that takes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    account_id: String,
    region: String,
    instance_id: String,
    pending_time: Timestamp,
}

/// Why an instance gets no token. For the log, and where the signature is right, for the instance.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// Not what AWS signed.
    #[error(transparent)]
    Signature(#[from] signed::SignatureError),
    /// Not what AWS writes.
    #[error("the document or the signature is malformed")]
    Malformed,
    /// No agent is on it (yet: an instance may boot before its build has ended, so it asks again).
    #[error("no running workspace has an agent on instance {0}")]
    Unknown(String),
    /// It is in another account or region than the machine that the build made.
    #[error("instance {0} is not the one that the workspace was built with")]
    OtherMachine(String),
    /// It booted too long ago, or will.
    #[error("the boot of instance {0} is too long ago")]
    Stale(String),
    /// This boot has its token.
    #[error("this boot of instance {0} has had its token")]
    Used(String),
}

impl From<Refusal> for ApiError {
    fn from(why: Refusal) -> Self {
        tracing::warn!(error = %why, "an instance identity was refused");
        let refused = Self::new(StatusCode::UNAUTHORIZED, "the instance identity is not accepted");
        match why {
            Refusal::Signature(_) | Refusal::Malformed => refused,
            known => refused.detail(known.to_string()),
        }
    }
}

/// Gives the agent of an instance a new token.
pub(crate) async fn introduce(State(api): State<Shared>, Json(body): Json<InstanceIdentity>) -> Answer<Json<InstanceSession>> {
    let identity = verified(&api, &body)?;
    let age = api.now().duration_since(identity.pending_time);
    if age > BOOT_AGE_MAX || age < -CLOCK_SKEW {
        return Err(Refusal::Stale(identity.instance_id).into());
    }
    let agent = placed_on(&api, &identity).await?;
    let token = hex::encode(rand::random::<[u8; 32]>());
    let boot = (identity.instance_id.as_str(), identity.pending_time);
    match api.store().mint_agent_token(&agent, boot, TokenHash::of(&token), api.now()).await {
        Ok(()) => {}
        Err(MintError::Used) => return Err(Refusal::Used(identity.instance_id).into()),
        Err(MintError::Missing) => return Err(Refusal::Unknown(identity.instance_id).into()),
        Err(MintError::Table(error)) => return Err(error.into()),
    }
    tracing::info!(agent.id = %agent.id, instance.id = identity.instance_id, "an instance proved itself and has a token");
    Ok(Json(InstanceSession { session_token: Secret::new(token) }))
}

fn verified(api: &Api, body: &InstanceIdentity) -> Result<Identity, Refusal> {
    if body.signature.len() > SIGNATURE_BYTES_MAX || body.document.len() > DOCUMENT_BYTES_MAX {
        return Err(Refusal::Malformed);
    }
    // It comes in lines.
    let text: String = body.signature.split_ascii_whitespace().collect();
    let signature = STANDARD.decode(text).map_err(|_| Refusal::Malformed)?;
    let identity: Identity = serde_json::from_str(&body.document).map_err(|_| Refusal::Malformed)?;
    signed::verify(&signature, body.document.as_bytes(), (&api.app.config.instance_keys, &identity.region))?;
    Ok(identity)
}

/// The live agent whose machine this is.
async fn placed_on(api: &Api, identity: &Identity) -> Answer<Agent> {
    let agent = api.store().agent_on_instance(&identity.instance_id).await?;
    let agent = agent.ok_or_else(|| Refusal::Unknown(identity.instance_id.clone()))?;
    // arn:aws:ec2:REGION:ACCOUNT:instance/ID
    let mut parts = agent.definition.instance_arn.split(':').skip(3);
    if parts.next() != Some(identity.region.as_str()) || parts.next() != Some(identity.account_id.as_str()) {
        return Err(Refusal::OtherMachine(identity.instance_id.clone()).into());
    }
    Ok(agent)
}
