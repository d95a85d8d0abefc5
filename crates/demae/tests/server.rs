//! The server as a process: the first steps of the documentation, starts and stops, and what `doctor` says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use demae_testkit::{
    postgres::TestDatabase,
    process::{DemaeCommand, DemaeProcess},
    receiver::{Answer, Gate, Recorder},
};
use serde_json::Value;

/// For a step of another process.
const PATIENCE: Duration = Duration::from_secs(30);

fn command(subcommand: &str) -> DemaeCommand {
    DemaeCommand::of(env!("CARGO_BIN_EXE_demae"), subcommand).unwrap()
}

/// Runs a short command against the same settings as `server`.
fn run(server: &DemaeCommand, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_demae"))
        .args(arguments)
        .env("DEMAE_URL", server.base_url())
        .env("DEMAE_DATA_DIR", server.data_folder())
        .env("DEMAE_LISTEN", server.address().to_string())
        .output()
        .unwrap()
}

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// The token on standard output.
fn printed_token(output: &str) -> String {
    let at = output
        .find("ksh_")
        .unwrap_or_else(|| panic!("no token in {output}"));
    output[at..]
        .chars()
        .take_while(|character| character.is_ascii_alphanumeric() || *character == '_')
        .collect()
}

fn curl(arguments: &[&str]) -> Value {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20"])
        .args(arguments)
        .output()
        .unwrap();
    json(&output)
}

