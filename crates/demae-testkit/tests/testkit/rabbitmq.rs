//! Private RabbitMQ nodes: separate, stoppable in every way, and gone when nobody holds them.

use std::{fs::File, path::PathBuf, process::Stdio};

use demae_testkit::rabbitmq::{PrivateRabbitMq, TestBroker};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    process::Command,
};

#[tokio::test]
async fn virtual_hosts_of_the_shared_node_are_separate() {
    let one = TestBroker::create().await.unwrap();
    let other = TestBroker::create().await.unwrap();
    one.administration()
        .declare_queue("dishes", "quorum")
        .await
        .unwrap();
    assert_eq!(one.administration().queue_kind("dishes").await.unwrap(), "quorum");
    other.administration().queue_kind("dishes").await.unwrap_err();
    assert_eq!(one.address(), other.address());
}

#[tokio::test]
async fn a_node_is_stopped_killed_and_started_again() {
    let node = PrivateRabbitMq::start().await.unwrap();
    node.administration()
        .declare_queue("dishes", "classic")
        .await
        .unwrap();
    node.stop().await.unwrap();
    TcpStream::connect(node.address()).await.unwrap_err();
    node.start_again().await.unwrap();
    assert_eq!(
        node.administration().queue_kind("dishes").await.unwrap(),
        "classic"
    );
    // A frozen node can be killed, too.
    node.freeze().unwrap();
    node.kill().await.unwrap();
    TcpStream::connect(node.address()).await.unwrap_err();
}

#[tokio::test]
async fn a_killed_holder_leaves_no_process_behind() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "rabbitmq::holds_a_node_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let folder = loop {
        let line = lines
            .next_line()
            .await
            .unwrap()
            .expect("the holder prints its URL");
        if let Some((_, file)) = line.split_once("cacertfile=") {
            break PathBuf::from(file).parent().unwrap().to_owned();
        }
    };
    let processes = ["pid", "epmd.pid"].map(|file| std::fs::read_to_string(folder.join(file)).unwrap());
    // The supervisor keeps this locked until it has done its work.
    let supervisor = File::open(folder.join("supervisor")).unwrap();
    holder.kill().await.unwrap();
    tokio::task::spawn_blocking(move || supervisor.lock().unwrap())
        .await
        .unwrap();
    assert!(!folder.exists(), "{} is still there", folder.display());
    for process in processes {
        // What remains of a process that nobody waited for has no command line.
        let line = std::fs::read(format!("/proc/{}/cmdline", process.trim())).unwrap_or_default();
        assert!(line.is_empty(), "{} still runs", process.trim());
    }
}

#[tokio::test]
#[ignore = "a part of the test above, which runs it in a process of its own"]
async fn holds_a_node_until_killed() {
    let node = PrivateRabbitMq::start().await.unwrap();
    node.freeze().unwrap();
    println!("{}", node.tls_url());
    std::future::pending::<()>().await;
}
