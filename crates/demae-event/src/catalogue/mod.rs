//! Every event that Demae itself emits, declared once.
//!
//! [`all`] holds the 27 of Kaiten (kaiten.md, section 1), in the order of its table: what its seven domains tell the
//! outside. [`operational`] holds what the engine tells an endpoint's owner about the endpoint itself; those are apart
//! because nobody who asked for "everything" meant them (see [`crate::subscription`]).
//!
//! An event has one identity and two names: the seed's (`CUSTOMER_CREATION`), which is what the outbox holds and what
//! is delivered unless asked otherwise, and the later one (`CUSTOMER_CREATED`), which the official SDK insists on. Its
//! type (`com.kaiten.customer.v1.created`) is the same under both.
//!
//! Each event's `data` has a JSON Schema (draft 2020-12) and an example; events of one payload share them. A schema
//! requires the union of what the seed shows and what the SDK requires (kaiten.md, section 8.6) and leaves the door
//! open for more. It refers to nothing outside itself and has no `$ref`, so that it can stand inside another document.
//!
//! An application's own event types are no part of this: they are data, in the store.

mod definition;
mod definitions;
mod payload;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::LazyLock};

pub use definition::{Domain, EventDefinition};
pub use payload::Payload;

/// Types that begin like this belong to the engine's own events; an application may not use them.
pub const OPERATIONAL_TYPE_PREFIX: &str = "com.demae.";

/// The 27 events of Kaiten.
pub fn all() -> &'static [EventDefinition] {
    &definitions::KAITEN
}

/// The engine's own events about endpoints.
pub fn operational() -> &'static [EventDefinition] {
    &definitions::OPERATIONAL
}

/// `ENDPOINT_FAILING`: an endpoint has failed for some time and will be disabled if that goes on.
pub fn endpoint_failing() -> &'static EventDefinition {
    &definitions::OPERATIONAL[0]
}

/// `ENDPOINT_DISABLED`: an endpoint was disabled by the engine, not by its owner.
pub fn endpoint_disabled() -> &'static EventDefinition {
    &definitions::OPERATIONAL[1]
}

/// Whether only the engine may emit an event with this name or type. Every source from outside is checked against it.
pub fn is_reserved(name_or_type: &str) -> bool {
    name_or_type.starts_with(OPERATIONAL_TYPE_PREFIX)
        || find(name_or_type).is_some_and(EventDefinition::is_operational)
}

/// The event that has this as its name, its later name or its type.
pub fn find(name_or_type: &str) -> Option<&'static EventDefinition> {
    static INDEX: LazyLock<HashMap<&str, &EventDefinition>> = LazyLock::new(|| {
        all()
            .iter()
            .chain(operational())
            .flat_map(|event| [event.name, event.later_name, event.event_type].map(|key| (key, event)))
            .collect()
    });
    INDEX.get(name_or_type).copied()
}
