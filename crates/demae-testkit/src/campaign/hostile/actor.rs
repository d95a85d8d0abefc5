//! What all actors have in common: they act again and again, several copies of each at a time, until the campaign ends.
//!
//! The bounds are here, and not the actors' own: the number of copies, a pause between two acts of a copy, and a longest
//! time for an act ([`ACT_LIMIT`]). An actor that is cut off by the end of the campaign closes its connections with it.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::Result;
use rand::{Rng as _, rngs::SmallRng};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{super::schedule, tally::Tally};

/// The longest act: a connection that the server should have closed long before.
const ACT_LIMIT: Duration = Duration::from_mins(2);
/// The draws of actors, apart from those of everything else; each actor has so many streams.
const STREAM: u64 = 1_000_000;
const STREAMS: u64 = 10_000;

/// Outcomes of an act, and how often there was each.
pub(super) type Outcomes = Vec<(String, u64)>;

/// Somebody who does one kind of harm.
pub(super) trait Actor: Clone + Send + Sync + 'static {
    /// What it is called in the summary.
    const NAME: &'static str;
    /// So many copies act at the same time.
    const COPIES: usize;
    /// Milliseconds between two acts of a copy.
    const PAUSE_MS: RangeInclusive<u64>;

    /// One act; says what came of it.
    fn act(&self, random: &mut SmallRng) -> impl Future<Output = Outcomes> + Send;
}

/// A single outcome.
pub(super) fn once(outcome: impl Into<String>) -> Outcomes {
    vec![(outcome.into(), 1)]
}

/// The running actors.
pub(super) struct Cast {
    seed: u64,
    /// Only actors whose names contain it act.
    only: Option<String>,
    actors: u64,
    tally: Tally,
    leaving: CancellationToken,
    tasks: JoinSet<()>,
}

impl Cast {
    pub(super) fn new(seed: u64, only: Option<String>, tally: Tally) -> Self {
        Self {
            seed,
            only,
            actors: 0,
            tally,
            leaving: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Lets an actor begin.
    pub(super) fn add<A: Actor>(&mut self, actor: &A) {
        let acts = self
            .only
            .as_ref()
            .is_none_or(|only| A::NAME.contains(only.as_str()));
        let copies = if acts { A::COPIES } else { 0 };
        for copy in 0..copies as u64 {
            let random = schedule::random(self.seed, STREAM + self.actors * STREAMS + copy);
            let acts = act_on(actor.clone(), random, self.tally.clone());
            let leaving = self.leaving.clone();
            self.tasks.spawn(async move {
                leaving.run_until_cancelled(acts).await;
            });
        }
        self.actors += 1;
    }

    /// Ends all of them, in the middle of what they do.
    pub(super) async fn leave(mut self) -> Result<()> {
        self.leaving.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

async fn act_on<A: Actor>(actor: A, mut random: SmallRng, tally: Tally) {
    loop {
        sleep(Duration::from_millis(random.random_range(A::PAUSE_MS))).await;
        let outcomes = timeout(ACT_LIMIT, actor.act(&mut random)).await;
        for (outcome, times) in outcomes.unwrap_or_else(|_| once("unended")) {
            tally.count(A::NAME, &outcome, times);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[derive(Clone, Default)]
    struct Counting {
        acts: Arc<AtomicU64>,
        acted: Arc<Notify>,
    }

    impl Actor for Counting {
        const NAME: &'static str = "counting";
        const COPIES: usize = 3;
        const PAUSE_MS: RangeInclusive<u64> = 1..=5;

        async fn act(&self, _: &mut SmallRng) -> Outcomes {
            self.acts.fetch_add(1, Ordering::Relaxed);
            self.acted.notify_one();
            // A fourth act would never end.
            if self.acts.load(Ordering::Relaxed) > 3 {
                std::future::pending::<()>().await;
            }
            once("done")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn actors_leave_in_the_middle_of_an_act() {
        let (actor, tally) = (Counting::default(), Tally::default());
        let mut cast = Cast::new(1, None, tally.clone());
        cast.add(&actor);
        while actor.acts.load(Ordering::Relaxed) < 6 {
            actor.acted.notified().await;
        }
        cast.leave().await.unwrap();
        assert_eq!(tally.total(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_act_that_does_not_end_is_counted_and_the_actor_goes_on() {
        let (actor, tally) = (Counting::default(), Tally::default());
        let mut cast = Cast::new(1, None, tally.clone());
        cast.add(&actor);
        while actor.acts.load(Ordering::Relaxed) < 7 {
            actor.acted.notified().await;
        }
        cast.leave().await.unwrap();
        assert!(tally.to_string().contains("\"unended\": "), "{tally}");
    }
}
