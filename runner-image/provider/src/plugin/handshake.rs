//! What Terraform says in the environment of a plugin that it starts, and the line with which the plugin answers.
//!
//! Names, values and the form of the line are those of the go-plugin protocol, core version 1, as Terraform and OpenTofu use it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::environment::Environment;

const COOKIE_NAME: &str = "TF_PLUGIN_MAGIC_COOKIE";
/// Public: it tells a plugin that Terraform started it, and protects nothing.
const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";
const VERSIONS_NAME: &str = "PLUGIN_PROTOCOL_VERSIONS";
const CERTIFICATE_NAME: &str = "PLUGIN_CLIENT_CERT";

/// The version of the plugin protocol itself.
const CORE_PROTOCOL: u32 = 1;
/// The version of the provider protocol that we serve.
const PROVIDER_PROTOCOL: u32 = 6;

/// What a plugin process is told, read once from its environment.
#[derive(Clone, Default)]
pub struct Config {
    cookie: Option<String>,
    versions: Option<String>,
    certificate: Option<String>,
    /// What the provider knows of the build.
    pub environment: Environment,
}

/// Why the process cannot be a plugin of whoever started it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A person, probably.
    #[error("this program is a provider, which Terraform or OpenTofu starts by itself")]
    NotStarted,
    /// Terraform before 1.0 speaks version 5 alone.
    #[error("the program that started this provider speaks provider protocol {offered}, and version 6 is needed")]
    Protocol {
        /// The versions that it speaks.
        offered: String,
    },
    /// Only mutual TLS is served: a port on loopback is open to every user of the machine.
    #[error("PLUGIN_CLIENT_CERT holds no certificate, and without one the provider would serve anyone")]
    NoCertificate,
}

/// Proof that a Terraform started us that we can serve.
#[derive(Debug)]
pub(super) struct Invitation {
    /// The certificate of the only client to serve.
    pub(super) client: CertificateDer<'static>,
}

impl Config {
    /// Reads the process's environment.
    pub fn from_env() -> Self {
        Self::of_variables(std::env::vars_os().collect())
    }

    fn of_variables(variables: BTreeMap<OsString, OsString>) -> Self {
        let text = |name: &str| variables.get(std::ffi::OsStr::new(name))?.to_str().map(str::to_owned);
        Self {
            cookie: text(COOKIE_NAME),
            versions: text(VERSIONS_NAME),
            certificate: text(CERTIFICATE_NAME),
            environment: Environment::of_variables(variables),
        }
    }

    /// Whether and by whom the process was started as a plugin.
    pub(super) fn invitation(&self) -> Result<Invitation, HandshakeError> {
        if self.cookie.as_deref() != Some(COOKIE) {
            return Err(HandshakeError::NotStarted);
        }
        let offered = self.versions.as_deref().unwrap_or_default();
        if !offered.split(',').any(|version| version.trim().parse() == Ok(PROVIDER_PROTOCOL)) {
            return Err(HandshakeError::Protocol { offered: offered.to_owned() });
        }
        let certificate = self.certificate.as_deref().unwrap_or_default();
        let client = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| HandshakeError::NoCertificate)?;
        Ok(Invitation { client })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Config").field("environment", &self.environment).finish_non_exhaustive()
    }
}

/// The line that tells Terraform where the plugin listens and by which certificate to know it.
pub(super) fn line(address: SocketAddr, certificate: &CertificateDer<'_>) -> String {
    format!("{CORE_PROTOCOL}|{PROVIDER_PROTOCOL}|tcp|{address}|grpc|{}", STANDARD_NO_PAD.encode(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        Config::of_variables(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect())
    }

    #[test]
    fn only_a_terraform_that_speaks_as_we_do_is_served() {
        let refused = |variables: &[(&str, &str)]| config(variables).invitation().unwrap_err();
        assert_eq!(refused(&[]), HandshakeError::NotStarted);
        assert_eq!(refused(&[(COOKIE_NAME, "chocolate")]), HandshakeError::NotStarted);
        let old = [(COOKIE_NAME, COOKIE), (VERSIONS_NAME, "4,5")];
        assert_eq!(refused(&old), HandshakeError::Protocol { offered: "4,5".into() });
        let open = [(COOKIE_NAME, COOKIE), (VERSIONS_NAME, "5,6")];
        assert_eq!(refused(&open), HandshakeError::NoCertificate);
        assert_eq!(refused(&[open[0], open[1], (CERTIFICATE_NAME, "-----BEGIN")]), HandshakeError::NoCertificate);
    }

    #[test]
    fn the_provider_knows_of_the_environment_what_is_meant_for_it() {
        let config =
            config(&[("CODER_WORKSPACE_NAME", "dev"), ("BERTH_PROCESS_ROOT", "/r"), ("BERTH_JOB_TOKEN", "hush"), ("PATH", "/bin")]);
        assert_eq!(config.environment.get("CODER_WORKSPACE_NAME"), Some("dev"));
        assert_eq!(format!("{config:?}"), "Config { environment: Environment(2 names), .. }");
    }

    #[test]
    fn the_answer_is_one_line() {
        let line = line("127.0.0.1:4000".parse().unwrap(), &CertificateDer::from(&[1, 2, 3, 4][..]));
        assert_eq!(line, "1|6|tcp|127.0.0.1:4000|grpc|AQIDBA");
    }
}
