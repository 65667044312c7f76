//! What the relay is told, by its environment.

use berth_aws::{Aws, AwsError};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Everything the relay needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API is (`BERTH_ACCESS_URL`).
    pub access_url: String,
    /// Where it listens (`BERTH_LISTEN`); the UDP side has the same address and [`Config::discovery_port`].
    pub listen: SocketAddr,
    /// Where it tells its health, to this machine alone (`BERTH_HEALTH_LISTEN`).
    pub health_listen: SocketAddr,
    /// Where address discovery listens, UDP (`BERTH_DISCOVERY_PORT`).
    pub discovery_port: u16,
    /// Its public side; none for a test bed (`BERTH_TLS=off`).
    pub public: Option<Public>,
    /// What is logged (`BERTH_LOG`).
    pub log: String,
}

/// What a relay needs that the world reaches by name.
#[derive(Clone)]
pub struct Public {
    /// Its host (`BERTH_RELAY_HOST`).
    pub host: String,
    /// Below which every app gets a host (`BERTH_APPS_DOMAIN`).
    pub apps_domain: String,
    /// The Route 53 zone both are in (`BERTH_ZONE_ID`).
    pub zone: String,
    /// The bucket that keeps its certificate (`BERTH_BUCKET`).
    pub bucket: String,
    /// The key that seals it there (`BERTH_KMS_KEY`); none for the bucket's own.
    pub kms_key: Option<String>,
    /// The certificate authority (`BERTH_ACME_DIRECTORY`).
    pub acme_directory: String,
    /// Whom it may write to (`BERTH_ACME_CONTACT`), as `mailto:` URL.
    pub acme_contact: Option<String>,
    /// How long resolvers may keep the relay's address (`BERTH_DNS_TTL`, in seconds): for as long a client may look for a relay that is
    /// gone, and a new one waits before the old one is stopped.
    pub address_ttl: Duration,
    /// Where ECS tells a task about itself (`ECS_CONTAINER_METADATA_URI_V4`).
    pub task_metadata: Option<String>,
    /// AWS itself.
    pub aws: Aws,
}

impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Public({} in {})", self.host, self.zone)
    }
}

/// Why the relay cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not set.
    #[error("{name} is not set\nhint: {hint}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it is for.
        hint: &'static str,
    },
    /// Set to something else.
    #[error("{name} is {value:?}, and must be {wanted}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// Without TLS the world must not reach us.
    #[error("BERTH_TLS is off, and {0} is not a loopback address\nhint: listen on 127.0.0.1, or leave BERTH_TLS out")]
    Exposed(SocketAddr),
    /// AWS cannot be reached with this environment.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// The usual directory.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// How long resolvers may keep the relay's address unless told otherwise.
const ADDRESS_TTL_SECONDS: u64 = 60;
/// Where iroh's clients look for address discovery unless told otherwise.
const DISCOVERY_PORT: u16 = iroh_relay::defaults::DEFAULT_RELAY_QUIC_PORT;

impl Config {
    /// Reads the environment through `read`. No request is made.
    ///
    /// # Errors
    /// [`ConfigError`], which names the variable.
    pub fn from_env(read: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let read = |name: &str| read(name).filter(|value| !value.trim().is_empty());
        let access_url = needed(&read, "BERTH_ACCESS_URL", "the URL of this deployment, such as https://berth.example.com/")?;
        let tls = match read("BERTH_TLS").as_deref() {
            None | Some("on") => true,
            Some("off") => false,
            Some(other) => return Err(malformed("BERTH_TLS", other, "on or off")),
        };
        let listen = parsed(&read, "BERTH_LISTEN", "an address and a port", SocketAddr::from((Ipv4Addr::UNSPECIFIED, 443)))?;
        if !tls && !listen.ip().is_loopback() {
            return Err(ConfigError::Exposed(listen));
        }
        Ok(Self {
            access_url,
            listen,
            health_listen: Self::health_listen(read)?,
            discovery_port: parsed(&read, "BERTH_DISCOVERY_PORT", "a port", DISCOVERY_PORT)?,
            public: if tls { Some(Public::from_env(&read)?) } else { None },
            log: read("BERTH_LOG").unwrap_or_else(|| "info,iroh=error,iroh_relay=error,noq=error".to_owned()),
        })
    }
}

