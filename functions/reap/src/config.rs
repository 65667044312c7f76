//! What the reaper is told.

use berth_lambda::{Environment, EnvironmentError};
use berth_store::AwsStore;

/// Everything that the function needs, from its environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// The deployment's table and bucket (`BERTH_TABLE`, `BERTH_BUCKET`, `BERTH_KMS_KEY`).
    pub store: AwsStore,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// The first variable that is missing.
    pub fn from_env(environment: &Environment) -> Result<Self, EnvironmentError> {
        let store = AwsStore {
            table: environment.needed("BERTH_TABLE")?,
            bucket: environment.needed("BERTH_BUCKET")?,
            kms_key: environment.get("BERTH_KMS_KEY").map(str::to_owned),
        };
        Ok(Self { store })
    }
}
