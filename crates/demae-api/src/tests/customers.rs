//! Customers: the Kaiten SDK's view (kaiten.md, section 8).

use http::Method;
use serde_json::json;

use crate::testing::TestApi;

on_both_databases! {
    a_customer_lives_as_the_sdk_expects,
    what_cannot_change_says_so,
    a_list_is_read_page_by_page,
    a_page_has_50_items_unless_asked_and_200_at_most,
}

async fn a_customer_lives_as_the_sdk_expects(api: TestApi) {
    let created = api
        .post("/api/customers", json!({"name": "Test Webhook Customer"}))
        .await;
    assert_eq!(created.status, 201);
    let customer = created.json();
    assert_eq!(customer["slug"], "test-webhook-customer");
    for key in ["id", "name", "createdAt", "createdBy", "updatedAt", "updatedBy"] {
        assert!(!customer[key].is_null(), "{key}: {customer}");
    }
    let path = "/api/customers/test-webhook-customer";
    let replacement = json!({"name": "Renamed", "domain": "example.com", "slug": "test-webhook-customer"});
    let replaced = api.call(Method::PUT, path, Some(replacement)).await;
    assert_eq!((replaced.status.as_u16(), replaced.text.as_str()), (204, ""));
    let shown = api.get(path).await.json();
    assert_eq!(
        (&shown["name"], &shown["domain"]),
        (&json!("Renamed"), &json!("example.com"))
    );
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
    assert_eq!(api.get(path).await.code(), "GetCustomer.NotFound");
    assert_eq!(
        api.call(Method::DELETE, path, None).await.code(),
        "DeleteCustomer.NotFound"
    );
}

async fn what_cannot_change_says_so(api: TestApi) {
    api.post("/api/customers", json!({"name": "Fixed", "slug": "fixed"}))
        .await;
    for (body, code) in [
        (
            json!({"name": "Fixed", "slug": "moved"}),
            "UpdateCustomer.SlugNotRenameable",
        ),
        (
            json!({"name": "Fixed", "integrations": {}}),
            "UpdateCustomer.IntegrationsNotSettable",
        ),
    ] {
        let reply = api.call(Method::PUT, "/api/customers/fixed", Some(body)).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (422, code));
    }
}

async fn a_list_is_read_page_by_page(api: TestApi) {
    for number in 0..5 {
        api.post("/api/customers", json!({"name": format!("Number {number}")}))
            .await;
    }
    let mut names = Vec::new();
    let mut path = "/api/customers?limit=2".to_owned();
    loop {
        let page = api.get(&path).await.json();
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].clone()),
        );
        if page["hasMore"] == false {
            assert!(page.get("nextCursor").is_none(), "{page}");
            break;
        }
        path = format!(
            "/api/customers?limit=2&cursor={}",
            page["nextCursor"].as_str().unwrap()
        );
    }
    assert_eq!(
        names,
        ["Number 0", "Number 1", "Number 2", "Number 3", "Number 4"]
    );
}

async fn a_page_has_50_items_unless_asked_and_200_at_most(api: TestApi) {
    for number in 0..51 {
        api.post("/api/customers", json!({"name": format!("Number {number}")}))
            .await;
    }
    for (query, items) in [("", 50), ("?limit=1", 1), ("?limit=200", 51)] {
        let page = api.get(&format!("/api/customers{query}")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), items, "{query}");
        assert_eq!(page["hasMore"], items != 51, "{query}");
    }
    for query in ["?limit=0", "?limit=201", "?limit=many", "?page=2"] {
        assert_eq!(
            api.get(&format!("/api/customers{query}")).await.status,
            422,
            "{query}"
        );
    }
}
