//! A connection to Postgres at the level of its protocol: from the address to the stream of a slot.
//!
//! Encryption, SCRAM and the framing of messages are `pgwire-replication`'s; what is asked for and in which order is
//! decided here, because that crate's own client knows version 1 of the plugin's protocol only and gives a server's
//! refusal as one text. Layout: Postgres's documentation, "Message Flow" and "Streaming Replication Protocol".
//!
//! Nothing here waits without a limit, except [`Connection::read`], which is for whoever knows how long silence is usual.

use std::{sync::Arc, time::Duration};

use pgwire_replication::{
    Lsn, PgWireError, SslMode, TlsConfig,
    auth::ScramClient,
    protocol::{
        BackendMessage, ErrorFields, encode_standby_status_update,
        framing::{
            MessageReader, write_copy_data, write_password_message, write_query, write_startup_message,
        },
        messages::auth,
        parse_auth_request, unix_to_pg_timestamp,
    },
    tls::rustls::{MaybeTlsStream, maybe_upgrade_to_tls},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{
    Fault, SourceConfig,
    error::{connection, refusal},
    quoting::{literal, quote},
    target::APPLICATION_NAME,
};

/// Connecting and answering a small question.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// Version 3.0 of Postgres's protocol, as the startup message writes it.
const PROTOCOL: i32 = 3 << 16;
/// The version of the output plugin's protocol. 2 is there since Postgres 14, the oldest server that is read.
const PLUGIN_PROTOCOL: &str = "2";
/// The largest message that is taken into memory, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Bytes that are read from the network at once.
const READ_BUFFER: usize = 128 * 1024;
/// The only mechanism of SASL that Postgres has without channel binding.
const SCRAM: &str = "SCRAM-SHA-256";
/// The tag of a `NoticeResponse`.
const NOTICE: u8 = b'N';
/// SQLSTATE of the warning that a publication was passed over (`LoadPublications` in Postgres's `pgoutput.c`).
const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
const CLEARTEXT_REFUSED: &str = "it wants the password in clear over a line that is not encrypted; use sslmode=require \
     or verify-full, or SCRAM-SHA-256 on the server (sslmode=disable sends it all the same)";
/// For a farewell: the peer may be frozen.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An ordinary session.
    Session,
    /// Following the log.
    Replication,
}

/// Why a connection does not go on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server said so.
    Refused {
        /// The SQLSTATE.
        code: String,
        /// In the server's words.
        message: String,
    },
    /// The network, the encryption or the bytes.
    Line(PgWireError),
    /// No answer in time.
    Silent,
    /// The server passes over changes, because it knows nothing of the publication at their place of the log.
    PassedOver,
}

/// A connection on which the server has let the user in.
pub(crate) struct Connection {
    line: BufReader<Box<dyn Line>>,
    encrypted: bool,
    reader: MessageReader,
    config: Arc<SourceConfig>,
}

trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

impl Connection {
    /// Connects, encrypts as the target says, and proves who is there.
    pub(crate) async fn open(config: &Arc<SourceConfig>, purpose: Purpose) -> Result<Self, Trouble> {
        let enter = async {
            let (line, encrypted) = dial(config).await?;
            let mut connection = Self {
                line: BufReader::with_capacity(READ_BUFFER, line),
                encrypted,
                reader: MessageReader::new().with_max_message_size(MAX_MESSAGE),
                config: config.clone(),
            };
            connection.introduce(purpose).await?;
            connection.authenticate().await?;
            Ok(connection)
        };
        timeout(ANSWER, enter).await.unwrap_or(Err(Trouble::Silent))
    }

    /// Whether nobody on the way can read along.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Lets the server copy the slot to its standbys, which Postgres can since 17. Nobody may be reading the slot.
    pub(crate) async fn keep_over_failover(&mut self) -> Result<(), Trouble> {
        let statement = format!(
            "ALTER_REPLICATION_SLOT {} (FAILOVER true)",
            quote(&self.config.slot)
        );
        let alter = async {
            write_query(&mut self.line, &statement).await?;
            while !self.read().await?.is_ready_for_query() {}
            Ok(())
        };
        timeout(ANSWER, alter).await.unwrap_or(Err(Trouble::Silent))
    }

