//! Checks a delivery with the libraries that receivers really use.
//!
//! The published packages are the oracle: what Demae signs must satisfy them, not our own reading of
//! the specification. Each is called by a short script (`verifiers/`) that takes a list of deliveries
//! as JSON on standard input and prints the list of its verdicts.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::tools;

/// Starting an interpreter takes a second or two on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// A published library that verifies webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verifier {
    /// Python `svix`.
    PythonSvix,
    /// Python `standardwebhooks`; reads only the `webhook-*` headers.
    PythonStandardWebhooks,
    /// Python `kaitencloud`: verifies, then parses the event into its typed model.
    PythonKaitencloud,
    /// Node `svix`.
    NodeSvix,
    /// Node `standardwebhooks`; reads only the `webhook-*` headers.
    NodeStandardWebhooks,
}

/// A delivery as a receiver got it.
#[derive(Debug, Clone, Serialize)]
pub struct Received {
    /// `whsec_…`
    pub secret: String,
    /// Header names in any case. Several values of a name are joined as the receiver would.
    pub headers: BTreeMap<String, String>,
    /// The exact body. Every dialect's body is JSON, so it is text.
    pub body: String,
}

/// What a verifier found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The signature holds and the event could be parsed.
    Accepted {
        /// The class of the typed event, from the one library that has them.
        parsed_type: Option<String>,
    },
    /// No signature matches, a header is missing, or the timestamp is too far off.
    BadSignature {
        /// The library's own words.
        error: String,
    },
    /// The signature holds, but the event does not match the model of its type.
    BadPayload {
        /// The library's own words.
        error: String,
    },
}

impl Verifier {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::PythonSvix,
        Self::PythonStandardWebhooks,
        Self::PythonKaitencloud,
        Self::NodeSvix,
        Self::NodeStandardWebhooks,
    ];

    /// Asks the library about one delivery.
    pub async fn verify(self, received: &Received) -> Result<Verdict> {
        let verdicts = self.verify_all(std::slice::from_ref(received)).await?;
        verdicts.into_iter().next().context("the verifier said nothing")
    }

    /// Asks the library about each delivery, in one run of its interpreter. An error means that it could not be asked.
    pub async fn verify_all(self, received: &[Received]) -> Result<Vec<Verdict>> {
        let output = tools::run(self.command()?, serde_json::to_vec(received)?, LIMIT).await?;
        if !output.status.success() {
            bail!(
                "{self:?} ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let verdicts: Vec<Verdict> = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{self:?} printed {:?}", String::from_utf8_lossy(&output.stdout)))?;
        if verdicts.len() != received.len() {
            bail!(
                "{self:?} judged {} of {} deliveries",
                verdicts.len(),
                received.len()
            );
        }
        Ok(verdicts)
    }

    fn command(self) -> Result<Command> {
        let (mut command, script) = match self {
            Self::PythonSvix => (tools::python()?, "verify_svix.py"),
            Self::PythonStandardWebhooks => (tools::python()?, "verify_standardwebhooks.py"),
            Self::PythonKaitencloud => (tools::python()?, "verify_kaitencloud.py"),
            Self::NodeSvix => (tools::node()?, "verify_svix.mjs"),
            Self::NodeStandardWebhooks => (tools::node()?, "verify_standardwebhooks.mjs"),
        };
        command.arg(tools::file("verifiers").join(script));
        Ok(command)
    }
}
