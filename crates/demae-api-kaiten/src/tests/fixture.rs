//! One of everything, to fill the paths of the document with.

use std::collections::HashMap;

use demae_api::testing::walk::{self, ApiOperation, Walk};
use demae_delivery::management::{EndpointInput, Management, Rules, recovery::RecoverInput};
use demae_event::{ApplicationId, Event, EventId, Scope, Timestamp};
use demae_store::{entity::application, repository::applications};
use http::Method;
use serde_json::{Value, json, value::RawValue};

use crate::{
    document,
    document::OFREP,
    testing::{Reply, START, TestApi},
};

/// What the first tenant has.
pub(super) struct Fixture {
    /// Path parameters, known by the path up to them.
    paths: HashMap<&'static str, String>,
    /// Members of bodies that refer to something.
    references: Vec<(&'static str, Value)>,
}

impl Fixture {
    /// Made by the first tenant.
    pub(super) async fn new(api: &TestApi) -> Self {
        let references = instance(api).await;
        let flag = json!({
            "name": "Hidden flag", "slug": "flag", "type": "boolean", "enabled": true,
            "variants": [{"name": "on", "description": "Hidden", "value": true}],
            "default_variant": {"type": "basic", "value": "on"},
        });
        api.post("/api/feature-flags", flag).await;
        api.post(
            "/api/service-accounts",
            json!({"name": "Hidden machine", "slug": "machine"}),
        )
        .await;
        let token = json!({"name": "Hidden token", "slug": "token", "scopes": null});
        api.post("/api/service-accounts/machine/tokens", token).await;
        api.post(
            "/api/event-types",
            json!({"name": "HIDDEN_TYPE", "example": {"id": "1"}}),
        )
        .await;
        let webhook = api.new_webhook().await;
        let attempt = api.attempt_oldest_event(&webhook).await;
        let event = api
            .post("/api/events", json!({"name": "HIDDEN_TYPE", "data": {}}))
            .await
            .json();
        let since = json!({"since": "2020-01-01T00:00:00Z"});
        let job = api
            .post(&format!("/api/webhooks/{webhook}/recover"), since)
            .await
            .json();
        releases(api).await;
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
        let paths = HashMap::from([
            ("/api/customers/", "customer".to_owned()),
            ("/api/customers/{slug}/integrations/", "crm".to_owned()),
            ("/api/entitlements/", "seats".to_owned()),
            ("/api/licenses/", "license".to_owned()),
            ("/api/licenses/{slug}/entitlements/", "seats".to_owned()),
            ("/api/instances/", "instance".to_owned()),
            ("/api/instances/{slug}/entitlements/", "seats".to_owned()),
            ("/api/instances/{slug}/integrations/", "crm".to_owned()),
            ("/api/feature-flags/", "flag".to_owned()),
            ("/api/ofrep/v1/evaluate/flags/", "flag".to_owned()),
            ("/api/service-accounts/", "machine".to_owned()),
            ("/api/service-accounts/{slug}/tokens/", "token".to_owned()),
            ("/api/components/", "component".to_owned()),
            ("/api/releases/", "release".to_owned()),
            ("/api/deployment-zones/", "zone".to_owned()),
            ("/api/event-types/", "HIDDEN_TYPE".to_owned()),
            ("/api/webhooks/", webhook),
            ("/api/webhooks/history/", attempt.to_string()),
            ("/api/webhooks/{id}/recover/", text(&job["id"])),
            ("/api/events/", text(&event["id"])),
        ]);
        Self { paths, references }
    }

    /// Webhook, events, attempt and job of an application of the first tenant that is not the default one.
    pub(super) async fn of_another_application(api: &TestApi) -> Self {
        let scope = other_application(api).await;
        let management = Management::new(api.store.clone(), Rules::default());
        let input = EndpointInput {
            url: "https://example.com/hook".to_owned(),
            event_names: vec!["*".to_owned()],
            ..EndpointInput::default()
        };
        let mut transaction = api.store.begin().await.unwrap();
        let webhook = management
            .create_endpoint(&mut transaction, scope, input, START)
            .await;
        let webhook = webhook.unwrap().id;
        let recover = RecoverInput {
            since: Timestamp::from_secs(0),
            until: None,
            states: Vec::new(),
        };
        let job = management
            .recover_endpoint(&mut transaction, scope, webhook, recover, START)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let event = || Event {
            id: EventId::new(START),
            scope,
            name: "CUSTOMER_CREATION".to_owned(),
            event_type: "com.kaiten.customer.v1.created".to_owned(),
            data: RawValue::from_string("{}".to_owned()).unwrap(),
            headers: None,
            traceparent: None,
            created_at: START,
        };
        let events = [event(), event()];
        api.store.engine().append(&events).await.unwrap();
        // One is routed, the other one waits.
        let attempt = api.attempt_oldest_event(&webhook.to_string()).await;
        let paths = HashMap::from([
            ("/api/webhooks/", webhook.to_string()),
            ("/api/webhooks/history/", attempt.to_string()),
            ("/api/webhooks/{id}/recover/", job.id.to_string()),
            ("/api/events/", events[1].id.to_string()),
        ]);
        Self {
            paths,
            references: Vec::new(),
        }
    }

