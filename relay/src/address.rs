//! The public address of the Fargate task we run in. A task knows its network interface; only EC2 knows what the world calls it.
//!
//! One request to EC2, signed here: its SDK has six hundred operations and takes longer to compile than all the rest of the relay.

use crate::upstream::root_cause;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_types::SdkConfig;
use berth_wire::domain::Timestamp;
use serde::Deserialize;
use std::{
    net::Ipv4Addr,
    time::{Duration, UNIX_EPOCH},
};

/// How long each of the two questions may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The version of EC2's API whose answers we read; it has not changed since 2016.
const VERSION: &str = "2016-11-15";
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Permission to ask.
const ACTION: &str = "ec2:DescribeNetworkInterfaces";

/// Where to ask for the address.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    metadata: String,
    ec2: SdkConfig,
    http: reqwest::Client,
}

/// Why the address is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("cannot ask ECS about this task: {0}")]
    Metadata(String),
    #[error("ECS tells no network interface of this task")]
    NoInterface,
    #[error("cannot sign a request to EC2: {0}")]
    Sign(String),
    #[error("cannot ask EC2 about the network interface of {interface}: {reason}; the task's role needs {ACTION}")]
    Ec2 { interface: Ipv4Addr, reason: String },
    #[error(
        "the network interface of {0} has no public address; the service must run with assignPublicIp ENABLED in a public subnet"
    )]
    NoAddress(Ipv4Addr),
}

/// What `${ECS_CONTAINER_METADATA_URI_V4}` answers, as far as we read it (task metadata endpoint version 4 for Fargate).
#[derive(Debug, Deserialize)]
struct Container {
    #[serde(rename = "Networks", default)]
    networks: Vec<Network>,
}

/// A network interface as the task knows it. Private addresses repeat in an account with several networks, hence both.
#[derive(Debug, Clone, Deserialize)]
struct Network {
    #[serde(rename = "IPv4Addresses", default)]
    addresses: Vec<Ipv4Addr>,
    #[serde(rename = "MACAddress")]
    mac: String,
}

/// What EC2 answers (DescribeNetworkInterfaces), as far as we read it.
#[derive(Debug, Deserialize)]
struct Interfaces {
    #[serde(rename = "networkInterfaceSet", default)]
    set: Set,
}

#[derive(Debug, Default, Deserialize)]
struct Set {
    #[serde(default)]
    item: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(rename = "macAddress")]
    mac: String,
    association: Option<Association>,
}

#[derive(Debug, Deserialize)]
struct Association {
    #[serde(rename = "publicIp")]
    address: Option<Ipv4Addr>,
}

/// How EC2 refuses.
#[derive(Debug, Deserialize)]
struct Refused {
    #[serde(rename = "Errors")]
    errors: Errors,
}

#[derive(Debug, Deserialize)]
struct Errors {
    #[serde(rename = "Error", default)]
    all: Vec<Ec2Error>,
}

#[derive(Debug, Deserialize)]
struct Ec2Error {
    #[serde(rename = "Message", default)]
    message: String,
}

impl Interface {
    /// `metadata` is the value of `ECS_CONTAINER_METADATA_URI_V4`. No request is made.
    pub(crate) fn new(metadata: &str, ec2: SdkConfig) -> Result<Self, AddressError> {
        let encrypted = ec2.endpoint_url().is_none_or(|url| url.starts_with("https"));
        let tls = berth_client::tls_config(encrypted).map_err(|error| AddressError::Sign(error.to_string()))?;
        let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(ANSWER).no_proxy();
        let http = builder.build().map_err(|error| AddressError::Sign(error.to_string()))?;
        Ok(Self { metadata: metadata.to_owned(), ec2, http })
    }

    /// The public address. Two requests.
    pub(crate) async fn address(&self) -> Result<Ipv4Addr, AddressError> {
        let (private, mac) = self.network().await?;
        let filter = format!("Filter.1.Name=private-ip-address&Filter.1.Value.1={private}");
        let answer = self.ask(format!("Action=DescribeNetworkInterfaces&Version={VERSION}&{filter}"), private).await?;
        public_address(&answer, &mac).ok_or(AddressError::NoAddress(private))
    }

    /// How this task knows its interface.
    async fn network(&self) -> Result<(Ipv4Addr, String), AddressError> {
        let failed = |error: reqwest::Error| AddressError::Metadata(root_cause(&error));
        let container: Container = self.http.get(&self.metadata).send().await.map_err(failed)?.json().await.map_err(failed)?;
        let network = container.networks.into_iter().find_map(|network| Some((*network.addresses.first()?, network.mac)));
        network.ok_or(AddressError::NoInterface)
    }

