//! The way to AWS: one connection pool, one set of credentials, and where each service is. Any client of the SDK is configured by
//! [`Aws::service`].
//!
//! The SDK's own loader (`aws-config`) reads profiles, asks other services for credentials and parses the system's root certificates:
//! millions of instructions before a function's first request, for what a Lambda and a Fargate task find in their environment. Here
//! roots are compiled in (Mozilla's, as `webpki-roots`) and cost nothing to read, and nothing is asked before it is needed.

mod connector;
mod credentials;
mod endpoint;
mod post;

use std::{path::PathBuf, time::Duration};

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, app_name::AppName, region::Region};

use crate::{connector::Connector, endpoint::Endpoints};

pub use post::PostError;

/// How long a connection may take to be made, its handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a service may take until its answer begins: each answers in milliseconds, and a connection that froze with its Lambda
/// must be given up while the caller still waits.
pub const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for S3, which reads the whole object that it is given before it answers.
pub const S3_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is made until one is answered.
const ATTEMPTS_MAX: u32 = 3;
/// How long the first wait between two attempts may be; it doubles with each. The SDK's second is longer than a whole request may take.
const BACKOFF: Duration = Duration::from_millis(50);
/// How long a later wait may be.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long before they end credentials are asked for anew.
const CREDENTIALS_SPARE: Duration = Duration::from_secs(300);
/// How long asking for credentials may take.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the environment does not lead to AWS. Each names the variable to set.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// A variable must be there.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// Nothing says who asks.
    #[error(
        "no AWS credentials: neither AWS_ACCESS_KEY_ID nor AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI is set"
    )]
    NoCredentials,
    /// A variable does not hold the address of something.
    #[error("{name}={value} is not an address: {reason}")]
    Address {
        /// The variable.
        name: String,
        /// What it holds.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificates cannot be used.
    #[error("AWS_CA_BUNDLE={}: {reason}", .path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The way to AWS. A clone is another handle to the same connections.
#[derive(Debug, Clone)]
pub struct Aws {
    connector: Connector,
    credentials: SharedCredentialsProvider,
    endpoints: Endpoints,
    region: Region,
}

impl Aws {
    /// Reads the environment, by `read`: `AWS_REGION`; the credentials of a Lambda (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`) or of a Fargate task (`AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `..._FULL_URI`); other addresses than
    /// AWS's own (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB` and the like) and other roots (`AWS_CA_BUNDLE`). Makes no request.
    ///
    /// # Errors
    /// When a variable is missing or unusable.
    pub fn from_env(read: impl Fn(&str) -> Option<String>) -> Result<Self, AwsError> {
        // A variable that is set to nothing is one that is not set, as everywhere in AWS's tools.
        let read = |name: &str| read(name).filter(|value| !value.is_empty());
        let region = read("AWS_REGION").ok_or(AwsError::Missing("AWS_REGION"))?;
        let connector = Connector::new(read("AWS_CA_BUNDLE").map(PathBuf::from).as_deref())?;
        Ok(Self {
            credentials: credentials::from_env(&read, &connector)?,
            endpoints: Endpoints::from_env(&read)?,
            region: Region::new(region),
            connector,
        })
    }

    /// What an SDK client of this service is made of. `service` is its name in the environment: `DYNAMODB`, `S3`, `SQS`, `ECS`,
    /// `ROUTE_53`, `EC2`.
    #[must_use]
    pub fn service(&self, service: &str) -> SdkConfig {
        let read_timeout = if service == "S3" { S3_READ_TIMEOUT } else { READ_TIMEOUT };
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX);
        let cache = IdentityCache::lazy().buffer_time(CREDENTIALS_SPARE).load_timeout(CREDENTIALS_TIMEOUT).build();
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .identity_cache(cache)
            .http_client(self.connector.clone())
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .retry_config(retries.with_initial_backoff(BACKOFF).with_max_backoff(BACKOFF_MAX))
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(read_timeout).build());
        config.set_app_name(AppName::new("berth").ok());
        config.set_endpoint_url(self.endpoints.of(service).map(str::to_owned));
        config.build()
    }

    /// Whether this service is elsewhere than at AWS's own address: a stand-in, which knows a bucket by the path only.
    #[must_use]
    pub fn is_elsewhere(&self, service: &str) -> bool {
        self.endpoints.of(service).is_some()
    }
}

#[cfg(test)]
mod tests;
