//! Who asks: the keys in a Lambda's environment, or those that a Fargate task is handed by the agent beside it.
//!
//! The agent's contract: `GET` of `http://169.254.170.2` and the path in `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, or of the address in
//! `AWS_CONTAINER_CREDENTIALS_FULL_URI` with the content of `AWS_CONTAINER_AUTHORIZATION_TOKEN` or of the file
//! `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` as `Authorization` (AWS SDKs reference guide, "Container credential provider"). The SDK
//! keeps the answer and asks again before it ends.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_smithy_types::{
    DateTime,
    body::SdkBody,
    date_time::{ConversionError, Format},
};
use http::Uri;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;

use crate::{AwsError, connector::Connector};

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
/// Where the agent beside a Fargate task answers.
const TASK_AGENT: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
/// Where it answers on EKS.
const POD_AGENT: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 23);
const POD_AGENT_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How often the agent is asked until it answers.
const ATTEMPTS_MAX: u32 = 3;
/// How long the first wait between two attempts is; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn from_env(
    read: &impl Fn(&str) -> Option<String>,
    connector: &Connector,
) -> Result<SharedCredentialsProvider, AwsError> {
    if let Some(id) = read("AWS_ACCESS_KEY_ID") {
        let secret = read("AWS_SECRET_ACCESS_KEY").ok_or(AwsError::Missing("AWS_SECRET_ACCESS_KEY"))?;
        let keys = Credentials::new(id, secret, read("AWS_SESSION_TOKEN"), None, "environment");
        return Ok(SharedCredentialsProvider::new(keys));
    }
    let uri = match (read(RELATIVE), read(FULL)) {
        (Some(path), _) => address(RELATIVE, format!("http://{TASK_AGENT}{path}"))?,
        (None, Some(uri)) => address(FULL, uri)?,
        (None, None) => return Err(AwsError::NoCredentials),
    };
    let token = match (read("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), read("AWS_CONTAINER_AUTHORIZATION_TOKEN")) {
        (Some(file), _) => Token::File(file.into()),
        (None, Some(token)) => Token::Here(token),
        (None, None) => Token::None,
    };
    Ok(SharedCredentialsProvider::new(Container { uri, token, connector: connector.clone() }))
}

/// Credentials are asked for over TLS or on this machine only.
fn address(name: &str, value: String) -> Result<Uri, AwsError> {
    let refused = |value, reason| Err(AwsError::Address { name: name.to_owned(), value, reason });
    let Ok(uri) = value.parse::<Uri>() else { return refused(value, "it cannot be read") };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let near = match host.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip == TASK_AGENT || ip == POD_AGENT,
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip == POD_AGENT_6,
        Err(_) => host == "localhost",
    };
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(uri),
        Some("http") if near => Ok(uri),
        _ => refused(value, "it must be https, or http on this machine"),
    }
}

/// The agent beside a Fargate task.
struct Container {
    uri: Uri,
    token: Token,
    connector: Connector,
}

/// What the agent knows the task by.
enum Token {
    None,
    Here(String),
    File(PathBuf),
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Container({})", self.uri)
    }
}

impl ProvideCredentials for Container {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.ask())
    }
}

impl Container {
    async fn ask(&self) -> provider::Result {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.ask_once().await {
                Ok(credentials) => return Ok(credentials),
                Err(CredentialsError::ProviderError(_)) => tokio::time::sleep(pause).await,
                Err(error) => return Err(error),
            }
            pause *= 2;
        }
        self.ask_once().await
    }

    async fn ask_once(&self) -> provider::Result {
        let token = match &self.token {
            Token::None => None,
            Token::Here(token) => Some(token.clone()),
            // Read each time: the file is written anew before its token ends.
            Token::File(path) => {
                Some(tokio::fs::read_to_string(path).await.map_err(CredentialsError::invalid_configuration)?.trim().to_owned())
            }
        };
        let answer = self.connector.get(&self.uri, token.as_deref()).await.map_err(CredentialsError::provider_error)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(CredentialsError::provider_error(format!("{} answered {}", self.uri, status.as_u16())));
        }
        read(answer.into_body()).await
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

async fn read(body: SdkBody) -> provider::Result {
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(CredentialsError::provider_error)?;
    // The parser's error could quote the answer, which is a secret.
    let answer: Answer = serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        CredentialsError::provider_error(format!("the credentials cannot be read at column {}", error.column()))
    })?;
    let ends = DateTime::from_str(&answer.expiration, Format::DateTimeWithOffset).map_err(CredentialsError::provider_error)?;
    let ends = SystemTime::try_from(ends).map_err(|error: ConversionError| CredentialsError::provider_error(error))?;
    Ok(Credentials::new(answer.access_key_id, answer.secret_access_key, Some(answer.token), Some(ends), "container"))
}
