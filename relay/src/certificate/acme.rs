//! An order at a certificate authority (RFC 8555), proven by DNS records (section 8.4), which is the only proof for a wildcard.

use super::OrderError;
use crate::{bucket::Bucket, upstream::root_cause, zone::Zone};
use bytes::Bytes;
use http::{Request, Response};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error, HttpClient, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use serde::{Deserialize, Serialize};
use std::{pin::Pin, time::Duration};

/// The object that holds our account at the authority, key included.
const ACCOUNT: &str = "acme-account";
/// How long one answer of the authority may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to look at our proofs, and to issue.
const PATIENCE: Duration = Duration::from_secs(180);

/// A certificate authority.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    directory: String,
    contact: Option<String>,
    http: reqwest::Client,
}

/// An account, and where it is one.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

impl Authority {
    /// No request is made.
    pub(crate) fn new(directory: &str, contact: Option<&str>) -> Result<Self, OrderError> {
        let failed = |reason: String| OrderError::Authority { directory: directory.to_owned(), reason };
        let tls = berth_client::tls_config(true).map_err(|error| failed(error.to_string()))?;
        let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(ANSWER);
        let http = builder.build().map_err(|error| failed(root_cause(&error)))?;
        Ok(Self { directory: directory.to_owned(), contact: contact.map(str::to_owned), http })
    }

    /// Orders a certificate for these names. Returns chain and key, PEM.
    pub(crate) async fn order(&self, bucket: &Bucket, zone: &Zone, names: &[String]) -> Result<(String, String), OrderError> {
        let account = self.account(bucket).await?;
        let names: Vec<_> = names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(|error| self.refused(&error))?;
        let proofs = self.proofs(&mut order).await?;
        let proven = async {
            if !proofs.is_empty() {
                zone.publish(&proofs).await?;
            }
            self.prove(&mut order).await
        };
        let proven = proven.await;
        // Whatever came of it, the records have served.
        if !proofs.is_empty()
            && let Err(error) = zone.withdraw(&proofs).await
        {
            tracing::warn!(%error, "the records of a certificate order are left behind; they do no harm");
        }
        proven?;
        let key = order.finalize().await.map_err(|error| self.refused(&error))?;
        let chain = order.poll_certificate(&patience()).await.map_err(|error| self.refused(&error))?;
        Ok((chain, key))
    }

    /// Our account at this authority; made the first time.
    async fn account(&self, bucket: &Bucket) -> Result<Account, OrderError> {
        let builder = || Account::builder_with_http(Box::new(Http(self.http.clone())));
        let before = bucket.get::<Kept>(ACCOUNT).await?;
        let tag = before.as_ref().map(|before| before.tag.clone());
        if let Some(kept) = before.map(|before| before.value).filter(|kept| kept.directory == self.directory) {
            return builder().from_credentials(kept.credentials).await.map_err(|error| self.refused(&error));
        }
        let contact: Vec<_> = self.contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = builder().create(&new, self.directory.clone(), None).await;
        let (account, credentials) = made.map_err(|error| self.refused(&error))?;
        bucket.put(ACCOUNT, &Kept { directory: self.directory.clone(), credentials }, tag.as_deref()).await?;
        Ok(account)
    }

    /// The TXT records that the authority wants to see: name and text. None for what it has seen lately.
    async fn proofs(&self, order: &mut Order) -> Result<Vec<(String, String)>, OrderError> {
        let mut proofs = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.refused(&error))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(ChallengeType::Dns01);
            let challenge = challenge.ok_or_else(|| self.failed("it offers no proof by DNS (dns-01)".to_owned()))?;
            // Of a wildcard this is the domain below the asterisk.
            let Identifier::Dns(domain) = challenge.identifier().identifier else {
                return Err(self.failed("it wants a proof of something else than a name".to_owned()));
            };
            proofs.push((format!("_acme-challenge.{domain}"), challenge.key_authorization().dns_value()));
        }
        Ok(proofs)
    }

    /// Has the authority look at the records, and waits until it has.
    async fn prove(&self, order: &mut Order) -> Result<(), OrderError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.refused(&error))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            if let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01) {
                challenge.set_ready().await.map_err(|error| self.refused(&error))?;
            }
        }
        match order.poll_ready(&patience()).await.map_err(|error| self.refused(&error))? {
            OrderStatus::Ready | OrderStatus::Valid => Ok(()),
            _ => Err(self.failed(self.complaints(order).await)),
        }
    }

    /// What the authority says it missed.
    async fn complaints(&self, order: &mut Order) -> String {
        let mut complaints = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if let Ok(state) = authorization.refresh().await {
                let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
                complaints.extend(problems.map(ToString::to_string));
            }
        }
        if complaints.is_empty() { "it did not accept the DNS records".to_owned() } else { complaints.join("; ") }
    }

    fn failed(&self, reason: String) -> OrderError {
        OrderError::Authority { directory: self.directory.clone(), reason }
    }

    /// What the authority said is one thing, that it could not be asked is another.
    fn refused(&self, error: &Error) -> OrderError {
        let (text, cause) = (error.to_string(), root_cause(error));
        let reason = if text.contains(&cause) { text } else { format!("{text}: {cause}") };
        match error {
            Error::Api(_) | Error::Timeout(_) => self.failed(reason),
            _ => OrderError::Away { directory: self.directory.clone(), reason },
        }
    }
}

fn patience() -> RetryPolicy {
    RetryPolicy::new().timeout(PATIENCE)
}

/// Our HTTP client as the library's.
struct Http(reqwest::Client);

impl HttpClient for Http {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.0.clone();
        Box::pin(async move {
            let other = |error: reqwest::Error| Error::Other(Box::new(error));
            let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap)).map_err(other)?;
            let response: Response<reqwest::Body> = http.execute(request).await.map_err(other)?.into();
            Ok(BytesResponse::from(response))
        })
    }
}
