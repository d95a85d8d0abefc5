//! Reading committed events, and that routing takes them out.

use std::collections::HashSet;

use demae_event::{Event, EventId, OrganizationId, Scope, Timestamp};
use demae_store::{
    engine::{EVENTS_OF_OTHER, EVENTS_OF_OTHERS, OTHERS, READ_LIMIT_OF_OTHERS},
    outbox,
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::support::{NOW, TestStore, grant, new_event, new_events, new_worker, routed};

on_both_databases!(
    the_oldest_come_first_and_again_until_they_are_routed,
    routing_takes_out_what_is_there,
    many_are_taken_out_at_once,
    what_a_broker_keeps_is_taken_out_by_its_id,
    rows_of_other_programs_are_read,
    uncommitted_events_are_not_read,
    other_organizations_are_read_behind_a_backlog,
    other_organizations_are_read_in_turns,
    reads_of_other_organizations_end_at_their_bytes,
);

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

async fn read(store: &TestStore, limit: u32) -> Vec<EventId> {
    ids(&store.engine().read_outbox(limit).await.unwrap())
}

/// Routes events of these ids, whether they are in the outbox or not.
async fn route_to_nobody(store: &TestStore, events: &[EventId]) {
    let messages: Vec<_> = events
        .iter()
        .map(|id| {
            routed(
                Event {
                    id: *id,
                    ..new_event()
                },
                [],
            )
        })
        .collect();
    store
        .engine()
        .route(&messages, grant(new_worker(), NOW))
        .await
        .unwrap();
}

async fn the_oldest_come_first_and_again_until_they_are_routed(store: &TestStore) {
    let events = ids(&{
        let events = new_events(5);
        store.engine().append(&events).await.unwrap();
        events
    });
    assert_eq!(read(store, 3).await, events[..3]);
    assert_eq!(read(store, 3).await, events[..3]);
    route_to_nobody(store, &[events[1], events[0]]).await;
    assert_eq!(read(store, 3).await, events[2..]);
}

async fn routing_takes_out_what_is_there(store: &TestStore) {
    let events = new_events(2);
    store.engine().append(&events).await.unwrap();
    for _ in 0..2 {
        route_to_nobody(store, &[events[0].id, EventId::new(NOW)]).await;
        assert_eq!(read(store, 10).await, [events[1].id]);
    }
    route_to_nobody(store, &[]).await;
    assert_eq!(read(store, 10).await, [events[1].id]);
}

async fn many_are_taken_out_at_once(store: &TestStore) {
    let events = new_events(700);
    store.engine().append(&events).await.unwrap();
    route_to_nobody(store, &ids(&events[..699])).await;
    assert_eq!(read(store, 1000).await, [events[699].id]);
}

/// The contract that other languages rely on: only what has no default need be given, ids may be text.
async fn rows_of_other_programs_are_read(store: &TestStore) {
    let (id, organization) = (Uuid::from_u128(0xA1B2), Uuid::from_u128(0xC3D4));
    store
        .execute(&format!(
            "INSERT INTO outbox_events (id, organization_id, event_name, event_type, payload, created_at)
             VALUES ('{id}', '{organization}', 'A', 'b', '{{\"c\":1}}', '2026-02-03 12:00:00.250+00:00')"
        ))
        .await
        .unwrap();
    store
        .execute(&format!(
            "INSERT INTO outbox_events (organization_id, event_name, event_type, payload, headers)
             VALUES ('{organization}', 'B', 'b', '{{}}', '{{\"h\":\"1\"}}')"
        ))
        .await
        .unwrap();

    let events = store.engine().read_outbox(10).await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].id, EventId(id));
    assert_eq!(events[0].scope, Scope::default_of(OrganizationId(organization)));
    assert_eq!(events[0].data.get().replace(' ', ""), r#"{"c":1}"#);
    assert_eq!(Ok(events[0].created_at), "2026-02-03T12:00:00.250Z".parse());
    assert_ne!(events[1].id, events[0].id, "an id was drawn");
    assert_eq!(events[1].scope, Scope::default_of(OrganizationId(organization)));
    let year_2025 = Timestamp::from_secs(1_735_689_600);
    assert!(
        events[1].created_at > year_2025,
        "the time was taken: {}",
        events[1].created_at
    );
    assert_eq!(
        events[1].headers.as_ref().unwrap().get().replace(' ', ""),
        r#"{"h":"1"}"#
    );

    route_to_nobody(store, &ids(&events)).await;
    assert!(read(store, 10).await.is_empty());
}

