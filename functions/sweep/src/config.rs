//! What the sweep is told.

use berth_lambda::{Environment, EnvironmentError};
use berth_store::AwsStore;

/// Everything that the function needs, from its environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// The deployment's table and bucket (`BERTH_TABLE`, `BERTH_BUCKET`, `BERTH_KMS_KEY`).
    pub store: AwsStore,
    /// The queue to the dispatcher (`BERTH_QUEUE_URL`).
    pub queue_url: String,
    /// The relay that sleeps while nobody needs it (`BERTH_CLUSTER`, `BERTH_RELAY_SERVICE`); none if it never does.
    pub relay: Option<RelayService>,
}

/// The ECS service of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayService {
    /// The cluster, by name or ARN.
    pub cluster: String,
    /// The service in it.
    pub service: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_env(environment: &Environment) -> Result<Self, EnvironmentError> {
        let store = AwsStore {
            table: environment.needed("BERTH_TABLE")?,
            bucket: environment.needed("BERTH_BUCKET")?,
            kms_key: environment.get("BERTH_KMS_KEY").map(str::to_owned),
        };
        let relay = match environment.get("BERTH_RELAY_SERVICE") {
            None => None,
            Some(service) => Some(RelayService { cluster: environment.needed("BERTH_CLUSTER")?, service: service.to_owned() }),
        };
        Ok(Self { store, queue_url: environment.url("BERTH_QUEUE_URL")?, relay })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &[(&str, &str)]) -> Result<Config, EnvironmentError> {
        let whole = [("BERTH_TABLE", "t"), ("BERTH_BUCKET", "b"), ("BERTH_QUEUE_URL", "https://sqs/1/q")];
        let all = whole.iter().chain(more);
        Config::from_env(&Environment::of(all.map(|&(name, value)| (name.to_owned(), value.to_owned()))))
    }

    #[test]
    fn a_relay_that_sleeps_is_in_a_cluster() {
        assert_eq!(read(&[]).unwrap().relay, None);
        assert_eq!(read(&[("BERTH_RELAY_SERVICE", "relay")]).unwrap_err(), EnvironmentError::Missing("BERTH_CLUSTER"));
        let relay = read(&[("BERTH_RELAY_SERVICE", "relay"), ("BERTH_CLUSTER", "berth")]).unwrap().relay.unwrap();
        assert_eq!(relay, RelayService { cluster: "berth".to_owned(), service: "relay".to_owned() });
    }
}
