//! From a host name to addresses.
//!
//! A resolver only answers; it never judges. Whether an answer may be connected to is decided afterwards by the
//! connector, for every connect, so a resolver that lies or changes its mind cannot lead a delivery inward.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, ResolverBuilder, TokioResolver};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Finds the addresses of a host. A trait so that tests can script answers, changing ones included.
///
/// Asked once per connect and not once per request, so the boxed future costs nothing that counts.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, as soon as there are some; never none at all.
    async fn resolve(&self, host: &str) -> Result<Lookup, ResolveError>;
}

/// The addresses of a host: those that are known, and perhaps a question that is still open.
pub struct Lookup {
    /// In the order in which they should be tried; the family of the first is preferred.
    pub addresses: Vec<IpAddr>,
    /// The addresses of the other family, if the name server has not answered for them yet. May be dropped.
    pub rest: Option<BoxFuture<'static, Vec<IpAddr>>>,
}

impl From<Vec<IpAddr>> for Lookup {
    fn from(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            rest: None,
        }
    }
}

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name is not a host name.
    #[error("the host name is not valid")]
    InvalidName,
    /// The name does not exist or has no address.
    #[error("the host name has no address")]
    NotFound,
    /// No name server answered in time.
    #[error("the name service did not answer in time")]
    Timeout,
    /// The name service failed or none is configured.
    #[error("the name service failed: {0}")]
    Failed(String),
}

/// Names kept in the cache, found and not found together.
const CACHED_NAMES: u64 = 8_192;

