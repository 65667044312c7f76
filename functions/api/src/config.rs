//! What the API is told on AWS. On one machine the assembly makes an [`crate::App`] itself.

use berth_domain::Secret;
use berth_lambda::{Environment, EnvironmentError};
use berth_store::AwsStore;

/// Everything that the function needs, from its environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// The deployment's table and bucket (`BERTH_TABLE`, `BERTH_BUCKET`, `BERTH_KMS_KEY`).
    pub store: AwsStore,
    /// Where the deployment is reached from outside (`BERTH_ACCESS_URL`).
    pub access_url: String,
    /// Where its relay is (`BERTH_RELAY_URL`). Of several, separated by a comma, the first also holds the sockets.
    pub relay_urls: Vec<String>,
    /// Below which every app has a host (`BERTH_APPS_DOMAIN`); none when the relay serves no apps.
    pub apps_domain: Option<String>,
    /// The queue to the dispatcher (`BERTH_QUEUE_URL`).
    pub queue_url: String,
    /// What the CDN proves itself with, the one in use and while it is changed the other (`BERTH_ORIGIN_SECRETS`, separated by a comma).
    /// Without any, whoever knows the function's own address may call.
    pub origin_secrets: Vec<Secret>,
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
        Ok(Self {
            store,
            access_url: environment.url("BERTH_ACCESS_URL")?,
            relay_urls: environment.urls("BERTH_RELAY_URL")?,
            apps_domain: environment.get("BERTH_APPS_DOMAIN").map(str::to_owned),
            queue_url: environment.url("BERTH_QUEUE_URL")?,
            origin_secrets: environment.list("BERTH_ORIGIN_SECRETS").into_iter().map(Secret::new).collect(),
        })
    }
}
