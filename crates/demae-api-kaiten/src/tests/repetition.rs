//! `Idempotency-Key`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::testing::TestApi;

on_both_databases! {
    a_repetition_gets_the_stored_answer_and_changes_nothing,
    a_key_belongs_to_its_body_its_path_its_query_and_its_caller,
    requests_at_the_same_time_change_once,
    a_refusal_is_not_stored,
    an_answer_is_forgotten_after_its_time,
    a_repetition_does_not_show_a_secret_again,
    a_key_belongs_to_its_token_and_what_it_may_do,
    a_key_has_1_to_255_characters,
}

async fn count_customers(api: &TestApi) -> usize {
    api.get("/api/customers?limit=200").await.json()["items"]
        .as_array()
        .unwrap()
        .len()
}

async fn a_repetition_gets_the_stored_answer_and_changes_nothing(api: TestApi) {
    let body = json!({"name": "Only Once"});
    let first = api.post_with_key("/api/customers", "key-1", &body).await;
    let second = api.post_with_key("/api/customers", "key-1", &body).await;
    assert_eq!(
        (first.status.as_u16(), first.header("idempotent-replayed")),
        (201, None)
    );
    assert_eq!(
        (second.status.as_u16(), second.header("idempotent-replayed")),
        (201, Some("true"))
    );
    assert_eq!(first.text, second.text);
    assert_eq!(second.header("content-type"), Some("application/json"));
    assert_eq!(count_customers(&api).await, 1);
}

async fn a_key_belongs_to_its_body_its_path_its_query_and_its_caller(mut api: TestApi) {
    let body = json!({"name": "One"});
    assert_eq!(
        api.post_with_key("/api/customers", "key", &body).await.status,
        201
    );
    let other_body = api
        .post_with_key("/api/customers", "key", &json!({"name": "Two"}))
        .await;
    assert_eq!(
        (other_body.status.as_u16(), other_body.code().as_str()),
        (422, "Idempotency.KeyReused")
    );
    let other_query = api
        .post_with_key("/api/customers?list=two", "key", &json!({"name": "Two"}))
        .await;
    assert_eq!(
        (
            other_query.status.as_u16(),
            other_query.header("idempotent-replayed")
        ),
        (201, None)
    );
    let other_path = api.post_with_key("/api/service-accounts", "key", &body).await;
    assert_eq!(
        (
            other_path.status.as_u16(),
            other_path.header("idempotent-replayed")
        ),
        (201, None)
    );
    api.token = api.other_token().await;
    let theirs = api.post_with_key("/api/customers", "key", &body).await;
    assert_eq!(
        (theirs.status.as_u16(), theirs.header("idempotent-replayed")),
        (201, None)
    );
}

async fn requests_at_the_same_time_change_once(api: TestApi) {
    let body = json!({"name": "Only Once", "slug": "only-once"});
    let replies =
        futures::future::join_all((0..20).map(|_| api.post_with_key("/api/customers", "same", &body))).await;
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 201 && reply.text == replies[0].text),
        "{replies:?}"
    );
    let replayed = replies
        .iter()
        .filter(|reply| reply.header("idempotent-replayed").is_some())
        .count();
    assert_eq!(replayed, 19);
    assert_eq!(count_customers(&api).await, 1);
}

async fn a_refusal_is_not_stored(api: TestApi) {
    let body = json!({"name": "Late", "slug": "wanted"});
    api.post("/api/customers", json!({"name": "Early", "slug": "wanted"}))
        .await;
    let refused = api.post_with_key("/api/customers", "key", &body).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (409, "CreateCustomer.SlugConflict")
    );
    api.call(http::Method::DELETE, "/api/customers/wanted", None)
        .await;
    assert_eq!(
        api.post_with_key("/api/customers", "key", &body).await.status,
        201
    );
}

async fn an_answer_is_forgotten_after_its_time(api: TestApi) {
    let body = json!({"name": "Again"});
    api.post_with_key("/api/customers", "key", &body).await;
    api.clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    let kept = api.post_with_key("/api/customers", "key", &body).await;
    assert_eq!(kept.header("idempotent-replayed"), Some("true"));
    api.clock.advance(Duration::from_secs(1));
    let anew = api.post_with_key("/api/customers", "key", &body).await;
    assert_eq!(
        (anew.status.as_u16(), anew.header("idempotent-replayed")),
        (201, None)
    );
}

async fn new_token(api: &TestApi, slug: &str, scopes: Value) -> String {
    let body = json!({"name": slug, "slug": slug, "scopes": scopes});
    let reply = api.post("/api/service-accounts/machine/tokens", body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["token"].as_str().unwrap().to_owned()
}

async fn new_machine(api: &TestApi) {
    api.post(
        "/api/service-accounts",
        json!({"name": "Machine", "slug": "machine"}),
    )
    .await;
}

async fn a_repetition_does_not_show_a_secret_again(api: TestApi) {
    new_machine(&api).await;
    let path = "/api/service-accounts/machine/tokens";
    let body = json!({"name": "deploy", "scopes": Value::Null});
    let first = api.post_with_key(path, "key", &body).await.json();
    let second = api.post_with_key(path, "key", &body).await;
    assert!(first["token"].as_str().unwrap().starts_with("ksh_"));
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    let mut expected = first;
    expected.as_object_mut().unwrap().remove("token");
    assert_eq!(second.json(), expected);
}

async fn a_key_belongs_to_its_token_and_what_it_may_do(api: TestApi) {
    new_machine(&api).await;
    let strong = new_token(&api, "strong", Value::Null).await;
    let weak = new_token(&api, "weak", json!(["write:tokens"])).await;
    let path = "/api/service-accounts/machine/tokens";
    let body = Some(json!({"name": "more", "scopes": ["write:*"]}));
    let given = api
        .call_with_key(&strong, http::Method::POST, (path, "key"), body.clone())
        .await;
    assert_eq!(given.status, 201, "{given:?}");
    let stolen = api
        .call_with_key(&weak, http::Method::POST, (path, "key"), body)
        .await;
    assert_eq!(
        (stolen.status.as_u16(), stolen.code().as_str()),
        (403, "CreateToken.ScopeExceeded")
    );
    assert!(!stolen.text.contains("ksh_"), "{stolen:?}");
}

async fn a_key_has_1_to_255_characters(api: TestApi) {
    let body = json!({"name": "Any"});
    for (length, status) in [(0, 422), (1, 201), (255, 201), (256, 422)] {
        let reply = api
            .post_with_key("/api/customers", &"k".repeat(length), &body)
            .await;
        assert_eq!(reply.status.as_u16(), status, "{length}");
    }
}
