//! The fault proxy, in front of a server that sends back what it gets.

use std::net::SocketAddr;

use demae_testkit::proxy::FaultProxy;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Echoes, and reports every piece it received.
async fn echo_server() -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (seen, pieces) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let _ = seen.send(buffer[..read].to_vec());
                    let _ = stream.write_all(&buffer[..read]).await;
                }
            });
        }
    });
    (address, pieces)
}

async fn echo(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn nothing_is_heard_of_a_lost_connection_and_new_ones_pass() {
    let (server, mut pieces) = echo_server().await;
    let proxy = FaultProxy::start(server).await.unwrap();
    let mut lost = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(echo(&mut lost, "one").await.unwrap(), "one");
    proxy.lose();
    lost.write_all(b"two").await.unwrap();
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    for _ in 0..100 {
        assert_eq!(echo(&mut next, "next").await.unwrap(), "next");
    }
    proxy.stall();
    proxy.pass();
    assert_eq!(echo(&mut next, "next").await.unwrap(), "next");
    let mut seen = Vec::new();
    while let Ok(piece) = pieces.try_recv() {
        seen.push(piece);
    }
    assert!(!seen.contains(&b"two".to_vec()), "nothing comes through");
    let mut nothing = [0; 1];
    assert!(lost.try_read(&mut nothing).is_err(), "and nobody says so");
}

#[tokio::test]
async fn a_stalled_connection_goes_on_where_it_stood() {
    let (server, mut pieces) = echo_server().await;
    let proxy = FaultProxy::start(server).await.unwrap();
    let mut through = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(echo(&mut through, "one").await.unwrap(), "one");

    proxy.stall();
    through.write_all(b"two").await.unwrap();
    let mut beside = TcpStream::connect(server).await.unwrap();
    for _ in 0..100 {
        assert_eq!(echo(&mut beside, "beside").await.unwrap(), "beside");
    }
    let mut seen = Vec::new();
    while let Ok(piece) = pieces.try_recv() {
        seen.push(piece);
    }
    assert!(!seen.contains(&b"two".to_vec()), "nothing passes a stalled proxy");

    proxy.pass();
    let mut answer = [0; 3];
    through.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"two");
}

#[tokio::test]
async fn a_cut_resets_old_and_new_connections_until_it_passes_again() {
    let (server, _pieces) = echo_server().await;
    let proxy = FaultProxy::start(server).await.unwrap();
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(echo(&mut old, "one").await.unwrap(), "one");

    proxy.cut().await.unwrap();
    echo(&mut old, "two").await.unwrap_err();
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    echo(&mut new, "three").await.unwrap_err();

    proxy.pass();
    let mut again = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(echo(&mut again, "four").await.unwrap(), "four");
    drop(again);
    proxy.wait_for_open(|open| open == 0).await.unwrap();
}

#[tokio::test]
async fn a_url_is_led_through_the_proxy() {
    let proxy = FaultProxy::start(([127, 0, 0, 1], 1).into()).await.unwrap();
    let led = proxy
        .in_front_of("postgres://user:pass@127.0.0.1:5432/name?sslmode=disable")
        .unwrap();
    assert_eq!(
        led,
        format!("postgres://user:pass@{}/name?sslmode=disable", proxy.address())
    );
}

#[tokio::test]
async fn a_slow_connection_keeps_every_piece_back_and_loses_none() {
    let (server, _pieces) = echo_server().await;
    let proxy = FaultProxy::start(server).await.unwrap();
    let mut through = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(echo(&mut through, "one").await.unwrap(), "one");
    let delay = std::time::Duration::from_millis(20);
    proxy.slow(delay);
    let begun = tokio::time::Instant::now();
    assert_eq!(echo(&mut through, "two").await.unwrap(), "two");
    // A lower bound: a busy machine only makes it longer.
    assert!(begun.elapsed() >= 2 * delay, "there and back, each was kept back");
    proxy.pass();
    assert_eq!(echo(&mut through, "three").await.unwrap(), "three");
}
