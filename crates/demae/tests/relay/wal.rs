//! Demae's own outbox, read from the log. On a server whose log cannot be followed the start says what to do, and asking the
//! table remains.

use demae_testkit::{
    postgres::{Durability, PrivatePostgres},
    receiver::Recorder,
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::{api, dapr::organization, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_followed_refuses_the_start_and_the_table_can_still_be_asked() {
    let postgres = PrivatePostgres::start(Durability::None).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let mut sql = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("ALTER SYSTEM SET wal_level = 'replica'")
        .execute(&mut sql)
        .await
        .unwrap();
    postgres.restart().await.unwrap();

    let following = serve()
        .setting("DEMAE_DATABASE_URL", &url)
        .setting("DEMAE_OUTBOX_SOURCE", "wal");
    let refused = following.spawn().unwrap().wait().await.unwrap();
    assert_eq!(refused.code(), Some(1));
    let told = following.stderr().unwrap();
    for part in [
        "wal_level is replica",
        "ALTER SYSTEM SET wal_level = 'logical'",
        "set outbox_source to \"poll\"",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }

    let asking = serve().setting("DEMAE_DATABASE_URL", &url);
    let process = asking.start().await.unwrap();
    // An event is delivered, which says whose it is.
    organization(&api(&asking)).await;
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_log_that_cannot_be_an_event_leaves_the_outbox() {
    let postgres = PrivatePostgres::start(Durability::None).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let following = serve()
        .setting("DEMAE_DATABASE_URL", &url)
        .setting("DEMAE_OUTBOX_SOURCE", "wal");
    let process = following.start().await.unwrap();
    let organization = organization(&api(&following)).await;
    let receiver = Recorder::start().await;
    let webhook = json!({ "url": receiver.url("/"), "eventNames": ["*"] });
    api(&following).post("/api/webhooks", &webhook).await;

    let mut sql = PgConnection::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO outbox_events (organization_id, event_name, event_type, payload) \
         VALUES ($1::uuid, 'ODD', 'odd', '[1]'), ($1::uuid, 'PLAIN', 'plain', '{}')",
    )
    .bind(&organization)
    .execute(&mut sql)
    .await
    .unwrap();
    receiver.wait_for(1).await;

    // What is in front of an event in the log is settled before the event is routed.
    let (outbox, rejected): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM outbox_events), (SELECT count(*) FROM rejected_events)")
            .fetch_one(&mut sql)
            .await
            .unwrap();
    assert_eq!((outbox, rejected), (0, 1));
    assert!(process.terminate().await.unwrap().success());
}