    /// Walks of this surface.
    pub(super) fn walk<'w>(&'w self, api: &'w TestApi) -> Walk<'w, Self> {
        Walk { api, fixture: self }
    }
}

impl walk::Fixture for Fixture {
    fn document(&self) -> &'static Value {
        document().value()
    }

    fn marks(&self) -> Vec<String> {
        vec![
            "Hidden".to_owned(),
            "HIDDEN".to_owned(),
            self.paths["/api/webhooks/"].clone(),
        ]
    }

    /// The document's example, referring to what is there.
    fn body_of(&self, operation: &ApiOperation) -> Option<Value> {
        let mut body = walk::example_of(document().value(), operation)?;
        for (key, value) in &self.references {
            if let Some(member) = body.get_mut(key) {
                *member = value.clone();
            }
        }
        Some(body)
    }

    fn is_foreign(&self, operation: &ApiOperation) -> bool {
        operation.template.starts_with(OFREP)
    }

    /// An integration is created under the name that its path gives it.
    fn creates(&self, operation: &ApiOperation, place: usize) -> bool {
        operation.method == Method::POST && operation.template.ends_with("/integrations/{name}") && place == 1
    }

    /// OFREP has a form of its own.
    fn is_refusal(&self, reply: &Reply) -> bool {
        let document = reply.json();
        document["code"].is_string() || document["errorCode"].is_string()
    }

    fn is_not_found(&self, refusal: &Reply) -> bool {
        let document = refusal.json();
        let code = document["code"].as_str().or(document["errorCode"].as_str());
        // Endpoints are webhooks here.
        code.is_some_and(|code| {
            code.ends_with("NotFound") && !code.contains("Endpoint") || code == "FLAG_NOT_FOUND"
        })
    }

    fn fill(&self, template: &str) -> String {
        let mut path = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            path.push_str(before);
            let prefix = &template[..template.len() - rest.len() + before.len()];
            let value = self
                .paths
                .get(prefix)
                .unwrap_or_else(|| panic!("the fixture has nothing for {prefix}"));
            path.push_str(value);
            rest = after.split_once('}').unwrap().1;
        }
        path + rest
    }
}

/// A customer, an entitlement that a license grants, and an instance; answers what bodies refer to them by.
async fn instance(api: &TestApi) -> Vec<(&'static str, Value)> {
    let made = async |path: &str, body| {
        let reply = api.post(path, body).await;
        assert!(reply.status.is_success(), "{reply:?}");
        reply
    };
    let integrations = json!({"crm": {"external_id": "Hidden record"}});
    let customer = json!({"name": "Hidden customer", "slug": "customer", "integrations": integrations});
    let customer = made("/api/customers", customer).await.json();
    let entitlement = json!({"name": "Hidden seats", "slug": "seats", "description": null, "type": "NUMBER"});
    made("/api/entitlements", entitlement).await;
    let license = json!({
        "name": "Hidden license", "slug": "license", "description": "", "type": "PAID", "isDefault": false,
    });
    let license = made("/api/licenses", license).await.json();
    let grant = json!({"entitlementSlug": "seats", "value": {"type": "number", "value": 100}});
    made("/api/licenses/license/entitlements", grant).await;
    let references = vec![
        ("customerId", customer["id"].clone()),
        ("licenseId", license["id"].clone()),
    ];
    let mut instance = json!({"name": "Hidden instance", "slug": "instance", "integrations": integrations});
    for (key, value) in &references {
        instance[key] = value.clone();
    }
    made("/api/instances", instance).await;
    references
}

async fn other_application(api: &TestApi) -> Scope {
    let (organization, id) = (api.organization(), ApplicationId::new(START));
    let row = application::Model {
        id: id.0,
        organization_id: organization.0,
        uid: None,
        name: "Other".to_owned(),
        version: 0,
        created_at: 0,
        updated_at: 0,
        deleted_at: None,
    };
    let mut transaction = api.store.begin().await.unwrap();
    assert!(applications::insert(&mut transaction, row).await.unwrap());
    transaction.commit().await.unwrap();
    Scope::new(organization, Some(id))
}

/// A component, a release that consists of it, and a zone that runs it.
async fn releases(api: &TestApi) {
    let component = json!({"name": "Hidden component", "version": "1.0", "slug": "component"});
    let component = api.post("/api/components", component).await.json();
    let release = json!({
        "version": "Hidden 1.0", "slug": "release", "componentIds": [component["id"]],
    });
    let release = api.post("/api/releases", release).await.json();
    let zone = json!({
        "name": "Hidden zone", "slug": "zone", "type": "production", "releaseId": release["id"],
    });
    let zone = api.post("/api/deployment-zones", zone).await;
    assert_eq!(zone.status, 201, "{zone:?}");
}

/// Every operation of the document.
pub(super) fn operations() -> Vec<ApiOperation> {
    walk::operations(document().value())
}
