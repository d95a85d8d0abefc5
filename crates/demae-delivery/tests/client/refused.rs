//! Nothing inward is ever connected to, however it is spelled or found.

use std::net::SocketAddr;
use std::sync::Arc;

use demae_delivery::client::{AddressPolicy, DeliveryClient, EndpointUrl, ErrorKind, ResolveError};
use demae_testkit::receiver::{Answer, Behaviour, Receiver, Recorder};
use tokio::net::{TcpListener, TcpStream};

use super::support::{AMPLE, ScriptedResolver, allowing, client, local_client, post};

/// Spellings of inward hosts; the port of a real listener is put in. Most reach loopback if connected to, where the
/// listener would notice; the others are asserted by the kind of the failure alone.
const INWARD_HOSTS: &[&str] = &[
    // IPv4 loopback in every notation of the WHATWG host parser.
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7F.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "00000177.0.0.1",
    "0177.0x0.0.1",
    "127.0x1",
    "0x7f.1",
    // The same in other digits and dots, and percent-encoded.
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127．0．0．1",
    "%31%32%37.%30.%30.%31",
    "127%2e0%2e0%2e1",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    // User names that look like hosts.
    "example.com@127.0.0.1",
    "example.com:80@127.0.0.1",
    "example.com%40@127.0.0.1",
    "8.8.8.8@127.1",
    // Unspecified, which the system connects to loopback.
    "0.0.0.0",
    "0",
    "0x0",
    "0.0.0",
    "[::]",
    // Other special IPv4 ranges.
    "10.0.0.1",
    "012.0.0.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "0xc0a80001",
    "100.64.0.1",
    "169.254.1.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    // Metadata services.
    "169.254.169.254",
    "0xA9FEA9FE",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[::ffff:169.254.169.254]",
    // IPv6, and IPv4 inside of it.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:FFFF:7F00:0001]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:1:2:3:4:80ff:fffe]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "[5f00::1]",
    "[fc00::1]",
    "[fd12:3456:789a::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2606:4700::5efe:10.0.0.1]",
    "[::ffff:0.0.0.0]",
];

/// Names, with the addresses that a hostile name server gives for them.
const INWARD_NAMES: &[(&str, &[&str])] = &[
    ("loop.example.com", &["127.0.0.1"]),
    ("loop6.example.com", &["::1"]),
    ("mapped.example.com", &["::ffff:127.0.0.1"]),
    ("nat64.example.com", &["64:ff9b::7f00:1"]),
    ("sixtofour.example.com", &["2002:7f00:1::"]),
    ("zero.example.com", &["0.0.0.0"]),
    ("private.example.com", &["10.0.0.1", "192.168.1.1", "fd00::1"]),
    ("metadata.example.com", &["169.254.169.254"]),
    ("localhost", &["127.0.0.1", "::1"]),
    ("localhost.", &["127.0.0.1"]),
    ("metadata.google.internal", &["169.254.169.254"]),
    ("127.0.0.1.nip.io", &["127.0.0.1"]),
    ("example.com.", &["127.0.0.1"]),
    // As normalised from `ＬＯＣＡＬＨＯＳＴ` and from a name with a soft hyphen.
    ("ｌｏｃａｌｈｏｓｔ", &["127.0.0.1"]),
    ("local\u{ad}host", &["127.0.0.1"]),
];

/// A listener that can tell whether anybody ever connected.
struct Witness {
    listener: TcpListener,
    address: SocketAddr,
}

impl Witness {
    /// On every IPv4 address and a free port.
    async fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = SocketAddr::new([127, 0, 0, 1].into(), listener.local_addr().unwrap().port());
        Self { listener, address }
    }

    async fn at(address: SocketAddr) -> Self {
        Self {
            listener: TcpListener::bind(address).await.unwrap(),
            address,
        }
    }

    /// Connections are taken in the order in which they were made: if ours is the first, there was none before it.
    async fn assert_nobody_came(&self) {
        let ours = TcpStream::connect(self.address).await.unwrap();
        let (_, first) = self.listener.accept().await.unwrap();
        assert_eq!(first, ours.local_addr().unwrap(), "somebody connected");
    }
}

async fn assert_refused(client: &DeliveryClient, url: &str) {
    // A URL that is refused when it is registered never gets further.
    let Ok(_) = EndpointUrl::parse(url, false) else {
        return;
    };
    let failure = post(client, url, "{}", AMPLE).await.expect_err(url);
    assert_eq!(failure.kind, ErrorKind::AddressRefused, "{url}: {failure}");
    assert_eq!(failure.status, None);
}

#[tokio::test]
async fn no_inward_spelling_connects() {
    assert!(INWARD_HOSTS.len() + INWARD_NAMES.len() >= 60);
    let witness = Witness::start().await;
    let port = witness.address.port();
    let resolver = Arc::new(ScriptedResolver::default());
    for (name, addresses) in INWARD_NAMES {
        resolver.learn(
            EndpointUrl::parse(&format!("http://{name}/"), false)
                .unwrap()
                .uri()
                .host()
                .unwrap(),
            &[addresses],
        );
    }
    let client = client(AddressPolicy::default(), Arc::clone(&resolver));

    let names = INWARD_NAMES.iter().map(|(name, _)| *name);
    for host in INWARD_HOSTS.iter().copied().chain(names) {
        assert_refused(&client, &format!("http://{host}:{port}/hook")).await;
        assert_refused(&client, &format!("https://{host}:{port}/hook")).await;
    }
    witness.assert_nobody_came().await;
    assert_eq!(
        resolver.lookups(),
        2 * INWARD_NAMES.len(),
        "every name was really looked up, and no address was"
    );
}

