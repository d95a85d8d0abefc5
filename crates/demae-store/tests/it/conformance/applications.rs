//! An event keeps its application on its whole way, and one that names none belongs to the default one.

use demae_event::{ApplicationId, Event, EventId, OrganizationId, Scope};
use demae_store::{
    engine::{AttemptRecord, AttemptStatus, DeliveryState, Disposition, Message},
    entity::{attempt, rejected_event},
    outbox,
    repository::{history, messages},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::repository::{application, organization};
use crate::support::{NOW, TestStore, grant, new_event, new_worker, routed, seconds};

on_both_databases!(
    an_event_keeps_its_application_from_the_outbox_to_the_history,
    other_programs_name_an_application_or_none,
    a_delivery_that_is_given_up_is_in_the_history_of_its_application,
    a_rejected_event_names_its_application,
);

/// Two applications of one organization, the default one last.
async fn scopes(store: &TestStore) -> [Scope; 2] {
    let organization = organization(store, "Ours").await;
    [
        application(store, organization, "mine").await,
        Scope::default_of(organization),
    ]
}

fn event(scope: Scope) -> Event {
    Event { scope, ..new_event() }
}

async fn an_event_keeps_its_application_from_the_outbox_to_the_history(store: &TestStore) {
    for scope in scopes(store).await {
        // Both ways of writing.
        let events = [event(scope), event(scope)];
        store.engine().append(&events[..1]).await.unwrap();
        let mut transaction = store.store.begin().await.unwrap();
        outbox::append(&mut transaction, &events[1]).await.unwrap();
        transaction.commit().await.unwrap();
        let read = store.engine().read_outbox(9).await.unwrap();
        assert_eq!(
            read.iter().map(|event| event.scope).collect::<Vec<_>>(),
            [scope; 2]
        );
        let unrouted = messages::find_unrouted(store.store.reader(), scope, events[0].id).await;
        assert_eq!(unrouted.unwrap().unwrap().scope, scope);

        let endpoint = store.endpoint(scope).await;
        let fan_out = read.into_iter().map(|event| routed(event, [(endpoint, None)]));
        let fan_out: Vec<_> = fan_out.collect();
        let grant = grant(new_worker(), NOW);
        assert_eq!(store.engine().route(&fan_out, grant).await.unwrap(), [true; 2]);
        let row = store.message(events[0].id).await.unwrap();
        assert_eq!(
            (row.organization_id, row.application_id),
            (scope.organization.0, scope.application.0)
        );
        let leased = store.claim(endpoint, 1, grant).await.remove(0);
        assert_eq!(leased.message.scope, scope);
        let record = record(&leased.message, endpoint, leased.lease);
        assert_eq!(store.engine().record(&[record]).await.unwrap(), [true]);
        let found = history::find(store.store.reader(), scope, leased.lease).await;
        assert_eq!(found.unwrap().unwrap().event_id, leased.message.event_id);
    }
}

fn record(
    message: &Message,
    endpoint_id: demae_event::EndpointId,
    id: demae_event::AttemptId,
) -> AttemptRecord {
    AttemptRecord {
        id,
        scope: message.scope,
        endpoint_id,
        event_id: message.event_id,
        event_name: message.event_name.clone(),
        number: 1,
        manual: false,
        status: AttemptStatus::Success,
        disposition: Disposition::Finish(DeliveryState::Succeeded),
        step: 1,
        url: "https://example.com/".to_owned(),
        http_status: Some(200),
        error_kind: None,
        error_detail: None,
        request_headers: "{}".to_owned(),
        response_headers: "{}".to_owned(),
        response_body: String::new(),
        duration_ms: 1,
        started_at: NOW,
    }
}

async fn other_programs_name_an_application_or_none(store: &TestStore) {
    let (organization, application) = (Uuid::from_u128(0xC3D4), Uuid::from_u128(0xE5F6));
    let as_bytes = store.literal(application);
    for value in ["NULL", &format!("'{application}'"), &as_bytes] {
        store
            .execute(&format!(
                "INSERT INTO outbox_events (organization_id, application_id, event_name, event_type, payload)
                 VALUES ('{organization}', {value}, 'A', 'a', '{{}}')"
            ))
            .await
            .unwrap();
    }
    let organization = OrganizationId(organization);
    let named = Scope::new(organization, Some(ApplicationId(application)));
    let events = store.engine().read_outbox(9).await.unwrap();
    let scopes: Vec<Scope> = events.iter().map(|event| event.scope).collect();
    assert_eq!(scopes, [Scope::default_of(organization), named, named]);
    for event in &events {
        let scopes = [Scope::default_of(organization), named];
        for scope in scopes {
            let found = messages::find_unrouted(store.store.reader(), scope, event.id).await;
            assert_eq!(found.unwrap().is_some(), scope == event.scope);
        }
    }
}

async fn a_delivery_that_is_given_up_is_in_the_history_of_its_application(store: &TestStore) {
    let [mine, _] = scopes(store).await;
    let endpoint = store.endpoint(mine).await;
    let event = store.enqueue(event(mine), &[endpoint], NOW).await;
    let id = store.literal(event.0);
    store
        .execute(&format!("DELETE FROM messages WHERE event_id = {id}"))
        .await
        .unwrap();
    let grant = grant(new_worker(), NOW + seconds(1));
    assert!(store.claim(endpoint, 1, grant).await.is_empty());
    let rows = attempt::Entity::find()
        .filter(attempt::Column::EventId.eq(event.0))
        .all(store.store.reader())
        .await
        .unwrap();
    let scopes: Vec<_> = rows
        .iter()
        .map(|row| (row.organization_id, row.application_id))
        .collect();
    assert_eq!(scopes, [(mine.organization.0, mine.application.0)]);
}

async fn a_rejected_event_names_its_application(store: &TestStore) {
    let [mine, _] = scopes(store).await;
    let strange = event(mine);
    store
        .engine()
        .append(std::slice::from_ref(&strange))
        .await
        .unwrap();
    let message = Message::from(strange);
    store.engine().reject(&message, "a test", NOW).await.unwrap();
    // A row that cannot be read.
    store
        .execute(&format!(
            "INSERT INTO outbox_events (organization_id, application_id, event_name, event_type, payload)
             VALUES ('{}', '{}', '', 'a', '{{}}')",
            mine.organization, mine.application.0
        ))
        .await
        .unwrap();
    assert!(store.engine().read_outbox(9).await.unwrap().is_empty());
    let rows = rejected_event::Entity::find()
        .all(store.store.reader())
        .await
        .unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let body: serde_json::Value = serde_json::from_slice(&row.body).unwrap();
        let named = body["data"]["payload"]["after"]["application_id"]
            .as_str()
            .unwrap();
        assert_eq!(named.to_lowercase().parse(), Ok(mine.application.0), "{body}");
    }
}

/// A text that is no id must not turn into NULL on its way, which names the default application.
#[tokio::test]
async fn an_application_that_is_no_id_is_rejected_on_sqlite() {
    let store = TestStore::sqlite().await;
    let organization = Uuid::from_u128(0xC3D4);
    let insert = |value: &str| {
        format!(
            "INSERT INTO outbox_events (organization_id, application_id, event_name, event_type, payload)
             VALUES ('{organization}', {value}, 'A', 'a', '{{}}')"
        )
    };
    for value in ["'shop'", "''", "x'00'", "17"] {
        let error = store.execute(&insert(value)).await.unwrap_err();
        assert!(error.to_string().contains("CHECK constraint"), "{error}");
        let unchecked = format!(
            "PRAGMA ignore_check_constraints = ON; {}; PRAGMA ignore_check_constraints = OFF",
            insert(value)
        );
        store.execute(&unchecked).await.unwrap();
    }
    assert_eq!(store.engine().unreadable_rows(9).await.unwrap().len(), 4);
    let read: Vec<EventId> = store
        .engine()
        .read_outbox(9)
        .await
        .unwrap()
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(read, []);
}
