//! Which database: one URL, understood the same way by the two clients that connect to it.
//!
//! Ordinary statements go through sqlx, the stream through `connection`. Parameters of the URL that only one of them
//! understands would be worse than none, so those that are not known here are refused.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use percent_encoding::percent_decode_str;
use pgwire_replication::{SslMode, TlsConfig};
use sqlx::postgres::PgConnectOptions;
use url::Url;

/// Shown in `pg_stat_activity` and `pg_stat_replication`.
pub(crate) const APPLICATION_NAME: &str = "demae";
const DEFAULT_PORT: u16 = 5432;

/// The URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither `postgres://` nor `postgresql://`.
    #[error("it is no URL like postgres://user:password@host:5432/database")]
    NotPostgres,
    /// The user, the host or the database is missing.
    #[error("the URL lacks the {0}")]
    Lacks(&'static str),
    /// A parameter after `?` that is not understood.
    #[error("the URL's parameter {0} is not supported (sslmode, sslrootcert, sslcert, sslkey and host are)")]
    Parameter(String),
    /// `sslmode=…` with another word.
    #[error("sslmode is one of disable, prefer, require, verify-ca, verify-full")]
    SslMode,
    /// `sslmode=verify-full` with an address: the client that follows the log compares names only.
    #[error("sslmode=verify-full needs the host's name, not its address")]
    NoName,
}

/// A Postgres database and how to reach it. `Debug` and `Display` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: String,
    host: String,
    port: u16,
    user: String,
    password: String,
    database: String,
    tls: TlsConfig,
    authorities: Option<PathBuf>,
    /// `sslmode=disable` was written.
    plain: bool,
}

impl Target {
    /// `user@host:port/database`, for people.
    pub fn label(&self) -> String {
        let Self {
            user,
            host,
            port,
            database,
            ..
        } = self;
        if host.contains(':') {
            return format!("{user}@[{host}]:{port}/{database}");
        }
        format!("{user}@{host}:{port}/{database}")
    }

    /// Who connects.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The same database, whose certificate may also come from the authorities in this PEM file. A file that the URL names
    /// (`sslrootcert`) is used instead.
    #[must_use]
    pub fn trusting(mut self, authorities: &Path) -> Self {
        if self.tls.ca_pem_path.is_none() {
            self.authorities = Some(authorities.to_owned());
        }
        self
    }

    pub(crate) fn sql_options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let options = PgConnectOptions::from_str(&self.url)?.application_name(APPLICATION_NAME);
        Ok(match &self.authorities {
            // Added to the public ones.
            Some(file) => options.ssl_root_cert(file),
            None => options,
        })
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// A name or an address; the folder of sockets for [`Target::socket`].
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn tls(&self) -> &TlsConfig {
        &self.tls
    }

    /// The same with the further authorities, if there are any: they replace the public ones, so both have to be tried.
    pub(crate) fn tls_with_authorities(&self) -> Option<TlsConfig> {
        self.authorities.as_ref().map(|file| TlsConfig {
            ca_pem_path: Some(file.clone()),
            ..self.tls.clone()
        })
    }

    /// Whether even a line that is not encrypted may carry a password: it does not leave this machine, or the URL says
    /// `sslmode=disable`.
    pub(crate) fn may_be_read_along(&self) -> bool {
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        self.plain
            || self.host.starts_with('/')
            || self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(is_loopback)
    }

    /// Whether a server could make a client that trusts it send the password in clear.
    pub(crate) fn may_be_asked_in_clear(&self) -> bool {
        self.tls.mode == SslMode::Prefer && !self.password.is_empty() && !self.may_be_read_along()
    }

