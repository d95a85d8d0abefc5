//! Somebody else's database, attached with the real binary, written to by the programs that docs/attaching.md shows, and
//! delivered to a receiver. Demae's own outbox is read from the write-ahead log meanwhile.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[expect(unreachable_pub, reason = "it is shown as part of somebody's program")]
#[path = "../../../examples/attach/rust/place_order.rs"]
mod rust_example;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use demae_testkit::{
    api::Api,
    examples,
    postgres::{Durability, PrivatePostgres, TestDatabase},
    process::DemaeCommand,
    receiver::Recorder,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const TOKEN: &str = "ksh_0123456789abcdefghijklmnopqrstuvwxyzABCD";
/// Not to be found in anything that is printed.
const PASSWORD: &str = "hunter2hunter2";

/// A database of somebody else, and the URL of its owner.
struct Shop {
    url: String,
    slot: String,
    _database: TestDatabase,
}

impl Shop {
    async fn create() -> Self {
        let database = TestDatabase::create().await.unwrap();
        let slot = database.url().rsplit('/').next().unwrap().to_owned();
        let role = format!("owner_{slot}");
        run_sql(
            &database.url(),
            format!(
                "CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{PASSWORD}'; \
                 ALTER DATABASE {slot} OWNER TO {role}; GRANT ALL ON SCHEMA public TO {role}; \
                 CREATE TABLE orders (number int PRIMARY KEY); ALTER TABLE orders OWNER TO {role}"
            ),
        )
        .await;
        let (_, address) = database
            .url()
            .rsplit_once('@')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        Self {
            url: format!("postgres://{role}:{PASSWORD}@{address}"),
            slot,
            _database: database,
        }
    }

    fn attach(&self, arguments: &[&str]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        Command::new(env!("CARGO_BIN_EXE_demae"))
            .args(["attach", &self.url, "--name", "shop", "--slot", &self.slot])
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .output()
            .unwrap()
    }
}

async fn run_sql(url: &str, statements: String) {
    let mut sql = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(&mut sql)
        .await
        .unwrap();
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!out.contains(PASSWORD) && !err.contains(PASSWORD), "{out}{err}");
    (out, err)
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_programs_write_and_a_receiver_gets_it() {
    let shop = Shop::create().await;
    let attached = shop.attach(&["--yes"]);
    let (out, err) = printed(&attached);
    assert!(attached.status.success(), "{err}");
    let entry = &out[out.find("[[source]]").unwrap()..];

    let own = TestDatabase::create().await.unwrap();
    let command = DemaeCommand::of(env!("CARGO_BIN_EXE_demae"), "dev")
        .unwrap()
        .setting("DEMAE_BOOTSTRAP_TOKEN", TOKEN)
        .setting("DEMAE_DATABASE_URL", own.url())
        .setting("DEMAE_OUTBOX_SOURCE", "wal")
        .setting("DEMAE_OUTBOX_SLOT", format!("own_{}", shop.slot))
        .setting("SHOP_DATABASE_URL", &shop.url);
    std::fs::write(command.data_folder().parent().unwrap().join("demae.toml"), entry).unwrap();
    let process = command.start().await.unwrap();
    let api = Api::new(command.base_url(), TOKEN);
    let receiver = Recorder::start().await;
    api.post(
        "/api/webhooks",
        &json!({ "url": receiver.url("/"), "eventNames": ["*"] }),
    )
    .await;

    // An event of Demae's own, which says who the organization is.
    api.post("/api/customers", &json!({ "name": "Somebody" })).await;
    let first = body(&receiver.wait_for(1).await[0].body);
    assert_eq!(first["name"], "CUSTOMER_CREATION");
    let organization = first["data"]["organizationId"].as_str().unwrap();

    let variables = [("DATABASE_URL", shop.url.as_str())];
    let python = repository("examples/attach/python/place_order.py");
    examples::python(&python, &[organization, "1"], &variables)
        .await
        .unwrap();
    let node = repository("examples/attach/node/place_order.js");
    examples::node(&node, &[organization, "2"], &variables)
        .await
        .unwrap();
    rust_example::place_order(&shop.url, organization, 3)
        .await
        .unwrap();
    // Twice the same order: the transaction fails, and its event with it.
    assert!(
        rust_example::place_order(&shop.url, organization, 3)
            .await
            .is_err()
    );
    rust_example::place_order(&shop.url, organization, 4)
        .await
        .unwrap();

    let deliveries = receiver.wait_for(5).await;
    let bodies: Vec<Value> = deliveries[1..]
        .iter()
        .map(|delivery| body(&delivery.body))
        .collect();
    for body in &bodies {
        assert_eq!(
            (&body["name"], &body["type"]),
            (&json!("ORDER_PLACED"), &json!("com.example.order.placed"))
        );
    }
    let numbers: BTreeSet<_> = bodies
        .iter()
        .filter_map(|body| body["data"]["number"].as_i64())
        .collect();
    assert_eq!(numbers, BTreeSet::from([1, 2, 3, 4]));
    assert!(process.terminate().await.unwrap().success());
    let (out, err) = (command.stdout().unwrap(), command.stderr().unwrap());
    assert!(!out.contains(PASSWORD) && !err.contains(PASSWORD), "{out}{err}");
}

fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_statements_and_changes_nothing() {
    let shop = Shop::create().await;
    for _ in 0..2 {
        let shown = shop.attach(&["--dry-run"]);
        let (out, err) = printed(&shown);
        assert!(shown.status.success(), "{err}");
        for part in [
            "CREATE TABLE",
            "demae_emit",
            "CREATE PUBLICATION",
            "pg_create_logical_replication_slot",
        ] {
            assert!(out.contains(part), "{part} in {out}");
        }
        assert!(!out.contains("[[source]]"), "{out}");
    }
    // Without a terminal there is nobody to ask.
    let asked = shop.attach(&[]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(printed(&asked).1.contains("--yes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_attach_has_said_whom_it_waits_for_and_leaves_no_half_made_slot() {
    let postgres = PrivatePostgres::start(Durability::None).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE unrelated (n int); BEGIN; INSERT INTO unrelated VALUES (1)")
        .execute(&mut other)
        .await
        .unwrap();
    let mut attach = tokio::process::Command::new(env!("CARGO_BIN_EXE_demae"))
        .args(["attach", &url, "--yes"])
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(attach.stderr.take().unwrap()).lines();
    loop {
        let line = said.next_line().await.unwrap().expect("it never waited");
        if line.starts_with("waiting for") {
            assert!(
                line.contains("s for pid ") && line.contains("idle in transaction"),
                "{line}"
            );
            break;
        }
    }
    let pid = attach.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(attach.wait().await.unwrap().code(), Some(1));
    let mut rest = String::new();
    while let Some(line) = said.next_line().await.unwrap() {
        rest.push_str(&line);
    }
    assert!(rest.contains("no half-made slot is left"), "{rest}");
    let slots: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_replication_slots")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!(slots, 0);
}

#[test]
fn the_documentation_shows_the_programs_that_are_run() {
    let documentation = std::fs::read_to_string(repository("docs/attaching.md")).unwrap();
    for path in [
        "examples/attach/python/place_order.py",
        "examples/attach/node/place_order.js",
        "examples/attach/rust/place_order.rs",
    ] {
        let program = std::fs::read_to_string(repository(path)).unwrap();
        assert!(documentation.contains(program.trim()), "{path} is shown as it is");
    }
}
