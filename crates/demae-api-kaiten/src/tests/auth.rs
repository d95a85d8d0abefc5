//! Who may do what.

use axum::body::Body;
use demae_event::Clock as _;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::{
    document,
    document::TOKEN,
    testing::{TestApi, request},
};

async fn token_with(api: &TestApi, slug: &str, scopes: Value, expires_at: Option<&str>) -> String {
    api.post(
        "/api/service-accounts",
        json!({"name": "Machine", "slug": "machine"}),
    )
    .await;
    let mut body = json!({"name": slug, "slug": slug, "scopes": scopes});
    if let Some(end) = expires_at {
        body["expiresAt"] = end.into();
    }
    let reply = api.post("/api/service-accounts/machine/tokens", body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["token"].as_str().unwrap().to_owned()
}

async fn status_as(api: &TestApi, token: &str, path: &str) -> u16 {
    api.call_as(token, Method::GET, path, None).await.status.as_u16()
}

#[tokio::test]
async fn a_request_without_a_valid_token_is_told_how_to_come_back() {
    let api = TestApi::start().await;
    let unknown = "Bearer ksh_0000000000000000000000000000000000000000";
    for header in [
        None,
        Some(unknown),
        Some("Bearer ksm_x"),
        Some("Basic ksh_x"),
        Some("ksh_x"),
    ] {
        let mut request = Request::builder().uri("/api/customers");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let reply = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, 401, "{header:?}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert_eq!(reply.code(), "Auth.NoIdentity");
    }
}

#[tokio::test]
async fn a_scope_opens_its_module_and_no_other() {
    let api = TestApi::start().await;
    let reader = token_with(&api, "reader", json!(["read:customers"]), None).await;
    let writer = token_with(&api, "writer", json!(["write:customers"]), None).await;
    let create = |token: String| {
        let api = &api;
        async move {
            let body = json!({"name": "Somebody"});
            api.call_as(&token, Method::POST, "/api/customers", Some(body))
                .await
        }
    };
    assert_eq!(status_as(&api, &reader, "/api/customers").await, 200);
    assert_eq!(status_as(&api, &writer, "/api/customers").await, 200);
    assert_eq!(status_as(&api, &writer, "/api/service-accounts").await, 403);
    assert_eq!(create(writer).await.status, 201);
    let refused = create(reader).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (403, "Auth.MissingScope")
    );
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("write:customers")
    );
}

#[tokio::test]
async fn nobody_gives_away_what_they_do_not_have() {
    let api = TestApi::start().await;
    let token = token_with(&api, "limited", json!(["write:tokens"]), None).await;
    let body = json!({"name": "more", "scopes": ["write:customers"]});
    let path = "/api/service-accounts/machine/tokens";
    let reply = api.call_as(&token, Method::POST, path, Some(body)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (403, "CreateToken.ScopeExceeded")
    );
}

on_both_databases! {
    strangers_who_hang_up_keep_no_connection,
}

/// Each is dropped at another point of its way through the database.
async fn strangers_who_hang_up_keep_no_connection(api: TestApi) {
    for number in 0..100 {
        let request = request(
            Method::GET,
            "/api/customers",
            &format!("ksh_stranger{number:032}"),
        );
        let stranger = api.send(request.body(Body::empty()).unwrap());
        let mut stranger = std::pin::pin!(stranger);
        for _ in 0..number % 30 {
            if futures::poll!(&mut stranger).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    for path in ["/api/customers", "/api/webhooks"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    assert_eq!(
        api.post("/api/customers", json!({"name": "Served"})).await.status,
        201
    );
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_the_very_next_request() {
    let api = TestApi::start().await;
    let token = token_with(&api, "short-lived", Value::Null, None).await;
    assert_eq!(status_as(&api, &token, "/api/customers").await, 200);
    let path = "/api/service-accounts/machine/tokens/short-lived";
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
    assert_eq!(status_as(&api, &token, "/api/customers").await, 401);
    let shown = api.get("/api/service-accounts/machine/tokens").await.json();
    assert!(shown["items"][0]["revokedAt"].is_string(), "{shown}");
}

#[tokio::test]
async fn a_token_ends_when_its_time_is_over() {
    let api = TestApi::start().await;
    let end = (api.clock.now() + std::time::Duration::from_mins(1)).to_string();
    let token = token_with(&api, "brief", Value::Null, Some(&end)).await;
    api.clock.advance(std::time::Duration::from_secs(59));
    assert_eq!(status_as(&api, &token, "/api/customers").await, 200);
    api.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(status_as(&api, &token, "/api/customers").await, 401);
}

/// The document's scopes are the ones that are asked for: every operation, with a token that has none.
#[tokio::test]
async fn every_operation_asks_for_the_scope_it_declares() {
    let api = TestApi::start().await;
    let token = token_with(&api, "powerless", json!([]), None).await;
    for (path, item) in document().value()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let path = path.replace(['{', '}'], "");
            let method: Method = method.to_uppercase().parse().unwrap();
            let reply = api.call_as(&token, method.clone(), &path, None).await;
            let Some(scope) = operation["security"][0][TOKEN][0].as_str() else {
                assert_ne!(reply.status, 403, "{method} {path} declares no scope");
                continue;
            };
            assert_eq!(reply.status, 403, "{method} {path}: {reply:?}");
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(scope), "{method} {path} wants {scope}: {detail}");
        }
    }
}
