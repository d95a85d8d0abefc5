use std::time::Duration;

use demae_delivery::engine::{HandedOn, OutboxSource};
use demae_event::{ApplicationId, Clock as _, SystemClock, Timestamp, id::new_uuid};
use demae_store::{
    StoreOptions, Vault,
    entity::{application, organization},
    leadership::{Leadership, Task},
    repository::{Page, organizations, rejected},
};
use demae_testkit::sqlite::SqliteFile;
use serde_json::value::RawValue;

use super::{super::active::WhileLeading, *};

struct Fixture {
    store: Store,
    known: Scope,
    rejections: Rejections,
    _file: SqliteFile,
}

async fn fixture() -> Fixture {
    let file = SqliteFile::create().unwrap();
    let vault = Vault::from_text(&Vault::generate_text()).unwrap();
    let store = Store::connect(StoreOptions::new(file.url(), vault))
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let known = Scope::default_of(OrganizationId::new(SystemClock.now()));
    let mut transaction = store.begin().await.unwrap();
    let row = organization::Model {
        id: known.organization.0,
        external_id: None,
        name: "Test".to_owned(),
        created_at: 0,
    };
    assert!(organizations::insert(&mut transaction, row).await.unwrap());
    transaction.commit().await.unwrap();
    Fixture {
        rejections: Rejections::new(store.clone(), Arc::new(SystemClock)),
        store,
        known,
        _file: file,
    }
}

impl Fixture {
    async fn application(&self, organization: OrganizationId) -> Scope {
        let id = ApplicationId::new(SystemClock.now());
        let row = application::Model {
            id: id.0,
            organization_id: organization.0,
            uid: None,
            name: "Test".to_owned(),
            version: 0,
            created_at: 0,
            updated_at: 0,
            deleted_at: None,
        };
        let mut transaction = self.store.begin().await.unwrap();
        assert!(applications::insert(&mut transaction, row).await.unwrap());
        transaction.commit().await.unwrap();
        Scope::new(organization, Some(id))
    }

    async fn rejected(&self) -> Vec<rejected::Rejected> {
        rejected::list(self.store.reader(), Page::first(100))
            .await
            .unwrap()
            .items
    }
}

fn event(scope: Scope) -> Event {
    Event {
        id: EventId(new_uuid(SystemClock.now())),
        scope,
        name: "A".to_owned(),
        event_type: "a".to_owned(),
        data: RawValue::from_string("{}".to_owned()).unwrap(),
        headers: None,
        traceparent: None,
        created_at: Timestamp::from_secs(1_790_000_000),
    }
}

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

#[tokio::test]
async fn the_own_outbox_sets_events_of_nobody_aside_and_goes_on_behind_them() {
    let fixture = fixture().await;
    let engine = fixture.store.engine();
    let nobody = Scope::default_of(OrganizationId::new(SystemClock.now()));
    // More than one batch of them in front.
    let mut events: Vec<Event> = (0..70).map(|_| event(nobody)).collect();
    events.push(event(fixture.known));
    engine.append(&events).await.unwrap();

    let outbox = OutboxSource::new(engine.clone(), Duration::from_millis(10));
    let organizations = Organizations::new(fixture.store.clone());
    // However many were set aside, our own outbox does not stop.
    let rejections = fixture.rejections.clone().holding(1);
    let source = OfKnownOrganizations::new(Box::new(outbox), "outbox", organizations, rejections);
    let mut source = source.out_of(engine.clone());
    assert_eq!(ids(&source.next(40).await.unwrap()), ids(&events[70..]));
    assert_eq!(ids(&engine.read_outbox(100).await.unwrap()), ids(&events[70..]));
    let rejected = fixture.rejected().await;
    assert_eq!(rejected.len(), 70);
    assert!(rejected.iter().all(|row| row.source == "outbox"
        && row.reason == format!("there is no organization {}", nobody.organization)));
}

#[tokio::test]
async fn events_of_applications_of_others_are_set_aside_and_never_delivered() {
    let fixture = fixture().await;
    let engine = fixture.store.engine();
    let mine = fixture.application(fixture.known.organization).await;
    let other = OrganizationId::new(SystemClock.now());
    let mut transaction = fixture.store.begin().await.unwrap();
    let row = organization::Model {
        id: other.0,
        external_id: None,
        name: "Other".to_owned(),
        created_at: 0,
    };
    assert!(organizations::insert(&mut transaction, row).await.unwrap());
    transaction.commit().await.unwrap();
    let named = |application| Scope::new(other, Some(application));
    let strange = [
        named(mine.application),
        named(fixture.known.application),
        named(ApplicationId::new(SystemClock.now())),
    ];
    let good = [event(mine), event(Scope::default_of(other)), event(fixture.known)];
    let events: Vec<Event> = strange.map(event).into_iter().chain(good.clone()).collect();
    engine.append(&events).await.unwrap();

    let outbox = OutboxSource::new(engine.clone(), Duration::from_millis(10));
    let organizations = Organizations::new(fixture.store.clone());
    let rejections = fixture.rejections.clone();
    let source = OfKnownOrganizations::new(Box::new(outbox), "outbox", organizations, rejections);
    let mut source = source.out_of(engine.clone());
    let offered = source.next(40).await.unwrap();
    assert_eq!(ids(&offered), ids(&good));
    let scopes: Vec<Scope> = offered.iter().map(|event| event.scope).collect();
    assert_eq!(scopes, [mine, Scope::default_of(other), fixture.known]);
    assert_eq!(ids(&engine.read_outbox(100).await.unwrap()), ids(&good));
    let mut reasons: Vec<String> = fixture
        .rejected()
        .await
        .into_iter()
        .map(|row| row.reason)
        .collect();
    reasons.sort_unstable();
    let mut expected = strange.map(unknown_scope);
    expected.sort_unstable();
    assert_eq!(reasons, expected);
    assert!(
        expected
            .iter()
            .all(|reason| reason.starts_with(&format!("the organization {other} has no application ")))
    );
}

