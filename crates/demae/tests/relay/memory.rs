//! Payloads of one megabyte everywhere, in processes that have 256 MiB: every way in, several endpoints, lists and history
//! meanwhile. Each stage alone would need more if it counted events and not their bytes.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use demae_testkit::{
    postgres::TestDatabase,
    process::{DemaeCommand, DemaeProcess},
    rabbitmq::TestBroker,
    receiver::{Answer, Gate, Recorder},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tokio::task::JoinSet;

use crate::{
    api,
    api::Api,
    dapr::{change_event, organization},
    serve,
};

/// What happens; the event of the broker's change events, too.
const NAME: &str = "INSTANCE_CREATION";
const TYPE: &str = "com.kaiten.instance.v1.created";
/// What a process has.
const MEMORY: u64 = 256 * 1024 * 1024;
/// Characters of each payload: with its envelope just below the limit of a request.
const SIZE: usize = 1_000_000;
/// Written in one transaction, so that all of them wait at once.
const ROWS: usize = 300;
/// One event per request.
const SINGLE: usize = 60;
/// Two events per request, which may be as long as one alone.
const PAIRS: usize = 20;
const REQUESTS_AT_ONCE: usize = 16;
const ENDPOINTS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_on_sqlite_delivers_large_payloads_in_256_mib() {
    let command = serve().limited_to(MEMORY);
    let process = command.start().await.unwrap();
    let api = api(&command);
    let receivers = Receivers::start(&api).await;
    let organization = organization(&api).await;
    let database = command.data_folder().join("demae.db");
    let mut sql = SqliteConnection::connect(&format!("sqlite:{}", database.display()))
        .await
        .unwrap();
    let rows = format!(
        "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {ROWS})
         INSERT INTO outbox_events (organization_id, event_name, event_type, payload)
         SELECT '{organization}', '{NAME}', '{TYPE}', '{{\"text\":\"' || hex(zeroblob({SIZE} / 2)) || '\"}}'
         FROM number"
    );
    sqlx::raw_sql(AssertSqlSafe(rows))
        .execute(&mut sql)
        .await
        .unwrap();
    everything_arrives(&api, vec![process], &receivers, ROWS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_on_postgres_delivers_large_payloads_in_256_mib() {
    let database = TestDatabase::create().await.unwrap();
    let command = serve()
        .setting("DEMAE_DATABASE_URL", database.url())
        .limited_to(MEMORY);
    let process = command.start().await.unwrap();
    let api = api(&command);
    let receivers = Receivers::start(&api).await;
    let organization = organization(&api).await;
    insert_rows(&database, &organization, ROWS).await;
    everything_arrives(&api, vec![process], &receivers, ROWS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_and_worker_with_a_broker_between_them_deliver_large_payloads_in_256_mib_each() {
    // Fewer than the runs of one process: RabbitMQ writes each to its disk, and again for each delivery that it repeats.
    const ROWS: usize = 120;
    const MESSAGES: usize = 60;
    let database = TestDatabase::create().await.unwrap();
    let broker = TestBroker::create().await.unwrap();
    let with_roles = |roles: &str| -> DemaeCommand {
        serve()
            .argument("--roles")
            .argument(roles)
            .setting("DEMAE_DATABASE_URL", database.url())
            .setting("DEMAE_BROKER_URL", broker.url())
            .setting("DEMAE_SECRET_KEY", SECRET_KEY)
            .limited_to(MEMORY)
    };
    let front = with_roles("api,relay");
    let front_process = front.start().await.unwrap();
    let worker = with_roles("worker");
    let worker_process = worker.start().await.unwrap();
    let api = api(&front);
    let receivers = Receivers::start(&api).await;
    let organization = organization(&api).await;
    // Past the worker at first, so that the broker has all of them when it comes back.
    worker_process.freeze().await.unwrap();
    insert_rows(&database, &organization, ROWS).await;
    for _ in 0..MESSAGES {
        let id = uuid::Uuid::new_v4().to_string();
        let document = change_event(&id, &organization, &payload(SIZE));
        let administration = broker.administration();
        let taken = administration
            .publish("kaiten.events", "kaiten.outbox_events", &document.to_string())
            .await
            .unwrap();
        assert!(taken, "no queue took it");
    }
    worker_process.thaw().unwrap();
    everything_arrives(
        &api,
        vec![front_process, worker_process],
        &receivers,
        ROWS + MESSAGES,
    )
    .await;
}

/// Of both processes: what one encrypts the other must read.
const SECRET_KEY: &str = "one key for both processes, long enough";

async fn insert_rows(database: &TestDatabase, organization: &str, count: usize) {
    let mut sql = PgConnection::connect(&database.url()).await.unwrap();
    let rows = format!(
        "INSERT INTO outbox_events (organization_id, event_name, event_type, payload)
         SELECT '{organization}', '{NAME}', '{TYPE}', jsonb_build_object('text', repeat('x', {SIZE}))
         FROM generate_series(1, {count})"
    );
    sqlx::raw_sql(AssertSqlSafe(rows))
        .execute(&mut sql)
        .await
        .unwrap();
}

fn payload(size: usize) -> Value {
    json!({ "text": "x".repeat(size) })
}

/// Publishes over HTTP as well, reads every list meanwhile, and waits until each endpoint has each event; `others` are on
/// their way already.
async fn everything_arrives(api: &Api, processes: Vec<DemaeProcess>, receivers: &Receivers, others: usize) {
    let mut processes = processes;
    let reading = futures::future::join(
        read_on(api.clone(), "/api/events?limit=200"),
        read_on(api.clone(), "/api/webhooks/history?limit=200"),
    );
    let arriving = async {
        publish(api).await;
        receivers.gate.open();
        receivers.have(others + SINGLE + 2 * PAIRS).await;
    };
    let ending = async {
        let ends = processes.iter_mut().map(|process| Box::pin(process.ended()));
        futures::future::select_all(ends).await.0.unwrap()
    };
    tokio::select! {
        () = arriving => {}
        status = ending => panic!("a process ended: {status}"),
        _ = reading => unreachable!("lists are read again and again"),
    }
    for process in processes {
        println!("peak: {} MiB", process.peak_memory().unwrap() >> 20);
        assert!(process.terminate().await.unwrap().success());
    }
}

/// Several requests at a time; one that is refused for lack of room is sent again, as a client does.
async fn publish(api: &Api) {
    let one = |size| json!({ "name": NAME, "data": payload(size) });
    let bodies = (0..SINGLE)
        .map(|_| one(SIZE))
        .chain((0..PAIRS).map(|_| json!({ "events": [one(SIZE / 2), one(SIZE / 2)] })));
    let mut sending = JoinSet::new();
    for body in bodies {
        if sending.len() >= REQUESTS_AT_ONCE {
            sending.join_next().await.unwrap().unwrap();
        }
        sending.spawn(send(api.clone(), body));
    }
    while let Some(sent) = sending.join_next().await {
        sent.unwrap();
    }
}

async fn send(api: Api, body: Value) {
    loop {
        let answer = api
            .send(http::Method::POST, "/api/events", Some(&body), None)
            .await
            .unwrap();
        match answer.status.as_u16() {
            202 => return,
            429 | 503 => tokio::task::yield_now().await,
            status => panic!("{status}: {}", answer.text),
        }
    }
}

/// Goes through a list from its beginning to its end, again and again. Ends only by a panic.
async fn read_on(api: Api, list: &'static str) {
    loop {
        let mut path = list.to_owned();
        loop {
            let page = read(&api, &path).await;
            let Some(cursor) = page["nextCursor"].as_str() else {
                break;
            };
            assert!(!page["items"].as_array().unwrap().is_empty(), "{path}");
            path = format!("{list}&cursor={cursor}");
        }
    }
}

/// A page; asked for again while there is no room for it.
async fn read(api: &Api, path: &str) -> Value {
    loop {
        let answer = api.send(http::Method::GET, path, None, None).await.unwrap();
        match answer.status.as_u16() {
            200 => return serde_json::from_str(&answer.text).unwrap(),
            429 | 503 => tokio::task::yield_now().await,
            status => panic!("{path}: {status}: {}", answer.text),
        }
    }
}

/// Endpoints that answer nothing until all is published, and remember which events they got.
struct Receivers {
    gate: Gate,
    endpoints: Vec<(Recorder, Arc<Mutex<HashSet<String>>>)>,
}

impl Receivers {
    async fn start(api: &Api) -> Self {
        let gate = Gate::closed();
        let mut endpoints = Vec::new();
        for _ in 0..ENDPOINTS {
            let receiver = Recorder::start().await;
            receiver.keep_no_more();
            let seen = Arc::<Mutex<HashSet<String>>>::default();
            let (noted, held_by) = (seen.clone(), gate.clone());
            receiver.answer_by(move |request| {
                assert!(request.body.len() > SIZE / 2);
                let id = request.header("webhook-id").unwrap().to_owned();
                noted.lock().unwrap().insert(id);
                Answer::ok().held_by(&held_by)
            });
            let webhook = json!({ "url": receiver.url("/"), "eventNames": [NAME] });
            api.post("/api/webhooks", &webhook).await;
            endpoints.push((receiver, seen));
        }
        Self { gate, endpoints }
    }

    async fn have(&self, events: usize) {
        for (receiver, seen) in &self.endpoints {
            loop {
                let received = receiver.received().get();
                if seen.lock().unwrap().len() == events {
                    break;
                }
                receiver.received().wait_for(received + 1).await;
            }
        }
    }
}
