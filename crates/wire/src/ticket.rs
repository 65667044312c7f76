//! Tickets: short-lived JWTs that another component verifies offline. Every plane has its own `aud`; one algorithm, EdDSA.
//!
//! | ticket | `aud` | verified by | life |
//! |---|---|---|---|
//! | [`RelayClaims`] | `relay` | the relay, on connect | client 24 h, agent: until its token is revoked (1 year, re-fetched at will) |
//! | [`AgentClaims`] | `agent` | the agent, on each stream | 60 s |
//! | [`AppTicketClaims`] | `app-ticket` | the API, once, when the relay shows it | 60 s |
//! | [`AppClaims`] | `app` | the API, when the relay shows the cookie it is in | 1 h |
//! | [`PresenceClaims`] | `relay-presence` | the relay, when the API asks who is there | 60 s |

use crate::tunnel::Target;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use berth_domain::{Secret, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// The issuer of every ticket.
pub const ISSUER: &str = "berth";

/// What admits an endpoint to a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayClaims {
    /// The endpoint it is bound to.
    pub eid: String,
    /// Agent or client.
    pub role: RelayRole,
    /// The agent's or the user's id.
    pub sub: String,
    /// Issuer.
    pub iss: String,
    /// `relay`.
    pub aud: String,
    /// Seconds since the epoch.
    pub exp: i64,
}

/// Who is at the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayRole {
    /// A workspace agent.
    Agent,
    /// A developer's CLI.
    Client,
}

/// What opens a stream to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentClaims {
    /// The client's endpoint.
    pub eid: String,
    /// The agent's endpoint.
    pub agent: String,
    /// The user.
    pub sub: Uuid,
    /// The user's name, for the agent's log.
    pub name: String,
    /// The one target it opens; every one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Target>,
    /// Issuer.
    pub iss: String,
    /// `agent`.
    pub aud: String,
    /// Seconds since the epoch.
    pub exp: i64,
}

/// A sign-in on its way to the host of an app, where it becomes [`AppClaims`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppTicketClaims {
    /// Its own id: it is good once.
    pub jti: Uuid,
    /// The host's first label, a [`berth_domain::AppAddress`].
    pub app: String,
    /// What binds it to the browser that asked for it: the hash of a secret that only this browser has, at that host.
    pub state: String,
    /// The session that it comes from.
    pub sid: Uuid,
    /// The user.
    pub sub: Uuid,
    /// Issuer.
    pub iss: String,
    /// `app-ticket`.
    pub aud: String,
    /// Seconds since the epoch.
    pub exp: i64,
}

/// Who opens an app, for the host of that app alone and for as long as the session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppClaims {
    /// The host's first label, a [`berth_domain::AppAddress`].
    pub app: String,
    /// The session that it comes from.
    pub sid: Uuid,
    /// The user.
    pub sub: Uuid,
    /// Issuer.
    pub iss: String,
    /// `app`.
    pub aud: String,
    /// Seconds since the epoch.
    pub exp: i64,
}

/// What lets the API ask a relay who is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceClaims {
    /// `api`.
    pub sub: String,
    /// Issuer.
    pub iss: String,
    /// `relay-presence`.
    pub aud: String,
    /// Seconds since the epoch.
    pub exp: i64,
}

