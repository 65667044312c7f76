//! `berth-sweep`: the Lambda that a schedule starts once a minute. Its configuration comes from the environment, see
//! [`berth_sweep::Config`]; what the schedule sends is not read.

use berth_aws::Aws;
use berth_domain::Timestamp;
use berth_lambda::StartError;
use berth_store::Store;
use berth_sweep::{Config, Queue, Service, sweep};
use lambda_runtime::{LambdaEvent, service_fn};
use std::{process::ExitCode, sync::Arc};

fn main() -> ExitCode {
    berth_lambda::main(async |environment| {
        let config = Config::from_env(&environment)?;
        let aws = Aws::from_env(|name| environment.get(name).map(str::to_owned))?;
        let store = Store::open_aws(&aws, config.store);
        store.warm().await?;
        let queue = Queue::new(aws.clone(), config.queue_url);
        let relay = Service::new(aws, config.relay);
        let parts = Arc::new((store, queue, relay));
        Ok(lambda_runtime::run(service_fn(move |_: LambdaEvent<serde::de::IgnoredAny>| {
            let parts = Arc::clone(&parts);
            async move {
                let (store, queue, relay) = &*parts;
                sweep(store, queue, relay, Timestamp::now()).await.map(drop).map_err(StartError::from)
            }
        })))
    })
}