    /// The socket on this machine, if the host is a folder.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        self.host
            .starts_with('/')
            .then(|| PathBuf::from(&self.host).join(format!(".s.PGSQL.{}", self.port)))
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let url = Url::parse(text).map_err(|_| TargetError::NotPostgres)?;
        if !["postgres", "postgresql"].contains(&url.scheme()) {
            return Err(TargetError::NotPostgres);
        }
        let mut tls = TlsConfig {
            mode: SslMode::Prefer,
            ..TlsConfig::default()
        };
        let mut plain = false;
        // Brackets belong to the URL, not to the address.
        let mut host = url.host_str().map(|host| decode(host.trim_matches(['[', ']'])));
        for (name, value) in url.query_pairs() {
            let path = || Some(PathBuf::from(&*value));
            match &*name {
                "sslmode" => {
                    tls.mode = ssl_mode(&value)?;
                    plain = tls.mode == SslMode::Disable;
                }
                "sslrootcert" => tls.ca_pem_path = path(),
                "sslcert" => tls.client_cert_pem_path = path(),
                "sslkey" => tls.client_key_pem_path = path(),
                // Libpq's way of naming a folder of sockets.
                "host" => host = Some(value.into_owned()),
                other => return Err(TargetError::Parameter(other.to_owned())),
            }
        }
        let host = host
            .filter(|host| !host.is_empty())
            .ok_or(TargetError::Lacks("host"))?;
        if host.starts_with('/') {
            // A socket is not a network.
            tls = TlsConfig::disabled();
        }
        let address = host.parse::<IpAddr>();
        if tls.mode == SslMode::VerifyFull && address.is_ok() {
            return Err(TargetError::NoName);
        }
        let present = |text: String, what| {
            Some(text)
                .filter(|text| !text.is_empty())
                .ok_or(TargetError::Lacks(what))
        };
        Ok(Self {
            port: url.port().unwrap_or(DEFAULT_PORT),
            user: present(decode(url.username()), "user")?,
            password: decode(url.password().unwrap_or_default()),
            database: present(decode(url.path().trim_start_matches('/')), "database")?,
            url: text.to_owned(),
            host,
            tls,
            authorities: None,
            plain,
        })
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn ssl_mode(word: &str) -> Result<SslMode, TargetError> {
    Ok(match word {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => return Err(TargetError::SslMode),
    })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_both_clients_understand_and_hides_the_password() {
        let target: Target =
            "postgres://al%40x:p%23ss@[::1]:6432/my%20db?sslmode=verify-ca&sslrootcert=/ca.pem"
                .parse()
                .unwrap();
        assert_eq!(target.label(), "al@x@[::1]:6432/my db");
        assert_eq!(target.password, "p#ss");
        assert_eq!(target.tls.mode, SslMode::VerifyCa);
        assert!(!format!("{target:?} {target}").contains("p#ss"));
        assert!(target.sql_options().is_ok());
    }

    #[test]
    fn a_folder_of_sockets_is_a_host() {
        let target: Target = "postgres://u@localhost/d?host=/var/run/postgresql"
            .parse()
            .unwrap();
        assert_eq!(target.socket(), Some("/var/run/postgresql/.s.PGSQL.5432".into()));
        assert_eq!(target.tls.mode, SslMode::Disable);
    }

    #[test]
    fn a_password_in_clear_stays_on_this_machine_unless_the_url_says_otherwise() {
        for (url, may) in [
            ("postgres://u:p@db.example.com/d", false),
            ("postgres://u:p@db.example.com/d?sslmode=prefer", false),
            ("postgres://u:p@192.0.2.1/d", false),
            ("postgres://u:p@db.example.com/d?sslmode=disable", true),
            ("postgres://u:p@localhost/d", true),
            ("postgres://u:p@127.0.0.1/d", true),
            ("postgres://u:p@[::1]/d", true),
            ("postgres://u:p@[::ffff:127.0.0.1]/d", true),
            ("postgres://u:p@localhost/d?host=/var/run/postgresql", true),
        ] {
            let target: Target = url.parse().unwrap();
            assert_eq!(target.may_be_read_along(), may, "{url}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let cases = [
            ("mysql://u@h/d", TargetError::NotPostgres),
            ("u@h/d", TargetError::NotPostgres),
            ("postgres://h/d", TargetError::Lacks("user")),
            ("postgres://u@h", TargetError::Lacks("database")),
            ("postgres://u@h/d?sslmode=allow", TargetError::SslMode),
            ("postgres://u@10.0.0.1/d?sslmode=verify-full", TargetError::NoName),
            ("postgres://u@[::1]/d?sslmode=verify-full", TargetError::NoName),
            (
                "postgres://u@h/d?target_session_attrs=any",
                TargetError::Parameter("target_session_attrs".into()),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
    }
}
