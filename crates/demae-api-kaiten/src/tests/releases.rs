//! Components, releases and deployment zones: the Kaiten SDK's view (kaiten.md, sections 2.8, 3.2 and 4).

use http::Method;
use serde_json::{Value, json};

use crate::testing::{Reply, TestApi, request};

on_both_databases! {
    a_component_lives_as_the_sdk_expects,
    a_release_lives_as_the_sdk_expects,
    a_zone_lives_as_the_sdk_expects,
    what_is_refused_says_why,
    two_editors_do_not_overwrite_each_other,
    each_resource_wants_its_own_scope,
    a_deployment_is_read_back_page_by_page,
}

async fn created(api: &TestApi, path: &str, body: Value) -> Value {
    let reply = api.post(path, body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

async fn put(api: &TestApi, path: &str, body: Value) -> Reply {
    api.call(Method::PUT, path, Some(body)).await
}

fn assert_keys(resource: &Value, keys: &[&str]) {
    for key in keys {
        assert!(!resource[key].is_null(), "{key}: {resource}");
    }
}

async fn a_component_lives_as_the_sdk_expects(api: TestApi) {
    let path = "/api/components/api-4-1-0";
    let component = created(
        &api,
        "/api/components",
        json!({"name": "api", "version": "4.1.0"}),
    )
    .await;
    assert_keys(
        &component,
        &["id", "name", "version", "slug", "createdAt", "createdBy"],
    );
    assert_eq!(api.get(path).await.json(), component);
    let next = json!({"name": "api", "version": "4.1.1", "previousComponentId": component["id"]});
    let next = created(&api, "/api/components", next).await;
    assert_eq!(next["previousComponentId"], component["id"]);
    // The SDK reads the component from this answer.
    let replaced = put(
        &api,
        path,
        json!({"name": "API", "version": "4.1.0", "description": ""}),
    )
    .await;
    assert_eq!(replaced.status, 200);
    assert_eq!(replaced.json(), api.get(path).await.json());
    assert_eq!(replaced.json()["name"], "API");
    let listed = api.get("/api/components").await.json();
    assert_eq!(listed["items"], json!([replaced.json(), next]));
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
    assert_eq!(api.get(path).await.code(), "GetComponent.NotFound");
    let next = api.get("/api/components/api-4-1-1").await.json();
    assert_eq!(next.get("previousComponentId"), None);
}

async fn a_release_lives_as_the_sdk_expects(api: TestApi) {
    let mut ids = Vec::new();
    for name in ["web", "api"] {
        let body = json!({"name": name, "version": "1"});
        ids.push(created(&api, "/api/components", body).await["id"].clone());
    }
    ids.reverse();
    let body = json!({"version": "2026.2.0", "componentIds": ids});
    let release = created(&api, "/api/releases", body).await;
    assert_keys(&release, &["id", "version", "createdAt", "createdBy"]);
    let parts: Vec<Value> = release["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["id"].clone())
        .collect();
    assert_eq!((release["slug"].as_str(), parts), (Some("2026-2-0"), ids));
    let path = "/api/releases/2026-2-0";
    assert_eq!(api.get(path).await.json(), release);
    assert_eq!(api.get("/api/releases").await.json()["items"], json!([release]));
    // A release never changes.
    let refused = put(&api, path, json!({"version": "2026.2.1"})).await;
    assert_eq!(refused.status, 405);
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
    assert_eq!(
        api.call(Method::DELETE, path, None).await.code(),
        "DeleteRelease.NotFound"
    );
    // Its components do not go with it.
    assert_eq!(api.get("/api/components/api-1").await.status, 200);
}

async fn a_zone_lives_as_the_sdk_expects(api: TestApi) {
    let release = created(&api, "/api/releases", json!({"version": "1.0"})).await;
    let body = json!({
        "name": "EU West", "type": "production", "description": "", "metadata": {"a": [1]},
        "releaseId": release["id"],
    });
    let zone = created(&api, "/api/deployment-zones", body).await;
    let keys = [
        "id",
        "name",
        "type",
        "description",
        "createdAt",
        "createdBy",
        "updatedAt",
        "updatedBy",
    ];
    assert_keys(&zone, &keys);
    let path = "/api/deployment-zones/eu-west";
    assert_eq!(api.get(path).await.json(), zone);
    // Neither leaving the release out nor null takes it away.
    for body in [
        json!({"name": "EU West", "type": "staging"}),
        json!({"name": "EU West", "type": "staging", "releaseId": null, "metadata": null}),
    ] {
        let replaced = put(&api, path, body).await;
        assert_eq!((replaced.status.as_u16(), replaced.text.as_str()), (204, ""));
    }
    let shown = api.get(path).await.json();
    assert_eq!(
        (&shown["type"], &shown["metadata"], &shown["releaseId"]),
        (&json!("staging"), &json!({}), &release["id"])
    );
    assert_eq!(
        api.get("/api/deployment-zones").await.json()["items"],
        json!([shown])
    );
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
    assert_eq!(api.get(path).await.code(), "GetDeploymentZone.NotFound");
}

/// Every refusal of kaiten.md, section 4 that these operations know.
async fn what_is_refused_says_why(api: TestApi) {
    let component = created(&api, "/api/components", json!({"name": "api", "version": "1"})).await;
    created(&api, "/api/components", json!({"name": "web", "version": "1"})).await;
    let body = json!({"version": "1.0", "componentIds": [component["id"]]});
    let release = created(&api, "/api/releases", body).await;
    let body = json!({"name": "EU", "type": "production", "slug": "eu", "releaseId": release["id"]});
    created(&api, "/api/deployment-zones", body).await;
    let nobody = "00000000-0000-0000-0000-000000000000";
    let zone = |more: Value| {
        let mut body = json!({"name": "EU", "type": "production"});
        body.as_object_mut()
            .unwrap()
            .append(&mut more.as_object().unwrap().clone());
        body
    };
    let (components, releases, zones) = ("/api/components", "/api/releases", "/api/deployment-zones");
    let (one, of, at) = (
        "/api/components/api-1",
        "/api/releases/1-0",
        "/api/deployment-zones/eu",
    );
    let (post, put, get, delete) = (Method::POST, Method::PUT, Method::GET, Method::DELETE);
    #[rustfmt::skip]
    let cases = [
        (&post, components, json!({"name": "api", "version": "1"}), 409, "CreateComponent.VersionConflict", vec![]),
        (&post, components, json!({"name": "a", "version": "1", "slug": "api-1"}), 409, "CreateComponent.SlugConflict", vec![]),
        (&post, components, json!({"name": "a", "version": "1", "previousComponentId": nobody}), 404, "CreateComponent.PreviousComponentNotFound", vec![]),
        (&post, components, json!({"name": "a", "version": 1, "previousComponentId": "x", "slug": "A"}), 422, "Request.Invalid", vec!["body.previousComponentId", "body.slug", "body.version"]),
        (&put, one, json!({"name": "web", "version": "1"}), 409, "UpdateComponent.VersionConflict", vec![]),
        (&put, one, json!({"name": "api", "version": "1", "slug": "other"}), 422, "UpdateComponent.SlugNotRenameable", vec!["body.slug"]),
        (&put, one, json!({"name": "api", "version": "1", "previousComponentId": nobody}), 422, "UpdateComponent.PreviousComponentNotSettable", vec!["body.previousComponentId"]),
        (&put, "/api/components/none", json!({"name": "api", "version": "1"}), 404, "UpdateComponent.NotFound", vec![]),
        (&delete, one, Value::Null, 409, "DeleteComponent.InUseConflict", vec![]),
        (&delete, "/api/components/none", Value::Null, 404, "DeleteComponent.NotFound", vec![]),
        (&post, releases, json!({"version": "1.0"}), 409, "CreateRelease.VersionConflict", vec![]),
        (&post, releases, json!({"version": "2.0", "slug": "1-0"}), 409, "CreateRelease.SlugConflict", vec![]),
        (&post, releases, json!({"version": "2.0", "componentIds": [nobody]}), 404, "CreateRelease.ComponentNotFound", vec![]),
        (&post, releases, json!({"version": "2.0", "componentIds": [nobody, nobody]}), 422, "CreateRelease.Invalid", vec!["body.componentIds[1]"]),
        (&post, releases, json!({"version": "", "componentIds": ["x"], "more": 1}), 422, "Request.Invalid", vec!["body.componentIds[0]", "body.more", "body.version"]),
        (&post, releases, json!({"version": "2.0", "componentIds": vec![nobody; 101]}), 422, "Request.Invalid", vec!["body.componentIds"]),
        (&get, "/api/releases/none", Value::Null, 404, "GetRelease.NotFound", vec![]),
        (&delete, of, Value::Null, 409, "DeleteRelease.InUseConflict", vec![]),
        (&post, zones, zone(json!({"slug": "eu"})), 409, "CreateDeploymentZone.SlugConflict", vec![]),
        (&post, zones, zone(json!({"releaseId": nobody})), 404, "CreateDeploymentZone.ReleaseNotFound", vec![]),
        (&post, zones, json!({"description": null, "metadata": []}), 422, "Request.Invalid", vec!["body.metadata", "body.name", "body.type"]),
        (&post, zones, zone(json!({"metadata": {"k": "x".repeat(16_384)}})), 422, "CreateDeploymentZone.Invalid", vec!["body.metadata"]),
        (&post, zones, zone(json!({"metadata": {"k": "\0"}})), 422, "Request.Invalid", vec!["body"]),
        (&put, at, zone(json!({"slug": "us"})), 422, "UpdateDeploymentZone.SlugNotRenameable", vec!["body.slug"]),
        (&put, at, zone(json!({"releaseId": nobody})), 404, "UpdateDeploymentZone.ReleaseNotFound", vec![]),
        (&put, "/api/deployment-zones/us", zone(json!({})), 404, "UpdateDeploymentZone.NotFound", vec![]),
        (&delete, "/api/deployment-zones/us", Value::Null, 404, "DeleteDeploymentZone.NotFound", vec![]),
        (&get, "/api/deployment-zones/us/deployments", Value::Null, 404, "ListDeployments.NotFound", vec![]),
    ];
    let told = api.store.engine().read_outbox(100).await.unwrap().len();
    for (method, path, body, status, code, faults) in cases {
        let body = (!body.is_null()).then_some(body);
        let reply = api.call(method.clone(), path, body).await;
        let place = format!("{method} {path} {code}");
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_str()),
            (status, code),
            "{place}"
        );
        assert_eq!(reply.locations(), faults, "{place}");
    }
    let detail = api.call(Method::DELETE, of, None).await.json()["detail"].clone();
    assert_eq!(
        detail,
        "The release is in use by the history of deployment zones eu."
    );
    let detail = api.call(Method::DELETE, one, None).await.json()["detail"].clone();
    assert_eq!(detail, "The component is in use by releases 1-0.");
    // What is refused emits nothing.
    assert_eq!(api.store.engine().read_outbox(100).await.unwrap().len(), told);
}

async fn two_editors_do_not_overwrite_each_other(api: TestApi) {
    created(&api, "/api/components", json!({"name": "api", "version": "1"})).await;
    created(&api, "/api/releases", json!({"version": "1.0"})).await;
    created(&api, "/api/deployment-zones", json!({"name": "EU", "type": "x"})).await;
    let conditional = async |method: Method, path: &str, header: &str, tag: &str, body: Option<&Value>| {
        let request = request(method, path, &api.token).header(header, tag);
        let body = body.map_or_else(axum::body::Body::empty, |body| body.to_string().into());
        api.send(request.body(body).unwrap()).await
    };
    let component = json!({"name": "api", "version": "2"});
    let zone = json!({"name": "Europe", "type": "x"});
    for (path, body, operation) in [
        ("/api/components/api-1", Some(component), "Component"),
        ("/api/deployment-zones/eu", Some(zone), "DeploymentZone"),
        ("/api/releases/1-0", None, "Release"),
    ] {
        let seen = api.get(path).await.header("etag").unwrap().to_owned();
        let again = conditional(Method::GET, path, "if-none-match", &seen, None).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
        let mut current = seen.clone();
        if let Some(body) = &body {
            let first = conditional(Method::PUT, path, "if-match", &seen, Some(body)).await;
            assert!(first.status.is_success(), "{first:?}");
            let second = conditional(Method::PUT, path, "if-match", &seen, Some(body)).await;
            assert_eq!(second.status, 412, "{path}");
            assert_eq!(second.code(), format!("Update{operation}.PreconditionFailed"));
            current = api.get(path).await.header("etag").unwrap().to_owned();
            assert_ne!(current, seen);
        }
        let refused = conditional(Method::DELETE, path, "if-match", "\"other\"", None).await;
        assert_eq!(refused.code(), format!("Delete{operation}.PreconditionFailed"));
        let deleted = conditional(Method::DELETE, path, "if-match", &current, None).await;
        assert_eq!(deleted.status, 204, "{path}");
    }
}

async fn each_resource_wants_its_own_scope(api: TestApi) {
    created(
        &api,
        "/api/service-accounts",
        json!({"name": "Deployer", "slug": "deployer"}),
    )
    .await;
    let release = created(&api, "/api/releases", json!({"version": "1.0"})).await;
    let scopes = json!({"name": "deploys", "scopes": ["write:deployment_zones"]});
    let token = created(&api, "/api/service-accounts/deployer/tokens", scopes).await;
    let token = token["token"].as_str().unwrap();
    // Deploying is a change of the zone: no scope for releases is needed.
    let zone = json!({"name": "EU", "type": "x", "releaseId": release["id"]});
    let reply = api
        .call_as(token, Method::POST, "/api/deployment-zones", Some(zone))
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    for (path, scope) in [("/api/releases", "releases"), ("/api/components", "components")] {
        for (method, access) in [(Method::GET, "read"), (Method::POST, "write")] {
            let body = (method == Method::POST).then(|| json!({}));
            let refused = api.call_as(token, method, path, body).await;
            assert_eq!(refused.code(), "Auth.MissingScope");
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&format!("{access}:{scope}")), "{detail}");
        }
    }
}

