//! The interface as programs see it that others wrote against it.

use demae_testkit::sdk::{self, OfficialClient};

use crate::{TOKEN, start};

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_drives_every_resource() {
    official_client(OfficialClient::Sync).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_asynchronous_client_drives_every_resource() {
    official_client(OfficialClient::Async).await;
}

async fn official_client(client: OfficialClient) {
    let (process, _) = start().await;
    let base = process.command().base_url();
    sdk::official_client(client, &base, TOKEN).await.unwrap();
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_the_official_client_are_evaluated_with_openfeature() {
    let (process, _) = start().await;
    let base = process.command().base_url();
    sdk::openfeature_flags(&base, TOKEN).await.unwrap();
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_requests_find_no_answer_that_the_openapi_document_does_not_describe() {
    let (process, _) = start().await;
    let base = process.command().base_url();
    let report = sdk::schemathesis(&base, TOKEN, &format!("{base}/api/openapi.json"))
        .await
        .unwrap_or_else(|failures| panic!("{failures:#}"));
    println!("{report}");
    assert!(process.terminate().await.unwrap().success());
}