    /// Asks for the log of the slot from its confirmed position on. After this the server sends what it has.
    pub(crate) async fn follow(&mut self) -> Result<(), Trouble> {
        let statement = follow_statement(&self.config);
        let begin = async {
            write_query(&mut self.line, &statement).await?;
            while self.read().await?.tag != b'W' {}
            Ok(())
        };
        timeout(ANSWER, begin).await.unwrap_or(Err(Trouble::Silent))
    }

    /// The next message. Cancel-safe. One by which the server ends the connection is an error.
    pub(crate) async fn read(&mut self) -> Result<BackendMessage, Trouble> {
        let message = self.reader.read(&mut self.line).await?;
        if message.is_error() {
            let fields = ErrorFields::parse(&message.payload);
            return Err(Trouble::Refused {
                code: fields.code.unwrap_or_default(),
                message: fields.message.unwrap_or_default(),
            });
        }
        if message.tag == NOTICE
            && is_passing_over(&ErrorFields::parse(&message.payload), &self.config.publication)
        {
            return Err(Trouble::PassedOver);
        }
        Ok(message)
    }

    /// Tells the server that everything before this position is done with, at this time in microseconds since 1970.
    pub(crate) async fn confirm(&mut self, position: u64, now: i64) -> Result<(), Trouble> {
        let update = encode_standby_status_update(Lsn(position), unix_to_pg_timestamp(now), false);
        // A server that takes nothing is one that says nothing.
        timeout(self.config.silence, write_copy_data(&mut self.line, &update))
            .await
            .map_err(|_| Trouble::Silent)??;
        Ok(())
    }

    /// Leaves, so that the server need not find out by itself.
    pub(crate) async fn close(mut self) {
        const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];
        let farewell = async {
            self.line.write_all(&TERMINATE).await?;
            self.line.shutdown().await
        };
        // Whoever does not hear it notices that the connection is gone.
        let _ = timeout(FAREWELL, farewell).await;
    }

    async fn introduce(&mut self, purpose: Purpose) -> Result<(), Trouble> {
        let target = &self.config.target;
        // The server asks for a sign of life after half of this and gives up after all of it, on both sides alike.
        let options = format!(
            "-c datestyle=ISO -c timezone=UTC -c client_min_messages=warning -c wal_sender_timeout={}",
            self.config.silence.as_millis()
        );
        let mut parameters = vec![
            ("user", target.user()),
            ("database", target.database()),
            ("client_encoding", "UTF8"),
            ("application_name", APPLICATION_NAME),
            ("options", &options),
        ];
        if purpose == Purpose::Replication {
            parameters.push(("replication", "database"));
        }
        Ok(write_startup_message(&mut self.line, PROTOCOL, &parameters).await?)
    }

    async fn authenticate(&mut self) -> Result<(), Trouble> {
        loop {
            let message = self.read().await?;
            if message.is_ready_for_query() {
                return Ok(());
            }
            // The others are parameters, notices and the key for cancelling.
            if message.is_auth_request() {
                self.prove(&message.payload).await?;
            }
        }
    }

    /// Answers one question of who is there.
    async fn prove(&mut self, question: &[u8]) -> Result<(), Trouble> {
        let (method, rest) = parse_auth_request(question)?;
        match method {
            auth::OK => Ok(()),
            auth::CLEARTEXT_PASSWORD if !self.encrypted && !self.config.target.may_be_read_along() => {
                Err(PgWireError::Auth(CLEARTEXT_REFUSED.to_owned()).into())
            }
            auth::CLEARTEXT_PASSWORD => {
                let password = format!("{}\0", self.config.target.password());
                Ok(write_password_message(&mut self.line, password.as_bytes()).await?)
            }
            auth::SASL => self.prove_by_scram(rest).await,
            other => Err(unknown_method(&format!("method {other}"))),
        }
    }

    async fn prove_by_scram(&mut self, offered: &[u8]) -> Result<(), Trouble> {
        if !offered
            .split(|byte| *byte == 0)
            .any(|name| name == SCRAM.as_bytes())
        {
            return Err(unknown_method("no mechanism that is known here"));
        }
        let scram = ScramClient::new(self.config.target.user());
        let mut first = format!("{SCRAM}\0").into_bytes();
        first.extend((scram.client_first.len() as u32).to_be_bytes());
        first.extend(scram.client_first.as_bytes());
        write_password_message(&mut self.line, &first).await?;
        let challenge = self.read_challenge(auth::SASL_CONTINUE).await?;
        let (last, transcript, salted) = scram.client_final(self.config.target.password(), &challenge)?;
        write_password_message(&mut self.line, last.as_bytes()).await?;
        let verdict = self.read_challenge(auth::SASL_FINAL).await?;
        Ok(ScramClient::verify_server_final(&verdict, &salted, &transcript)?)
    }

    async fn read_challenge(&mut self, wanted: i32) -> Result<String, Trouble> {
        let message = self.read().await?;
        let (method, rest) = parse_auth_request(&message.payload)?;
        if !message.is_auth_request() || method != wanted {
            return Err(PgWireError::Auth("the server leaves SCRAM half-way".to_owned()).into());
        }
        Ok(String::from_utf8_lossy(rest).into_owned())
    }
}

