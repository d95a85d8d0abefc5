//! Waiting for what gives no signal.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Waits for something that gives no signal: asks again and again, for so long at most.
pub(super) async fn until<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    const ASK_INTERVAL: Duration = Duration::from_millis(100);
    let end = Instant::now() + limit;
    let mut ticks = interval(ASK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match ask().await.with_context(|| format!("waiting until {what}"))? {
            Ok(found) => return Ok(found),
            Err(state) if Instant::now() > end => {
                anyhow::bail!("not within {} s: {what}; now {state}", limit.as_secs())
            }
            Err(_) => {}
        }
    }
}
