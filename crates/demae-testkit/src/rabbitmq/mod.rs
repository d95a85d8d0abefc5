//! Private RabbitMQ servers for tests.
//!
//! As with Postgres (`postgres`), a test never touches the system's: it asks for a [`TestBroker`], which is a fresh virtual
//! host on a node that all tests of this workspace share, or it starts a [`PrivateRabbitMq`] of its own when it wants to
//! stop, kill, freeze or alarm the node. A node takes some seconds to start, a virtual host some milliseconds.
//!
//! Nodes and their name servers end with their last holder, however that ends (`supervised`). Needs RabbitMQ 3.8 or later with
//! its management plugin, which the distributions' package holds.

mod binaries;
mod management;
mod node;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use uuid::Uuid;

use self::{management::Management, node::Node};
use crate::supervised::{Supervised, blocking};

/// A fresh, empty virtual host on the node that all tests of this workspace share.
///
/// Deleted with the value as far as possible; the node's end removes what is left.
#[derive(Debug)]
pub struct TestBroker {
    vhost: String,
    shared: Arc<Supervised<Node>>,
}

impl TestBroker {
    /// Makes the virtual host, starting the shared node when it does not run.
    pub async fn create() -> Result<Self> {
        // Held until the process ends, so that the node outlives every test in it.
        static SHARED: OnceCell<Arc<Supervised<Node>>> = OnceCell::const_new();
        let shared = SHARED
            .get_or_try_init(|| async { blocking(|| Supervised::shared(())).await.map(Arc::new) })
            .await?
            .clone();
        let vhost = format!("test-{}", Uuid::now_v7().simple());
        let broker = Self { vhost, shared };
        broker.administration().create_vhost().await?;
        Ok(broker)
    }

    /// `amqp://user:password@127.0.0.1:port/vhost`, as an administrator.
    pub fn url(&self) -> String {
        self.shared.server().url(&self.vhost)
    }

    /// Where the node listens, for a proxy to stand in front of.
    pub fn address(&self) -> SocketAddr {
        self.shared.server().address()
    }

    /// What an administrator of the virtual host can do.
    pub fn administration(&self) -> Administration {
        Administration {
            management: self.shared.server().management(),
            vhost: self.vhost.clone(),
        }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        // A failure costs memory until the node ends, and has no one to tell.
        let administration = self.administration();
        let _ = administration
            .management
            .ask("DELETE", &format!("/vhosts/{}", self.vhost), None);
    }
}

/// A RabbitMQ node of one test's own. Gone with the value, or with the process.
#[derive(Debug)]
pub struct PrivateRabbitMq {
    node: Arc<Supervised<Node>>,
}

impl PrivateRabbitMq {
    /// Makes the node and starts it.
    pub async fn start() -> Result<Self> {
        let node = blocking(|| Supervised::own(())).await?;
        Ok(Self { node: Arc::new(node) })
    }

    /// `amqp://user:password@127.0.0.1:port/%2F`, as an administrator.
    pub fn url(&self) -> String {
        self.node.server().url("%2F")
    }

    /// The same over TLS; names the file with the certificate to trust.
    pub fn tls_url(&self) -> String {
        self.node.server().tls_url("%2F")
    }

    /// Where the node listens. Stays the same over restarts.
    pub fn address(&self) -> SocketAddr {
        self.node.server().address()
    }

    /// What an administrator can do.
    pub fn administration(&self) -> Administration {
        Administration {
            management: self.node.server().management(),
            vhost: "%2F".to_owned(),
        }
    }

    /// An administrator's stop: connections are closed, everything is flushed.
    pub async fn stop(&self) -> Result<()> {
        self.run(Node::stop).await
    }

    /// Ends the node with SIGKILL: connections are reset, nothing is flushed.
    pub async fn kill(&self) -> Result<()> {
        self.run(Node::kill).await
    }

    /// Starts the node after [`stop`](Self::stop) or [`kill`](Self::kill); returns when it accepts connections.
    pub async fn start_again(&self) -> Result<()> {
        self.run(Node::start).await
    }

