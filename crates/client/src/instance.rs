//! What the EC2 instance that this runs on can say of itself, by the instance metadata service, version 2.

use crate::{ClientError, Result, tls};
use berth_wire::agent::InstanceIdentity;
use reqwest::{Method, RequestBuilder};
use std::time::Duration;

/// Where every instance finds it.
pub const INSTANCE_METADATA: &str = "http://169.254.169.254";
/// How long the service may take: it is on the machine's own host.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a session with it is to last, in seconds.
const SESSION_SECONDS: &str = "60";
/// The longest answer; the signature is the longest, with some 2,000 bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The instance's identity document and AWS's signature over it. Three requests.
///
/// # Errors
/// [`ClientError::Unreachable`] where no such service answers.
pub async fn instance_identity(endpoint: &str) -> Result<InstanceIdentity> {
    let endpoint = endpoint.trim_end_matches('/');
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(false)?)
        .timeout(ANSWER)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| ClientError::Setup(Box::new(error)))?;
    let request = |method, path: &str| http.request(method, format!("{endpoint}/latest/{path}"));
    let session = request(Method::PUT, "api/token").header("X-aws-ec2-metadata-token-ttl-seconds", SESSION_SECONDS);
    let session = text(endpoint, session).await?;
    let about = |what: &str| {
        let request = request(Method::GET, &format!("dynamic/instance-identity/{what}"));
        text(endpoint, request.header("X-aws-ec2-metadata-token", &session))
    };
    Ok(InstanceIdentity { document: about("document").await?, signature: about("rsa2048").await? })
}

async fn text(endpoint: &str, request: RequestBuilder) -> Result<String> {
    let failed = |error: reqwest::Error| ClientError::from_reqwest(endpoint, &error);
    let mut response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(ClientError::TooLarge { url: endpoint.to_owned(), limit: ANSWER_BYTES_MAX });
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
