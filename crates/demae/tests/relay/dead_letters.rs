//! `demae dead-letters` and what `demae doctor` says of the same.

use std::process::{Command, Output};

use demae_testkit::{process::DemaeCommand, receiver::Recorder};
use serde_json::{Value, json};

use crate::{
    api,
    dapr::{bring, change_event, organization, serve_with_dapr},
    serve,
};

/// A command with the settings of `server`.
fn demae(server: &DemaeCommand, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_demae"))
        .args(arguments)
        .env("DEMAE_DATA_DIR", server.data_folder())
        .env("DEMAE_LISTEN", server.address().to_string())
        .output()
        .unwrap()
}

/// What it printed.
pub(crate) fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_is_listed_shown_redriven_and_discarded() {
    let command = serve_with_dapr();
    let process = command.start().await.unwrap();
    let organization = organization(&api(&command)).await;
    let stranger = "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8eff";
    let orphan = change_event(
        "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e90",
        stranger,
        &json!({ "id": "i-1" }),
    );
    let broken = json!({ "data": "no change event" });
    for document in [&broken, &orphan] {
        assert_eq!(bring(&command, document).await, json!({ "status": "DROP" }));
    }
    // One that something else rejected and that can be an event after all.
    let receiver = Recorder::start().await;
    let webhook = json!({ "url": receiver.url("/"), "eventNames": ["INSTANCE_CREATION"] });
    api(&command).post("/api/webhooks", &webhook).await;
    let good = change_event(
        "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e91",
        &organization,
        &json!({ "id": "i-2" }),
    );
    let kept = keep(&command, good.to_string().as_bytes()).await;

    let list = json_of(&demae(&command, &["dead-letters", "list", "--json"]));
    let ids: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 3, "{list}");
    assert_eq!(ids[0], kept);
    assert!(list[1]["reason"].as_str().unwrap().contains(stranger), "{list}");
    let shown = json_of(&demae(&command, &["dead-letters", "show", ids[2], "--json"]));
    assert_eq!(shown["body"], broken.to_string());
    assert_eq!(shown["source"], "dapr");

    let told = json_of(&demae(&command, &["doctor", "--json"]));
    let finding = told
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "rejected events");
    assert_eq!(finding.unwrap()["health"], "warning", "{told}");

    let redriven = demae(&command, &["dead-letters", "redrive", "--all", "--json"]);
    assert!(!redriven.status.success(), "two of them cannot be events");
    assert_eq!(json_of(&redriven)["redriven"], json!([kept]));
    let request = receiver.wait_for(1).await.remove(0);
    let envelope: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(envelope["data"]["id"], "i-2");

    let unknown = demae(&command, &["dead-letters", "discard", kept.as_str()]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no such dead letter"));
    assert!(
        demae(&command, &["dead-letters", "discard", ids[1], ids[2]])
            .status
            .success()
    );
    let empty = json_of(&demae(&command, &["dead-letters", "list", "--json"]));
    assert_eq!(empty, json!([]));
    assert!(process.terminate().await.unwrap().success());
}

/// Writes a rejected event as some other part of Demae would.
async fn keep(command: &DemaeCommand, body: &[u8]) -> String {
    use demae_store::{Store, StoreOptions, Vault, repository::rejected};
    let url = format!("sqlite:{}", command.data_folder().join("demae.db").display());
    let vault = Vault::from_text(&Vault::generate_text()).unwrap();
    let store = Store::connect(StoreOptions::new(url, vault)).await.unwrap();
    let mut transaction = store.begin().await.unwrap();
    let new = rejected::NewRejected {
        source: "test",
        reason: "for a while",
        body,
    };
    let now = demae_event::Clock::now(&demae_event::SystemClock);
    let id = rejected::insert(&mut transaction, new, now).await.unwrap();
    transaction.commit().await.unwrap();
    store.close().await;
    id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_a_broker_that_cannot_be_reached() {
    let command = serve();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("amqp://demae:hunter2@{closed}");
    let output = Command::new(env!("CARGO_BIN_EXE_demae"))
        .args(["doctor", "--json"])
        .env("DEMAE_DATA_DIR", command.data_folder())
        .env("DEMAE_LISTEN", command.address().to_string())
        .env("DEMAE_BROKER_URL", url)
        .output()
        .unwrap();
    let told = json_of(&output);
    let finding = told
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "broker")
        .unwrap();
    assert_eq!(finding["health"], "fault", "{told}");
    assert!(finding["detail"].as_str().unwrap().contains(&closed.to_string()));
    assert!(!told.to_string().contains("hunter2"));
}
