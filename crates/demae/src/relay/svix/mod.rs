//! Delivery by somebody else's Svix: instead of routing, events become messages there through its API.
//!
//! One application of Svix per application, whose uid is the application's UUID (the organization's for its default one); it
//! is made when it is first needed. A message's
//! event id is the outbox id, so a repeated message is refused as a conflict, which is as good as taken. Its event type
//! is the event's **type** (`com.kaiten.customer.v1.created`): kaiten.md, section 6.4, says that Svix selects endpoints by
//! event type and leaves open whether those are types or names; the type is what Svix's documentation calls an event
//! type, has only characters that Svix allows, and does not depend on which of two name forms somebody subscribed to.
//! The payload is the envelope, as Demae itself would send it.
//!
//! Messages of one application are made one after the other, in order; [`APPLICATIONS_AT_ONCE`] applications at a time, whose
//! order nobody can compare. A batch is done when all of it is.

mod api;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use demae_cdc::envelope as wire;
use demae_event::{Clock, Event, EventId, Scope, envelope::envelope};
use demae_store::{Store, repository::applications};
use futures::{StreamExt as _, stream};
use std::sync::Arc;

use self::api::{Answer, Api};
use super::{
    forwarder::{Destination, NotTaken},
    organizations::unknown_scope,
    rejections::Rejections,
};
use crate::config::SvixSettings;

/// Applications whose messages are made at the same time.
const APPLICATIONS_AT_ONCE: usize = 16;
/// How rejected events are labelled.
const SOURCE: &str = "svix";

/// A Svix server as the keeper of events.
pub(crate) struct Svix {
    api: Api,
    store: Store,
    rejections: Rejections,
    /// Those of the batch under way that need not be sent again.
    done: HashSet<EventId>,
}

impl Svix {
    pub(crate) fn new(
        settings: &SvixSettings,
        store: Store,
        clock: Arc<dyn Clock>,
        rejections: Rejections,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            api: Api::new(settings, clock)?,
            store,
            rejections,
            done: HashSet::new(),
        })
    }

    /// Makes the messages of one application, in order; answers which are done, and why the others are not.
    async fn of_application(
        &self,
        scope: Scope,
        events: Vec<&Event>,
    ) -> (Vec<EventId>, Result<(), NotTaken>) {
        let mut done = Vec::with_capacity(events.len());
        for event in events {
            match self.send_one(scope, event).await {
                Ok(()) => done.push(event.id),
                Err(not_taken) => return (done, Err(not_taken)),
            }
        }
        (done, Ok(()))
    }

    async fn send_one(&self, scope: Scope, event: &Event) -> Result<(), NotTaken> {
        let payload = envelope(
            &event.name,
            &event.event_type,
            &event.data,
            event.headers.as_deref(),
        );
        let reject = async |reason: &str| {
            // As it would have come from a broker, so that it can be redriven.
            Ok(self.rejections.add(SOURCE, reason, &wire::encode(event)).await?)
        };
        let mut answer = self.api.create_message(event, &payload).await?;
        if matches!(answer, Answer::NoApplication) {
            let Some(row) =
                demae_store::silence::answer(applications::find(self.store.reader(), scope)).await?
            else {
                return reject(&unknown_scope(scope)).await;
            };
            self.api.create_application(scope.application, &row.name).await?;
            answer = self.api.create_message(event, &payload).await?;
        }
        match answer {
            Answer::Taken => Ok(()),
            Answer::Refused(reason) => reject(&reason).await,
            Answer::NoApplication => Err(anyhow::anyhow!(
                "Svix made an application and does not find it; is svix_url right?"
            )
            .into()),
        }
    }
}

#[async_trait]
impl Destination for Svix {
    fn name(&self) -> &'static str {
        SOURCE
    }

    async fn send(&mut self, events: &[Event]) -> Result<(), NotTaken> {
        let mut order = Vec::new();
        let mut by_scope: HashMap<Scope, Vec<&Event>> = HashMap::new();
        for event in events.iter().filter(|event| !self.done.contains(&event.id)) {
            by_scope
                .entry(event.scope)
                .or_insert_with(|| {
                    order.push(event.scope);
                    Vec::new()
                })
                .push(event);
        }
        let this = &*self;
        let work = order.into_iter().filter_map(|scope| {
            let events = by_scope.remove(&scope)?;
            Some(this.of_application(scope, events))
        });
        let results: Vec<_> = stream::iter(work)
            .buffer_unordered(APPLICATIONS_AT_ONCE)
            .collect()
            .await;
        let mut first_trouble = None;
        let mut longest: Option<Duration> = None;
        for (done, result) in results {
            self.done.extend(done);
            if let Err(not_taken) = result {
                longest = longest.max(not_taken.retry_after);
                first_trouble.get_or_insert(not_taken);
            }
        }
        match first_trouble {
            None => {
                self.done.clear();
                Ok(())
            }
            Some(trouble) => Err(NotTaken {
                retry_after: longest,
                ..trouble
            }),
        }
    }
}
