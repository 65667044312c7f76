//! Launching a runner on Fargate: one task per job, and the relay woken before it when it may sleep.

use crate::{Launch, LaunchError, LaunchRequest, config::FargateConfig, refusal};
use aws_sdk_ecs::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::run_task::builders::RunTaskFluentBuilder,
    types::{
        AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, ContainerOverride, KeyValuePair, NetworkConfiguration,
        TaskOverride, builders::AwsVpcConfigurationBuilder,
    },
};
use berth_domain::Timestamp;
use berth_store::{RelayState, Store};

/// Launches tasks in one cluster.
#[derive(Debug, Clone)]
pub struct Fargate {
    ecs: Client,
    store: Store,
    access_url: String,
    config: FargateConfig,
}

impl Fargate {
    /// Makes no request.
    #[must_use]
    pub fn new(ecs: Client, store: Store, access_url: String, config: FargateConfig) -> Self {
        Self { ecs, store, access_url, config }
    }

    fn task(&self, request: &LaunchRequest) -> Result<RunTaskFluentBuilder, aws_sdk_ecs::error::BuildError> {
        let config = &self.config;
        let provider = CapacityProviderStrategyItem::builder().capacity_provider(&config.capacity_provider).weight(1).build()?;
        Ok(self
            .ecs
            .run_task()
            .cluster(&config.cluster)
            .task_definition(&config.task_definition)
            .count(1)
            // Not the job's id: ECS keeps a token for a day, and a second offer after a failed start is another task.
            .client_token(request.task.to_string())
            // How an operator finds the task of a build, and the reaper the job of a task.
            .started_by(request.job.to_string())
            .capacity_provider_strategy(provider)
            .network_configuration(NetworkConfiguration::builder().awsvpc_configuration(self.network().build()?).build())
            .overrides(TaskOverride::builder().container_overrides(self.container(request)).build()))
    }

    fn network(&self) -> AwsVpcConfigurationBuilder {
        let address = if self.config.public_address { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled };
        AwsVpcConfiguration::builder()
            .set_subnets(Some(self.config.subnets.clone()))
            .set_security_groups(Some(self.config.security_groups.clone()))
            .assign_public_ip(address)
    }

    /// What the runner is told. Whoever may describe tasks can read it: the token is good once, and the runner redeems it at once.
    fn container(&self, request: &LaunchRequest) -> ContainerOverride {
        let variable = |name: &str, value: &str| KeyValuePair::builder().name(name).value(value).build();
        ContainerOverride::builder()
            .name(&self.config.container)
            .environment(variable("BERTH_API_URL", &self.access_url))
            .environment(variable("BERTH_JOB_ID", &request.job.uuid().to_string()))
            .environment(variable("BERTH_JOB_TOKEN", request.token.expose()))
            .environment(variable("BERTH_TASK_ID", &request.task.to_string()))
            .build()
    }

    /// Wakes the relay when it may sleep. What goes wrong here does not stop the launch: the sweep starts a relay that stays in waking.
    async fn wake_relay(&self, service: &str, now: Timestamp) {
        let seen = match self.store.need_relay(now).await {
            Ok(seen) if seen.state == RelayState::Awake => return,
            Ok(seen) => seen,
            Err(error) => return tracing::warn!(%error, "cannot note that the relay is needed; it may sleep on"),
        };
        let started = self.ecs.update_service().cluster(&self.config.cluster).service(service).desired_count(1).send().await;
        if let Err(error) = started {
            let error = DisplayErrorContext(&error).to_string();
            return tracing::warn!(service, error, "cannot wake the relay; the sweep tries again within a minute");
        }
        tracing::info!(service, "the relay is woken");
        if let Err(error) = self.store.relay_becomes(seen, RelayState::Awake, now).await {
            tracing::warn!(%error, "cannot note that the relay is awake; the sweep does");
        }
    }
}

impl Launch for Fargate {
    async fn launch(&self, request: LaunchRequest) -> Result<(), LaunchError> {
        if let Some(service) = &self.config.relay_service {
            self.wake_relay(service, request.at).await;
        }
        let task =
            self.task(&request).map_err(|error| LaunchError::Never(format!("the runner's task cannot be described: {error}")))?;
        let answer = match task.send().await {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(refused)) => {
                let (status, error) = (refused.raw().status().as_u16(), refused.err());
                return Err(refusal::of_error(status, error.code().unwrap_or_default(), error.message().unwrap_or_default()));
            }
            Err(error) => {
                tracing::warn!(error = %DisplayErrorContext(&error), "ECS did not answer");
                return Err(LaunchError::Later("AWS did not answer when it was asked to start a runner".to_owned()));
            }
        };
        match (answer.tasks(), answer.failures()) {
            ([_, ..], _) => Ok(()),
            ([], [failure, ..]) => {
                Err(refusal::of_failure(failure.reason().unwrap_or_default(), failure.detail().unwrap_or_default()))
            }
            ([], []) => Err(LaunchError::Later("AWS started no runner and does not say why".to_owned())),
        }
    }
}
