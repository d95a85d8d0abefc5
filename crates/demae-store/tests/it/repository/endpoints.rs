//! Endpoints: secrets at rest, the version the router compares, health.

use demae_event::{EndpointId, Scope};
use demae_store::{
    StoreError, Vault,
    entity::endpoint,
    repository::{
        Page,
        endpoints::{self, Endpoint, PreviousSecret},
    },
};
use sea_orm::EntityTrait;

use super::{Two, endpoint as example};
use crate::support::{NOW, Tenants, TestStore, seconds};

in_every_scope!(
    everything_is_read_back,
    nothing_secret_stands_in_the_row,
    another_key_opens_nothing,
    every_change_raises_the_version_in_its_transaction,
    the_limit_is_exact_even_for_inserts_at_once,
    other_organizations_see_and_change_nothing,
    deleted_endpoints_are_gone_from_every_list,
    a_failure_is_noted_once_and_ended_by_a_success,
    disabling_and_telling_happen_once,
    only_what_changed_is_loaded_again,
    an_endpoint_that_cannot_be_opened_is_loaded_without_its_secrets,
);

async fn insert(store: &TestStore, endpoint: &Endpoint) {
    let mut transaction = store.begin().await;
    assert!(
        endpoints::insert(&mut transaction, store.store.vault(), endpoint, 10)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
}

async fn find(store: &TestStore, scope: Scope, id: EndpointId) -> Option<Endpoint> {
    endpoints::find(store.store.reader(), store.store.vault(), scope, id)
        .await
        .unwrap()
}

async fn version(store: &TestStore) -> i64 {
    store.engine().endpoints_version().await.unwrap()
}

fn full(scope: Scope) -> Endpoint {
    let previous = PreviousSecret {
        secret: "whsec_old".to_owned().into(),
        expires_at: NOW + seconds(60),
    };
    Endpoint {
        previous_secrets: vec![previous],
        failing_since: Some(NOW),
        failing_notified_at: Some(NOW + seconds(1)),
        disabled_reason: Some("gone".to_owned()),
        enabled: false,
        ..example(scope)
    }
}

async fn everything_is_read_back(store: &TestStore) {
    let two = Two::scopes(store).await;
    let written = full(two.mine);
    insert(store, &written).await;
    assert_eq!(find(store, two.mine, written.id).await, Some(written.clone()));
    let plain = Endpoint {
        id: written.id,
        retry_schedule: None,
        rate_limit: None,
        ..example(two.mine)
    };
    let mut transaction = store.begin().await;
    let locked =
        endpoints::find_for_update(&mut transaction, store.store.vault(), two.mine, written.id).await;
    assert_eq!(locked.unwrap(), Some(written));
    assert!(
        endpoints::update(&mut transaction, store.store.vault(), &plain)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    assert_eq!(find(store, two.mine, plain.id).await, Some(plain));
}

async fn nothing_secret_stands_in_the_row(store: &TestStore) {
    let two = Two::scopes(store).await;
    let written = full(two.mine);
    insert(store, &written).await;
    let row = endpoint::Entity::find_by_id(written.id.0)
        .one(store.store.reader())
        .await
        .unwrap()
        .unwrap();
    for (sealed, secret) in [
        (&row.secret, "whsec_current"),
        (&row.previous_secrets, "whsec_old"),
        (&row.headers, "s3cret"),
    ] {
        assert!(
            !sealed
                .windows(secret.len())
                .any(|bytes| bytes == secret.as_bytes()),
            "{secret}"
        );
    }
    assert!(!format!("{written:?}").contains("s3cret"));
    assert!(!format!("{written:?}").contains("whsec_"));
}

async fn another_key_opens_nothing(store: &TestStore) {
    let two = Two::scopes(store).await;
    let id = store.endpoint(two.mine).await;
    let other = Vault::from_text(&Vault::generate_text()).unwrap();
    let found = endpoints::find(store.store.reader(), &other, two.mine, id).await;
    assert!(matches!(found, Err(StoreError::Unreadable(_))));
    assert!(matches!(
        endpoints::load(store.store.reader(), &other, None).await,
        Err(StoreError::Unreadable(_))
    ));
}

async fn every_change_raises_the_version_in_its_transaction(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = example(two.mine);
    let before = version(store).await;
    let mut transaction = store.begin().await;
    endpoints::insert(&mut transaction, store.store.vault(), &endpoint, 10)
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(version(store).await, before);

    insert(store, &endpoint).await;
    assert_eq!(version(store).await, before + 1);
    let mut transaction = store.begin().await;
    endpoints::update(&mut transaction, store.store.vault(), &endpoint)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(version(store).await, before + 2);
    let mut transaction = store.begin().await;
    endpoints::delete(&mut transaction, two.mine, endpoint.id, NOW)
        .await
        .unwrap();
    // What changes nothing need not be looked at.
    endpoints::delete(&mut transaction, two.mine, endpoint.id, NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(version(store).await, before + 3);
}

async fn the_limit_is_exact_even_for_inserts_at_once(store: &TestStore) {
    let two = Two::scopes(store).await;
    store.endpoint(two.theirs).await;
    let insert = || async {
        let mut transaction = store.begin().await;
        let written = endpoints::insert(&mut transaction, store.store.vault(), &example(two.mine), 3)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        written
    };
    let written = futures::future::join_all((0..6).map(|_| insert())).await;
    // It is the organization's, whatever applications it has.
    let expected = match store.tenants {
        Tenants::Organizations => 3,
        Tenants::Applications => 2,
    };
    assert_eq!(written.into_iter().filter(|written| *written).count(), expected);
    let organization = two.mine.organization;
    assert_eq!(
        endpoints::count(store.store.reader(), organization)
            .await
            .unwrap(),
        3
    );
}

async fn other_organizations_see_and_change_nothing(store: &TestStore) {
    let two = Two::scopes(store).await;
    let mine = example(two.mine);
    insert(store, &mine).await;
    assert_eq!(find(store, two.theirs, mine.id).await, None);
    let stolen = Endpoint {
        scope: two.theirs,
        url: "https://evil.test/".to_owned(),
        ..mine.clone()
    };
    let mut transaction = store.begin().await;
    assert!(
        !endpoints::update(&mut transaction, store.store.vault(), &stolen)
            .await
            .unwrap()
    );
    assert!(
        !endpoints::delete(&mut transaction, two.theirs, mine.id, NOW)
            .await
            .unwrap()
    );
    assert!(
        !endpoints::disable(&mut transaction, two.theirs, mine.id, "gone", NOW)
            .await
            .unwrap()
    );
    assert!(
        !endpoints::note_failing(&mut transaction, two.theirs, mine.id, NOW)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    assert_eq!(find(store, two.mine, mine.id).await, Some(mine));
}

async fn deleted_endpoints_are_gone_from_every_list(store: &TestStore) {
    let two = Two::scopes(store).await;
    let ids = [store.endpoint(two.mine).await, store.endpoint(two.mine).await];
    let theirs = store.endpoint(two.theirs).await;
    let mut transaction = store.begin().await;
    assert!(
        endpoints::delete(&mut transaction, two.mine, ids[0], NOW)
            .await
            .unwrap()
    );
    assert!(
        !endpoints::delete(&mut transaction, two.mine, ids[0], NOW)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();

    let (reader, vault) = (store.store.reader(), store.store.vault());
    assert_eq!(find(store, two.mine, ids[0]).await, None);
    let listed = endpoints::list(reader, vault, two.mine, Page::first(9))
        .await
        .unwrap();
    assert_eq!(
        listed
            .items
            .iter()
            .map(|loaded| loaded.endpoint.id)
            .collect::<Vec<_>>(),
        [ids[1]]
    );
    let loaded = endpoints::load(reader, vault, None).await.unwrap();
    assert_eq!(loaded_ids(&loaded), [ids[1], theirs]);
    let of_others = u64::from(store.tenants == Tenants::Applications);
    let count = endpoints::count(reader, two.mine.organization).await;
    assert_eq!(count.unwrap(), 1 + of_others);
}

async fn a_failure_is_noted_once_and_ended_by_a_success(store: &TestStore) {
    let two = Two::scopes(store).await;
    let id = store.endpoint(two.mine).await;
    let later = NOW + seconds(60);
    let mut transaction = store.begin().await;
    assert!(
        endpoints::note_failing(&mut transaction, two.mine, id, NOW)
            .await
            .unwrap()
    );
    assert!(
        !endpoints::note_failing(&mut transaction, two.mine, id, later)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    assert_eq!(find(store, two.mine, id).await.unwrap().failing_since, Some(NOW));
    let mut transaction = store.begin().await;
    assert!(
        !endpoints::note_success(&mut transaction, two.theirs, id)
            .await
            .unwrap()
    );
    assert!(
        endpoints::note_success(&mut transaction, two.mine, id)
            .await
            .unwrap()
    );
    assert!(
        !endpoints::note_success(&mut transaction, two.mine, id)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    assert_eq!(find(store, two.mine, id).await.unwrap().failing_since, None);
}

async fn disabling_and_telling_happen_once(store: &TestStore) {
    let two = Two::scopes(store).await;
    let id = store.endpoint(two.mine).await;
    let later = NOW + seconds(60);
    let mut transaction = store.begin().await;
    endpoints::note_failing(&mut transaction, two.mine, id, NOW)
        .await
        .unwrap();
    // A failure that was over in between is another one.
    assert!(
        !endpoints::mark_notified(&mut transaction, two.mine, id, later, later)
            .await
            .unwrap()
    );
    assert!(
        endpoints::mark_notified(&mut transaction, two.mine, id, NOW, later)
            .await
            .unwrap()
    );
    assert!(
        !endpoints::mark_notified(&mut transaction, two.mine, id, NOW, later)
            .await
            .unwrap()
    );
    assert!(
        endpoints::disable(&mut transaction, two.mine, id, "failing", later)
            .await
            .unwrap()
    );
    assert!(
        !endpoints::disable(&mut transaction, two.mine, id, "gone", later)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    let found = find(store, two.mine, id).await.unwrap();
    assert!(!found.enabled);
    assert_eq!(found.disabled_reason.as_deref(), Some("failing"));
    assert_eq!(found.failing_notified_at, Some(later));
}

fn loaded_ids(changes: &endpoints::Changes) -> Vec<EndpointId> {
    let ids = changes.endpoints.iter().map(|loaded| loaded.endpoint.id);
    ids.collect()
}

async fn only_what_changed_is_loaded_again(store: &TestStore) {
    let two = Two::scopes(store).await;
    let ids = [
        store.endpoint(two.mine).await,
        store.endpoint(two.mine).await,
        store.endpoint(two.theirs).await,
    ];
    let (reader, vault) = (store.store.reader(), store.store.vault());
    let changes = async |since| {
        let changes = endpoints::load(reader, vault, Some(since)).await.unwrap();
        let health = endpoints::load_health(reader, since).await.unwrap();
        let failing = health.iter().map(|health| (health.id, health.failing_since));
        (loaded_ids(&changes), changes.gone, failing.collect::<Vec<_>>())
    };
    assert_eq!(changes(0).await.0, ids);
    let known = version(store).await;
    assert_eq!(changes(known).await, (vec![], vec![], vec![]));

    let mut transaction = store.begin().await;
    endpoints::note_failing(&mut transaction, two.mine, ids[0], NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(changes(known).await, (vec![], vec![], vec![(ids[0], Some(NOW))]));

    let known = version(store).await;
    let mut moved = find(store, two.theirs, ids[2]).await.unwrap();
    "https://example.com/other".clone_into(&mut moved.url);
    let mut transaction = store.begin().await;
    endpoints::update(&mut transaction, vault, &moved).await.unwrap();
    endpoints::delete(&mut transaction, two.mine, ids[1], NOW)
        .await
        .unwrap();
    endpoints::disable(&mut transaction, two.mine, ids[0], "gone", NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(changes(known).await, (vec![ids[0], ids[2]], vec![ids[1]], vec![]));
    assert_eq!(changes(version(store).await).await, (vec![], vec![], vec![]));
}

async fn an_endpoint_that_cannot_be_opened_is_loaded_without_its_secrets(store: &TestStore) {
    let two = Two::scopes(store).await;
    let ids = [store.endpoint(two.mine).await, store.endpoint(two.theirs).await];
    // The sealed text of one belongs to it alone.
    let copy =
        "UPDATE endpoints SET secret = (SELECT o.secret FROM endpoints o WHERE o.id <> endpoints.id LIMIT 1)";
    store
        .execute(&format!(
            "{copy} WHERE application_id = (SELECT application_id FROM endpoints ORDER BY id LIMIT 1)"
        ))
        .await
        .unwrap();
    let loaded = endpoints::load(store.store.reader(), store.store.vault(), None)
        .await
        .unwrap();
    let opened: Vec<bool> = loaded.endpoints.iter().map(|loaded| loaded.opened).collect();
    assert_eq!((loaded_ids(&loaded), opened), (ids.to_vec(), vec![false, true]));
    let closed = &loaded.endpoints[0].endpoint;
    assert_eq!(
        closed.event_names,
        ["CUSTOMER_*"],
        "its events are still routed to it"
    );
    assert!(closed.secret.is_empty() && closed.headers.is_empty());
}
