//! Where the broker is.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use url::{Host, Url};

/// Seconds between signs of life where the URL does not say: a dead line is noticed after twice that.
const HEARTBEAT: u16 = 10;

/// How long connecting may take, with TLS and login, where the URL does not say.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// `amqp://user:password@host:5672/vhost` or `amqps://…`, checked.
///
/// The query knows `heartbeat` (seconds, at least 1), `connection_timeout` (milliseconds) and `cacertfile` (a PEM file with
/// the certificates to trust, for `amqps`), as RabbitMQ's own URI query parameters. Without a path, or with a
/// lone slash, the virtual host is `/`.
///
/// Neither `Debug` nor `Display` shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    url: Url,
    heartbeat: u16,
    connection_timeout: Duration,
    certificates: Option<String>,
    authorities: Option<Arc<str>>,
}

/// Why a text is not a broker's URL. Repeats nothing of it, for it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokerUrlError {
    /// No URL at all.
    #[error("it is not a URL")]
    Malformed,
    /// Neither `amqp` nor `amqps`.
    #[error("it begins with neither amqp:// nor amqps://")]
    Scheme,
    /// No host.
    #[error("it names no host")]
    Host,
    /// More than one segment in the path.
    #[error("its virtual host has an unescaped slash; write %2F")]
    VirtualHost,
    /// A `%` not followed by two hexadecimal digits, or escaped bytes that are no UTF-8.
    #[error("it has a wrong percent escape")]
    Escape,
    /// A query parameter that is unknown or has no usable value.
    #[error("its query may have heartbeat (seconds), connection_timeout (milliseconds) and cacertfile only")]
    Query,
}

impl BrokerUrl {
    /// The same broker, whose certificate may also come from these authorities (PEM).
    #[must_use]
    pub fn trusting(self, authorities: &str) -> Self {
        Self {
            authorities: Some(authorities.into()),
            ..self
        }
    }

    /// Host and port, for messages.
    pub fn label(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "amqps"
    }

    /// How often the other side is heard of at least.
    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat.into())
    }

    /// How long connecting may take.
    pub(crate) fn connection_timeout(&self) -> Duration {
        self.connection_timeout
    }

    /// Further authorities to trust, in PEM.
    pub(crate) fn authorities(&self) -> Option<&str> {
        self.authorities.as_deref()
    }

    /// The file with the certificates to trust besides the public ones.
    pub(crate) fn certificates(&self) -> Option<&str> {
        self.certificates.as_deref()
    }

    /// For the client library.
    pub(crate) fn uri(&self) -> lapin::uri::AMQPUri {
        use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri};
        AMQPUri {
            scheme: if self.is_tls() {
                AMQPScheme::AMQPS
            } else {
                AMQPScheme::AMQP
            },
            authority: AMQPAuthority {
                userinfo: self.user_info(),
                host: self.host(),
                port: self.port(),
            },
            vhost: self.virtual_host(),
            query: AMQPQueryString {
                heartbeat: Some(self.heartbeat),
                ..AMQPQueryString::default()
            },
        }
    }
}

impl BrokerUrl {
    fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        }
    }

    fn port(&self) -> u16 {
        self.url.port().unwrap_or(if self.is_tls() { 5671 } else { 5672 })
    }

    /// RabbitMQ's own default account, which it lets in from its own machine only.
    fn user_info(&self) -> lapin::uri::AMQPUserInfo {
        let or_guest = |text: Option<&str>| {
            text.and_then(|text| unescape(text).ok())
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| "guest".to_owned())
        };
        lapin::uri::AMQPUserInfo {
            username: or_guest(Some(self.url.username())),
            password: or_guest(self.url.password()),
        }
    }

    fn virtual_host(&self) -> String {
        let path = self.url.path().trim_start_matches('/');
        match unescape(path) {
            Ok(name) if !name.is_empty() => name,
            _ => "/".to_owned(),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), BrokerUrlError> {
        match name {
            "heartbeat" => self.heartbeat = positive(value)?,
            "connection_timeout" => {
                self.connection_timeout = Duration::from_millis(positive::<u32>(value)?.into());
            }
            "cacertfile" if self.is_tls() && !value.is_empty() => self.certificates = Some(value.to_owned()),
            _ => return Err(BrokerUrlError::Query),
        }
        Ok(())
    }
}

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| BrokerUrlError::Malformed)?;
        if !matches!(url.scheme(), "amqp" | "amqps") {
            return Err(BrokerUrlError::Scheme);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(BrokerUrlError::Host);
        }
        if url.path().trim_start_matches('/').contains('/') {
            return Err(BrokerUrlError::VirtualHost);
        }
        for escaped in [url.path(), url.username(), url.password().unwrap_or_default()] {
            unescape(escaped)?;
        }
        let mut checked = Self {
            url,
            heartbeat: HEARTBEAT,
            connection_timeout: CONNECTION_TIMEOUT,
            certificates: None,
            authorities: None,
        };
        let query: Vec<_> = checked.url.query_pairs().into_owned().collect();
        for (name, value) in query {
            checked.set(&name, &value)?;
        }
        Ok(checked)
    }
}