/// Why a ticket is refused.
#[derive(Debug, thiserror::Error)]
#[error("the ticket is not valid")]
pub struct TicketError(#[from] jsonwebtoken::errors::Error);

/// The deployment's ticket key, secret half.
#[derive(Debug, Clone)]
pub struct SigningKey {
    id: String,
    seed: Secret<[u8; 32]>,
    public: [u8; 32],
}

/// PKCS#8 version 1 wrapping of an Ed25519 seed (RFC 8410, section 7): this prefix, then the seed.
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

impl SigningKey {
    /// A key from its seed and the matching public key.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let id = URL_SAFE_NO_PAD.encode(public.first_chunk::<8>().copied().unwrap_or_default());
        Self { id, seed: Secret::new(seed), public }
    }

    /// The half that verifies.
    #[must_use]
    pub fn verifying(&self) -> VerifyingKey {
        VerifyingKey { id: self.id.clone(), public: URL_SAFE_NO_PAD.encode(self.public) }
    }

    fn sign<T: Serialize>(&self, claims: &T) -> Result<Secret, TicketError> {
        let mut der = Vec::with_capacity(48);
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(self.seed.expose());
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.id.clone());
        Ok(Secret::new(jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&der))?))
    }

    /// Admission of one endpoint to the relay.
    ///
    /// # Errors
    /// Never in practice: the key was checked when it was made.
    pub fn relay(&self, eid: &str, role: RelayRole, subject: Uuid, ends: Timestamp) -> Result<Secret, TicketError> {
        let (iss, aud) = (ISSUER.to_owned(), "relay".to_owned());
        self.sign(&RelayClaims { eid: eid.to_owned(), role, sub: subject.to_string(), iss, aud, exp: ends.as_second() })
    }

    /// Introduction of a client to an agent.
    ///
    /// # Errors
    /// Never in practice: the key was checked when it was made.
    pub fn agent(&self, client: &str, agent: &str, user: (Uuid, &str), ends: Timestamp) -> Result<Secret, TicketError> {
        self.introduction((client, agent), user, None, ends)
    }

    /// The same for one target alone.
    ///
    /// # Errors
    /// Never in practice: the key was checked when it was made.
    pub fn agent_only(
        &self,
        (client, agent): (&str, &str),
        user: (Uuid, &str),
        only: Target,
        ends: Timestamp,
    ) -> Result<Secret, TicketError> {
        self.introduction((client, agent), user, Some(only), ends)
    }

    fn introduction(
        &self,
        (client, agent): (&str, &str),
        user: (Uuid, &str),
        only: Option<Target>,
        ends: Timestamp,
    ) -> Result<Secret, TicketError> {
        self.sign(&AgentClaims {
            eid: client.to_owned(),
            agent: agent.to_owned(),
            sub: user.0,
            name: user.1.to_owned(),
            only,
            iss: ISSUER.to_owned(),
            aud: "agent".to_owned(),
            exp: ends.as_second(),
        })
    }

    /// Brings a user's session to an app's host: good once, for the browser whose `state` this is.
    ///
    /// # Errors
    /// Never in practice: the key was checked when it was made.
    pub fn app_ticket(
        &self,
        jti: Uuid,
        (app, state): (&str, &str),
        (session, user): (Uuid, Uuid),
        ends: Timestamp,
    ) -> Result<Secret, TicketError> {
        self.sign(&AppTicketClaims {
            jti,
            app: app.to_owned(),
            state: state.to_owned(),
            sid: session,
            sub: user,
            iss: ISSUER.to_owned(),
            aud: "app-ticket".to_owned(),
            exp: ends.as_second(),
        })
    }

    /// What an app's host keeps of a user's session.
    ///
    /// # Errors
    /// Never in practice: the key was checked when it was made.
    pub fn app(&self, app: &str, (session, user): (Uuid, Uuid), ends: Timestamp) -> Result<Secret, TicketError> {
        self.sign(&AppClaims {
            app: app.to_owned(),
            sid: session,
            sub: user,
            iss: ISSUER.to_owned(),
            aud: "app".to_owned(),
            exp: ends.as_second(),
        })
    }

    /// The API's question to a relay who is connected.
    ///
    /// # Errors
    /// Never in practice: the key was checked when it was made.
    pub fn presence(&self, ends: Timestamp) -> Result<Secret, TicketError> {
        let (sub, iss, aud) = ("api".to_owned(), ISSUER.to_owned(), "relay-presence".to_owned());
        self.sign(&PresenceClaims { sub, iss, aud, exp: ends.as_second() })
    }
}

/// The `kid` of a ticket: which key claims to have signed it. Nothing is verified.
#[must_use]
pub fn key_id(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

/// The deployment's ticket key, public half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct VerifyingKey {
    /// `kid`.
    pub id: String,
    /// 32 bytes, base64url.
    pub public: String,
}