    async fn ask(&self, body: String, interface: Ipv4Addr) -> Result<String, AddressError> {
        let failed = |reason: String| AddressError::Ec2 { interface, reason };
        let request = self.signed(body).await?;
        let response = self.http.execute(request).await.map_err(|error| failed(root_cause(&error)))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| failed(root_cause(&error)))?;
        if text.len() > ANSWER_BYTES_MAX {
            return Err(failed("its answer is too large".to_owned()));
        }
        if status.is_success() {
            return Ok(text);
        }
        let refused = quick_xml::de::from_str::<Refused>(&text).ok().and_then(|refused| refused.errors.all.into_iter().next());
        Err(failed(format!("{status} {}", refused.map(|error| error.message).unwrap_or_default())))
    }

    /// Signature version 4 (AWS General Reference), over a form as EC2's query API takes it.
    async fn signed(&self, body: String) -> Result<reqwest::Request, AddressError> {
        let failed = |reason: String| AddressError::Sign(reason);
        let region = self.ec2.region().ok_or_else(|| failed("there is no region".to_owned()))?.as_ref().to_owned();
        let url = self.ec2.endpoint_url().map_or_else(|| format!("https://ec2.{region}.amazonaws.com/"), str::to_owned);
        let provider = self.ec2.credentials_provider().ok_or_else(|| failed("there are no credentials".to_owned()))?;
        let credentials = provider.provide_credentials().await.map_err(|error| failed(root_cause(&error)))?;
        let identity = credentials.into();
        let params = v4::SigningParams::builder().identity(&identity).region(&region).name("ec2");
        let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(Timestamp::now().as_second()).unwrap_or_default());
        let params = params.time(now).settings(SigningSettings::default()).build();
        let params = params.map_err(|error| failed(error.to_string()))?.into();
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let request = SignableRequest::new("POST", url.as_str(), std::iter::once(form), SignableBody::Bytes(body.as_bytes()));
        let request = request.map_err(|error| failed(error.to_string()))?;
        let (signature, _) = sign(request, &params).map_err(|error| failed(error.to_string()))?.into_parts();
        let mut request = self.http.post(url).header(form.0, form.1);
        for (name, value) in signature.headers() {
            request = request.header(name, value);
        }
        request.body(body).build().map_err(|error| failed(root_cause(&error)))
    }
}

/// The public address of the interface with this hardware address.
fn public_address(answer: &str, mac: &str) -> Option<Ipv4Addr> {
    let interfaces: Interfaces = quick_xml::de::from_str(answer).ok()?;
    let own = interfaces.set.item.into_iter().find(|item| item.mac.eq_ignore_ascii_case(mac))?;
    own.association?.address
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of EC2's own example of DescribeNetworkInterfaces.
    const ANSWER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><networkInterfaceSet>
        <item><networkInterfaceId>eni-1</networkInterfaceId><macAddress>02:00:00:00:00:01</macAddress>
          <privateIpAddress>10.0.0.7</privateIpAddress><association><publicIp>203.0.113.8</publicIp></association></item>
        <item><networkInterfaceId>eni-2</networkInterfaceId><macAddress>02:00:00:00:00:02</macAddress>
          <association><publicIp>203.0.113.7</publicIp><publicDnsName/><ipOwnerId>amazon</ipOwnerId></association>
          <privateIpAddressesSet><item><privateIpAddress>10.0.0.7</privateIpAddress></item></privateIpAddressesSet></item>
        <item><networkInterfaceId>eni-3</networkInterfaceId><macAddress>02:00:00:00:00:03</macAddress></item>
        </networkInterfaceSet></DescribeNetworkInterfacesResponse>"#;

    #[test]
    fn of_interfaces_with_one_private_address_ours_is_the_one_with_our_hardware_address() {
        assert_eq!(public_address(ANSWER, "02:00:00:00:00:02"), Some(Ipv4Addr::new(203, 0, 113, 7)));
        assert_eq!(public_address(ANSWER, "02:00:00:00:00:03"), None);
        assert_eq!(public_address(ANSWER, "02:00:00:00:00:04"), None);
        assert_eq!(public_address("<Response><networkInterfaceSet/></Response>", "02:00:00:00:00:02"), None);
        assert_eq!(public_address("<Response><networkInter", "02:00:00:00:00:02"), None);
    }
}
