//! `berth-api`: the API as a Lambda behind the CDN. Its configuration comes from the environment, see [`berth_api::Config`].

use berth_api::{ApiConfig, App, Changes, Clock, Config, InstanceKeys, Queue, RelayPresence, behind_cdn, router};
use berth_aws::Aws;
use berth_domain::Secret;
use berth_store::Store;
use berth_wire::ticket::SigningKey;
use std::{process::ExitCode, sync::Arc};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    berth_lambda::main(async |environment| {
        let config = Config::from_env(&environment)?;
        let aws = Aws::from_env(|name| environment.get(name).map(str::to_owned))?;
        let store = Store::open_aws(&aws, config.store);
        let (warm, keys) = tokio::join!(store.warm(), store.keys());
        let keys = warm.map(|()| keys)??;
        let (signing, clock) = (SigningKey::new(keys.ticket), Clock::system());
        let app = App {
            presence: Arc::new(RelayPresence::new(aws.clone(), &config.relay_urls, signing.clone(), clock.clone())),
            announce: Arc::new(Queue::new(aws, config.queue_url)),
            config: ApiConfig {
                access_url: config.access_url.clone(),
                sockets_url: config.relay_urls.first().cloned(),
                relay_urls: config.relay_urls,
                apps_url: config.apps_domain.map(|domain| format!("https://{domain}")),
                binaries: None,
                disable_direct_connections: false,
                instance_keys: InstanceKeys::aws(),
            },
            store,
            signing,
            host_key_secret: Secret::new(keys.host_key),
            changes: Changes::default(),
            clock,
            drain: CancellationToken::new(),
        };
        Ok(lambda_http::run(behind_cdn(router(app), config.origin_secrets, config.access_url)))
    })
}
