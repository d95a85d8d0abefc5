//! Starting, ending and restarting a program, with a stub in the place of `demae`.

use demae_testkit::process::DemaeCommand;

const STUB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testkit/stub_server.py");

#[tokio::test]
async fn a_program_ends_in_order_and_starts_again_on_the_same_data() {
    let command = DemaeCommand::of(STUB, "serve")
        .unwrap()
        .setting("DEMAE_DISH", "ramen");
    let first = command.start().await.unwrap();
    assert!(first.terminate().await.unwrap().success());
    assert_eq!(command.stdout().unwrap(), "stopped in order\n");

    let second = command.start().await.unwrap();
    assert_eq!(second.command().address(), command.address());
    second.kill().await.unwrap();
    assert_eq!(
        command.stdout().unwrap(),
        "stopped in order\n",
        "a killed program says nothing more"
    );
    let starts = std::fs::read_to_string(command.data_folder().join("starts")).unwrap();
    assert_eq!(starts, "ramen\nramen\n");
}

#[tokio::test]
async fn a_frozen_program_keeps_its_port_and_answers_later() {
    let process = DemaeCommand::of(STUB, "serve").unwrap().start().await.unwrap();
    process.freeze().await.unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id().unwrap())).unwrap();
    assert!(stat.contains(") T "), "{stat}");
    let waiting = tokio::net::TcpStream::connect(process.command().address())
        .await
        .unwrap();
    process.thaw().unwrap();
    drop(waiting);
    assert!(
        process.terminate().await.unwrap().success(),
        "a frozen program obeys no SIGTERM"
    );
}

#[tokio::test]
async fn a_program_that_fails_to_start_is_quoted() {
    let command = DemaeCommand::of(STUB, "refuse").unwrap();
    let error = format!("{:#}", command.start().await.unwrap_err());
    assert!(error.contains("the recipe is missing"), "{error}");
}
