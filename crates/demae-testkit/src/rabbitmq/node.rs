//! One RabbitMQ node in a folder: made, started, stopped, killed, frozen.
//!
//! Knows nothing of who shares it or when it ends; that is `supervised`. Starting and stopping is done by `control.sh`, which
//! the supervisor runs, too.
//!
//! A node is part of a distributed system of its own: it registers with a name server (epmd) and hands its secret to whoever
//! can read its home. Both are the node's own here, on a port and in a folder of its own, so that nodes neither meet each
//! other nor the system's.

use std::{
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use super::{binaries, management::Management};
use crate::{
    ports::free_port,
    supervised::{Server, as_owner, give_to_owner, run},
};

/// The administrator that tests connect as.
const USER: &str = "demae";

/// A start can lose the race for one of its ports; others are drawn this many times.
const START_ATTEMPTS: usize = 3;

const CONTROL: &str = include_str!("control.sh");

/// What every node has in common. Logs go to a file because `control.sh` waits for a line in it.
const SETTINGS: &str = "
log.console = false
log.file = node.log
disk_free_limit.absolute = 1MB
management.tcp.ip = 127.0.0.1
ssl_options.verify = verify_none
";

/// No busy waiting: several nodes and the tests share a few processors.
const ERLANG: &str = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none";

/// A node and how to reach it.
#[derive(Debug)]
pub(super) struct Node {
    folder: PathBuf,
    ports: Ports,
    password: String,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    amqp: u16,
    amqps: u16,
    management: u16,
    names: u16,
    distribution: u16,
}

impl Ports {
    fn draw() -> Result<Self> {
        Ok(Self {
            amqp: free_port()?,
            amqps: free_port()?,
            management: free_port()?,
            names: free_port()?,
            distribution: free_port()?,
        })
    }
}

impl Server for Node {
    const KIND: &'static str = "rabbitmq";
    const SETTINGS: &'static str = SETTINGS;
    type Options = ();

    fn running_in(folder: &Path) -> Result<Option<Self>> {
        let Some(node) = Self::written_in(folder) else {
            return Ok(None);
        };
        Ok(TcpStream::connect(node.address()).is_ok().then_some(node))
    }

    fn create(folder: &Path, (): ()) -> Result<Self> {
        let mut node = Self {
            folder: folder.to_owned(),
            ports: Ports::draw()?,
            password: Uuid::new_v4().simple().to_string(),
        };
        node.initialise()?;
        let mut attempt = 1;
        while let Err(error) = node.start() {
            if attempt == START_ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
            node.ports = Ports::draw()?;
            node.write_settings()?;
        }
        let Ports {
            amqp,
            amqps,
            management,
            names,
            distribution,
        } = node.ports;
        let address = format!(
            "{amqp} {amqps} {management} {names} {distribution} {}",
            node.password
        );
        fs::write(folder.join("address"), address)?;
        Ok(node)
    }

    fn end_command(folder: &Path) -> Result<Vec<OsString>> {
        Ok(["sh", "-c", CONTROL, "control", "end"]
            .map(OsString::from)
            .into_iter()
            .chain([folder.as_os_str().to_owned()])
            .collect())
    }
}

impl Node {
    fn written_in(folder: &Path) -> Option<Self> {
        let written = fs::read_to_string(folder.join("address")).ok()?;
        let mut words = written.split(' ');
        let mut port = || words.next()?.parse().ok();
        let ports = Ports {
            amqp: port()?,
            amqps: port()?,
            management: port()?,
            names: port()?,
            distribution: port()?,
        };
        Some(Self {
            folder: folder.to_owned(),
            ports,
            password: words.next()?.to_owned(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.amqp).into()
    }

    /// `amqp://user:password@127.0.0.1:port/vhost`
    pub(super) fn url(&self, vhost: &str) -> String {
        format!("amqp://{USER}:{}@{}/{vhost}", self.password, self.address())
    }

    /// The same, encrypted, with the certificate to trust.
    pub(super) fn tls_url(&self, vhost: &str) -> String {
        format!(
            "amqps://{USER}:{}@localhost:{}/{vhost}?cacertfile={}",
            self.password,
            self.ports.amqps,
            self.folder.join("certificate.pem").display()
        )
    }

    pub(super) fn management(&self) -> Management {
        let address = (Ipv4Addr::LOCALHOST, self.ports.management).into();
        Management::new(address, USER, &self.password)
    }

    pub(super) fn start(&self) -> Result<()> {
        self.control("start")
    }

    pub(super) fn stop(&self) -> Result<()> {
        self.control("stop")
    }

    pub(super) fn kill(&self) -> Result<()> {
        self.control("end")
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let written = fs::read_to_string(self.folder.join("pid")).context("the node does not run")?;
        let process = Pid::from_raw(written.trim().parse()?).context("no process id")?;
        kill_process(process, signal).context("cannot signal the node")
    }

    /// Runs `rabbitmqctl`, which starts a virtual machine of its own: slow.
    pub(super) fn ctl(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.shell(". ./environment && exec \"$SBIN/rabbitmqctl\" \"$@\"");
        command.arg("rabbitmqctl").args(arguments);
        run(command)
    }

    fn control(&self, what: &str) -> Result<()> {
        let mut command = self.shell(CONTROL);
        command.args(["control", what]).arg(&self.folder);
        run(command)
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = as_owner("sh", &self.folder);
        command.args(["-c", script]);
        command
    }

    fn initialise(&self) -> Result<()> {
        for left in ["data", "log"] {
            let left = self.folder.join(left);
            if left.exists() {
                fs::remove_dir_all(&left)?;
            }
            fs::create_dir(&left)?;
            give_to_owner(&left)?;
        }
        let _ = fs::remove_file(self.folder.join("address"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        self.write("certificate.pem", &made.cert.pem())?;
        self.write("key.pem", &made.signing_key.serialize_pem())?;
        self.write("plugins", "[rabbitmq_management].\n")?;
        self.write_settings()
    }

    fn write_settings(&self) -> Result<()> {
        let Ports {
            amqp,
            amqps,
            management,
            names,
            distribution,
        } = self.ports;
        let folder = self
            .folder
            .to_str()
            .context("the temporary folder's name is no text")?;
        if folder.contains(['\'', '"', ' ']) {
            bail!("RabbitMQ cannot run in {folder}");
        }
        let sbin = binaries::folder()?;
        self.write(
            "rabbitmq.conf",
            &format!(
                "listeners.tcp.1 = 127.0.0.1:{amqp}\nlisteners.ssl.1 = 127.0.0.1:{amqps}\n\
                 ssl_options.certfile = {folder}/certificate.pem\nssl_options.keyfile = {folder}/key.pem\n\
                 management.tcp.port = {management}\ndefault_user = {USER}\ndefault_pass = {}\n{SETTINGS}",
                self.password,
            ),
        )?;
        self.write(
            "environment",
            &format!(
                "export HOME={folder} SBIN={sbin}\n\
                 export ERL_EPMD_PORT={names} ERL_EPMD_ADDRESS=127.0.0.1 ERL_CRASH_DUMP=/dev/null\n\
                 export RABBITMQ_NODENAME=demae-{amqp}@localhost RABBITMQ_DIST_PORT={distribution}\n\
                 export RABBITMQ_CONF_ENV_FILE={folder}/none RABBITMQ_CONFIG_FILE={folder}/rabbitmq.conf\n\
                 export RABBITMQ_MNESIA_BASE={folder}/data RABBITMQ_LOG_BASE={folder}/log\n\
                 export RABBITMQ_ENABLED_PLUGINS_FILE={folder}/plugins RABBITMQ_PID_FILE={folder}/pid\n\
                 export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='{ERLANG}'\n",
                sbin = sbin.display(),
            ),
        )
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, content)?;
        give_to_owner(&path)
    }
}
