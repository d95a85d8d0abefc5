//! Walks through every operation of the document: with another tenant's ids, with one connection, repeated.

use demae_api::testing::walk::Fixture as _;
use http::Method;

use super::fixture::{Fixture, operations};
use crate::testing::TestApi;

on_both_databases! {
    nothing_of_another_tenant_is_there,
    no_repetition_shows_a_secret,
    no_list_shows_what_is_another_tenants,
    nothing_of_another_application_is_there,
    what_is_refused_leaves_no_trace,
    what_is_not_there_is_not_found_wherever_it_is_named,
    numbers_in_queries_have_bounds,
    nothing_that_is_sent_makes_the_server_fail,
}

async fn nothing_of_another_tenant_is_there(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let walked = fixture.walk(&api).nothing_of_another_tenant_is_there().await;
    assert!(walked >= 20, "only {walked} operations were walked");
}

/// A request that needs a second connection while it holds one would wait for itself.
#[tokio::test]
async fn no_operation_needs_two_connections() {
    let api = TestApi::on_postgres_with(1).await;
    let fixture = Fixture::new(&api).await;
    fixture.walk(&api).no_operation_needs_two_connections().await;
}

async fn no_repetition_shows_a_secret(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let (repeated, shown) = fixture.walk(&api).no_repetition_shows_a_secret().await;
    assert!(
        repeated >= 20 && shown >= 3,
        "only {repeated} were repeated, {shown} had a secret"
    );
}

async fn no_list_shows_what_is_another_tenants(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let lists = fixture.walk(&api).no_list_shows_what_is_another_tenants().await;
    assert!(lists >= 10, "only {lists} lists were walked");
}

async fn what_is_refused_leaves_no_trace(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let changes = fixture.walk(&api).what_is_refused_leaves_no_trace().await;
    assert!(changes >= 40, "only {changes} changes were refused");
}

/// Of paths that name two things, each of them.
async fn what_is_not_there_is_not_found_wherever_it_is_named(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let walk = fixture.walk(&api);
    let names = walk.what_is_not_there_is_not_found_wherever_it_is_named().await;
    assert!(names >= 50, "only {names} names were walked");
}

async fn numbers_in_queries_have_bounds(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let numbers = fixture.walk(&api).numbers_in_queries_have_bounds().await;
    assert!(numbers >= 15, "only {numbers} numbers were walked");
}

async fn nothing_that_is_sent_makes_the_server_fail(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let sent = fixture
        .walk(&api)
        .nothing_that_is_sent_makes_the_server_fail()
        .await;
    assert!(sent >= 2_000, "only {sent} requests were sent");
}

/// This surface shows the default application of an organization, and nothing of the others to anybody.
async fn nothing_of_another_application_is_there(api: TestApi) {
    let fixture = Fixture::of_another_application(&api).await;
    let (mut walked, mut listed) = (0, 0);
    for operation in operations() {
        let (method, template) = (&operation.method, operation.template.as_str());
        if !["/api/webhooks", "/api/events"]
            .iter()
            .any(|prefix| template.starts_with(prefix))
        {
            continue;
        }
        if template.contains('{') {
            let path = fixture.fill(template);
            let reply = api.call(method.clone(), &path, fixture.body_of(&operation)).await;
            assert_eq!(reply.status, 404, "{method} {template}: {reply:?}");
            walked += 1;
        } else if *method == Method::GET {
            let reply = api.get(template).await;
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
