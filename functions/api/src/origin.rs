//! The door of the function: its own address is open to the internet, so the CDN proves itself with a secret that only the two know.
//!
//! Beyond the door a request is as the client sent it to the CDN: its host is the deployment's, and its peer is the client.
//! Not CloudFront's origin access control: with that, whoever sends a body must also send the body's hash, which no IDE, agent or script does.

use crate::error::ApiError;
use axum::{
    Router,
    extract::{ConnectInfo, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use berth_domain::Secret;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use lambda_http::request::RequestContext;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use subtle::{Choice, ConstantTimeEq};

/// What the CDN proves itself with.
const SECRET_HEADER: &str = "x-berth-origin";
/// The client's address as the CDN saw it; believed with the secret only.
const VIEWER_HEADER: &str = "x-berth-viewer";

/// Who may pass the door.
#[derive(Debug)]
struct Door {
    secrets: Vec<Secret>,
    access_url: String,
    host: Option<HeaderValue>,
}

/// The router behind the door. With no secret it is open, and what the headers say of the client is not believed.
pub fn behind_cdn(router: Router, secrets: Vec<Secret>, access_url: String) -> Router {
    if secrets.is_empty() {
        tracing::warn!("BERTH_ORIGIN_SECRETS is not set: whoever knows the function's own address may call it");
    }
    let authority = access_url.parse::<Uri>().ok().and_then(|url| url.authority().cloned());
    let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let door = Arc::new(Door { secrets, access_url, host });
    router.layer(from_fn(move |request, next| pass(Arc::clone(&door), request, next)))
}

async fn pass(door: Arc<Door>, mut request: Request, next: Next) -> Response {
    let proven = door.is_proven(request.headers());
    if !proven && !door.secrets.is_empty() {
        tracing::warn!(client = ?sent_from(&request), "refused a request that did not come by the CDN");
        let refused =
            ApiError::new(StatusCode::FORBIDDEN, format!("this is not the deployment's address: use {}", door.access_url));
        return refused.into_response();
    }
    let viewer = proven.then(|| viewer(request.headers())).flatten().or_else(|| sent_from(&request));
    if let Some(viewer) = viewer {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(viewer, 0)));
    }
    let headers = request.headers_mut();
    headers.remove(SECRET_HEADER);
    headers.remove(VIEWER_HEADER);
    if let Some(host) = &door.host {
        headers.insert(header::HOST, host.clone());
    }
    next.run(request).await
}

impl Door {
    /// Whether the request carries one of the secrets. Takes as long whichever it is, and however much of it is right.
    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(SECRET_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        let matches = self.secrets.iter().map(|secret| secret.expose().as_bytes().ct_eq(presented));
        matches.fold(Choice::from(0), |any, one| any | one).into()
    }
}

fn viewer(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get(VIEWER_HEADER)?.to_str().ok()?.trim().parse().ok()
}

/// Who connected to the function's address, as Lambda says: the CDN, or whoever went around it.
fn sent_from(request: &Request) -> Option<IpAddr> {
    let RequestContext::ApiGatewayV2(context) = request.extensions().get()? else { return None };
    context.http.source_ip.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use tower::ServiceExt;

    fn door(secrets: &[&str]) -> Router {
        let told = async |request: Request| {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
            let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap().to_owned());
            let kept = request.headers().contains_key(SECRET_HEADER);
            format!("{} {} {kept}", peer.unwrap_or_default(), host.unwrap_or_default())
        };
        let secrets = secrets.iter().map(|&secret| Secret::new(secret.to_owned())).collect();
        behind_cdn(Router::new().route("/", get(told)), secrets, "https://berth.example.com".to_owned())
    }

    async fn ask(door: Router, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = Request::get("/").header("host", "x.lambda-url.eu-central-1.on.aws");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = door.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_goes_around_the_cdn_is_refused_and_told_where_to_go() {
        for wrong in [&[][..], &[(SECRET_HEADER, "")], &[(SECRET_HEADER, "on")], &[(SECRET_HEADER, "one,two")]] {
            let (status, body) = ask(door(&["one", "two"]), wrong).await;
            assert_eq!(status, 403, "{wrong:?}");
            assert!(body.contains("use https://berth.example.com"), "{body}");
        }
    }

    #[tokio::test]
    async fn both_secrets_pass_while_one_replaces_the_other_and_the_client_is_whom_the_cdn_saw() {
        for secret in ["one", "two"] {
            let told = ask(door(&["one", "two"]), &[(SECRET_HEADER, secret), (VIEWER_HEADER, "2001:db8::1")]).await;
            assert_eq!(told, (200, "2001:db8::1 berth.example.com false".to_owned()));
        }
    }

    #[tokio::test]
    async fn without_a_secret_the_client_is_not_believed() {
        let told = ask(door(&[]), &[(VIEWER_HEADER, "2001:db8::1")]).await;
        assert_eq!(told, (200, " berth.example.com false".to_owned()));
    }
}
