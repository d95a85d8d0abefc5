//! Refuses requests of `demae dev` that are meant for another host.
//!
//! A page of any site can make a browser on this machine send requests to a loopback address: the site's name resolves to
//! 127.0.0.1 at the second look-up (DNS rebinding). To the browser, such a request and its answer belong to that site. The
//! name is still in the `Host` header, and no IP address is a name, so what is not a name that leads here is refused.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, uri::Authority};
use url::Url;

/// How a refused client reads what to do.
const REMEDY: &str = "demae dev answers requests for localhost and for IP addresses only, because pages of other sites could \
                      reach it otherwise (DNS rebinding)\nif this name leads to your server, name it: \
                      DEMAE_PUBLIC_URL=http://NAME:PORT\n";

/// The name, besides `localhost`, for which requests are answered.
#[derive(Debug, Clone)]
pub(super) struct AllowedHost(Option<Arc<str>>);

impl AllowedHost {
    pub(super) fn new(public_url: Option<&Url>) -> Self {
        Self(public_url.and_then(Url::host_str).map(Arc::from))
    }

    fn allows(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else {
            return false;
        };
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || is_address(&host)
            || self
                .0
                .as_deref()
                .is_some_and(|own| own.eq_ignore_ascii_case(&host))
    }
}

fn is_address(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    v6.map_or_else(
        || host.parse::<std::net::Ipv4Addr>().is_ok(),
        |v6| v6.parse::<std::net::Ipv6Addr>().is_ok(),
    )
}

/// The middleware.
pub(super) async fn check(State(allowed): State<AllowedHost>, request: Request, next: Next) -> Response {
    let mut named = request.headers().get_all(header::HOST).iter();
    let in_headers = named.all(|host| host.to_str().is_ok_and(|host| allowed.allows(host)));
    let in_target = request
        .uri()
        .authority()
        .is_none_or(|authority| allowed.allows(authority.as_str()));
    if in_headers && in_target {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, REMEDY).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    async fn status(allowed: &AllowedHost, target: &str, host: Option<&str>) -> StatusCode {
        let router = Router::new()
            .route("/", get(async || "inside"))
            .layer(middleware::from_fn_with_state(allowed.clone(), check));
        let mut request = Request::get(target);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
            .status()
    }

    #[tokio::test]
    async fn a_request_for_another_host_is_refused() {
        let allowed = AllowedHost::new(Some(&"http://demae.test:6060/x".parse().unwrap()));
        for host in [
            "localhost",
            "LOCALHOST:6060",
            "app.localhost:1",
            "localhost.",
            "127.0.0.1:6060",
            "[::1]:6060",
            "192.168.1.7",
            "demae.test:6060",
            "Demae.Test",
        ] {
            assert_eq!(status(&allowed, "/", Some(host)).await, StatusCode::OK, "{host}");
            let target = format!("http://{host}/");
            assert_eq!(status(&allowed, &target, None).await, StatusCode::OK, "{host}");
        }
        for host in [
            "evil.test",
            "evil.test:6060",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "1.evil.test",
            "evillocalhost",
            "user@evil.test",
            "",
            "0x7f.1",
            "xn--nxasmq6b",
        ] {
            assert_eq!(
                status(&allowed, "/", Some(host)).await,
                StatusCode::MISDIRECTED_REQUEST,
                "{host}"
            );
        }
        let contradiction = status(&allowed, "http://evil.test/", Some("localhost")).await;
        assert_eq!(contradiction, StatusCode::MISDIRECTED_REQUEST);
        let unnamed = AllowedHost::new(None);
        assert_eq!(
            status(&unnamed, "/", Some("demae.test")).await,
            StatusCode::MISDIRECTED_REQUEST
        );
    }
}
