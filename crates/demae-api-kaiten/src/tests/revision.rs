//! `ETag`, `If-Match` and `If-None-Match`: two editors cannot silently overwrite each other.

use http::Method;
use serde_json::json;

use crate::testing::{Reply, TestApi, request};

on_both_databases! {
    of_two_editors_the_second_is_told,
    who_holds_the_document_gets_no_second_copy,
}

async fn change(api: &TestApi, method: Method, tag: Option<&str>, name: &str) -> Reply {
    let mut request = request(method.clone(), "/api/customers/acme", &api.token);
    if let Some(tag) = tag {
        request = request.header("if-match", tag);
    }
    let body = if method == Method::PUT {
        json!({"name": name}).to_string()
    } else {
        String::new()
    };
    let request = request.header("content-type", "application/json");
    api.send(request.body(body.into()).unwrap()).await
}

async fn of_two_editors_the_second_is_told(api: TestApi) {
    api.post("/api/customers", json!({"name": "Acme"})).await;
    let seen = api.get("/api/customers/acme").await;
    let tag = seen.header("etag").unwrap().to_owned();

    let first = change(&api, Method::PUT, Some(&tag), "First").await;
    assert_eq!(first.status, 204);
    for method in [Method::PUT, Method::DELETE] {
        let second = change(&api, method, Some(&tag), "Second").await;
        assert_eq!(second.status, 412, "{}", second.text);
        assert!(second.code().ends_with("Customer.PreconditionFailed"));
    }
    let kept = api.get("/api/customers/acme").await;
    assert_eq!(kept.json()["name"], "First");

    // Who insists on nothing, or on any state at all, is not stopped.
    assert_eq!(change(&api, Method::PUT, None, "Third").await.status, 204);
    assert_eq!(change(&api, Method::PUT, Some("*"), "Fourth").await.status, 204);
    let now = api.get("/api/customers/acme").await;
    let either = format!("{tag}, {}", now.header("etag").unwrap());
    assert_eq!(change(&api, Method::DELETE, Some(&either), "").await.status, 204);
    // What is gone is gone, whatever was expected.
    assert_eq!(change(&api, Method::PUT, Some(&either), "X").await.status, 404);
}

async fn who_holds_the_document_gets_no_second_copy(api: TestApi) {
    api.post("/api/customers", json!({"name": "Acme"})).await;
    let seen = api.get("/api/customers/acme").await;
    let tag = seen.header("etag").unwrap().to_owned();
    let ask = async || {
        let request = request(Method::GET, "/api/customers/acme", &api.token).header("if-none-match", &tag);
        api.send(request.body(String::new().into()).unwrap()).await
    };
    let again = ask().await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), Some(tag.as_str()));
    change(&api, Method::PUT, None, "Renamed").await;
    let changed = ask().await;
    assert_eq!(
        (changed.status.as_u16(), &changed.json()["name"]),
        (200, &json!("Renamed"))
    );
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}