#[tokio::test]
async fn every_inward_spelling_is_a_url() {
    // Otherwise the test above would pass for spellings that nobody can register anyway.
    for host in INWARD_HOSTS {
        assert!(
            EndpointUrl::parse(&format!("http://{host}:8080/"), false).is_ok(),
            "{host}"
        );
    }
}

#[tokio::test]
async fn the_same_spellings_connect_when_loopback_is_allowed() {
    // The counterpart: the corpus is refused by the policy, and not because nothing could ever connect.
    let recorder = Recorder::start().await;
    let client = local_client();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "１２７.０.０.１",
        "example.com@127.0.0.1",
    ] {
        let url = format!("http://{host}:{}/hook", recorder.address().port());
        assert_eq!(
            post(&client, &url, "{}", AMPLE).await.unwrap().status,
            200,
            "{host}"
        );
    }
    assert_eq!(recorder.received().get(), 5);
}

#[tokio::test]
async fn a_name_that_changes_its_answer_is_checked_again() {
    let recorder = Recorder::start().await;
    recorder.answer(Answer::ok().header("connection", "close"));
    let witness = Witness::start().await;
    // The first answer is allowed; the second leads to an address that is not, where somebody does listen.
    let resolver = ScriptedResolver::knowing("rebind.example.com", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let client = client(allowing(&["127.0.0.1/32"]), Arc::clone(&resolver));
    let first = format!("http://rebind.example.com:{}/", recorder.address().port());
    let second = format!("http://rebind.example.com:{}/", witness.address.port());

    assert_eq!(post(&client, &first, "{}", AMPLE).await.unwrap().status, 200);
    let failure = post(&client, &first, "{}", AMPLE).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::AddressRefused);
    let failure = post(&client, &second, "{}", AMPLE).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::AddressRefused);

    assert_eq!(recorder.connections().get(), 1);
    witness.assert_nobody_came().await;
    assert_eq!(resolver.lookups(), 3);
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_a_connect() {
    // Between check and connect there is no second look-up whose answer could differ.
    let recorder = Recorder::start().await;
    let resolver = ScriptedResolver::knowing("flip.example.com", &[&["127.0.0.1"], &["10.0.0.1"]]);
    let client = client(allowing(&["127.0.0.1/32"]), Arc::clone(&resolver));
    let url = format!("http://flip.example.com:{}/", recorder.address().port());
    assert_eq!(post(&client, &url, "{}", AMPLE).await.unwrap().status, 200);
    assert_eq!(resolver.lookups(), 1);
    let host = format!("flip.example.com:{}", recorder.address().port());
    assert_eq!(recorder.requests()[0].header("host"), Some(&*host));
}

#[tokio::test]
async fn of_mixed_addresses_only_the_allowed_are_tried() {
    let recorder = Recorder::start().await;
    // Somebody listens at the refused address too, on the same port.
    let witness = Witness::at(SocketAddr::new([127, 0, 0, 9].into(), recorder.address().port())).await;
    let resolver = ScriptedResolver::knowing("mixed.example.com", &[&["127.0.0.9", "10.0.0.1", "127.0.0.1"]]);
    let client = client(allowing(&["127.0.0.1/32"]), resolver);
    let url = format!("http://mixed.example.com:{}/", recorder.address().port());
    assert_eq!(post(&client, &url, "{}", AMPLE).await.unwrap().status, 200);
    witness.assert_nobody_came().await;
}

#[tokio::test]
async fn a_dead_address_does_not_hide_a_working_one() {
    let recorder = Recorder::start().await;
    // Nothing listens at 127.0.0.3: the recorder is bound to 127.0.0.1 alone.
    let resolver = ScriptedResolver::knowing("two.example.com", &[&["127.0.0.3", "127.0.0.1"]]);
    let client = client(allowing(&["127.0.0.0/8"]), resolver);
    let url = format!("http://two.example.com:{}/", recorder.address().port());
    assert_eq!(post(&client, &url, "{}", AMPLE).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_redirect_inward_is_reported_and_not_followed() {
    let inner = Recorder::start().await;
    for status in [301, 302, 303, 307, 308] {
        let outer = Receiver::start(Behaviour::redirect(status, &inner.url("/admin"))).await;
        let outcome = post(&local_client(), &outer.url("/"), "{}", AMPLE).await.unwrap();
        assert_eq!(outcome.status, status);
        assert!(
            outcome
                .headers
                .contains(&("location".to_owned(), inner.url("/admin")))
        );
    }
    assert_eq!(inner.connections().get(), 0);
}

#[tokio::test]
async fn an_unknown_name_is_a_dns_failure() {
    let failure = post(&local_client(), "http://nowhere.example.com/", "{}", AMPLE)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Dns);
    assert!(
        failure.detail.contains(&ResolveError::NotFound.to_string()),
        "{}",
        failure.detail
    );
}