/// Asks until `found` says yes; every answer is a round trip, so this does not spin.
fn history_until(server: &DemaeCommand, found: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..500 {
        let list = json(&run(server, &["history", "list", "--json"]));
        if found(&list) {
            return list;
        }
    }
    panic!("the history never showed it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_lines_of_the_documentation_deliver_a_signed_webhook() {
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    let token = printed_token(&dev.stdout().unwrap());
    let base = dev.base_url();
    let authorization = format!("Authorization: Bearer {token}");
    let json_type = "Content-Type: application/json";
    let endpoint = curl(&[
        "-X",
        "POST",
        &format!("{base}/api/webhooks"),
        "-H",
        &authorization,
        "-H",
        json_type,
        "-d",
        &format!(
            r#"{{"url": "{base}/inbox/demo", "eventNames": ["CUSTOMER_CREATION", "INSTANCE_CREATION", "LICENSE_CREATION"]}}"#
        ),
    ]);
    assert!(
        endpoint["secret"].as_str().unwrap().starts_with("whsec_"),
        "{endpoint}"
    );
    let customer = curl(&[
        "-X",
        "POST",
        &format!("{base}/api/customers"),
        "-H",
        &authorization,
        "-H",
        json_type,
        "-d",
        r#"{"name": "Test Webhook Customer"}"#,
    ]);
    assert_eq!(customer["slug"], "test-webhook-customer");
    history_until(&dev, |list| list[0]["status"] == "success");
    let history = curl(&[&format!("{base}/api/webhooks/history"), "-H", &authorization]);
    assert_eq!(history["items"][0]["eventName"], "CUSTOMER_CREATION");

    let inbox = curl(&["-H", "Accept: application/json", &format!("{base}/inbox/demo")]);
    assert_eq!(inbox["requests"][0]["signature"]["verified"], true, "{inbox}");
    let body: Value = serde_json::from_str(inbox["requests"][0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["name"], "CUSTOMER_CREATION");
    assert_eq!(body["type"], "com.kaiten.customer.v1.created");
    assert_eq!(body["data"]["name"], "Test Webhook Customer");
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_printed_on_the_first_start_only() {
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    assert!(process.terminate().await.unwrap().success());
    let token = printed_token(&dev.stdout().unwrap());
    let process = dev.start().await.unwrap();
    let output = dev.stdout().unwrap();
    let first_banner = output.find("Demae is running").unwrap();
    let second_banner = output.rfind("Demae is running").unwrap();
    assert_ne!(first_banner, second_banner);
    assert!(!output[second_banner..].contains("ksh_"));
    assert!(!dev.stderr().unwrap().contains(&token));
    // The other commands still find it.
    assert_eq!(
        json(&run(&dev, &["endpoint", "list", "--json"])),
        Value::Array(Vec::new())
    );
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_the_settings_opens_the_first_organization_and_is_not_printed() {
    let token = "ksh_0123456789abcdefghijklmnopqrstuvwxyzABCD";
    let serve = command("serve").setting("DEMAE_BOOTSTRAP_TOKEN", token);
    let process = serve.start().await.unwrap();
    assert!(!serve.stdout().unwrap().contains("ksh_"));
    let list = run(&serve, &["endpoint", "list", "--json", "--token", token]);
    assert_eq!(json(&list), Value::Array(Vec::new()));
    assert!(process.terminate().await.unwrap().success());
    assert!(!serve.stderr().unwrap().contains(token));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_under_way_and_leaves_nothing_leased() {
    let receiver = Recorder::start().await;
    let gate = Gate::closed();
    receiver.answer(Answer::ok().held_by(&gate));
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    let made = run(&dev, &["endpoint", "create", &receiver.url("/hook"), "--json"]);
    assert!(json(&made)["id"].as_str().unwrap().starts_with("ep_"));
    assert!(run(&dev, &["trigger", "CUSTOMER_CREATION"]).status.success());
    receiver.wait_for(1).await;

    let ended = tokio::spawn(process.terminate());
    gate.open();
    assert!(
        ended.await.unwrap().unwrap().success(),
        "{}",
        dev.stderr().unwrap()
    );

    // Nothing is sent again by the next start: the outcome was recorded.
    let process = dev.start().await.unwrap();
    history_until(&dev, |list| list[0]["status"] == "success");
    let metrics = metric(&process, "demae_deliveries_leased");
    assert!(metrics.is_none_or(|leased| leased == 0.0));
    assert_eq!(receiver.requests().len(), 1);
    assert!(process.terminate().await.unwrap().success());
}

fn metric(process: &DemaeProcess, name: &str) -> Option<f64> {
    let url = format!("{}/metrics", process.command().base_url());
    let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_database_in_use_are_named() {
    let dev = command("dev");
    let process = dev.start().await.unwrap();

    let same_port = command("dev").setting("DEMAE_LISTEN", dev.address().to_string());
    assert_eq!(same_port.spawn().unwrap().wait().await.unwrap().code(), Some(1));
    let told = same_port.stderr().unwrap();
    assert!(
        told.contains(&format!("{} is taken", dev.address())) && told.contains("DEMAE_LISTEN"),
        "{told}"
    );

    let same_data = command("dev").setting("DEMAE_DATA_DIR", dev.data_folder().display().to_string());
    assert_eq!(same_data.spawn().unwrap().wait().await.unwrap().code(), Some(1));
    let told = same_data.stderr().unwrap();
    assert!(
        told.contains(&format!("process {}", process.id().unwrap())),
        "{told}"
    );
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_nothing_in_a_good_server_and_names_each_fault_of_a_bad_one() {
    let serve = command("serve");
    let process = serve.start().await.unwrap();
    let good = run(&serve, &["doctor", "--json"]);
    assert_eq!(
        good.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&good.stdout)
    );
    let findings = json(&good);
    let checks: Vec<_> = findings
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["check"].as_str())
        .collect();
    for check in [
        "settings",
        "data folder",
        "disk space",
        "secret key",
        "address",
        "database",
        "clock",
        "permissions",
        "migrations",
    ] {
        assert!(checks.contains(&check), "{check} in {checks:?}");
    }
    assert!(process.terminate().await.unwrap().success());

    let key = serve.data_folder().join("secret.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let blocker = std::net::TcpListener::bind(serve.address()).unwrap();
    let bad = run(&serve, &["doctor", "--json"]);
    assert_eq!(bad.status.code(), Some(1));
    let faults: Vec<_> = json(&bad)
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["health"] == "fault")
        .map(|finding| (finding["check"].clone(), finding["remedy"].clone()))
        .collect();
    assert_eq!(
        faults
            .iter()
            .map(|(check, _)| check.as_str().unwrap())
            .collect::<Vec<_>>(),
        ["secret key", "address"]
    );
    assert!(faults[0].1.as_str().unwrap().contains("chmod 600"));
    drop(blocker);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_postgres_and_keeps_its_password() {
    let database = TestDatabase::create().await.unwrap();
    let serve = command("serve").setting("DEMAE_DATABASE_URL", database.url());
    let process = serve.start().await.unwrap();
    let good = run(&serve, &["doctor", "--json", "--database-url", &database.url()]);
    assert_eq!(
        good.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&good.stdout)
    );
    let findings = json(&good);
    let version = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "database")
        .unwrap();
    assert!(
        version["detail"].as_str().unwrap().contains("Postgres"),
        "{version}"
    );
    assert!(process.terminate().await.unwrap().success());

    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nowhere = format!("postgres://demae:hunter2@{closed}/main");
    let bad = run(&serve, &["doctor", "--database-url", &nowhere]);
    assert_eq!(bad.status.code(), Some(1));
    let told = String::from_utf8(bad.stdout).unwrap();
    assert!(
        told.contains("FAULT    database") && told.contains(&closed.to_string()),
        "{told}"
    );
    assert!(!told.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_go_to_the_collector_and_json_logs_are_json() {
    let collector = Recorder::start().await;
    let serve = command("serve")
        .setting("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url("/otlp"))
        .setting("DEMAE_LOG_FORMAT", "json");
    let process = serve.start().await.unwrap();
    assert!(process.terminate().await.unwrap().success());
    let sent = collector.wait_for(1).await;
    assert_eq!(sent[0].uri.path(), "/otlp/v1/traces");
    assert_eq!(sent[0].header("content-type"), Some("application/x-protobuf"));
    let spans = String::from_utf8_lossy(&sent[0].body).into_owned();
    assert!(spans.contains("/readyz") && spans.contains("demae"), "{spans}");
    let log = serve.stderr().unwrap();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(
            line["timestamp"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_the_next_start_delivers_again() {
    let receiver = Recorder::start().await;
    let gate = Gate::closed();
    receiver.answer(Answer::ok().held_by(&gate));
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    assert!(
        run(&dev, &["endpoint", "create", &receiver.url("/hook")])
            .status
            .success()
    );
    assert!(run(&dev, &["trigger", "CUSTOMER_CREATION"]).status.success());
    receiver.wait_for(1).await;

    let pid = process.id().unwrap().to_string();
    let ended = tokio::spawn(process.wait());
    // Signals that come close together are one, so one is sent until it has an effect.
    while !ended.is_finished() {
        Command::new("kill").args(["-TERM", &pid]).output().unwrap();
    }
    assert_eq!(ended.await.unwrap().unwrap().code(), Some(130));

    gate.open();
    let process = dev.start().await.unwrap();
    receiver.wait_for(2).await;
    history_until(&dev, |list| list[0]["status"] == "success");
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_delivery_is_seen_in_the_inbox_and_sent_again() {
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    let inbox = format!("{}/inbox/failing", dev.base_url());
    let rule = r#"{"status": 500, "times": 1}"#;
    curl(&[
        "-X",
        "PUT",
        &format!("{inbox}/answer"),
        "-H",
        "Content-Type: application/json",
        "-d",
        rule,
    ]);
    let endpoint = json(&run(&dev, &["endpoint", "create", &inbox, "--json"]));
    let endpoint = endpoint["id"].as_str().unwrap();
    assert!(run(&dev, &["trigger", "RELEASE_CREATION"]).status.success());
    let history = history_until(&dev, |list| list[0]["status"] == "failing");
    assert_eq!(history[0]["outcome"]["httpStatus"], 500, "{history}");

    let attempt = history[0]["id"].as_str().unwrap();
    assert_eq!(
        json(&run(&dev, &["history", "show", attempt, "--json"]))["id"],
        attempt
    );
    let again = run(&dev, &["retry", attempt]);
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    history_until(&dev, |list| list[0]["status"] == "success");

    let all = run(
        &dev,
        &[
            "retry",
            "--endpoint",
            endpoint,
            "--since",
            "2020-01-01T00:00:00Z",
            "--json",
        ],
    );
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
    assert_eq!(json(&all)["status"], "finished");
    let filtered = [
        "--status",
        "success",
        "--event",
        "RELEASE_CREATION",
        "--endpoint",
        endpoint,
    ];
    let found = run(&dev, &[&["history", "list", "--json"][..], &filtered].concat());
    assert_eq!(json(&found).as_array().unwrap().len(), 1);
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_looked_after_from_the_command_line() {
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    let url = format!("{}/inbox/managed", dev.base_url());
    let made = json(&run(
        &dev,
        &[
            "endpoint",
            "create",
            &url,
            "--events",
            "CUSTOMER_*",
            "--name",
            "A",
            "--json",
        ],
    ));
    let id = made["id"].as_str().unwrap();
    let endpoint = |action: &str| {
        let output = run(&dev, &["endpoint", action, id]);
        assert!(
            output.status.success(),
            "{action}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let secret = endpoint("secret");
    assert_eq!(secret.trim(), made["secret"]);
    assert_ne!(endpoint("rotate"), secret);
    endpoint("disable");
    assert_eq!(
        json(&run(&dev, &["endpoint", "show", id, "--json"]))["enabled"],
        false
    );
    endpoint("enable");
    endpoint("test");
    history_until(&dev, |list| list[0]["status"] == "success");
    let inbox = curl(&["-H", "Accept: application/json", &url]);
    // Both keys sign during a rotation.
    let signatures = inbox["requests"][0]["headers"]["webhook-signature"]
        .as_str()
        .unwrap();
    assert_eq!(signatures.split(' ').count(), 2);
    assert_eq!(inbox["requests"][0]["signature"]["verified"], true);
    assert!(endpoint("stats").contains("success: 1"));
    assert!(
        String::from_utf8(run(&dev, &["endpoint", "list"]).stdout)
            .unwrap()
            .contains(id)
    );
    endpoint("delete");
    assert_eq!(
        json(&run(&dev, &["endpoint", "list", "--json"])),
        Value::Array(Vec::new())
    );
    assert!(process.terminate().await.unwrap().success());
}

/// A `demae listen` that has created its endpoint.
async fn start_listening(
    dev: &DemaeCommand,
    target: &Recorder,
    state: &std::path::Path,
) -> tokio::process::Child {
    let mut listen = tokio::process::Command::new(env!("CARGO_BIN_EXE_demae"))
        .args(["listen", "--forward-to", &target.url("/local")])
        .env("DEMAE_URL", dev.base_url())
        .env("DEMAE_DATA_DIR", dev.data_folder())
        .env("XDG_STATE_HOME", state)
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(listen.stderr.as_mut().unwrap()));
    let first = tokio::time::timeout(PATIENCE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(first.starts_with("Forwarding"), "{first}");
    listen
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_forwards_deliveries_with_their_signatures_and_cleans_up() {
    let target = Recorder::start().await;
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    let mut listen = start_listening(&dev, &target, &dev.data_folder().join("state")).await;
    assert!(run(&dev, &["trigger", "LICENSE_CREATION"]).status.success());
    let received = target.wait_for(1).await;
    assert!(
        received[0]
            .header("webhook-signature")
            .unwrap()
            .starts_with("v1,")
    );
    assert_eq!(received[0].uri.path(), "/local");

    let pid = listen.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        tokio::time::timeout(PATIENCE, listen.wait())
            .await
            .unwrap()
            .unwrap()
            .success()
    );
    assert_eq!(
        json(&run(&dev, &["endpoint", "list", "--json"])),
        Value::Array(Vec::new())
    );
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_deletes_only_endpoints_that_killed_runs_of_its_own_machine_left() {
    let target = Recorder::start().await;
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    let authorization = format!("Authorization: Bearer {}", printed_token(&dev.stdout().unwrap()));
    let mut kept = Vec::new();
    // Of a colleague's earlier version, of a colleague's machine, and of nobody's `demae listen`.
    for metadata in [
        r#"{"demaeListen": "0.0.0.0:7000"}"#,
        r#"{"demaeListen": "01890000-0000-7000-8000-000000000000"}"#,
        "{}",
    ] {
        let url = format!("{}/api/webhooks", dev.base_url());
        let body = format!(
            r#"{{"url": "{}", "eventNames": ["*"], "metadata": {metadata}}}"#,
            target.url("/colleague")
        );
        let json_type = "Content-Type: application/json";
        let made = curl(&[
            "-X",
            "POST",
            &url,
            "-H",
            &authorization,
            "-H",
            json_type,
            "-d",
            &body,
        ]);
        kept.push(made["id"].as_str().unwrap().to_owned());
    }

    let (here, elsewhere) = (
        dev.data_folder().join("here"),
        dev.data_folder().join("elsewhere"),
    );
    let mut killed = start_listening(&dev, &target, &here).await;
    killed.kill().await.unwrap();
    let endpoints = || {
        let list = json(&run(&dev, &["endpoint", "list", "--json"]));
        let id = |endpoint: &Value| endpoint["id"].as_str().unwrap().to_owned();
        list.as_array()
            .unwrap()
            .iter()
            .map(id)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let left: Vec<_> = endpoints().into_iter().filter(|id| !kept.contains(id)).collect();
    assert_eq!(left.len(), 1, "the killed run left its endpoint");

    // Another machine's run leaves it alone, though nothing listens any more; this machine's next one deletes it.
    let mut other = start_listening(&dev, &target, &elsewhere).await;
    assert!(endpoints().contains(&left[0]));
    let mut next = start_listening(&dev, &target, &here).await;
    let now = endpoints();
    assert!(!now.contains(&left[0]));
    assert!(kept.iter().all(|id| now.contains(id)), "{now:?}");
    assert_eq!(now.len(), kept.len() + 2, "both active runs keep theirs");
    other.kill().await.unwrap();
    next.kill().await.unwrap();
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_key_is_exchanged_and_an_interrupted_exchange_goes_on() {
    let dev = command("dev");
    let process = dev.start().await.unwrap();
    let url = format!("{}/inbox/demo", dev.base_url());
    let made = json(&run(&dev, &["endpoint", "create", &url, "--json"]));
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());

    let refused = run(&dev, &["secret-key", "rotate"]);
    assert_eq!(
        refused.status.code(),
        Some(1),
        "a running server does not know the new key"
    );
    assert!(String::from_utf8(refused.stderr).unwrap().contains("stop that"));
    assert!(process.terminate().await.unwrap().success());

    let file = dev.data_folder().join("secret.key");
    let old = std::fs::read_to_string(&file).unwrap();
    let rotated = run(&dev, &["secret-key", "rotate"]);
    assert!(
        rotated.status.success(),
        "{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    let new = std::fs::read_to_string(&file).unwrap();
    assert!(new != old && new.lines().count() == 1);

    // As after a run that was killed when it had stored the new key: the next one goes on with that key.
    std::fs::write(&file, format!("{}-third-key\n{new}", "0123456789".repeat(4))).unwrap();
    assert!(run(&dev, &["secret-key", "rotate"]).status.success());
    let third = std::fs::read_to_string(&file).unwrap();
    assert_eq!(third, format!("{}-third-key\n", "0123456789".repeat(4)));

    let process = dev.start().await.unwrap();
    let token = std::fs::read_to_string(dev.data_folder().join("dev.token")).unwrap();
    let path = format!("{}/api/webhooks/{id}/secret", dev.base_url());
    let shown = curl(&[&path, "-H", &format!("Authorization: Bearer {}", token.trim())]);
    assert_eq!(shown["secret"], secret, "{shown}");
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_writes_its_first_token_to_a_private_file_and_prints_none() {
    let serve = command("serve");
    let process = serve.start().await.unwrap();
    let file = serve.data_folder().join("first.token");
    for output in [serve.stdout().unwrap(), serve.stderr().unwrap()] {
        assert!(!output.contains("ksh_"), "{output}");
    }
    assert!(serve.stdout().unwrap().contains(&file.display().to_string()));
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let token = std::fs::read_to_string(&file).unwrap();
    let list = run(&serve, &["endpoint", "list", "--json", "--token", token.trim()]);
    assert_eq!(json(&list), Value::Array(Vec::new()));
    assert!(process.terminate().await.unwrap().success());
}

/// The status of a request, and its answer's text.
fn status_of(arguments: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_have_room_of_their_own() {
    let ops = demae_testkit::ports::free_port().unwrap();
    let server = command("serve")
        .setting("DEMAE_OPS_LISTEN", format!("127.0.0.1:{ops}"))
        .setting("DEMAE_CONNECTIONS", "1");
    let process = server.start().await.unwrap();
    // The last place is taken by a client that says nothing.
    let _silent = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    for path in ["healthz", "readyz", "metrics"] {
        let (status, body) = status_of(&[&format!("http://127.0.0.1:{ops}/{path}")]);
        assert_eq!(status, "200", "{path}: {body}");
    }
    let (status, _) = status_of(&[&format!("http://127.0.0.1:{ops}/api/customers")]);
    assert_eq!(status, "404");
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_refuses_requests_for_other_hosts_and_says_what_to_set() {
    let dev = command("dev").setting("DEMAE_PUBLIC_URL", "http://laptop.test:6060");
    let process = dev.start().await.unwrap();
    let url = format!("{}/", dev.base_url());
    for (host, expected) in [
        ("rebound.test", "421"),
        ("laptop.test:6060", "200"),
        ("localhost:1", "200"),
    ] {
        let (status, body) = status_of(&["-H", &format!("Host: {host}"), &url]);
        assert_eq!(status, expected, "{host}: {body}");
        assert_eq!(body.contains("DEMAE_PUBLIC_URL"), status == "421", "{body}");
    }
    assert!(process.terminate().await.unwrap().success());
}
