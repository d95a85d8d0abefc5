//! Where events come from and which way they go: sources and keepers, put together by settings and roles.
//!
//! ```text
//!  relay:  own outbox (polled, or from the log) ─┐                     ┌─▶ router: the lanes of this process, or the
//!          [[source]] databases ─────────────────┼─▶ (a broker) ───────┤   table for the workers of others
//!  worker: POST /events (Dapr) ──────────────────┘    in between       └─▶ Svix, where it delivers instead
//! ```
//!
//! With a broker the relay only forwards to it, and the workers route what they take from it. Without one, whatever
//! process has the sources routes. All of them pass [`OfKnownOrganizations`].
//!
//! Sources stay where they are when what they lead to is away: nothing is acknowledged that is not durable behind it.

mod active;
pub(crate) mod broker;
mod dapr;
mod forwarder;
mod organizations;
mod rejections;
mod svix;
pub(crate) mod wal;

use std::{sync::Arc, time::Duration};

use axum::Router;
use demae_delivery::engine::{EventSource, HandedOn, OutboxSource};
use demae_event::Clock;
use demae_store::{
    Store,
    leadership::{Leadership, Task},
};

use self::{
    active::WhileLeading,
    broker::{FromBroker, ToBroker},
    dapr::Dapr,
    organizations::{OfKnownOrganizations, Organizations},
    rejections::Rejections,
    svix::Svix,
};
pub(crate) use self::{forwarder::Forwarders, organizations::unknown_scope};
use crate::{
    config::{OutboxReading, Settings},
    server::roles::{Role, Roles},
};

/// How often the outbox is looked at without a wake-up: writers that tell nobody.
const OUTBOX_POLL: Duration = Duration::from_millis(250);

type Source = Box<dyn EventSource>;

/// What a process does with events.
pub(crate) struct Flow {
    /// What its own router reads; empty if it has none.
    pub(crate) routed: Vec<Source>,
    /// What carries events elsewhere.
    pub(crate) forwarders: Forwarders,
    /// What a Dapr sidecar talks to; without routes unless the settings name its token.
    pub(crate) dapr: Router,
}

impl Flow {
    /// Puts it together and starts the forwarders.
    pub(crate) async fn start(
        settings: &Settings,
        roles: Roles,
        store: &Store,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        // Requests use the other connections, also all of them.
        let store = &store.apart();
        let rejections = Rejections::new(store.clone(), clock.clone());
        let organizations = Organizations::new(store.clone());
        let mut flow = Self {
            routed: Vec::new(),
            forwarders: Forwarders::default(),
            dapr: Router::new(),
        };
        let mut arriving: Vec<Source> = Vec::new();
        if roles.has(Role::Relay) {
            arriving.extend(captured(settings, store, clock, &organizations, &rejections).await?);
        }
        if let Some(broker_settings) = &settings.broker {
            let broker = broker::rabbitmq(broker_settings);
            for source in arriving.drain(..) {
                flow.forwarders
                    .start(source, ToBroker::new(&broker, broker_settings));
            }
            if roles.has(Role::Worker) {
                let source = FromBroker::new(&broker, broker_settings);
                arriving.push(Box::new(OfKnownOrganizations::new(
                    Box::new(source),
                    "broker",
                    organizations.clone(),
                    rejections.clone(),
                )));
            }
        }
        // Where something is routed, or handed to Svix, a sidecar may bring events, too.
        let routes_here = roles.has(Role::Worker) || !arriving.is_empty();
        if let Some(app_token) = settings.dapr_app_token.clone().filter(|_| routes_here) {
            let dapr = Dapr {
                app_token,
                organizations,
                rejections: rejections.clone(),
            };
            let (router, source) = dapr.open();
            flow.dapr = router;
            arriving.push(Box::new(source));
        }
        match &settings.svix {
            None => flow.routed = arriving,
            Some(svix) => {
                for source in arriving {
                    let keeper = Svix::new(svix, store.clone(), clock.clone(), rejections.clone())?;
                    flow.forwarders.start(source, keeper);
                }
            }
        }
        Ok(flow)
    }
}

/// What the role relay reads.
async fn captured(
    settings: &Settings,
    store: &Store,
    clock: &Arc<dyn Clock>,
    organizations: &Organizations,
    rejections: &Rejections,
) -> anyhow::Result<Vec<Source>> {
    let own = own_outbox(settings, store, clock).await?;
    let own = OfKnownOrganizations::new(own, "outbox", organizations.clone(), rejections.clone());
    let mut sources: Vec<Source> = vec![Box::new(own.out_of(store.engine().clone()))];
    let attached = wal::attached(settings, store, clock);
    for (source, config) in attached.into_iter().zip(&settings.capture.sources) {
        let label = format!("source:{}", config.name);
        let known = OfKnownOrganizations::new(source, label, organizations.clone(), rejections.clone());
        sources.push(Box::new(known.waiting()));
    }
    Ok(sources)
}

/// Demae's own outbox. Routing takes its rows out; where something else keeps the events, acknowledging does.
async fn own_outbox(settings: &Settings, store: &Store, clock: &Arc<dyn Clock>) -> anyhow::Result<Source> {
    let source: Source = match settings.capture.outbox {
        OutboxReading::Poll => {
            let outbox = OutboxSource::new(store.engine().clone(), OUTBOX_POLL);
            let leadership = Leadership::stand(store, Task::Outbox);
            Box::new(WhileLeading::new(outbox, leadership))
        }
        // The slot itself admits one reader.
        OutboxReading::Wal => wal::own_outbox(settings, store, clock).await?,
    };
    let routed_here = settings.broker.is_none() && settings.svix.is_none();
    Ok(if routed_here {
        source
    } else {
        Box::new(HandedOn::new(source, store.engine().clone()))
    })
}
