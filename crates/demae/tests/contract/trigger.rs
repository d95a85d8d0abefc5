//! `demae trigger EVENT`, for every event of the catalogue: what a receiver's author tries a handler with.

use std::{collections::BTreeSet, process::Command};

use demae_event::catalogue;
use demae_testkit::receiver::Recorder;
use serde_json::{Value, json};

use crate::{TOKEN, start};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_can_be_triggered() {
    let (process, api) = start().await;
    let receiver = Recorder::start().await;
    let webhook = json!({ "url": receiver.url("/webhook"), "eventNames": ["*"] });
    api.post("/api/webhooks", &webhook).await;
    let names: BTreeSet<&str> = catalogue::all().iter().map(|event| event.name).collect();
    assert_eq!(names.len(), 27);
    for name in &names {
        let output = Command::new(env!("CARGO_BIN_EXE_demae"))
            .args(["trigger", name])
            .env("DEMAE_URL", process.command().base_url())
            .env("DEMAE_TOKEN", TOKEN)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
    let mut arrived = BTreeSet::new();
    for delivery in receiver.wait_for(names.len()).await {
        let event: Value = serde_json::from_slice(&delivery.body).unwrap();
        let definition = catalogue::find(event["name"].as_str().unwrap()).unwrap();
        assert_eq!(event["type"], definition.event_type);
        let schema = jsonschema::validator_for(definition.schema()).unwrap();
        assert!(schema.is_valid(&event["data"]), "{event:#}");
        arrived.insert(definition.name);
    }
    assert_eq!(arrived, names);
    assert!(process.terminate().await.unwrap().success());
}
