//! Notices that the server is being shut down.
//!
//! A Postgres that is stopped in an orderly way (`pg_ctl stop`, a service manager's restart) ends every ordinary session
//! at once, and keeps a stream of its log until the reader has confirmed all of it. A reader that cannot confirm, because
//! what is behind it needs this very database, or is away itself, would hold up the stop for ever; and the stream does not
//! tell it apart from an idle evening. So a session that does nothing is kept beside it: the server ends that one, and
//! refuses another with the reason. The stream is let go then; what was not confirmed comes again after the start.
//!
//! Source: Postgres's documentation, "Shutting Down the Server", and the walsender's wait for its receiver in `WalSndDone`.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{
    SourceConfig,
    connection::{Connection, Purpose, Trouble},
};

/// SQLSTATE `cannot_connect_now`: the server starts, recovers or shuts down.
const CANNOT_CONNECT_NOW: &str = "57P03";
/// Between two attempts to have a session again, when something else is wrong.
const PAUSE: Duration = Duration::from_secs(1);

/// A session that does nothing but be there.
pub(crate) struct Lookout {
    config: Arc<SourceConfig>,
    session: Option<Connection>,
}

impl Lookout {
    /// Opens the session.
    pub(crate) async fn post(config: &Arc<SourceConfig>) -> Result<Self, Trouble> {
        Ok(Self {
            config: config.clone(),
            session: Some(Connection::open(config, Purpose::Session).await?),
        })
    }

    /// Waits until the server shuts down; returns its words. A session that ends for another reason is made again.
    pub(crate) async fn shutdown(&mut self) -> Trouble {
        loop {
            if let Some(session) = &mut self.session {
                // Notices and parameters may come at any time, and mean nothing here.
                while session.read().await.is_ok() {}
                self.session = None;
            }
            match Connection::open(&self.config, Purpose::Session).await {
                Ok(session) => self.session = Some(session),
                Err(Trouble::Refused { code, message }) if code == CANNOT_CONNECT_NOW => {
                    return Trouble::Refused { code, message };
                }
                // The stream has its own ways to find out whether the server is still there.
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Ends the session.
    pub(crate) async fn close(self) {
        if let Some(session) = self.session {
            session.close().await;
        }
    }
}
