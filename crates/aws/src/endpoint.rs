//! Where services are: at AWS's own addresses, unless the environment says another.

use std::collections::BTreeMap;

use http::Uri;

use crate::AwsError;

/// The services that have an address of their own in the environment.
const SERVICES: &[&str] = &["DYNAMODB", "S3", "SQS", "ECS", "ROUTE_53", "EC2"];

/// Addresses other than AWS's own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Endpoints {
    all: Option<String>,
    of: BTreeMap<&'static str, String>,
}

impl Endpoints {
    pub(crate) fn from_env(read: &impl Fn(&str) -> Option<String>) -> Result<Self, AwsError> {
        let url = |name: &str| read(name).map(|value| checked(name, value)).transpose();
        let mut of = BTreeMap::new();
        for service in SERVICES {
            if let Some(url) = url(&format!("AWS_ENDPOINT_URL_{service}"))? {
                of.insert(*service, url);
            }
        }
        Ok(Self { all: url("AWS_ENDPOINT_URL")?, of })
    }

    pub(crate) fn of(&self, service: &str) -> Option<&str> {
        self.of.get(service).or(self.all.as_ref()).map(String::as_str)
    }
}

fn checked(name: &str, value: String) -> Result<String, AwsError> {
    let whole = |uri: Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if value.parse().is_ok_and(whole) {
        return Ok(value);
    }
    Err(AwsError::Address { name: name.to_owned(), value, reason: "it must begin with http:// or https:// and a host" })
}
