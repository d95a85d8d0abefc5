//! `demae dev --sample`: something to look at, made by real operations.

use std::collections::BTreeSet;

use demae_testkit::process::{DemaeCommand, DemaeProcess};
use http::Method;
use serde_json::Value;
use tokio::time::{Duration, timeout};

use crate::{TOKEN, api::Api, dev};

/// A debug build on a busy machine makes the sample's requests in a few seconds.
const LIMIT: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_is_made_once_and_shows_in_every_list() {
    let command = dev().argument("--sample");
    let (process, api) = start(&command).await;
    for (list, least) in [
        ("/customers", 8),
        ("/instances", 10),
        ("/licenses", 4),
        ("/entitlements", 5),
        ("/deployment-zones", 4),
        ("/releases", 2),
        ("/components", 4),
        ("/feature-flags", 3),
        ("/licenses/enterprise/entitlements", 5),
        ("/instances/sakura-logistics-production/audit-trails", 1),
    ] {
        let found = items(&api, list).await;
        assert!(found.len() >= least, "{list} has {}", found.len());
    }
    let events: BTreeSet<String> = items(&api, "/audit-trails?limit=200")
        .await
        .iter()
        .map(|entry| entry["eventName"].as_str().unwrap().to_owned())
        .collect();
    for event in [
        "INSTANCE_MIGRATION",
        "INSTANCE_ENTITLEMENT_USAGE_REACHED",
        "RELEASE_DEPLOYMENT",
    ] {
        assert!(events.contains(event), "{event} is not among {events:?}");
    }
    let usage = "/api/instances/harbour-freight-production/entitlements/seats/usage";
    let before = api.get(usage).await;
    assert_eq!(before["value"]["value"], 240, "{before}");
    assert!(process.terminate().await.unwrap().success());

    let (process, api) = start(&command).await;
    assert_eq!(items(&api, "/customers").await.len(), 8);
    assert_eq!(items(&api, "/webhooks").await.len(), 1);
    assert_eq!(api.get(usage).await, before);
    assert!(process.terminate().await.unwrap().success());
}

/// Once the sample says that it is done.
async fn start(command: &DemaeCommand) -> (DemaeProcess, Api) {
    // Before the first start there is no output.
    let said = || command.stdout().unwrap_or_default().matches("Sample:").count();
    let before = said();
    let process = command.start().await.unwrap();
    let api = Api::new(command.base_url(), TOKEN);
    let done = async {
        // Every look is a round trip to the server.
        while said() == before {
            api.send(Method::GET, "/api/customers", None, None).await.unwrap();
        }
    };
    timeout(LIMIT, done).await.unwrap();
    (process, api)
}

async fn items(api: &Api, path: &str) -> Vec<Value> {
    let page = api.get(&format!("/api{path}")).await;
    page["items"].as_array().unwrap().clone()
}
