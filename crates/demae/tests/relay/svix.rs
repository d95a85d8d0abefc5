//! With `delivery_mode = "svix"`.

use demae_testkit::{receiver::Recorder, svix::SvixStub};
use serde_json::{Value, json};

use crate::{api, serve};

#[tokio::test(flavor = "multi_thread")]
async fn committed_events_become_messages_in_order_and_none_is_delivered_here() {
    let stub = SvixStub::start("testsk_token").await;
    let receiver = Recorder::start().await;
    let command = serve()
        .setting("DEMAE_DELIVERY_MODE", "svix")
        .setting("DEMAE_SVIX_URL", stub.url())
        .setting("DEMAE_SVIX_TOKEN", "testsk_token");
    // Trouble at first: nothing is lost and nothing overtakes.
    stub.fail(503, None);
    stub.fail(429, Some("1"));
    let process = command.start().await.unwrap();
    let api = api(&command);
    let webhook = json!({ "url": receiver.url("/hook"), "eventNames": ["*"] });
    api.post("/api/webhooks", &webhook).await;
    let mut names = Vec::new();
    for number in 0..10 {
        let name = format!("Customer {number}");
        api.post("/api/customers", &json!({ "name": name })).await;
        names.push(name);
    }
    let messages = stub.wait_for(names.len()).await;
    let payloads: Vec<Value> = messages
        .iter()
        .map(|message| serde_json::from_str(&message.payload).unwrap())
        .collect();
    let sent: Vec<_> = payloads
        .iter()
        .map(|payload| payload["data"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(sent, names);
    assert!(
        payloads
            .iter()
            .all(|payload| payload["type"] == messages[0].event_type)
    );
    assert_eq!(messages[0].event_type, "com.kaiten.customer.v1.created");
    assert!(stub.application(&messages[0].application).is_some());
    assert!(process.terminate().await.unwrap().success());

    // Nothing is left in the outbox that another start would send again.
    let process = command.start().await.unwrap();
    api.post("/api/customers", &json!({ "name": "The last" })).await;
    assert_eq!(stub.wait_for(names.len() + 1).await.len(), names.len() + 1);
    assert_eq!(stub.conflicts(), 0);
    assert!(receiver.requests().is_empty());
    assert!(process.terminate().await.unwrap().success());
}
