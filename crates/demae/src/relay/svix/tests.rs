use std::sync::Arc;

use demae_event::{OrganizationId, SystemClock, id::new_uuid};
use demae_store::{
    StoreOptions, Vault,
    entity::organization,
    repository::{Page, organizations, rejected},
};
use demae_testkit::{sqlite::SqliteFile, svix::SvixStub};
use serde_json::{Value, value::RawValue};

use super::*;
use crate::config::Secret;

const TOKEN: &str = "testsk_key.eu";

struct Fixture {
    stub: SvixStub,
    svix: Svix,
    store: Store,
    _file: SqliteFile,
}

async fn fixture() -> Fixture {
    fixture_with(TOKEN).await
}

async fn fixture_with(token: &str) -> Fixture {
    let file = SqliteFile::create().unwrap();
    let vault = Vault::from_text(&Vault::generate_text()).unwrap();
    let store = Store::connect(StoreOptions::new(file.url(), vault))
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let stub = SvixStub::start(TOKEN).await;
    let settings = SvixSettings {
        url: stub.url().parse().unwrap(),
        token: Secret::new(token),
        authorities: None,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rejections = Rejections::new(store.clone(), clock.clone());
    Fixture {
        stub,
        svix: Svix::new(&settings, store.clone(), clock, rejections).unwrap(),
        store,
        _file: file,
    }
}

impl Fixture {
    async fn organization(&self, name: &str) -> OrganizationId {
        let id = OrganizationId(new_uuid(SystemClock.now()));
        let row = organization::Model {
            id: id.0,
            external_id: None,
            name: name.to_owned(),
            created_at: 0,
        };
        let mut transaction = self.store.begin().await.unwrap();
        assert!(organizations::insert(&mut transaction, row).await.unwrap());
        transaction.commit().await.unwrap();
        id
    }

    async fn rejected(&self) -> Vec<rejected::Rejected> {
        rejected::list(self.store.reader(), Page::first(10))
            .await
            .unwrap()
            .items
    }
}

fn event(organization: OrganizationId) -> Event {
    Event {
        id: EventId(new_uuid(SystemClock.now())),
        scope: Scope::default_of(organization),
        name: "CUSTOMER_CREATION".to_owned(),
        event_type: "com.kaiten.customer.v1.created".to_owned(),
        data: RawValue::from_string(r#"{"z": 1.50, "a": 2}"#.to_owned()).unwrap(),
        headers: None,
        traceparent: None,
        created_at: SystemClock.now(),
    }
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<String> {
    events.into_iter().map(|event| event.id.to_string()).collect()
}

#[tokio::test]
async fn an_event_becomes_a_message_of_its_organizations_application() {
    let mut fixture = fixture().await;
    let [one, other] = [
        fixture.organization("One\u{1}").await,
        fixture.organization("").await,
    ];
    let events = [event(one), event(other), event(one)];
    fixture.svix.send(&events).await.unwrap();
    assert_eq!(fixture.stub.application(&one.to_string()).unwrap(), "One");
    assert_eq!(
        fixture.stub.application(&other.to_string()).unwrap(),
        other.to_string()
    );
    let messages = fixture.stub.messages();
    assert_eq!(messages.len(), 3);
    let of_one: Vec<_> = messages
        .iter()
        .filter(|message| message.application == one.to_string())
        .collect();
    assert_eq!(
        of_one
            .iter()
            .map(|message| message.event_id.clone())
            .collect::<Vec<_>>(),
        ids([&events[0], &events[2]])
    );
    assert_eq!(of_one[0].event_type, "com.kaiten.customer.v1.created");
    // Byte for byte what Demae itself would deliver.
    let expected = envelope(&events[0].name, &events[0].event_type, &events[0].data, None);
    assert_eq!(of_one[0].payload.as_bytes(), expected);
    let envelope: Value = serde_json::from_str(&of_one[0].payload).unwrap();
    assert_eq!(envelope["name"], "CUSTOMER_CREATION");
}

#[tokio::test]
async fn an_event_that_was_taken_before_is_done() {
    let mut fixture = fixture().await;
    let events = [event(fixture.organization("One").await)];
    fixture.svix.send(&events).await.unwrap();
    fixture.svix.send(&events).await.unwrap();
    assert_eq!(fixture.stub.messages().len(), 1);
    assert_eq!(fixture.stub.conflicts(), 1);
    assert!(fixture.rejected().await.is_empty());
}

#[tokio::test]
async fn trouble_holds_up_its_organization_in_order_and_asks_for_a_pause() {
    let mut fixture = fixture().await;
    let organization = fixture.organization("One").await;
    fixture.svix.send(&[event(organization)]).await.unwrap();
    let events: Vec<Event> = (0..4).map(|_| event(organization)).collect();
    fixture.stub.fail(429, Some("7"));
    let not_taken = fixture.svix.send(&events).await.unwrap_err();
    assert_eq!(not_taken.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(fixture.stub.messages().len(), 1, "nothing overtakes the first");
    // The answer is lost, the message is not.
    fixture.stub.take_and_fail(503);
    assert_eq!(fixture.svix.send(&events).await.unwrap_err().retry_after, None);
    fixture.svix.send(&events).await.unwrap();
    let taken: Vec<_> = fixture.stub.messages()[1..]
        .iter()
        .map(|message| message.event_id.clone())
        .collect();
    assert_eq!(taken, ids(&events));
    assert_eq!(fixture.stub.conflicts(), 1);
    assert!(fixture.rejected().await.is_empty());
}

#[tokio::test]
async fn what_was_taken_is_not_sent_again_with_its_batch() {
    let mut fixture = fixture().await;
    let [one, other] = [fixture.organization("1").await, fixture.organization("2").await];
    fixture.svix.send(&[event(one), event(other)]).await.unwrap();
    fixture.stub.fail(500, None);
    let events = [event(one), event(other)];
    fixture.svix.send(&events).await.unwrap_err();
    fixture.svix.send(&events).await.unwrap();
    assert_eq!(fixture.stub.messages().len(), 4);
    assert_eq!(fixture.stub.conflicts(), 0);
}

#[tokio::test]
async fn what_svix_will_never_take_is_written_down_and_passed() {
    let mut fixture = fixture().await;
    let organization = fixture.organization("One").await;
    let mut odd = event(organization);
    odd.event_type = "has spaces".to_owned();
    let stranger = event(OrganizationId(new_uuid(SystemClock.now())));
    let good = event(organization);
    fixture
        .svix
        .send(&[odd, stranger.clone(), good.clone()])
        .await
        .unwrap();
    assert_eq!(fixture.stub.messages().len(), 1);
    assert_eq!(fixture.stub.messages()[0].event_id, good.id.to_string());
    let reasons: Vec<String> = fixture
        .rejected()
        .await
        .into_iter()
        .map(|row| row.reason)
        .collect();
    assert_eq!(reasons.len(), 2);
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("422") && reason.contains("eventType")),
        "{reasons:?}"
    );
    let unknown = stranger.scope.organization.to_string();
    assert!(
        reasons.iter().any(|reason| reason.contains(&unknown)),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn a_wrong_token_loses_nothing_and_is_not_repeated_in_the_log() {
    let mut fixture = fixture_with("hunter2").await;
    let events = [event(fixture.organization("One").await)];
    let not_taken = fixture.svix.send(&events).await.unwrap_err();
    let told = format!("{:#}", not_taken.cause);
    assert!(told.contains("401") && !told.contains("hunter2"), "{told}");
    assert!(fixture.rejected().await.is_empty());
}
