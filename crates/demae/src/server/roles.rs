//! Which parts of the system a process runs.

use std::fmt;

use anyhow::bail;

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

    pub(crate) fn new(roles: &[Role]) -> anyhow::Result<Self> {
        let [api, relay, worker] = [Role::Api, Role::Relay, Role::Worker].map(|role| roles.contains(&role));
        if relay && !worker {
            // The router hands fresh deliveries to lanes in memory; without them it has nowhere to hand them.
            bail!(
                "the role relay needs the role worker in the same process for now\nuse --roles relay,worker"
            );
        }
        Ok(Self { api, relay, worker })
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

    #[test]
    fn names_what_it_holds_and_refuses_what_does_not_work() {
        assert_eq!(
            Roles::new(&[Role::Worker, Role::Api]).unwrap().to_string(),
            "api,worker"
        );
        assert!(Roles::new(&[Role::Relay]).is_err());
    }
}
