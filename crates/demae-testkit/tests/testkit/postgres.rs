//! Private Postgres servers: separate, durable when asked to be, and gone when nobody holds them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use demae_testkit::postgres::{Durability, PrivatePostgres, TestDatabase};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

/// What `psql` answers, or its complaint.
async fn ask(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--command",
            sql,
            url,
        ])
        .output()
        .await
        .expect("psql comes with the server's package");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn databases_of_the_shared_cluster_are_separate() {
    let one = TestDatabase::create().await.unwrap();
    let other = TestDatabase::create().await.unwrap();
    ask(&one.url(), "create table dish (name text)").await.unwrap();
    assert_eq!(
        ask(&other.url(), "select to_regclass('dish') is null")
            .await
            .unwrap(),
        "t"
    );
    assert_eq!(one.address(), other.address());
    assert_eq!(ask(&one.url(), "show wal_level").await.unwrap(), "logical");
    assert_eq!(ask(&one.url(), "show fsync").await.unwrap(), "off");
}

#[tokio::test]
async fn a_database_goes_with_its_value() {
    let kept = TestDatabase::create().await.unwrap();
    let gone = TestDatabase::create().await.unwrap().url();
    let error = ask(&gone, "select 1").await.unwrap_err();
    assert!(error.contains("does not exist"), "{error}");
    assert_eq!(ask(&kept.url(), "select 1").await.unwrap(), "1");
}

#[tokio::test]
async fn a_commit_survives_a_crash_of_the_server() {
    let server = PrivatePostgres::start(Durability::Full).await.unwrap();
    let url = server.create_database().await.unwrap();
    assert_eq!(ask(&url, "show fsync").await.unwrap(), "on");
    ask(
        &url,
        "create table dish (name text); insert into dish values ('ramen')",
    )
    .await
    .unwrap();

    server.stop_immediate().await.unwrap();
    ask(&url, "select 1").await.unwrap_err();
    server.start_again().await.unwrap();
    assert_eq!(ask(&url, "select name from dish").await.unwrap(), "ramen");

    server.restart().await.unwrap();
    assert_eq!(ask(&url, "select name from dish").await.unwrap(), "ramen");
}

#[tokio::test]
async fn a_killed_holder_leaves_nothing_behind() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "postgres::holds_a_server_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let url = loop {
        let line = lines
            .next_line()
            .await
            .unwrap()
            .expect("the holder prints its URL");
        // The harness may have begun the line with the name of the test.
        if let Some(start) = line.find("postgres://") {
            break line[start..].to_owned();
        }
    };
    let data = PathBuf::from(ask(&url, "show data_directory").await.unwrap());
    let folder = data.parent().unwrap().to_owned();
    // The supervisor keeps this locked until it has done its work.
    let supervisor = File::open(folder.join("supervisor")).unwrap();
    assert!(supervisor.try_lock().is_err(), "the supervisor is at work");

    holder.kill().await.unwrap();
    tokio::task::spawn_blocking(move || supervisor.lock().unwrap())
        .await
        .unwrap();
    assert!(
        !Path::new(&folder).exists(),
        "{} is still there",
        folder.display()
    );
    ask(&url, "select 1").await.unwrap_err();
}

#[tokio::test]
#[ignore = "a part of the test above, which runs it in a process of its own"]
async fn holds_a_server_until_killed() {
    let server = PrivatePostgres::start(Durability::None).await.unwrap();
    println!("{}", server.create_database().await.unwrap());
    std::future::pending::<()>().await;
}
