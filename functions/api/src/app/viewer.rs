//! Who looks at an app: the session behind what a browser has at the app's host.

use crate::{
    Api,
    error::Answer,
    session::{self, SignedIn},
};
use berth_domain::{AppAddress, Secret, Timestamp, TokenId, limit::APP_SESSION_SECONDS};
use berth_wire::app::{AdmissionRequest, Entry};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Somebody whose session stands.
pub(super) struct Viewer {
    pub(super) caller: SignedIn,
    /// A new cookie for the app's host, when the old one is past half of its life or there was none.
    pub(super) fresh: Option<Secret>,
}

/// Who a browser is: by the ticket it arrives with, else by its cookie. `None` when neither is good.
pub(super) async fn of(api: &Api, address: &AppAddress, asked: &AdmissionRequest) -> Answer<Option<Viewer>> {
    if let Some(entry) = &asked.entry {
        return entering(api, address, entry).await;
    }
    match &asked.session {
        Some(session) => with_session(api, address, session).await,
        None => Ok(None),
    }
}

/// Who a cookie of the app's host stands for. One read.
pub(super) async fn with_session(api: &Api, address: &AppAddress, session: &Secret) -> Answer<Option<Viewer>> {
    let app = address.to_string();
    let Ok(claims) = api.app.signing.verifying().app(session.expose()) else { return Ok(None) };
    if claims.app != app {
        return Ok(None);
    }
    let is_old = claims.exp - api.now().as_second() < APP_SESSION_SECONDS / 2;
    standing(api, &app, (claims.sid, claims.sub), is_old).await
}

/// Who a ticket stands for. It is spent only by the browser that it was made for. A write and a read.
async fn entering(api: &Api, address: &AppAddress, entry: &Entry) -> Answer<Option<Viewer>> {
    let app = address.to_string();
    let Ok(claims) = api.app.signing.verifying().app_ticket(entry.ticket.expose()) else { return Ok(None) };
    let state = hex::encode(Sha256::digest(entry.nonce.expose().as_bytes()));
    if claims.app != app || claims.state != state {
        return Ok(None);
    }
    let ends = Timestamp::from_second(claims.exp).unwrap_or(Timestamp::MAX);
    if !api.store().spend_app_ticket(claims.jti, Uuid::new_v4(), ends).await? {
        tracing::warn!(user.id = %claims.sub, app, "an app's ticket was shown twice");
        return Ok(None);
    }
    standing(api, &app, (claims.sid, claims.sub), true).await
}

async fn standing(api: &Api, app: &str, (session, user): (Uuid, Uuid), renew: bool) -> Answer<Option<Viewer>> {
    let Some(caller) = session::standing(api, TokenId(session)).await?.filter(|caller| caller.user.id.0 == user) else {
        return Ok(None);
    };
    let ends = api.now() + SignedDuration::from_secs(APP_SESSION_SECONDS);
    let fresh = if renew { Some(api.app.signing.app(app, (session, user), ends)?) } else { None };
    Ok(Some(Viewer { caller, fresh }))
}
