//! Which parts of the system a process runs.

use std::fmt;

use anyhow::bail;

use crate::config::Settings;

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Answers requests.
    Api,
    /// Turns outbox rows into deliveries.
    Relay,
    /// Makes deliveries.
    Worker,
}

/// At least one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roles {
    api: bool,
    relay: bool,
    worker: bool,
}

impl Roles {
    pub(crate) fn all() -> Self {
        Self {
            api: true,
            relay: true,
            worker: true,
        }
    }

    pub(crate) fn new(roles: &[Role]) -> Self {
        let [api, relay, worker] = [Role::Api, Role::Relay, Role::Worker].map(|role| roles.contains(&role));
        Self { api, relay, worker }
    }

    /// Whether this works with these settings.
    pub(crate) fn check(self, settings: &Settings) -> anyhow::Result<()> {
        if self.relay && !self.worker && settings.sqlite_file().is_some() {
            bail!(
                "an SQLite file has one process, so nobody would deliver what the role relay writes\nuse --roles \
                 relay,worker, or a Postgres database"
            );
        }
        Ok(())
    }

    pub(crate) fn has(self, role: Role) -> bool {
        match role {
            Role::Api => self.api,
            Role::Relay => self.relay,
            Role::Worker => self.worker,
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.api, "api"), (self.relay, "relay"), (self.worker, "worker")];
        let names: Vec<_> = names
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mode, Sources};

    #[test]
    fn names_what_it_holds_and_refuses_what_does_not_work() {
        assert_eq!(Roles::new(&[Role::Worker, Role::Api]).to_string(), "api,worker");
        let settings = |url: &str| {
            let sources = Sources {
                variables: vec![("DEMAE_DATABASE_URL".to_owned(), url.to_owned())],
                ..Sources::default()
            };
            Settings::load(&sources, Mode::Serve).unwrap()
        };
        let relay = Roles::new(&[Role::Relay]);
        assert!(relay.check(&settings("sqlite:demae.db")).is_err());
        assert!(relay.check(&settings("postgres://localhost/demae")).is_ok());
        assert!(Roles::all().check(&settings("sqlite:demae.db")).is_ok());
    }
}