/// Bounds on how long an answer is believed, whatever its TTL says: at least this long, so that a TTL of 0 does not
/// cost a query for every connect, and at most this long, so that a moved receiver is found again.
const FOUND_TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// The same for names that were not found; short, since the usual cause is a record being set up just now.
const NOT_FOUND_TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long one query to one name server may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an IPv4 address waits for the answer about IPv6, which is preferred (RFC 8305 section 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Questions that go on after a connection was opened without them, so that the cache knows the answer next time.
const QUESTIONS_LEFT_OPEN: usize = 256;

/// Queries in flight on one name-server connection; after a restart every endpoint's name is asked for at once.
const CONCURRENT_QUERIES: usize = 1_024;

/// Asks the hosts file, then the name servers the system is configured with; caches within the TTL.
///
/// Names are taken as absolute: the system's search domains are not tried, since an endpoint `internal` must not turn
/// into `internal.corp.example`. `localhost` and names below it are loopback without a query (RFC 6761 section 6.3).
/// Works without `/etc/resolv.conf`: then only the hosts file and `localhost` answer.
///
/// Both families are asked for at the same time (RFC 8305 section 3). A name server that never answers the question for
/// IPv6 costs [`RESOLUTION_DELAY`].
pub struct SystemResolver {
    hosts: Hosts,
    dns: TokioResolver,
    left_open: Arc<Semaphore>,
}

impl SystemResolver {
    /// Reads the system's configuration once; a later change of it needs a restart.
    pub fn from_system() -> Result<Self, ResolveError> {
        let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "no usable name server configuration; only the hosts file will answer");
            asking(Vec::new())
        });
        Self::build(builder)
    }

    /// Asks these name servers, by UDP and after a cut-off answer by TCP, instead of the system's.
    pub fn with_name_servers(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let at_port = connections.into_iter().map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, at_port.collect())
        });
        Self::build(asking(servers.collect()))
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, ResolveError> {
        let options = builder.options_mut();
        options.cache_size = CACHED_NAMES;
        (options.positive_min_ttl, options.positive_max_ttl) = (Some(FOUND_TTL.0), Some(FOUND_TTL.1));
        (options.negative_min_ttl, options.negative_max_ttl) = (Some(NOT_FOUND_TTL.0), Some(NOT_FOUND_TTL.1));
        options.timeout = QUERY_TIMEOUT;
        options.attempts = 1;
        options.max_active_requests = CONCURRENT_QUERIES;
        options.preserve_intermediates = false;
        // Asked separately below: a name with only an IPv4 line in the hosts file must not wait for the name server's
        // word on IPv6.
        options.use_hosts_file = ResolveHosts::Never;
        let dns = builder
            .build()
            .map_err(|error| ResolveError::Failed(error.to_string()))?;
        Ok(Self {
            hosts: Hosts::from_system().unwrap_or_default(),
            dns,
            left_open: Arc::new(Semaphore::new(QUESTIONS_LEFT_OPEN)),
        })
    }

    fn ask(&self, name: Name, kind: RecordType) -> BoxFuture<'static, Found> {
        let dns = self.dns.clone();
        Box::pin(async move {
            let lookup = dns.lookup(name, kind).await.map_err(|error| from_dns(&error))?;
            let addresses: Vec<IpAddr> = lookup
                .answers()
                .iter()
                .filter_map(|record| record.data.ip_addr())
                .collect();
            if addresses.is_empty() {
                Err(ResolveError::NotFound)
            } else {
                Ok(addresses)
            }
        })
    }

    /// A question whose answer comes too late for the connection that asked; it goes on by itself, so that the answer
    /// reaches the cache. Each ends with its query's timeout.
    fn leave_open(&self, question: BoxFuture<'static, Found>) -> BoxFuture<'static, Vec<IpAddr>> {
        let Ok(permit) = Arc::clone(&self.left_open).try_acquire_owned() else {
            return Box::pin(async { question.await.unwrap_or_default() });
        };
        let answer = tokio::spawn(async move {
            let found = question.await.unwrap_or_default();
            drop(permit);
            found
        });
        Box::pin(async { answer.await.unwrap_or_default() })
    }

    fn known_locally(&self, name: &Name) -> Vec<IpAddr> {
        let in_hosts_file = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|lookup| {
                lookup
                    .answers()
                    .iter()
                    .filter_map(|record| record.data.ip_addr())
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>();
        if in_hosts_file.is_empty() && is_localhost(name) {
            return vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        }
        in_hosts_file
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> Result<Lookup, ResolveError> {
        let mut name = Name::from_ascii(host)
            .map_err(|_| ResolveError::InvalidName)?
            .to_lowercase();
        name.set_fqdn(true);
        let local = self.known_locally(&name);
        if !local.is_empty() {
            return Ok(local.into());
        }
        let mut v6 = self.ask(name.clone(), RecordType::AAAA);
        let mut v4 = self.ask(name, RecordType::A);
        tokio::select! {
            biased;
            found = &mut v6 => match found {
                Ok(addresses) => Ok(Lookup { addresses, rest: Some(self.leave_open(v4)) }),
                Err(failure) => v4.await.map(Lookup::from).map_err(|other| worse(failure, other)),
            },
            found = &mut v4 => match found {
                Ok(addresses) => match timeout(RESOLUTION_DELAY, &mut v6).await {
                    Ok(preferred) => Ok([preferred.unwrap_or_default(), addresses].concat().into()),
                    Err(_) => Ok(Lookup { addresses, rest: Some(self.leave_open(v6)) }),
                },
                Err(failure) => v6.await.map(Lookup::from).map_err(|other| worse(failure, other)),
            },
        }
    }
}

type Found = Result<Vec<IpAddr>, ResolveError>;

/// Of two failures the one that says more: that there is no address is certain only if both questions say so.
fn worse(one: ResolveError, other: ResolveError) -> ResolveError {
    if one == ResolveError::NotFound { other } else { one }
}

fn asking(servers: Vec<NameServerConfig>) -> ResolverBuilder<TokioRuntimeProvider> {
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

fn is_localhost(name: &Name) -> bool {
    name.iter().next_back().is_some_and(|label| label == b"localhost")
}

fn from_dns(error: &NetError) -> ResolveError {
    match error {
        NetError::Timeout => ResolveError::Timeout,
        error if error.is_no_records_found() || error.is_nx_domain() => ResolveError::NotFound,
        error => ResolveError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, SOA};
    use hickory_resolver::proto::rr::{RData, Record};
    use tokio::net::UdpSocket;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// A name server that knows `hooks.example.com.` at 192.0.2.7 and counts what it is asked. It never answers questions
    /// of one type.
    struct NameServer {
        address: SocketAddr,
        queries: Arc<AtomicUsize>,
        _task: AbortOnDropHandle<()>,
    }

    impl NameServer {
        async fn start() -> Self {
            Self::silent_about(RecordType::NULL).await
        }

        async fn silent_about(kind: RecordType) -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            let queries = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&queries);
            let task = tokio::spawn(async move {
                let mut buffer = [0; 1_500];
                while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let query = Message::from_vec(&buffer[..length]).unwrap();
                    if query.queries[0].query_type() == kind {
                        continue;
                    }
                    socket
                        .send_to(&answer(query).to_vec().unwrap(), from)
                        .await
                        .unwrap();
                }
            });
            Self {
                address,
                queries,
                _task: AbortOnDropHandle::new(task),
            }
        }
    }

    fn answer(query: Message) -> Message {
        let mut answer = query.into_response();
        let asked = answer.queries[0].clone();
        let known = asked.name().to_ascii() == "hooks.example.com.";
        if known && asked.query_type() == RecordType::A {
            let address = RData::A(A(Ipv4Addr::new(192, 0, 2, 7)));
            answer.add_answer(Record::from_rdata(asked.name().clone(), 300, address));
        } else {
            let zone = Name::from_ascii("example.com.").unwrap();
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, 60);
            answer.add_authority(Record::from_rdata(zone, 60, RData::SOA(soa)));
        }
        if !known {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer
    }

    #[tokio::test]
    async fn an_answer_is_believed_for_its_ttl() {
        let server = NameServer::start().await;
        let resolver = SystemResolver::with_name_servers(&[server.address]).unwrap();
        for _ in 0..10 {
            let found = resolver.resolve("hooks.example.com").await.unwrap();
            assert_eq!(found.addresses, [IpAddr::from([192, 0, 2, 7])]);
        }
        assert_eq!(
            server.queries.load(Ordering::SeqCst),
            2,
            "one for each family of addresses"
        );
    }

    #[tokio::test]
    async fn a_family_that_is_never_answered_for_is_left_open() {
        let server = NameServer::silent_about(RecordType::AAAA).await;
        let resolver = SystemResolver::with_name_servers(&[server.address]).unwrap();
        for _ in 0..3 {
            let found = resolver.resolve("hooks.example.com").await.unwrap();
            assert_eq!(found.addresses, [IpAddr::from([192, 0, 2, 7])]);
            assert!(found.rest.is_some(), "the other question has not ended");
        }
    }

    #[tokio::test]
    async fn questions_left_open_go_on_up_to_their_bound() {
        let resolver = SystemResolver::with_name_servers(&[]).unwrap();
        let question = || {
            let (held, dropped) = tokio::sync::oneshot::channel::<()>();
            let question = Box::pin(async move {
                let _held = held;
                std::future::pending::<Found>().await
            });
            (question, dropped)
        };
        let mut going_on = Vec::new();
        for _ in 0..QUESTIONS_LEFT_OPEN {
            let (question, dropped) = question();
            drop(resolver.leave_open(question));
            going_on.push(dropped);
        }
        let (question, dropped) = question();
        drop(resolver.leave_open(question));
        assert!(dropped.await.is_err(), "it ends with the connection that asked");
        tokio::task::yield_now().await;
        for dropped in &mut going_on {
            assert_eq!(
                dropped.try_recv(),
                Err(tokio::sync::oneshot::error::TryRecvError::Empty)
            );
        }
    }

    #[tokio::test]
    async fn a_name_is_known_missing_only_when_both_families_say_so() {
        let server = NameServer::silent_about(RecordType::AAAA).await;
        let resolver = SystemResolver::with_name_servers(&[server.address]).unwrap();
        let failure = resolver.resolve("gone.example.com").await.err();
        assert!(
            failure.is_some() && failure != Some(ResolveError::NotFound),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn that_a_name_does_not_exist_is_remembered() {
        let server = NameServer::start().await;
        let resolver = SystemResolver::with_name_servers(&[server.address]).unwrap();
        for _ in 0..10 {
            assert_eq!(
                resolver.resolve("gone.example.com").await.err(),
                Some(ResolveError::NotFound)
            );
        }
        assert_eq!(server.queries.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn without_a_name_server_a_name_fails_at_once() {
        let resolver = SystemResolver::with_name_servers(&[]).unwrap();
        assert!(resolver.resolve("hooks.example.com").await.is_err());
        assert!(resolver.resolve("localhost").await.is_ok());
    }

    #[tokio::test]
    async fn localhost_is_known_without_a_name_server() {
        let resolver = SystemResolver::from_system().unwrap();
        for name in ["localhost", "LOCALHOST.", "inbox.localhost"] {
            let found = resolver.resolve(name).await.unwrap();
            assert!(
                found.addresses.iter().all(IpAddr::is_loopback),
                "{name}: {:?}",
                found.addresses
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_host_name_is_not_asked_for() {
        let resolver = SystemResolver::from_system().unwrap();
        let label_too_long = "a".repeat(64);
        assert_eq!(
            resolver.resolve(&label_too_long).await.err(),
            Some(ResolveError::InvalidName)
        );
    }
}
