//! `berth-reap`: the Lambda that hears of ended tasks. Its configuration comes from the environment, see [`berth_reap::Config`].

use berth_aws::Aws;
use berth_domain::Timestamp;
use berth_lambda::StartError;
use berth_reap::{Config, TaskEvent, reap_event};
use berth_store::Store;
use lambda_runtime::{LambdaEvent, service_fn};
use std::process::ExitCode;

fn main() -> ExitCode {
    berth_lambda::main(async |environment| {
        let config = Config::from_env(&environment)?;
        let aws = Aws::from_env(|name| environment.get(name).map(str::to_owned))?;
        let store = Store::open_aws(&aws, config.store);
        store.warm().await?;
        Ok(lambda_runtime::run(service_fn(move |event: LambdaEvent<TaskEvent>| {
            let store = store.clone();
            async move { reap_event(&store, &event.payload, Timestamp::now()).await.map_err(StartError::from) }
        })))
    })
}
