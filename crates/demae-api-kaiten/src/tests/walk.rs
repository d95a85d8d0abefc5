//! Walks through every operation of the document: with another tenant's ids, with one connection, repeated.
//!
//! The walk is driven by the document, so that an operation that is added tomorrow is walked tomorrow; one whose path
//! names something that the fixture does not have fails the test.

use http::Method;

use super::fixture::{Fixture, operations};
use crate::testing::TestApi;

on_both_databases! {
    nothing_of_another_tenant_is_there,
    no_repetition_shows_a_secret,
    no_list_shows_what_is_another_tenants,
    nothing_of_another_application_is_there,
}

async fn nothing_of_another_tenant_is_there(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let other = api.other_token().await;
    let mut walked = 0;
    for (method, template, operation) in operations() {
        if !template.contains('{') {
            continue;
        }
        let path = fixture.fill(&template);
        let theirs = api
            .call_as(&other, method.clone(), &path, fixture.body_of(&operation))
            .await;
        assert_eq!(theirs.status, 404, "{method} {template}: {theirs:?}");
        assert!(!theirs.text.contains("Hidden"), "{theirs:?}");
        walked += 1;
    }
    assert!(walked >= 20, "only {walked} operations were walked");
    // The same walk by the owner: the ids were real, and nothing was changed by the other tenant.
    for (method, template, operation) in operations() {
        if !template.contains('{') {
            continue;
        }
        let path = fixture.fill(&template);
        let own = api.call(method.clone(), &path, fixture.body_of(&operation)).await;
        assert_ne!(own.status, 404, "{method} {template}: {own:?}");
        assert!(!own.status.is_server_error(), "{method} {template}: {own:?}");
    }
}

/// A request that needs a second connection while it holds one would wait for itself.
#[tokio::test]
async fn no_operation_needs_two_connections() {
    let api = TestApi::on_postgres_with(1).await;
    let fixture = Fixture::new(&api).await;
    for (number, (method, template, operation)) in operations().into_iter().enumerate() {
        let (path, body) = (fixture.fill(&template), fixture.body_of(&operation));
        let key = format!("key-{number}");
        for _ in 0..2 {
            let keyed = api.call_with_key(&api.token, method.clone(), (&path, &key), body.clone());
            let keyed = keyed.await;
            assert!(!keyed.status.is_server_error(), "{method} {template}: {keyed:?}");
        }
        let plain = api.call(method.clone(), &path, body).await;
        assert!(!plain.status.is_server_error(), "{method} {template}: {plain:?}");
    }
}

async fn no_repetition_shows_a_secret(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let (mut repeated, mut shown) = (0, 0);
    let is_secret = |text: &str| {
        ["ksh_", "whsec_", "whsk_"]
            .iter()
            .any(|prefix| text.contains(prefix))
    };
    for (number, (method, template, operation)) in operations().into_iter().enumerate() {
        if method == Method::GET {
            continue;
        }
        let (path, mut body) = (fixture.fill(&template), fixture.body_of(&operation));
        if let Some(slug) = body.as_mut().and_then(|body| body.get_mut("slug")) {
            *slug = format!("new-{number}").into();
        }
        let key = format!("key-{number}");
        let call = || api.call_with_key(&api.token, method.clone(), (&path, &key), body.clone());
        let (first, second) = (call().await, call().await);
        shown += usize::from(first.status.is_success() && is_secret(&first.text));
        // What is answered is what was stored.
        if second.header("idempotent-replayed").is_some() {
            repeated += 1;
            assert_eq!(first.status, second.status, "{method} {template}");
            assert!(!is_secret(&second.text), "{method} {template}: {second:?}");
        }
    }
    assert!(
        repeated >= 20 && shown >= 3,
        "only {repeated} were repeated, {shown} had a secret"
    );
}

async fn no_list_shows_what_is_another_tenants(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let other = api.other_token().await;
    let webhook = fixture.fill("/api/webhooks/{id}");
    let webhook = webhook.rsplit('/').next().unwrap();
    for (method, path, operation) in operations() {
        let is_list = method == Method::GET && operation["security"].is_array() && !path.contains('{');
        if !is_list {
            continue;
        }
        let limit = format!("{path}?limit=200");
        let own = api.get(&limit).await;
        assert!(
            own.text.contains("Hidden") || own.text.contains("HIDDEN") || own.text.contains(webhook),
            "{path}"
        );
        let theirs = api.call_as(&other, Method::GET, &limit, None).await;
        assert_eq!(theirs.status, 200, "{path}: {theirs:?}");
        for secret in ["Hidden", "HIDDEN", webhook] {
            assert!(!theirs.text.contains(secret), "{path} shows {secret}: {theirs:?}");
        }
    }
}

/// This surface shows the default application of an organization, and nothing of the others to anybody.
async fn nothing_of_another_application_is_there(api: TestApi) {
    let fixture = Fixture::of_another_application(&api).await;
    let (mut walked, mut listed) = (0, 0);
    for (method, template, operation) in operations() {
        if !["/api/webhooks", "/api/events"]
            .iter()
            .any(|prefix| template.starts_with(prefix))
        {
            continue;
        }
        if template.contains('{') {
            let path = fixture.fill(&template);
            let reply = api.call(method.clone(), &path, fixture.body_of(&operation)).await;
            assert_eq!(reply.status, 404, "{method} {template}: {reply:?}");
            walked += 1;
        } else if method == Method::GET {
            let reply = api.get(&template).await;
            assert_eq!(reply.status, 200, "{template}: {reply:?}");
            let list = reply.json();
            let items = list.as_array().or_else(|| list["items"].as_array());
            let items = items.unwrap_or_else(|| panic!("{template}: {reply:?}"));
            assert!(items.is_empty(), "{template}: {reply:?}");
            listed += 1;
        }
    }
    assert!(
        walked >= 10 && listed >= 3,
        "only {walked} and {listed} were walked"
    );
}
