//! A connection to RabbitMQ with one channel.
//!
//! The TCP connection is made here and not by the client library, for two reasons: its end is in our hands (a frozen broker
//! would otherwise keep a thread and a socket of every attempt to connect), and `TCP_NODELAY` is set.

use std::{
    net::{Shutdown, TcpStream as StdTcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_compat::Compat;
use futures::StreamExt as _;
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Event, tcp::OwnedTLSConfig};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    Shared,
    gate::{Gate, Gated},
    runtime::{GatedRuntime, GatedTcp},
};
use crate::{BrokerError, metric};

/// How long the broker may take for any answer while it is not blocked. Confirms of a quorum queue wait for disks.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long taking leave may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A connection that is up, or was when last heard of. Dropping it cuts the line.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    /// What is published, consumed and acknowledged goes over this one.
    pub(super) channel: Channel,
    alarm: AlarmWatch,
    _line: Line,
}

impl Link {
    /// Connects and logs in. `part` names whose connection it is, to RabbitMQ's administrator and in metrics.
    pub(super) async fn open(shared: &Shared, part: &'static str) -> Result<Self, BrokerError> {
        Self::open_gated(shared, part, Gate::unlimited()).await
    }

    /// The same; the connection is read only while `gate` is open.
    pub(super) async fn open_gated(
        shared: &Shared,
        part: &'static str,
        gate: Arc<Gate>,
    ) -> Result<Self, BrokerError> {
        let limit = shared.url.connection_timeout();
        let unreachable = |source| BrokerError::Unreachable {
            broker: shared.url.label(),
            source,
        };
        let certificates = certificates(shared).await?;
        let uri = shared.url.uri();
        let (stream, line) = timeout(limit, connect(&uri.authority.host, uri.authority.port))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|error| unreachable(error.into()))?;
        // Dropping `line` on any way out of here ends the library's thread for this connection, too.
        let stream = Gated::new(Compat::new(stream), gate);
        let connection = timeout(limit, log_in(uri, stream, certificates, part))
            .await
            .map_err(|_| unreachable(Box::new(BrokerError::Silent(limit))))?
            .map_err(|error| unreachable(error.into()))?;
        let alarm = AlarmWatch::start(&connection);
        let channel = timeout(limit, connection.create_channel())
            .await
            .map_err(|_| BrokerError::Silent(limit))?
            .map_err(lost)?;
        metrics::counter!(metric::CONNECTIONS, "part" => part).increment(1);
        info!(broker = %shared.url, part, "connected to the broker");
        Ok(Self {
            connection,
            channel,
            alarm,
            _line: line,
        })
    }

    /// Another channel on the same connection. A channel ends with the first thing that the broker refuses.
    pub(super) async fn another_channel(&self) -> Result<Channel, BrokerError> {
        self.answer(self.connection.create_channel()).await?.map_err(lost)
    }

    /// Waits for the broker's answer; without limit while it says that it is blocked.
    pub(super) async fn answer<T>(&self, answer: impl Future<Output = T>) -> Result<T, BrokerError> {
        tokio::pin!(answer);
        let mut blocked = self.alarm.blocked.clone();
        loop {
            let is_blocked = *blocked.borrow_and_update();
            tokio::select! {
                answer = &mut answer => return Ok(answer),
                () = sleep(ANSWER_LIMIT), if !is_blocked => return Err(BrokerError::Silent(ANSWER_LIMIT)),
                // The limit counts anew after an alarm.
                Ok(()) = blocked.changed() => {}
            }
        }
    }

    /// Takes leave in the protocol's way.
    pub(super) async fn close(self) {
        // A broker that does not answer sees the line end a moment later.
        let _ = timeout(CLOSE_LIMIT, self.connection.close(200, "OK".into())).await;
    }
}

/// What the library says when a connection or channel ends.
pub(super) fn lost(error: lapin::Error) -> BrokerError {
    BrokerError::Lost(Box::new(error))
}

/// A second handle to the socket; shuts it down when dropped.
#[derive(Debug)]
struct Line(StdTcpStream);

impl Drop for Line {
    fn drop(&mut self) {
        // Fails if the other side was first.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

async fn connect(host: &str, port: u16) -> std::io::Result<(TcpStream, Line)> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let line = Line(stream.try_clone()?);
    Ok((TcpStream::from_std(stream)?, line))
}

async fn certificates(shared: &Shared) -> Result<OwnedTLSConfig, BrokerError> {
    let mut trusted = shared.url.authorities().map(str::to_owned);
    if let Some(file) = shared.url.certificates() {
        let chain = tokio::fs::read_to_string(file)
            .await
            .map_err(|error| BrokerError::Certificates(file.to_owned(), error))?;
        // A line break, or the last line of one text and the first of the other could be one.
        trusted = Some(trusted.map_or(chain.clone(), |trusted| format!("{trusted}\n{chain}")));
    }
    Ok(OwnedTLSConfig {
        cert_chain: trusted,
        ..OwnedTLSConfig::default()
    })
}

async fn log_in(
    uri: lapin::uri::AMQPUri,
    stream: GatedTcp,
    certificates: OwnedTLSConfig,
    part: &str,
) -> lapin::Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name(format!("demae {part}").into());
    let runtime = async_rs::Runtime::new(GatedRuntime::current());
    // The library could ask again after a failure; there is nothing to give it then.
    let stream = Mutex::new(Some(stream));
    let hand_over = async move |uri: lapin::uri::AMQPUri, _| {
        let stream = stream.lock().ok().and_then(|mut stream| stream.take());
        let stream = stream
            .ok_or(std::io::ErrorKind::NotConnected)
            .map_err(std::io::Error::from)?;
        let plain = AsyncTcpStream::Plain(stream);
        match uri.scheme {
            lapin::uri::AMQPScheme::AMQP => Ok(plain),
            lapin::uri::AMQPScheme::AMQPS => {
                Ok(plain.into_tls(&uri.authority.host, certificates.as_ref()).await?)
            }
        }
    };
    Connection::connector(uri, runtime, hand_over, properties).await
}

/// Listens to the broker's alarms (memory, disk), during which it takes nothing.
#[derive(Debug)]
struct AlarmWatch {
    blocked: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl AlarmWatch {
    fn start(connection: &Connection) -> Self {
        let mut events = connection.events_listener();
        let (sender, blocked) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(reason) => {
                        warn!(reason, "the broker takes no messages for now; publishing waits");
                        metrics::gauge!(metric::BLOCKED).set(1);
                        sender.send_replace(true);
                    }
                    Event::ConnectionUnblocked => {
                        info!("the broker takes messages again");
                        metrics::gauge!(metric::BLOCKED).set(0);
                        sender.send_replace(false);
                    }
                    _ => {}
                }
            }
        });
        Self { blocked, task }
    }
}

impl Drop for AlarmWatch {
    fn drop(&mut self) {
        self.task.abort();
        if *self.blocked.borrow() {
            metrics::gauge!(metric::BLOCKED).set(0);
        }
    }
}
