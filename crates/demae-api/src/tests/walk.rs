//! Two tenants: every operation of the document, with the other tenant's ids.
//!
//! The walk is driven by the document, so that an operation that is added tomorrow is walked tomorrow; one whose path
//! names something that the fixture does not have fails the test.

use http::Method;

use super::fixture::{Fixture, operations};
use crate::testing::TestApi;

on_both_databases! {
    nothing_of_another_tenant_is_there,
    no_list_shows_what_is_another_tenants,
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