#[tokio::test]
async fn a_deleted_application_is_remembered_for_a_minute_only() {
    let fixture = fixture().await;
    let mine = fixture.application(fixture.known.organization).await;
    let organizations = Organizations::new(fixture.store.clone());
    assert!(organizations.exists(mine).await.unwrap());
    assert!(organizations.exists(fixture.known).await.unwrap());
    let mut transaction = fixture.store.begin().await.unwrap();
    let deleted = applications::delete(&mut transaction, mine, SystemClock.now()).await;
    assert!(deleted.unwrap());
    transaction.commit().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(APPLICATIONS_REMEMBERED).await;
    tokio::time::resume();
    assert!(!organizations.exists(mine).await.unwrap());
    assert!(organizations.exists(fixture.known).await.unwrap());
}

/// Behind another organization's backlog.
#[tokio::test]
async fn the_own_outbox_offers_others_events_without_those_of_nobody() {
    let fixture = fixture().await;
    let engine = fixture.store.engine();
    let [busy, nobody] = [(); 2].map(|()| Scope::default_of(OrganizationId::new(SystemClock.now())));
    let events = [event(busy), event(nobody), event(fixture.known)];
    engine.append(&events).await.unwrap();

    let outbox = OutboxSource::new(engine.clone(), Duration::from_millis(10));
    let outbox = WhileLeading::new(outbox, Leadership::stand(&fixture.store, Task::Outbox));
    let organizations = Organizations::new(fixture.store.clone());
    let rejections = fixture.rejections.clone();
    let source = OfKnownOrganizations::new(Box::new(outbox), "outbox", organizations, rejections);
    let mut source = HandedOn::new(Box::new(source.out_of(engine.clone())), engine.clone());
    let others = source.next_of_others(&[busy.organization].into()).await.unwrap();
    assert_eq!(ids(&others), [events[2].id]);
    assert_eq!(fixture.rejected().await.len(), 1);
    source.acknowledge(&ids(&others)).await.unwrap();
    assert_eq!(ids(&engine.read_outbox(10).await.unwrap()), [events[0].id]);
}

/// A source that offers the same events until they are acknowledged.
struct Waiting(Arc<Mutex<Vec<Event>>>);

#[async_trait]
impl EventSource for Waiting {
    async fn next(&mut self, _limit: u32) -> Result<Vec<Event>, SourceError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        self.0.lock().unwrap().retain(|event| !events.contains(&event.id));
        Ok(())
    }
}

#[tokio::test]
async fn what_is_rejected_is_never_dropped_while_nobody_has_looked() {
    let fixture = fixture().await;
    let nobody = Scope::default_of(OrganizationId::new(SystemClock.now()));
    let strange: Vec<Event> = (0..2).map(|_| event(nobody)).collect();
    let good = event(fixture.known);
    let waiting = Arc::new(Mutex::new([strange.clone(), vec![good.clone()]].concat()));
    let source = |rejections| {
        let organizations = Organizations::new(fixture.store.clone());
        let waiting = Box::new(Waiting(waiting.clone()));
        OfKnownOrganizations::new(waiting, "source:shop", organizations, rejections).waiting()
    };
    // At the bound: all of them fit.
    let mut shop = source(fixture.rejections.clone().holding(2));
    assert_eq!(ids(&shop.next(10).await.unwrap()), [good.id]);
    assert_eq!(fixture.rejected().await.len(), 2);

    // One more: the source waits, and what is in it stays there, whoever reads it.
    waiting.lock().unwrap().insert(0, event(nobody));
    for mut shop in [shop, source(fixture.rejections.clone().holding(2))] {
        for _ in 0..2 {
            let error = shop.next(10).await.unwrap_err();
            let SourceError::Other(error) = error else {
                panic!("{error}");
            };
            assert!(
                error
                    .to_string()
                    .starts_with("2 rejected events of source:shop were not looked at yet"),
                "{error}"
            );
        }
        assert_eq!(waiting.lock().unwrap().len(), 2);
    }
    // Somebody looks.
    let mut transaction = fixture.store.begin().await.unwrap();
    rejected::mark_seen(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let mut shop = source(fixture.rejections.clone().holding(2));
    assert_eq!(ids(&shop.next(10).await.unwrap()), [good.id]);
    assert_eq!(fixture.rejected().await.len(), 3);
}
