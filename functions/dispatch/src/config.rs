//! What the dispatcher is told.

use berth_lambda::{Environment, EnvironmentError};
use berth_store::AwsStore;

/// Everything that the function needs, from its environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// The deployment's table and bucket (`BERTH_TABLE`, `BERTH_BUCKET`, `BERTH_KMS_KEY`).
    pub store: AwsStore,
    /// Where a runner reaches the API (`BERTH_ACCESS_URL`).
    pub access_url: String,
    /// How runners are launched.
    pub fargate: FargateConfig,
}

/// Where and as what runners run.
#[derive(Debug, Clone)]
pub struct FargateConfig {
    /// The cluster, by name or ARN (`BERTH_CLUSTER`).
    pub cluster: String,
    /// The runner's task definition: family, family and revision, or ARN (`BERTH_TASK_DEFINITION`).
    pub task_definition: String,
    /// The runner's container in it (`BERTH_CONTAINER`, else `runner`).
    pub container: String,
    /// The subnets (`BERTH_SUBNETS`), at least one.
    pub subnets: Vec<String>,
    /// The security groups (`BERTH_SECURITY_GROUPS`), at least one.
    pub security_groups: Vec<String>,
    /// Whether a task gets a public address, by which it reaches the internet without a NAT (`BERTH_ASSIGN_PUBLIC_IP`).
    pub public_address: bool,
    /// `FARGATE` or `FARGATE_SPOT`, or one of the cluster's own (`BERTH_CAPACITY_PROVIDER`).
    pub capacity_provider: String,
    /// The relay's service in the cluster, when it sleeps while nobody needs it (`BERTH_RELAY_SERVICE`).
    pub relay_service: Option<String>,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_env(environment: &Environment) -> Result<Self, EnvironmentError> {
        let list = |name| Some(environment.list(name)).filter(|list| !list.is_empty()).ok_or(EnvironmentError::Missing(name));
        let text = |name, default: &str| environment.get(name).unwrap_or(default).to_owned();
        let fargate = FargateConfig {
            cluster: environment.needed("BERTH_CLUSTER")?,
            task_definition: environment.needed("BERTH_TASK_DEFINITION")?,
            container: text("BERTH_CONTAINER", "runner"),
            subnets: list("BERTH_SUBNETS")?,
            security_groups: list("BERTH_SECURITY_GROUPS")?,
            public_address: switch("BERTH_ASSIGN_PUBLIC_IP", &environment.needed("BERTH_ASSIGN_PUBLIC_IP")?)?,
            capacity_provider: text("BERTH_CAPACITY_PROVIDER", "FARGATE"),
            relay_service: environment.get("BERTH_RELAY_SERVICE").map(str::to_owned),
        };
        let store = AwsStore {
            table: environment.needed("BERTH_TABLE")?,
            bucket: environment.needed("BERTH_BUCKET")?,
            kms_key: environment.get("BERTH_KMS_KEY").map(str::to_owned),
        };
        Ok(Self { store, access_url: environment.url("BERTH_ACCESS_URL")?, fargate })
    }
}

fn switch(name: &'static str, text: &str) -> Result<bool, EnvironmentError> {
    match text {
        "ENABLED" => Ok(true),
        "DISABLED" => Ok(false),
        _ => Err(EnvironmentError::Malformed { name, wanted: "ENABLED or DISABLED" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[(&str, &str)] = &[
        ("BERTH_TABLE", "berth"),
        ("BERTH_BUCKET", "berth-blobs"),
        ("BERTH_ACCESS_URL", "https://berth.example.com/"),
        ("BERTH_CLUSTER", "berth"),
        ("BERTH_TASK_DEFINITION", "berth-runner:7"),
        ("BERTH_SUBNETS", "subnet-1,subnet-2"),
        ("BERTH_SECURITY_GROUPS", "sg-1"),
        ("BERTH_ASSIGN_PUBLIC_IP", "ENABLED"),
    ];

    fn read(without: &str) -> Result<Config, EnvironmentError> {
        let kept = WHOLE.iter().filter(|(name, _)| *name != without);
        Config::from_env(&Environment::of(kept.map(|&(name, value)| (name.to_owned(), value.to_owned()))))
    }

    #[test]
    fn each_variable_that_is_missing_is_named() {
        let config = read("").unwrap();
        assert_eq!(config.access_url, "https://berth.example.com");
        assert_eq!((config.fargate.container.as_str(), config.fargate.capacity_provider.as_str()), ("runner", "FARGATE"));
        for (name, _) in WHOLE {
            assert_eq!(read(name).unwrap_err(), EnvironmentError::Missing(name));
        }
    }

    #[test]
    fn a_public_address_is_on_or_off() {
        assert!(switch("X", "ENABLED").unwrap() && !switch("X", "DISABLED").unwrap());
        assert!(switch("X", "true").is_err());
    }
}
