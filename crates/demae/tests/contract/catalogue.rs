//! Every event of the catalogue, caused by the operation that it is about and received at an endpoint.
//!
//! One story over HTTP causes all 27 events, some of them more than once, and is refused in between. Two endpoints
//! listen: one with a wildcard, which gets the seeds' names, and one with the later names, whose deliveries the official
//! package must be able to parse into its typed events. What arrives must be what the story caused, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use demae_event::catalogue;
use demae_testkit::{
    receiver::{ReceivedRequest, Recorder},
    verifiers::{Verdict, Verifier},
};
use http::Method;
use serde_json::{Value, json};

use crate::{api::Api, signatures::received, start, start_on_postgres};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_from_its_operation_on_sqlite() {
    let (process, api) = start().await;
    every_event_comes_from_its_operation(&api).await;
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_from_its_operation_on_postgres() {
    let (process, api, _database) = start_on_postgres().await;
    every_event_comes_from_its_operation(&api).await;
    assert!(process.terminate().await.unwrap().success());
}

async fn every_event_comes_from_its_operation(api: &Api) {
    let seeds = Endpoint::make(api, &["*"]).await;
    let later: Vec<&str> = catalogue::all().iter().map(|event| event.later_name).collect();
    let official = Endpoint::make(api, &later).await;

    let mut story = Story::new(api);
    story.tell().await;
    let caused = story.caused;
    let kinds: BTreeSet<&str> = caused.iter().copied().collect();
    let all: BTreeSet<&str> = catalogue::all().iter().map(|event| event.name).collect();
    assert_eq!(kinds, all, "the story causes every event of the catalogue");

    let deliveries = seeds.deliveries(&caused).await;
    for delivery in &deliveries {
        check_schema(&body(delivery));
    }
    for verdict in seeds.verdicts(Verifier::PythonSvix, &deliveries).await {
        assert_eq!(verdict, Verdict::Accepted { parsed_type: None });
    }

    let expected: Vec<&str> = caused
        .iter()
        .map(|name| catalogue::find(name).unwrap().later_name)
        .collect();
    let deliveries = official.deliveries(&expected).await;
    let verdicts = official.verdicts(Verifier::PythonKaitencloud, &deliveries).await;
    for (delivery, verdict) in deliveries.iter().zip(verdicts) {
        let name = name_of(&body(delivery));
        let Verdict::Accepted {
            parsed_type: Some(parsed),
        } = &verdict
        else {
            panic!("{name}: {verdict:?}");
        };
        assert_ne!(parsed, "UnknownWebhookEvent", "{name} has a type of its own");
    }
    // Nothing came later, and the history shows what came.
    for endpoint in [&seeds, &official] {
        assert_eq!(endpoint.receiver.requests().len(), caused.len());
        let history = api
            .get(&format!(
                "/api/webhooks/history?limit=200&webhookId={}",
                endpoint.id
            ))
            .await;
        let items = history["items"].as_array().unwrap();
        let shown = items
            .iter()
            .map(|item| item["eventName"].as_str().unwrap().to_owned());
        assert_eq!(
            counted(shown),
            counted(caused.iter().map(|&name| name.to_owned()))
        );
    }
}

/// A webhook and what arrived at it.
struct Endpoint {
    id: String,
    receiver: Recorder,
    secret: String,
}

impl Endpoint {
    async fn make(api: &Api, names: &[&str]) -> Self {
        let receiver = Recorder::start().await;
        let webhook = json!({ "url": receiver.url("/webhook"), "eventNames": names });
        let made = api.post("/api/webhooks", &webhook).await;
        Self {
            id: id(&made),
            receiver,
            secret: made["secret"].as_str().unwrap().to_owned(),
        }
    }

    /// The deliveries, once there are as many as `expected`, which they must be of.
    async fn deliveries(&self, expected: &[&str]) -> Vec<ReceivedRequest> {
        let deliveries = self.receiver.wait_for(expected.len()).await;
        let names = deliveries.iter().map(|delivery| name_of(&body(delivery)));
        assert_eq!(
            counted(names),
            counted(expected.iter().map(|&name| name.to_owned()))
        );
        deliveries
    }

    /// What the library says of each delivery.
    async fn verdicts(&self, verifier: Verifier, deliveries: &[ReceivedRequest]) -> Vec<Verdict> {
        let received: Vec<_> = deliveries
            .iter()
            .map(|delivery| received(self.secret.clone(), delivery))
            .collect();
        verifier.verify_all(&received).await.unwrap()
    }
}

fn body(delivery: &ReceivedRequest) -> Value {
    serde_json::from_slice(&delivery.body).unwrap()
}

fn name_of(event: &Value) -> String {
    event["name"].as_str().unwrap().to_owned()
}

fn counted(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

fn check_schema(event: &Value) {
    let name = event["name"].as_str().unwrap();
    let definition = catalogue::find(name).unwrap();
    assert_eq!(event["type"], definition.event_type, "{name}");
    let schema = jsonschema::validator_for(definition.schema()).unwrap();
    let faults: Vec<String> = schema
        .iter_errors(&event["data"])
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert_eq!(faults, [""; 0], "{name}: {event:#}");
}

/// What happens, and which events it must cause.
struct Story<'a> {
    api: &'a Api,
    caused: Vec<&'static str>,
}

impl<'a> Story<'a> {
    fn new(api: &'a Api) -> Self {
        Self {
            api,
            caused: Vec::new(),
        }
    }

    async fn tell(&mut self) {
        let customer = self.customers().await;
        let (first, second) = self.releases().await;
        let (here, there) = self.zones(&first, &second).await;
        let license = self.catalogue_of_licenses().await;
        self.instance(&customer, &license, &here, &there).await;
        self.usage().await;
        self.flags().await;
        self.refusals().await;
        self.ends().await;
    }

    /// A change that succeeds and causes these events.
    async fn does(&mut self, method: Method, path: &str, body: Value, events: &[&'static str]) -> Value {
        let sent = (!body.is_null()).then_some(&body);
        let answer = self
            .api
            .send(method.clone(), &format!("/api{path}"), sent, None)
            .await
            .unwrap();
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
        self.caused.extend(events);
        answer.body()
    }

    /// A change that is refused, and causes nothing.
    async fn refused(&mut self, method: Method, path: &str, body: Value, status: u16) {
        let sent = (!body.is_null()).then_some(&body);
        let answer = self
            .api
            .send(method.clone(), &format!("/api{path}"), sent, None)
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {answer:?}");
    }

    async fn customers(&mut self) -> String {
        let body = json!({"name": "Harbour Freight", "slug": "harbour-freight"});
        let made = self
            .does(Method::POST, "/customers", body, &["CUSTOMER_CREATION"])
            .await;
        let body = json!({"name": "Harbour Freight Ltd", "domain": "harbour.example"});
        self.does(
            Method::PUT,
            "/customers/harbour-freight",
            body,
            &["CUSTOMER_UPDATE"],
        )
        .await;
        id(&made)
    }

    async fn releases(&mut self) -> (String, String) {
        let body = json!({"name": "server", "version": "1.0.0", "slug": "server-1"});
        let component = self.does(Method::POST, "/components", body, &[]).await;
        let body = json!({"version": "2026.1", "slug": "first", "componentIds": [id(&component)]});
        let first = self
            .does(Method::POST, "/releases", body, &["RELEASE_CREATION"])
            .await;
        let body = json!({"version": "2026.2", "slug": "second", "description": "Faster."});
        let second = self
            .does(Method::POST, "/releases", body, &["RELEASE_CREATION"])
            .await;
        (id(&first), id(&second))
    }

    async fn zones(&mut self, first: &str, second: &str) -> (String, String) {
        let body = json!({"name": "Here", "slug": "here", "type": "production", "description": "", "releaseId": first});
        let events = ["DEPLOYMENT_ZONE_CREATION", "RELEASE_DEPLOYMENT"];
        let here = self.does(Method::POST, "/deployment-zones", body, &events).await;
        let body = json!({"name": "There", "slug": "there", "type": "staging", "description": "", "metadata": {"region": "eu"}});
        let there = self
            .does(
                Method::POST,
                "/deployment-zones",
                body,
                &["DEPLOYMENT_ZONE_CREATION"],
            )
            .await;
        let body =
            json!({"name": "Here", "type": "production", "description": "Upgraded.", "releaseId": second});
        let events = ["RELEASE_DEPLOYMENT", "DEPLOYMENT_ZONE_UPDATE"];
        self.does(Method::PUT, "/deployment-zones/here", body, &events)
            .await;
        (id(&here), id(&there))
    }

    async fn catalogue_of_licenses(&mut self) -> String {
        let body = json!({"name": "Seats", "slug": "seats", "description": null, "type": "NUMBER"});
        self.does(Method::POST, "/entitlements", body, &["ENTITLEMENT_CREATION"])
            .await;
        let body = json!({"name": "Seats", "description": "People who can sign in.", "type": "NUMBER"});
        self.does(Method::PUT, "/entitlements/seats", body, &["ENTITLEMENT_UPDATE"])
            .await;
        let body =
            json!({"name": "Team", "slug": "team", "description": "", "type": "PAID", "isDefault": false});
        let license = self
            .does(Method::POST, "/licenses", body, &["LICENSE_CREATION"])
            .await;
        let body = json!({"name": "Team", "description": "For teams.", "type": "PAID", "isDefault": false});
        self.does(Method::PUT, "/licenses/team", body, &["LICENSE_UPDATE"])
            .await;
        let body = json!({"entitlementSlug": "seats", "value": {"type": "number", "value": 5}});
        let events = ["LICENSE_ENTITLEMENT_ASSIGNMENT"];
        self.does(Method::POST, "/licenses/team/entitlements", body, &events)
            .await;
        let body = json!({"value": {"type": "number", "value": 10}});
        let events = ["LICENSE_ENTITLEMENT_UPDATE"];
        self.does(Method::PUT, "/licenses/team/entitlements/seats", body, &events)
            .await;
        id(&license)
    }

    async fn instance(&mut self, customer: &str, license: &str, here: &str, there: &str) {
        let body = |zone: Option<&str>| {
            let mut body = json!({
                "name": "Production", "slug": "production", "description": "", "customerId": customer,
                "licenseId": license, "startLicenseDate": "2026-01-01T00:00:00Z",
                "endLicenseDate": "2027-01-01T00:00:00Z", "metadata": {"region": "eu"},
            });
            if let Some(zone) = zone {
                body["deploymentZoneId"] = zone.into();
            }
            body
        };
        let path = "/instances/production";
        self.does(Method::POST, "/instances", body(None), &["INSTANCE_CREATION"])
            .await;
        let events = ["INSTANCE_UPDATE", "INSTANCE_DEPLOYMENT"];
        self.does(Method::PUT, path, body(Some(here)), &events).await;
        let events = ["INSTANCE_UPDATE", "INSTANCE_MIGRATION"];
        self.does(Method::PUT, path, body(Some(there)), &events).await;
        // The same zone again, and none: neither moves it.
        self.does(Method::PUT, path, body(Some(there)), &["INSTANCE_UPDATE"])
            .await;
        self.does(Method::PUT, path, body(None), &["INSTANCE_UPDATE"])
            .await;
    }

    async fn usage(&mut self) {
        let path = "/instances/production/entitlements/seats/usage";
        let report = |value: u32, behavior: &str| json!({"value": {"type": "number", "value": value}, "behavior": behavior});
        let reached = ["INSTANCE_ENTITLEMENT_USAGE_REACHED"];
        self.does(Method::POST, path, report(4, "append"), &[]).await;
        self.does(Method::POST, path, report(6, "append"), &reached).await;
        // Still there: nothing new. Below, and there again: once more, in the older form.
        self.does(Method::POST, path, report(10, "set"), &[]).await;
        self.does(Method::POST, path, report(9, "set"), &[]).await;
        self.refused(Method::POST, path, report(2, "append"), 409).await;
        self.does(Method::POST, path, json!({"value": 1}), &reached).await;
    }

    async fn flags(&mut self) {
        let flag = |enabled: bool| {
            json!({
                "name": "New search", "type": "boolean", "enabled": enabled, "description": null, "event_name": "",
                "metadata": {}, "default_variant": {"type": "basic", "value": "off"},
                "variants": [
                    {"name": "on", "description": "", "value": true},
                    {"name": "off", "description": "", "value": false},
                ],
                "targetings": [{"type": "basic", "name": "Staff", "rule": "role == 'staff'", "variant": "on"}],
            })
        };
        let mut body = flag(false);
        body["slug"] = "new-search".into();
        self.does(Method::POST, "/feature-flags", body, &["FEATUREFLAG_CREATION"])
            .await;
        let path = "/feature-flags/new-search";
        self.does(Method::PUT, path, flag(true), &["FEATUREFLAG_UPDATE"])
            .await;
        self.does(Method::DELETE, path, Value::Null, &["FEATUREFLAG_DELETION"])
            .await;
    }

    /// What is in use stays, and what makes no sense is not begun.
    async fn refusals(&mut self) {
        for path in [
            "/customers/harbour-freight",
            "/licenses/team",
            "/entitlements/seats",
            "/releases/first",
            "/components/server-1",
        ] {
            self.refused(Method::DELETE, path, Value::Null, 409).await;
        }
        self.refused(Method::POST, "/customers", json!({}), 422).await;
        self.refused(
            Method::POST,
            "/customers",
            json!({"name": "X", "slug": "harbour-freight"}),
            409,
        )
        .await;
        self.refused(Method::DELETE, "/instances/unknown", Value::Null, 404)
            .await;
    }

    async fn ends(&mut self) {
        for (path, event) in [
            ("/instances/production", "INSTANCE_DELETION"),
            (
                "/licenses/team/entitlements/seats",
                "LICENSE_ENTITLEMENT_UNASSIGNMENT",
            ),
            ("/licenses/team", "LICENSE_DELETION"),
            ("/entitlements/seats", "ENTITLEMENT_DELETION"),
            ("/deployment-zones/here", "DEPLOYMENT_ZONE_DELETION"),
            ("/releases/first", "RELEASE_DELETION"),
            ("/customers/harbour-freight", "CUSTOMER_DELETION"),
        ] {
            self.does(Method::DELETE, path, Value::Null, &[event]).await;
        }
    }
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap().to_owned()
}
