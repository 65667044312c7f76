//! Websockets to apps: once both ends have agreed, bytes are carried and not looked at.

use super::Apps;
use berth_wire::{
    app::View,
    domain::{AppAddress, Secret},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;

/// How often it is asked whether an open socket may stay.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// The buffer of each direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Joins a browser's connection to an app's until one of them ends, or until the app is not the browser's to see any more.
pub(super) async fn join(apps: Apps, (browser, app): (OnUpgrade, OnUpgrade), whose: (AppAddress, Option<Secret>)) {
    let (browser, app) = match tokio::try_join!(browser, app) {
        Ok(ends) => ends,
        Err(error) => return tracing::debug!(%error, "a websocket to an app did not begin"),
    };
    let (mut browser, mut app) = (TokioIo::new(browser), TokioIo::new(app));
    tokio::select! {
        ended = copy_bidirectional_with_sizes(&mut browser, &mut app, BUFFER_BYTES, BUFFER_BYTES) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a websocket to an app broke off");
            }
        }
        () = not_permitted(&apps, whose) => tracing::info!("a websocket to an app ended: its viewer may not see the app any more"),
    }
}

/// Returns when the API says no. Its silence ends nothing, nor does an agent that is away: then the socket ends by itself.
async fn not_permitted(apps: &Apps, (app, mut session): (AppAddress, Option<Secret>)) {
    loop {
        tokio::time::sleep(ASK_AGAIN).await;
        let Ok(admission) = apps.0.admissions.ask(&apps.0.api, &app, session.as_ref()).await else { continue };
        if matches!(admission.view, View::SignIn | View::Missing | View::Unserved { .. }) {
            return;
        }
        // The cookie that the socket began with runs out while the socket goes on.
        if let Some(fresh) = &admission.session {
            session = Some(fresh.clone());
        }
    }
}