/// `amqp://host:5672/vhost`: what tells brokers apart, and no more.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.url.scheme(), self.label(), self.url.path())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

fn positive<T: FromStr + Default + PartialOrd>(text: &str) -> Result<T, BrokerUrlError> {
    text.parse()
        .ok()
        .filter(|number| *number > T::default())
        .ok_or(BrokerUrlError::Query)
}

fn unescape(text: &str) -> Result<String, BrokerUrlError> {
    let escapes_are_whole = text
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.as_bytes().iter().take(2).all(u8::is_ascii_hexdigit));
    if !escapes_are_whole {
        return Err(BrokerUrlError::Escape);
    }
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| BrokerUrlError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BrokerUrl, BrokerUrlError> {
        text.parse()
    }

    #[test]
    fn what_is_left_out_has_rabbitmqs_defaults() {
        for text in [
            "amqp://broker",
            "amqp://broker/",
            "amqp://broker:5672/%2F",
            "amqp://guest:guest@broker/%2f",
        ] {
            let uri = read(text).unwrap().uri();
            assert_eq!(
                uri.to_string(),
                "amqp://guest:guest@broker:5672/%2F?heartbeat=10",
                "{text}"
            );
        }
        assert_eq!(read("amqps://broker").unwrap().label(), "broker:5671");
    }

    #[test]
    fn everything_can_be_said() {
        let url = read("amqps://us%40er:p%2Fw%3A@[::1]:7/orders%2Fall?heartbeat=3&connection_timeout=250&cacertfile=/etc/ca.pem")
            .unwrap();
        let uri = url.uri();
        assert_eq!(uri.authority.userinfo.username, "us@er");
        assert_eq!(uri.authority.userinfo.password, "p/w:");
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("::1", 7));
        assert_eq!(uri.vhost, "orders/all");
        assert_eq!(uri.query.heartbeat, Some(3));
        assert_eq!(url.connection_timeout(), Duration::from_millis(250));
        assert_eq!(url.certificates(), Some("/etc/ca.pem"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = [
            ("broker:5672", BrokerUrlError::Scheme),
            ("broker", BrokerUrlError::Malformed),
            ("http://broker", BrokerUrlError::Scheme),
            ("amqp:///vhost", BrokerUrlError::Host),
            ("amqp://broker/a/b", BrokerUrlError::VirtualHost),
            ("amqp://broker/%2", BrokerUrlError::Escape),
            ("amqp://broker/%ff", BrokerUrlError::Escape),
            ("amqp://u:p%zz@broker", BrokerUrlError::Escape),
            ("amqp://broker?heartbeat=0", BrokerUrlError::Query),
            ("amqp://broker?heartbeat=soon", BrokerUrlError::Query),
            ("amqp://broker?verify=verify_none", BrokerUrlError::Query),
            ("amqp://broker?cacertfile=/ca.pem", BrokerUrlError::Query),
        ];
        for (text, fault) in refused {
            assert_eq!(read(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn nothing_shows_the_password() {
        let url = read("amqp://demae:hunter2@broker/orders").unwrap();
        assert_eq!(url.to_string(), "amqp://broker:5672/orders");
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(amqps?://)?\\PC{0,60}") {
            if let Ok(url) = read(&text) {
                let _ = (url.uri(), url.label());
            }
        }
    }
}