impl VerifyingKey {
    fn verify<T: DeserializeOwned + Clone>(&self, token: &str, audience: &str) -> Result<T, TicketError> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 30;
        let key = DecodingKey::from_ed_components(&self.public)?;
        Ok(jsonwebtoken::decode::<T>(token, &key, &validation)?.claims)
    }

    /// Reads a relay token. The caller compares `eid` with the endpoint that proved itself.
    ///
    /// # Errors
    /// When signature, audience, issuer or time is wrong.
    pub fn relay(&self, token: &str) -> Result<RelayClaims, TicketError> {
        self.verify(token, "relay")
    }

    /// Reads an agent ticket. The caller compares `eid` and `agent` with the two ends of the connection.
    ///
    /// # Errors
    /// When signature, audience, issuer or time is wrong.
    pub fn agent(&self, token: &str) -> Result<AgentClaims, TicketError> {
        self.verify(token, "agent")
    }

    /// Reads the ticket that brings a session to an app's host. The caller compares `app` and `state`, and sees to it that it is used once.
    ///
    /// # Errors
    /// When signature, audience, issuer or time is wrong.
    pub fn app_ticket(&self, token: &str) -> Result<AppTicketClaims, TicketError> {
        self.verify(token, "app-ticket")
    }

    /// Reads what an app's host keeps of a session. The caller compares `app`, and looks whether the session stands.
    ///
    /// # Errors
    /// When signature, audience, issuer or time is wrong.
    pub fn app(&self, token: &str) -> Result<AppClaims, TicketError> {
        self.verify(token, "app")
    }

    /// Reads a presence ticket.
    ///
    /// # Errors
    /// When signature, audience, issuer or time is wrong.
    pub fn presence(&self, token: &str) -> Result<PresenceClaims, TicketError> {
        self.verify(token, "relay-presence")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_its_own_audience_key_and_time_only() {
        let key = SigningKey::new([7; 32]);
        let soon = Timestamp::now() + jiff::SignedDuration::from_secs(60);
        let past = Timestamp::now() - jiff::SignedDuration::from_secs(60);
        let ticket = key.agent("c", "a", (Uuid::nil(), "ada"), soon).unwrap();
        assert_eq!(key.verifying().agent(ticket.expose()).unwrap().eid, "c");
        assert!(key.verifying().relay(ticket.expose()).is_err());
        assert!(SigningKey::new([8; 32]).verifying().agent(ticket.expose()).is_err());
        let old = key.agent("c", "a", (Uuid::nil(), "ada"), past).unwrap();
        assert!(key.verifying().agent(old.expose()).is_err());
        let ask = key.presence(soon).unwrap();
        assert_eq!(key.verifying().presence(ask.expose()).unwrap().sub, "api");
        assert_eq!(key_id(ask.expose()), Some(key.verifying().id));
        assert!(key.verifying().presence(ticket.expose()).is_err());
        assert!(key.verifying().relay(ask.expose()).is_err());
        assert!(key.verifying().presence(key.presence(past).unwrap().expose()).is_err());
        assert_eq!(key_id("not.a.ticket"), None);
    }

    #[test]
    fn what_opens_an_app_is_good_for_nothing_else_and_nothing_else_for_it() {
        let (key, verifying) = (SigningKey::new([7; 32]), SigningKey::new([7; 32]).verifying());
        let soon = Timestamp::now() + jiff::SignedDuration::from_secs(60);
        let ids = (Uuid::from_u128(1), Uuid::from_u128(2));
        let hop = key.app_ticket(Uuid::nil(), ("web--dev--ada", "s"), ids, soon).unwrap();
        let kept = key.app("web--dev--ada", ids, soon).unwrap();
        let opens = key.agent_only(("c", "a"), (Uuid::nil(), "ada"), Target::Tcp { port: 80 }, soon).unwrap();
        assert_eq!(verifying.app_ticket(hop.expose()).unwrap().state, "s");
        assert_eq!((verifying.app(kept.expose()).unwrap().sid, verifying.app(kept.expose()).unwrap().sub), ids);
        assert_eq!(verifying.agent(opens.expose()).unwrap().only, Some(Target::Tcp { port: 80 }));
        for other in [&kept, &opens] {
            assert!(verifying.app_ticket(other.expose()).is_err());
        }
        for other in [&hop, &opens] {
            assert!(verifying.app(other.expose()).is_err());
        }
        for other in [&hop, &kept] {
            assert!(verifying.agent(other.expose()).is_err() && verifying.relay(other.expose()).is_err());
        }
    }
}
