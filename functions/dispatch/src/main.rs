//! `berth-dispatch`: the Lambda behind the queue. Its configuration comes from the environment, see [`berth_dispatch::Config`].

use aws_lambda_events::sqs::SqsEvent;
use berth_aws::Aws;
use berth_dispatch::{Config, Fargate, dispatch_batch};
use berth_domain::Timestamp;
use berth_lambda::StartError;
use berth_store::Store;
use lambda_runtime::{LambdaEvent, service_fn};
use std::{process::ExitCode, sync::Arc};

fn main() -> ExitCode {
    berth_lambda::main(async |environment| {
        let config = Config::from_env(&environment)?;
        let aws = Aws::from_env(|name| environment.get(name).map(str::to_owned))?;
        let store = Store::open_aws(&aws, config.store);
        store.warm().await?;
        let ecs = aws_sdk_ecs::Client::new(&aws.service("ECS"));
        let fargate = Arc::new(Fargate::new(ecs, store.clone(), config.access_url, config.fargate));
        Ok(lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
            let (store, fargate) = (store.clone(), Arc::clone(&fargate));
            async move { Ok::<_, StartError>(dispatch_batch(&store, &*fargate, event.payload, Timestamp::now()).await) }
        })))
    })
}
