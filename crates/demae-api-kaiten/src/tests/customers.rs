//! Customers: the Kaiten SDK's view (kaiten.md, section 8).

use http::Method;
use serde_json::json;

use crate::testing::{TestApi, request};

on_both_databases! {
    a_customer_lives_as_the_sdk_expects,
    what_cannot_change_says_so,
    a_list_is_read_page_by_page,
    a_page_has_50_items_unless_asked_and_200_at_most,
    an_integration_is_a_resource_of_its_own,
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

async fn an_integration_is_a_resource_of_its_own(api: TestApi) {
    api.post("/api/customers", json!({"name": "Acme"})).await;
    let whole = async || api.get("/api/customers/acme").await;
    let tag_before = whole().await.header("etag").unwrap().to_owned();
    let path = "/api/customers/acme/integrations/crm";
    let body = json!({"external_id": "rec_1", "metadata": {"stage": "won"}});
    let created = api.post(path, body.clone()).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.json()["metadata"], body["metadata"]);
    assert_eq!(whole().await.json()["integrations"]["crm"], created.json());
    assert_ne!(whole().await.header("etag").unwrap(), tag_before);
    let again = api.post(path, body).await;
    assert_eq!(
        (again.status.as_u16(), again.code().as_str()),
        (409, "CreateCustomerIntegration.AlreadyExists")
    );

    let read = api.get(path).await;
    assert_eq!(read.json(), created.json());
    let tag = read.header("etag").unwrap().to_owned();
    let replace = async |external_id: &str| {
        let request = request(Method::PUT, path, &api.token)
            .header("if-match", &tag)
            .header("content-type", "application/json");
        let body = json!({"external_id": external_id}).to_string();
        api.send(request.body(body.into()).unwrap()).await
    };
    let replaced = replace("rec_2").await;
    assert_eq!(replaced.status, 200);
    assert_eq!(replaced.json(), api.get(path).await.json());
    assert!(replaced.json().get("metadata").is_none());
    assert_eq!(replace("rec_3").await.status, 412);

    let faulty = api
        .post(&format!("{path}-2"), json!({"external_id": "", "extra": 1}))
        .await;
    assert_eq!(faulty.status, 422);
    assert_eq!(faulty.locations(), ["body.external_id", "body.extra"]);
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
    assert_eq!(api.get(path).await.code(), "GetCustomerIntegration.NotFound");
    let nobody = api.get("/api/customers/nobody/integrations/crm").await;
    assert_eq!(nobody.code(), "GetCustomerIntegration.CustomerNotFound");
}