    /// Sends SIGSTOP: connections stay open and nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.node.server().signal(Signal::STOP)
    }

    /// Sends SIGCONT after [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<()> {
        self.node.server().signal(Signal::CONT)
    }

    /// Sets off the memory alarm, or ends it: while it lasts, the node takes nothing from publishers.
    pub async fn set_memory_alarm(&self, on: bool) -> Result<()> {
        let watermark = if on { "0.000001" } else { "0.4" };
        self.run(move |node| node.ctl(&["set_vm_memory_high_watermark", watermark]))
            .await
    }

    async fn run(&self, action: impl FnOnce(&Node) -> Result<()> + Send + 'static) -> Result<()> {
        let node = self.node.clone();
        blocking(move || action(node.server())).await
    }
}

impl Drop for PrivateRabbitMq {
    fn drop(&mut self) {
        // The supervisor does the same a moment later; this only makes it prompt.
        let _ = self.node.server().kill();
    }
}

/// What an administrator of a virtual host can do and see.
#[derive(Debug, Clone)]
pub struct Administration {
    management: Management,
    vhost: String,
}

impl Administration {
    async fn create_vhost(&self) -> Result<()> {
        self.ask("PUT", format!("/vhosts/{}", self.vhost), None).await?;
        let everything = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let user = format!("/permissions/{}/demae", self.vhost);
        self.ask("PUT", user, Some(everything)).await.map(drop)
    }

    /// Makes a user who may do only what these patterns allow, and returns their part of a URL: `name:password`.
    pub async fn create_user(&self, configure: &str, write: &str, read: &str) -> Result<String> {
        let name = format!("user-{}", Uuid::new_v4().simple());
        let user = json!({"password": name, "tags": ""});
        self.ask("PUT", format!("/users/{name}"), Some(user)).await?;
        let rights = json!({"configure": configure, "write": write, "read": read});
        let path = format!("/permissions/{}/{name}", self.vhost);
        self.ask("PUT", path, Some(rights)).await?;
        Ok(format!("{name}:{name}"))
    }

    /// Makes a queue of that kind (`classic`, `quorum`) with nothing but its name.
    pub async fn declare_queue(&self, name: &str, kind: &str) -> Result<()> {
        let queue = json!({"durable": true, "arguments": {"x-queue-type": kind}});
        self.ask("PUT", self.queue(name), Some(queue)).await.map(drop)
    }

    /// Deletes a queue with everything in it.
    pub async fn delete_queue(&self, name: &str) -> Result<()> {
        self.ask("DELETE", self.queue(name), None).await.map(drop)
    }

    /// What kind of queue it is.
    pub async fn queue_kind(&self, name: &str) -> Result<String> {
        let queue = self.ask("GET", self.queue(name), None).await?;
        let kind = queue["type"].as_str().context("a queue without a type")?;
        Ok(kind.to_owned())
    }

    /// Messages in a queue: those that wait, and those that a consumer has and did not acknowledge. The node counts every
    /// few seconds; none if it has not counted since it was started.
    pub async fn queue_depth(&self, name: &str) -> Result<Option<(u64, u64)>> {
        let queue = self.ask("GET", self.queue(name), None).await?;
        let count = |field: &str| queue[field].as_u64();
        Ok(count("messages_ready").zip(count("messages_unacknowledged")))
    }

    /// Publishes to an exchange with a routing key, as some other program would; says whether a queue took it.
    pub async fn publish(&self, exchange: &str, routing_key: &str, body: &str) -> Result<bool> {
        let message = json!({"properties": {"delivery_mode": 2}, "routing_key": routing_key, "payload": body,
            "payload_encoding": "string"});
        let path = format!("/exchanges/{}/{exchange}/publish", self.vhost);
        let answer = self.ask("POST", path, Some(message)).await?;
        Ok(answer["routed"].as_bool() == Some(true))
    }

    fn queue(&self, name: &str) -> String {
        format!("/queues/{}/{name}", self.vhost)
    }

    async fn ask(&self, method: &'static str, path: String, body: Option<Value>) -> Result<Value> {
        let management = self.management.clone();
        blocking(move || management.ask(method, &path, body.as_ref())).await
    }
}