async fn a_deployment_is_read_back_page_by_page(api: TestApi) {
    let zone = created(&api, "/api/deployment-zones", json!({"name": "EU", "type": "x"})).await;
    let mut releases = Vec::new();
    for number in 0..3 {
        let release = created(&api, "/api/releases", json!({"version": format!("1.{number}")})).await;
        let body = json!({"name": "EU", "type": "x", "releaseId": release["id"]});
        assert_eq!(put(&api, "/api/deployment-zones/eu", body).await.status, 204);
        releases.push(release["id"].clone());
    }
    let path = "/api/deployment-zones/eu/deployments?limit=2";
    let first = api.get(path).await.json();
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = api.get(&format!("{path}&cursor={cursor}")).await.json();
    assert_eq!(
        (&first["hasMore"], &second["hasMore"]),
        (&json!(true), &json!(false))
    );
    let items = [&first, &second].map(|page| page["items"].as_array().unwrap().clone());
    let items = items.concat();
    for deployment in &items {
        let keys = ["id", "deploymentZoneId", "releaseId", "createdAt", "createdBy"];
        assert_keys(deployment, &keys);
        assert_eq!(deployment["deploymentZoneId"], zone["id"]);
    }
    let read: Vec<Value> = items.iter().map(|item| item["releaseId"].clone()).collect();
    releases.reverse();
    assert_eq!(read, releases);
}
