//! The generator of requests must be able to fail: it is run against a truth and a lie.

use demae_testkit::{process::DemaeCommand, sdk};

const STUB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testkit/stub_server.py");

#[tokio::test]
async fn schemathesis_tells_an_honest_document_from_a_lying_one() {
    let process = DemaeCommand::of(STUB, "serve").unwrap().start().await.unwrap();
    let base = process.command().base_url();
    let api = format!("{base}/api");

    sdk::schemathesis(&api, "token", &format!("{base}/honest.json"))
        .await
        .unwrap();
    let error = sdk::schemathesis(&api, "token", &format!("{base}/lying.json"))
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("\"one\" is not of type \"integer\""),
        "{error:#}"
    );
}
