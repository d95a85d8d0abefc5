//! The command line as a person or a script meets it: help, exit codes, what goes to which stream.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    path::Path,
    process::{Command, Output},
};

use demae_signature::standard::{SigningKey, sign};

fn demae(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_demae"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_names_every_fixed_command_and_the_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let output = demae(folder.path(), &["--help"]);
    let help = text(&output.stdout);
    let commands = [
        "dev", "serve", "listen", "trigger", "events", "org", "token", "attach", "endpoint", "history",
        "retry", "migrate", "doctor", "verify", "openapi",
    ];
    for command in commands {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{command} in {help}"
        );
        let own = demae(folder.path(), &[command, "--help"]);
        assert_eq!(own.status.code(), Some(0), "{command}");
    }
    assert!(help.contains("Exit codes:"), "{help}");
    assert!(text(&demae(folder.path(), &["serve", "--help"]).stdout).contains("--roles"));
    assert!(text(&demae(folder.path(), &["listen", "--help"]).stdout).contains("--forward-to"));
    assert_eq!(demae(folder.path(), &["frobnicate"]).status.code(), Some(2));
}

#[test]
fn wrong_settings_end_with_code_2_and_name_every_fault() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("demae.toml"),
        "lissten = \"x\"\nlog_format = \"xml\"\n",
    )
    .unwrap();
    let output = demae(folder.path(), &["serve", "--listen", "6000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let told = text(&output.stderr);
    for part in [
        "3 settings are wrong",
        "lissten (demae.toml)",
        "did you mean listen?",
        "listen (flag --listen)",
        "log_format",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!folder.path().join("demae-data").exists(), "nothing was begun");
}

#[test]
fn the_catalogue_is_printed_for_people_and_for_machines() {
    let folder = tempfile::tempdir().unwrap();
    let table = text(&demae(folder.path(), &["events"]).stdout);
    assert!(
        table.contains("CUSTOMER_CREATION") && table.contains("com.kaiten.customer.v1.created"),
        "{table}"
    );
    let list: serde_json::Value =
        serde_json::from_slice(&demae(folder.path(), &["events", "--json"]).stdout).unwrap();
    let list = list.as_array().unwrap();
    assert!(list.len() >= 27);
    assert!(
        list.iter()
            .all(|event| event["schema"].is_object() && event["example"].is_object())
    );
}

#[test]
fn the_default_settings_can_be_printed_and_used_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let defaults = demae(folder.path(), &["serve", "--print-defaults"]).stdout;
    std::fs::write(folder.path().join("demae.toml"), &defaults).unwrap();
    let output = demae(folder.path(), &["migrate", "--check"]);
    // Nothing is migrated yet, and that is all there is to say.
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

#[test]
fn openapi_is_printed_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let document: serde_json::Value =
        serde_json::from_slice(&demae(folder.path(), &["openapi"]).stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(text(&demae(folder.path(), &["openapi", "--yaml"]).stdout).starts_with("openapi:"));
}

#[test]
fn a_received_webhook_is_verified_offline() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::generate_hmac();
    let secret = key.secret_text();
    let body = r#"{"name":"CUSTOMER_CREATION"}"#;
    std::fs::write(folder.path().join("body"), body).unwrap();
    let signature = sign([&key], "msg_1", 1_700_000_000, body.as_bytes());
    std::fs::write(
        folder.path().join("headers"),
        format!("POST / HTTP/1.1\r\nWebhook-Id: msg_1\r\nWebhook-Timestamp: 1700000000\r\nWebhook-Signature: {signature}\r\n"),
    )
    .unwrap();
    let verify = |more: &[&str]| {
        let base = [
            "verify",
            "--secret",
            &secret,
            "--headers-file",
            "headers",
            "--body",
            "body",
        ];
        demae(folder.path(), &[&base[..], more].concat())
    };

    let genuine = verify(&["--any-time"]);
    assert_eq!(genuine.status.code(), Some(0), "{}", text(&genuine.stderr));
    assert!(text(&genuine.stdout).contains("genuine: msg_1"));

    let old = verify(&[]);
    assert_eq!(old.status.code(), Some(1));
    assert!(text(&old.stderr).contains("--any-time"));

    std::fs::write(folder.path().join("body"), "{}").unwrap();
    let forged = verify(&["--any-time", "--json"]);
    assert_eq!(forged.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&forged.stdout).unwrap();
    assert_eq!(report["verified"], false);
}

#[test]
fn a_client_command_without_server_or_token_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let without_token = demae(folder.path(), &["history", "list"]);
    assert_eq!(without_token.status.code(), Some(1));
    assert!(text(&without_token.stderr).contains("DEMAE_TOKEN"));

    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{unused}");
    let without_server = demae(
        folder.path(),
        &["history", "list", "--url", &url, "--token", "ksh_x"],
    );
    assert_eq!(without_server.status.code(), Some(1));
    assert!(text(&without_server.stderr).contains("cannot reach the server"));
}

#[test]
fn operators_make_organizations_and_tokens_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let made = demae(folder.path(), &["org", "create", "Example", "--json"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made["token"].as_str().unwrap().starts_with("ksh_"));

    let token = demae(
        folder.path(),
        &["token", "create", "CI", "--scopes", "read:webhooks"],
    );
    assert_eq!(token.status.code(), Some(0), "{}", text(&token.stderr));
    assert!(text(&token.stdout).starts_with("ksh_"));
    let refused = demae(
        folder.path(),
        &["token", "create", "CI 2", "--scopes", "read:everything"],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        demae(folder.path(), &["token", "revoke", "administrator", "ci"])
            .status
            .code(),
        Some(0)
    );

    let list: serde_json::Value =
        serde_json::from_slice(&demae(folder.path(), &["token", "list", "--json"]).stdout).unwrap();
    let tokens = list[0]["tokens"].as_array().unwrap();
    let ci = tokens.iter().find(|token| token["slug"] == "ci").unwrap();
    assert!(ci["revokedAt"].is_string());

    demae(folder.path(), &["org", "create", "Second"]);
    let ambiguous = demae(folder.path(), &["token", "list"]);
    assert_eq!(ambiguous.status.code(), Some(1));
    assert!(text(&ambiguous.stderr).contains("--organization"));
}