impl Config {
    /// Only where health is told, for whoever asks for it.
    ///
    /// # Errors
    /// [`ConfigError::Malformed`].
    pub fn health_listen(read: impl Fn(&str) -> Option<String>) -> Result<SocketAddr, ConfigError> {
        parsed(&read, "BERTH_HEALTH_LISTEN", "an address and a port", SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))
    }
}

impl Public {
    fn from_env(read: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let contact = read("BERTH_ACME_CONTACT")
            .map(|contact| if contact.starts_with("mailto:") { contact } else { format!("mailto:{contact}") });
        Ok(Self {
            host: needed(read, "BERTH_RELAY_HOST", "the relay's host name, such as relay.berth.example.com")?,
            apps_domain: needed(read, "BERTH_APPS_DOMAIN", "the domain of the apps, such as apps.berth.example.com")?,
            zone: needed(read, "BERTH_ZONE_ID", "the id of the Route 53 zone of both, such as Z0123456789ABCDEFGHIJ")?,
            bucket: needed(read, "BERTH_BUCKET", "the bucket that keeps the relay's certificate")?,
            kms_key: read("BERTH_KMS_KEY"),
            acme_directory: read("BERTH_ACME_DIRECTORY").unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
            acme_contact: contact,
            address_ttl: Duration::from_secs(parsed(read, "BERTH_DNS_TTL", "a number of seconds", ADDRESS_TTL_SECONDS)?),
            task_metadata: read("ECS_CONTAINER_METADATA_URI_V4"),
            aws: Aws::from_env(read)?,
        })
    }

    /// The names that the certificate is for, and that lead here.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        vec![self.host.clone(), format!("*.{}", self.apps_domain)]
    }
}

fn needed(read: &impl Fn(&str) -> Option<String>, name: &'static str, hint: &'static str) -> Result<String, ConfigError> {
    read(name).ok_or(ConfigError::Missing { name, hint })
}

fn parsed<T: std::str::FromStr>(
    read: &impl Fn(&str) -> Option<String>,
    name: &'static str,
    wanted: &'static str,
    usual: T,
) -> Result<T, ConfigError> {
    let Some(text) = read(name) else { return Ok(usual) };
    text.parse().map_err(|_| malformed(name, &text, wanted))
}

fn malformed(name: &'static str, value: &str, wanted: &'static str) -> ConfigError {
    ConfigError::Malformed { name, value: value.to_owned(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[(&str, &str)] = &[
        ("BERTH_ACCESS_URL", "https://berth.example.com/"),
        ("BERTH_RELAY_HOST", "relay.berth.example.com"),
        ("BERTH_APPS_DOMAIN", "apps.berth.example.com"),
        ("BERTH_ZONE_ID", "Z1"),
        ("BERTH_BUCKET", "blobs"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ];

    fn read(change: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let value = |name: &str| change.iter().chain(WHOLE).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::from_env(value)
    }

    #[test]
    fn each_variable_that_is_missing_is_named() {
        let config = read(&[("BERTH_ACME_CONTACT", "ops@example.com")]).unwrap();
        let public = config.public.unwrap();
        assert_eq!(public.names(), ["relay.berth.example.com", "*.apps.berth.example.com"]);
        assert_eq!(public.acme_contact.as_deref(), Some("mailto:ops@example.com"));
        assert_eq!(
            (config.listen.to_string(), config.health_listen.to_string(), config.discovery_port),
            ("0.0.0.0:443".to_owned(), "127.0.0.1:8080".to_owned(), 7842)
        );
        for (name, _) in WHOLE.iter().filter(|(name, _)| name.starts_with("BERTH_")) {
            let error = read(&[(name, " ")]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} is not set\nhint: ")), "{error}");
        }
    }

    #[test]
    fn without_tls_only_loopback_is_listened_on() {
        let bed = [("BERTH_TLS", "off"), ("BERTH_LISTEN", "127.0.0.1:0"), ("BERTH_ZONE_ID", "")];
        assert!(read(&bed).unwrap().public.is_none());
        assert!(matches!(read(&bed[..1]).unwrap_err(), ConfigError::Exposed(_)));
        let error = read(&[("BERTH_LISTEN", "443")]).unwrap_err().to_string();
        assert_eq!(error, "BERTH_LISTEN is \"443\", and must be an address and a port");
    }
}
