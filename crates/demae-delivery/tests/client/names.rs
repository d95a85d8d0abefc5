//! Names with several addresses, name servers that keep silent, and names that move (RFC 8305).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use demae_delivery::client::{
    ClientSettings, DeliveryClient, ErrorKind, Lookup, Resolve, ResolveError, SystemResolver,
};
use demae_testkit::receiver::Recorder;
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio_util::task::AbortOnDropHandle;

use super::support::{AMPLE, ScriptedResolver, allowing, client, post};

/// The timeout of an endpoint with `timeoutSeconds: 2`.
const TWO_SECONDS: Duration = Duration::from_secs(2);

/// A name server that gives every name the address 127.0.0.1 and never answers a question for IPv6.
async fn silent_about_ipv6() -> (SocketAddr, AbortOnDropHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut buffer = [0; 1_500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut answer = Message::from_vec(&buffer[..length]).unwrap().into_response();
            let asked = answer.queries[0].clone();
            if asked.query_type() == RecordType::A {
                let data = RData::A(A::new(127, 0, 0, 1));
                answer.add_answer(Record::from_rdata(asked.name().clone(), 300, data));
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        }
    });
    (address, AbortOnDropHandle::new(server))
}

#[tokio::test]
async fn a_name_server_that_is_silent_about_ipv6_costs_no_delivery() {
    let (name_server, _server) = silent_about_ipv6().await;
    let recorder = Recorder::start().await;
    let settings = ClientSettings {
        policy: allowing(&["127.0.0.0/8"]),
        ..ClientSettings::default()
    };
    let resolver = SystemResolver::with_name_servers(&[name_server]).unwrap();
    let client = DeliveryClient::new(&settings, Arc::new(resolver)).unwrap();
    for host in ["one.example.com", "two.example.com"] {
        let url = format!("http://{host}:{}/", recorder.address().port());
        assert_eq!(post(&client, &url, "{}", TWO_SECONDS).await.unwrap().status, 200);
    }
}

/// An address that answers nothing: its queue of connections is full, so the system drops the next ones.
async fn silent_listener(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
    }
    (listener, waiting)
}

#[tokio::test]
async fn a_silent_address_does_not_hold_up_a_working_one() {
    let recorder = Recorder::start().await;
    let port = recorder.address().port();
    let _silent = silent_listener(SocketAddr::new([127, 0, 0, 4].into(), port)).await;
    let resolver = ScriptedResolver::knowing("two.example.com", &[&["127.0.0.4", "127.0.0.1"]]);
    let client = client(allowing(&["127.0.0.0/8"]), resolver);
    let url = format!("http://two.example.com:{port}/");
    assert_eq!(post(&client, &url, "{}", TWO_SECONDS).await.unwrap().status, 200);
}

/// Gives one address at once and others when it is asked for the rest.
struct InParts(IpAddr, Vec<IpAddr>);

#[async_trait]
impl Resolve for InParts {
    async fn resolve(&self, _: &str) -> Result<Lookup, ResolveError> {
        let late = self.1.clone();
        let rest = async move {
            tokio::task::yield_now().await;
            late
        };
        Ok(Lookup {
            addresses: vec![self.0],
            rest: Some(Box::pin(rest)),
        })
    }
}

#[tokio::test]
async fn addresses_that_come_late_are_checked_and_tried() {
    let recorder = Recorder::start().await;
    let url = format!("http://parts.example.com:{}/", recorder.address().port());
    let late = || vec![[10, 0, 0, 1].into(), [127, 0, 0, 1].into()];
    // Nothing listens at 127.0.0.3, and the second policy refuses it.
    for (allowed, works) in [
        ("127.0.0.0/8", true),
        ("127.0.0.1/32", true),
        ("127.0.0.3/32", false),
    ] {
        let settings = ClientSettings {
            policy: allowing(&[allowed]),
            ..ClientSettings::default()
        };
        let resolver = Arc::new(InParts([127, 0, 0, 3].into(), late()));
        let client = DeliveryClient::new(&settings, resolver).unwrap();
        match post(&client, &url, "{}", AMPLE).await {
            Ok(outcome) => assert!(works && outcome.status == 200, "{allowed}"),
            Err(failure) => assert!(!works && failure.kind == ErrorKind::ConnectRefused, "{failure}"),
        }
    }
}

#[tokio::test]
async fn a_receiver_that_moves_is_found_while_traffic_goes_on() {
    let old = Recorder::start().await;
    let port = old.address().port();
    let new = TcpListener::bind((IpAddr::from([127, 0, 0, 5]), port))
        .await
        .unwrap();
    let resolver = ScriptedResolver::knowing("moving.example.com", &[&["127.0.0.1"], &["127.0.0.5"]]);
    let settings = ClientSettings {
        policy: allowing(&["127.0.0.0/8"]),
        connection_age: Duration::from_mins(1),
        idle_timeout: Duration::from_hours(1),
        ..ClientSettings::default()
    };
    let client = DeliveryClient::new(&settings, resolver).unwrap();
    let url = format!("http://moving.example.com:{port}/");
    for _ in 0..3 {
        post(&client, &url, "{}", AMPLE).await.unwrap();
    }
    assert_eq!(old.connections().get(), 1, "the connection is kept for its age");
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(1)).await;
    tokio::time::resume();
    tokio::select! {
        outcome = post(&client, &url, "{}", AMPLE) => panic!("the old address answered: {outcome:?}"),
        accepted = new.accept() => drop(accepted.unwrap()),
    }
}
