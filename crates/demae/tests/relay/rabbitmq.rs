//! A real RabbitMQ between relay and worker, with somebody else's consumer and publisher beside them, and the command for
//! what became a dead letter.

use std::process::{Command, Output};

use demae_broker::{
    Broker as _, Message,
    rabbitmq::{RabbitMq, Topology},
};
use demae_testkit::{process::DemaeCommand, rabbitmq::TestBroker, receiver::Recorder};
use serde_json::{Value, json};

use crate::{
    api,
    dapr::{change_event, organization},
    dead_letters::json_of,
    serve,
};

/// What Debezium Server and Dapr call it (kaiten.md, section 6.3).
const EXCHANGE: &str = "kaiten.events";

fn serve_through(broker: &TestBroker) -> DemaeCommand {
    serve().setting("DEMAE_BROKER_URL", broker.url())
}

/// `demae dead-letters` with the settings of `server`.
fn dead_letters(server: &DemaeCommand, broker: &TestBroker, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_demae"))
        .arg("dead-letters")
        .args(arguments)
        .arg("--json")
        .env("DEMAE_DATA_DIR", server.data_folder())
        .env("DEMAE_LISTEN", server.address().to_string())
        .env("DEMAE_BROKER_URL", broker.url())
        .output()
        .unwrap()
}

/// Asks until the broker has a letter; each question is a program that takes its time.
fn first_letter(server: &DemaeCommand, broker: &TestBroker) -> Value {
    loop {
        let mut list = json_of(&dead_letters(server, broker, &["list"]));
        if let Some(letter) = list.as_array_mut().unwrap().pop() {
            return letter;
        }
    }
}

/// Publishes to the exchange as Debezium Server would.
async fn publish(broker: &TestBroker, document: &Value) {
    let publishing = broker.administration();
    assert!(
        publishing
            .publish(EXCHANGE, "kaiten.outbox_events", &document.to_string())
            .await
            .unwrap(),
        "no queue took it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn others_read_what_demae_publishes_and_demae_delivers_what_others_publish() {
    let broker = TestBroker::create().await.unwrap();
    let command = serve_through(&broker);
    let process = command.start().await.unwrap();
    let api = api(&command);
    // Through the outbox, the broker, the router and the lane.
    let organization = organization(&api).await;
    let kind = broker.administration().queue_kind("demae.events").await.unwrap();
    assert_eq!(kind, "quorum");

    // Kaiten's own worker has a queue of its own at the same exchange.
    let topology = Topology {
        queue: "worker-kaiten.events".to_owned(),
        ..Topology::default()
    };
    let mut theirs = RabbitMq::new(broker.url().parse().unwrap(), topology).consumer(10);
    let listening = async {
        loop {
            // A failed connection is made again by the next call.
            if let Ok(mut heard) = theirs.next(1).await {
                return heard.remove(0).message;
            }
        }
    };
    let writing = async {
        // Until its queue is there, what is published is not for it.
        for number in 0.. {
            let customer = json!({ "name": format!("Customer {number}") });
            api.post("/api/customers", &customer).await;
        }
    };
    let heard = tokio::select! {
        heard = listening => heard,
        () = writing => unreachable!("it writes on"),
    };
    is_a_change_event(&heard, &organization);

    let receiver = Recorder::start().await;
    let webhook = json!({ "url": receiver.url("/"), "eventNames": ["INSTANCE_CREATION"] });
    api.post("/api/webhooks", &webhook).await;
    let heartbeat = json!({ "specversion": "1.0", "id": "1", "source": "s", "type": "cloud.kaiten.cdc.heartbeat",
        "data": {} });
    publish(&broker, &heartbeat).await;
    let id = "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e90";
    let document = change_event(id, &organization, &json!({ "id": "i-1" }));
    for _ in 0..2 {
        publish(&broker, &document).await;
    }
    let other = "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e91";
    publish(
        &broker,
        &change_event(other, &organization, &json!({ "id": "i-2" })),
    )
    .await;
    let delivered: Vec<Value> = receiver
        .wait_for(2)
        .await
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect();
    for body in &delivered {
        assert_eq!(body["type"], "com.kaiten.instance.v1.created");
    }
    let mut ids: Vec<_> = delivered
        .iter()
        .map(|body| body["data"]["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["i-1", "i-2"]);
    assert!(process.terminate().await.unwrap().success());
    assert_eq!(
        receiver.requests().len(),
        2,
        "an event that came twice is one event"
    );
}

/// What Kaiten's worker reads of a message (kaiten.md, section 6.2).
fn is_a_change_event(message: &Message, organization: &str) {
    let document: Value = serde_json::from_slice(message.body()).unwrap();
    assert_eq!(document["specversion"], "1.0");
    assert_ne!(document["type"], "cloud.kaiten.cdc.heartbeat");
    let row = &document["data"]["payload"]["after"];
    assert_eq!(row["id"], message.id());
    assert_eq!(row["organization_id"], organization);
    assert_eq!(row["event_name"], "CUSTOMER_CREATION");
    assert_eq!(row["event_type"], "com.kaiten.customer.v1.created");
    let data: Value = serde_json::from_str(row["data"].as_str().unwrap()).unwrap();
    assert!(data["name"].as_str().unwrap().starts_with("Customer "));
    assert!(row["occurred_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_dead_letters_are_listed_shown_redriven_and_discarded() {
    let broker = TestBroker::create().await.unwrap();
    let command = serve_through(&broker);
    let process = command.start().await.unwrap();
    organization(&api(&command)).await;
    let poison = json!({ "data": "no change event" });
    publish(&broker, &poison).await;

    let letter = first_letter(&command, &broker);
    assert_eq!(letter["source"], "broker");
    assert_eq!(letter["reason"], "rejected");
    let id = letter["id"].as_str().unwrap();
    let shown = json_of(&dead_letters(&command, &broker, &["show", id]));
    assert_eq!(shown["body"], poison.to_string());

    // It is taken once more, and is no event this time either.
    let redriven = dead_letters(&command, &broker, &["redrive", id]);
    assert!(redriven.status.success());
    assert_eq!(json_of(&redriven)["redriven"], json!([id]));
    assert_eq!(first_letter(&command, &broker)["id"], id);

    let discarded = dead_letters(&command, &broker, &["discard", id]);
    assert_eq!(json_of(&discarded)["discarded"], json!([id]));
    assert_eq!(json_of(&dead_letters(&command, &broker, &["list"])), json!([]));
    let unknown = dead_letters(&command, &broker, &["show", id]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no dead letter"));
    assert!(process.terminate().await.unwrap().success());
}