fn unknown_method(what: &str) -> Trouble {
    Trouble::Line(PgWireError::Auth(format!(
        "it asks for {what}; SCRAM-SHA-256, a password and a client's certificate are known here"
    )))
}

/// The line, and whether it is encrypted.
async fn dial(config: &SourceConfig) -> Result<(Box<dyn Line>, bool), PgWireError> {
    let target = &config.target;
    if let Some(socket) = target.socket() {
        return Ok((Box::new(UnixStream::connect(socket).await?), false));
    }
    if target.tls().mode == SslMode::Disable {
        return Ok((Box::new(dial_tcp(config).await?), false));
    }
    // The library takes either the authorities of a file or the public ones.
    if let Some(tls) = target.tls_with_authorities()
        && let Ok(line) = encrypt(dial_tcp(config).await?, &tls, config).await
    {
        return Ok(line);
    }
    encrypt(dial_tcp(config).await?, target.tls(), config).await
}

async fn dial_tcp(config: &SourceConfig) -> Result<TcpStream, PgWireError> {
    let stream = TcpStream::connect((config.target.host(), config.target.port())).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn encrypt(
    stream: TcpStream,
    tls: &TlsConfig,
    config: &SourceConfig,
) -> Result<(Box<dyn Line>, bool), PgWireError> {
    Ok(
        match maybe_upgrade_to_tls(stream, tls, config.target.host()).await? {
            MaybeTlsStream::Plain(stream) => (Box::new(stream), false),
            MaybeTlsStream::Tls(stream) => (stream, true),
        },
    )
}

/// Streaming of transactions that have not ended is not asked for: see `pgoutput`.
fn follow_statement(config: &SourceConfig) -> String {
    // What nobody asked for does not even cross the network.
    let messages = if config.messages { ", messages 'true'" } else { "" };
    format!(
        "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '{PLUGIN_PROTOCOL}', publication_names {}{messages})",
        quote(&config.slot),
        literal(&quote(&config.publication)),
    )
}

impl From<PgWireError> for Trouble {
    fn from(error: PgWireError) -> Self {
        Self::Line(error)
    }
}

impl Trouble {
    /// What it means for a source.
    pub(crate) fn fault(self, config: &SourceConfig) -> Fault {
        match self {
            // A slot that vanished, was taken or invalidated meanwhile is found by the next look at it.
            Self::Refused { code, message } if code == "42704" && message.contains("publication") => {
                publication_too_young(config)
            }
            Self::PassedOver => publication_too_young(config),
            Self::Refused { code, message } => {
                refusal(config, &code, &message, None).unwrap_or_else(|| connection(config, message))
            }
            Self::Line(PgWireError::Auth(reason)) => Fault::Refused {
                user: config.target.user().to_owned(),
                reason,
            },
            Self::Line(PgWireError::MessageTooLarge {
                payload_bytes,
                limit_bytes,
            }) => Fault::TooLarge {
                bytes: payload_bytes,
                limit: limit_bytes,
            },
            Self::Line(PgWireError::Protocol(reason)) => Fault::Protocol { reason },
            Self::Line(other) => connection(config, other.to_string()),
            Self::Silent => connection(config, "no answer in time"),
        }
    }
}

/// Up to Postgres 17 a publication that is younger than a change ends the stream with an error. Since 18 it is a warning,
/// and the change is left out: an event would be lost and only the server's log would say so. The words depend on the
/// server's language; the name in them does not.
fn is_passing_over(notice: &ErrorFields, publication: &str) -> bool {
    let names_it = |message: &String| message.contains(publication);
    notice.code.as_deref() == Some(OBJECT_NOT_IN_PREREQUISITE_STATE)
        && notice.message.as_ref().is_some_and(names_it)
}

fn publication_too_young(config: &SourceConfig) -> Fault {
    Fault::PublicationTooYoung {
        publication: config.publication.clone(),
        slot: config.slot.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mapping, Preset};

    #[test]
    fn asks_for_version_2_with_names_that_cannot_break_out() {
        let mut config = SourceConfig::new(
            "test",
            "postgres://u@h/d".parse().unwrap(),
            "t",
            Mapping::from(Preset::Demae),
        );
        config.slot = "s\"x".to_owned();
        config.publication = "it's \"mine\"".to_owned();
        assert_eq!(
            follow_statement(&config),
            "START_REPLICATION SLOT \"s\"\"x\" LOGICAL 0/0 (proto_version '2', publication_names '\"it''s \"\"mine\"\"\"')"
        );
        config.messages = true;
        assert!(follow_statement(&config).ends_with(", messages 'true')"));
    }

    #[tokio::test]
    async fn a_password_in_clear_crosses_no_network_unencrypted() {
        for (url, encrypted, sent) in [
            ("postgres://u:secret@db.example.com/d", false, false),
            ("postgres://u:secret@db.example.com/d", true, true),
            (
                "postgres://u:secret@db.example.com/d?sslmode=disable",
                false,
                true,
            ),
            ("postgres://u:secret@127.0.0.1/d", false, true),
        ] {
            let mapping = Mapping::from(Preset::Demae);
            let (line, mut server) = tokio::io::duplex(1_024);
            let mut connection = Connection {
                line: BufReader::new(Box::new(line)),
                encrypted,
                reader: MessageReader::new(),
                config: Arc::new(SourceConfig::new("test", url.parse().unwrap(), "t", mapping)),
            };
            let answer = connection.prove(&auth::CLEARTEXT_PASSWORD.to_be_bytes()).await;
            assert_eq!(answer.is_ok(), sent, "{url}");
            if let Err(trouble) = answer {
                let told = trouble.fault(&connection.config).to_string();
                assert!(told.contains("SCRAM-SHA-256"), "{told}");
            }
            drop(connection);
            let mut written = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut server, &mut written)
                .await
                .unwrap();
            let holds_it = written.windows(6).any(|bytes| bytes == b"secret");
            assert_eq!(holds_it, sent, "{url}");
        }
    }

    #[test]
    fn only_the_warning_about_our_publication_is_a_loss() {
        let notice =
            |code: &str, message: &str| ErrorFields::parse(format!("C{code}\0M{message}\0\0").as_bytes());
        let passes_over = |fields: &ErrorFields| is_passing_over(fields, "demae_outbox");
        let skipped = "skipped loading publication \"demae_outbox\"";
        assert!(passes_over(&notice("55000", skipped)));
        assert!(passes_over(&notice(
            "55000",
            "\u{a1}la publicaci\u{f3}n \u{ab}demae_outbox\u{bb} fue omitida!"
        )));
        assert!(!passes_over(&notice(
            "55000",
            "skipped loading publication \"another\""
        )));
        assert!(!passes_over(&notice("01000", skipped)));
        assert!(!passes_over(&ErrorFields::parse(b"\0")));
    }
}