async fn uncommitted_events_are_not_read(store: &TestStore) {
    let mut transaction = store.store.begin().await.unwrap();
    let event = new_event();
    outbox::append(&mut transaction, &event).await.unwrap();
    assert!(read(store, 10).await.is_empty());
    transaction.commit().await.unwrap();
    assert_eq!(read(store, 10).await, [event.id]);
}

async fn read_others(store: &TestStore, except: &[OrganizationId]) -> Vec<Event> {
    let except: HashSet<OrganizationId> = except.iter().copied().collect();
    store.engine().read_outbox_of_others(&except).await.unwrap()
}

/// Commits events of an organization.
async fn append_of(store: &TestStore, organization_id: OrganizationId, count: u32) -> Vec<EventId> {
    let events: Vec<Event> = new_events(count as usize)
        .into_iter()
        .map(|event| Event {
            scope: Scope::default_of(organization_id),
            ..event
        })
        .collect();
    store.engine().append(&events).await.unwrap();
    ids(&events)
}

/// Of one organization the events come in their order, also if some programs write its id as text.
async fn other_organizations_are_read_behind_a_backlog(store: &TestStore) {
    let [busy, calm, large] = [1, 2, 3].map(|number| OrganizationId(Uuid::from_u128(number)));
    let backlog = append_of(store, busy, 1_000).await;
    let first = append_of(store, calm, 1).await;
    let many = append_of(store, large, EVENTS_OF_OTHER + 1).await;
    store
        .execute(&format!(
            "INSERT INTO outbox_events (organization_id, event_name, event_type, payload)
             VALUES ('{calm}', 'in between', 'b', '{{}}')"
        ))
        .await
        .unwrap();
    let last = append_of(store, calm, 1).await;

    let others = read_others(store, &[busy]).await;
    let (calms, larges): (Vec<Event>, Vec<Event>) = others
        .into_iter()
        .partition(|event| event.scope.organization == calm);
    assert_eq!(ids(&larges), many[..EVENTS_OF_OTHER as usize]);
    assert_eq!((calms[0].id, calms[2].id, calms.len()), (first[0], last[0], 3));
    assert_eq!(calms[1].name, "in between");

    assert_eq!(read_others(store, &[calm, busy, large]).await.len(), 0);
    let others = read_others(store, &[calm, large]).await;
    assert_eq!(ids(&others), backlog[..EVENTS_OF_OTHER as usize]);
    route_to_nobody(store, &backlog[..5]).await;
    let others = read_others(store, &[calm, large]).await;
    assert_eq!(ids(&others), backlog[5..5 + EVENTS_OF_OTHER as usize]);
}

/// More organizations than are read at a time, none of whose events is routed: all of them come within few reads.
async fn other_organizations_are_read_in_turns(store: &TestStore) {
    let organizations: HashSet<OrganizationId> = (1..=u128::from(OTHERS) + 30)
        .map(|number| OrganizationId(Uuid::from_u128(number * 1_000)))
        .collect();
    for organization in &organizations {
        append_of(store, *organization, 2).await;
    }
    let seen_of = |events: &[Event]| -> HashSet<OrganizationId> {
        events.iter().map(|event| event.scope.organization).collect()
    };
    let first = read_others(store, &[]).await;
    assert_eq!(first.len() as u32, 2 * OTHERS);
    let mut seen = seen_of(&first);
    assert_eq!(seen.len() as u32, OTHERS);
    seen.extend(seen_of(&read_others(store, &[]).await));
    assert_eq!(seen, organizations);

    // Those that have much end a read, and do not come again before the others.
    for organization in &organizations {
        append_of(store, *organization, EVENTS_OF_OTHER).await;
    }
    let at_a_time = (EVENTS_OF_OTHERS / EVENTS_OF_OTHER) as usize;
    let mut seen = HashSet::new();
    for _ in 0..=organizations.len().div_ceil(at_a_time) {
        let events = read_others(store, &[]).await;
        assert!(events.len() <= EVENTS_OF_OTHERS as usize);
        seen.extend(seen_of(&events));
    }
    assert_eq!(seen, organizations);
}

async fn reads_of_other_organizations_end_at_their_bytes(store: &TestStore) {
    let organizations = [1, 2, 3].map(|number| OrganizationId(Uuid::from_u128(number)));
    for organization_id in organizations {
        let text = "x".repeat(READ_LIMIT_OF_OTHERS * 2 / 3);
        let event = Event {
            scope: Scope::default_of(organization_id),
            data: crate::support::json(&format!(r#"{{"text": "{text}"}}"#)),
            ..new_event()
        };
        store.engine().append(&[event]).await.unwrap();
    }
    let of = |events: &[Event]| -> Vec<OrganizationId> {
        events.iter().map(|event| event.scope.organization).collect()
    };
    assert_eq!(of(&read_others(store, &[]).await), organizations[..2]);
    assert_eq!(
        of(&read_others(store, &organizations[..1]).await)[0],
        organizations[2],
        "the one that was left out comes first"
    );
}

/// Positions are drawn when a row is inserted, so a transaction that began early and commits late appears below what
/// has been read and routed. SQLite has one writer and therefore no such order.
#[tokio::test]
async fn events_that_commit_late_are_not_passed_over_on_postgres() {
    let store = TestStore::postgres().await;
    let (early, late) = (new_event(), new_event());
    let mut slow = store.store.begin().await.unwrap();
    outbox::append(&mut slow, &early).await.unwrap();

    let mut quick = store.store.begin().await.unwrap();
    outbox::append(&mut quick, &late).await.unwrap();
    quick.commit().await.unwrap();
    assert_eq!(read(&store, 10).await, [late.id]);
    route_to_nobody(&store, &[late.id]).await;
    assert!(read(&store, 10).await.is_empty());

    slow.commit().await.unwrap();
    assert_eq!(read(&store, 10).await, [early.id]);
}

/// An id as text and the same as bytes are two values to SQLite's unique index; they are still one event.
#[tokio::test]
async fn an_event_in_both_spellings_is_routed_once_on_sqlite() {
    let store = TestStore::sqlite().await;
    let event = new_event();
    store.engine().append(std::slice::from_ref(&event)).await.unwrap();
    store
        .execute(&format!(
            "INSERT INTO outbox_events (id, organization_id, event_name, event_type, payload)
             VALUES ('{}', '{}', 'A', 'b', '{{}}')",
            event.id, event.scope.organization
        ))
        .await
        .unwrap();
    let events = store.engine().read_outbox(10).await.unwrap();
    assert_eq!(ids(&events), [event.id, event.id]);
    let endpoint = crate::support::new_endpoint();
    let messages: Vec<_> = events
        .into_iter()
        .map(|event| routed(event, [(endpoint, None)]))
        .collect();
    let new = store
        .engine()
        .route(&messages, grant(new_worker(), NOW))
        .await
        .unwrap();
    assert_eq!(new, [true, false]);
    assert!(read(&store, 10).await.is_empty());
}

/// One unreadable row would stop everything behind it.
#[tokio::test]
async fn rows_that_could_not_be_read_are_refused_on_sqlite() {
    let store = TestStore::sqlite().await;
    let uuid = "'00000000-0000-0000-0000-00000000000a'";
    for (id, organization, payload, headers) in [
        ("'no-uuid'", uuid, "'{}'", "NULL"),
        ("x'00'", uuid, "'{}'", "NULL"),
        ("'00000000-0000-0000-0000-00000000000A'", uuid, "'{}'", "NULL"),
        (uuid, "17", "'{}'", "NULL"),
        (uuid, uuid, "'{'", "NULL"),
        (uuid, uuid, "'{}'", "'headers'"),
    ] {
        let insert = format!(
            "INSERT INTO outbox_events (id, organization_id, event_name, event_type, payload, headers)
             VALUES ({id}, {organization}, 'A', 'b', {payload}, {headers})"
        );
        let error = store.execute(&insert).await.unwrap_err();
        assert!(
            error.to_string().contains("CHECK constraint"),
            "{insert}: {error}"
        );
    }
    let transaction = store.store.begin().await.unwrap();
    let insert = format!(
        "INSERT INTO outbox_events (id, organization_id, event_name, event_type, payload)
         VALUES ({uuid}, {uuid}, 'A', 'b', '{{}}')"
    );
    transaction
        .connection()
        .execute_unprepared(&insert)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(read(&store, 10).await.len(), 1);
}

async fn what_a_broker_keeps_is_taken_out_by_its_id(store: &TestStore) {
    let events = new_events(4);
    let all = ids(&events);
    store.engine().append(&events).await.unwrap();
    let foreign = new_event().id;
    store.engine().take_out(&[all[2], foreign, all[0]]).await.unwrap();
    assert_eq!(read(store, 10).await, [all[1], all[3]]);
    // A crash after the broker's answer repeats it.
    store.engine().take_out(&[all[2], all[0]]).await.unwrap();
    store.engine().take_out(&[]).await.unwrap();
    assert_eq!(read(store, 10).await, [all[1], all[3]]);
    // Nothing was routed by this: the event can come again from the broker.
    assert!(store.message(all[0]).await.is_none());
}
