//! Applications: their client ids, the default one, and what goes with a deleted one.

use demae_event::{ApplicationId, EndpointId, OrganizationId, Scope};
use demae_store::{
    StoreError,
    engine::{AttemptStatus, DeliveryState},
    entity,
    repository::{
        Page,
        applications::{self, existing},
        endpoints, retention,
    },
};
use sea_orm::EntityTrait;

use super::{Two, application, endpoint, organization};
use crate::support::{NOW, TestStore, seconds};

on_both_databases!(
    an_organization_has_a_default_application_with_its_id_and_takes_it_along,
    client_ids_are_unique_among_the_live_applications_of_an_organization,
    an_application_exists_in_its_own_organization_only,
    applications_are_listed_changed_and_deleted_in_their_organization_only,
    a_deleted_application_takes_its_endpoints_and_no_new_one,
    a_deleted_application_stays_until_its_history_is_gone,
);

async fn list(store: &TestStore, organization: OrganizationId) -> Vec<entity::application::Model> {
    applications::list(store.store.reader(), organization, Page::first(9))
        .await
        .unwrap()
        .items
}

async fn delete(store: &TestStore, scope: Scope) -> bool {
    let mut transaction = store.begin().await;
    let deleted = applications::delete(&mut transaction, scope, NOW).await.unwrap();
    transaction.commit().await.unwrap();
    deleted
}

/// A new row of an application, not written yet.
fn row(organization: OrganizationId, uid: Option<&str>) -> entity::application::Model {
    entity::application::Model {
        id: ApplicationId::new(NOW).0,
        organization_id: organization.0,
        uid: uid.map(str::to_owned),
        name: "New".to_owned(),
        version: 0,
        created_at: NOW.as_micros(),
        updated_at: NOW.as_micros(),
        deleted_at: None,
    }
}

async fn insert(store: &TestStore, row: entity::application::Model) -> bool {
    let mut transaction = store.begin().await;
    let written = applications::insert(&mut transaction, row).await.unwrap();
    transaction.commit().await.unwrap();
    written
}

async fn an_organization_has_a_default_application_with_its_id_and_takes_it_along(store: &TestStore) {
    let two = Two::organizations(store).await;
    let organization = two.mine.organization;
    application(store, organization, "second").await;
    let default = &list(store, organization).await[0];
    assert_eq!(
        (default.id, default.name.as_str()),
        (organization.0, "Mine"),
        "written with the organization"
    );
    assert!(!delete(store, two.mine).await, "the default one stays");
    let transaction = store.begin().await;
    entity::organization::Entity::delete_by_id(organization.0)
        .exec(transaction.connection())
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let left = entity::application::Entity::find()
        .all(store.store.reader())
        .await
        .unwrap();
    assert_eq!(
        left.iter().map(|row| row.id).collect::<Vec<_>>(),
        [two.theirs.organization.0]
    );
}

async fn client_ids_are_unique_among_the_live_applications_of_an_organization(store: &TestStore) {
    let two = Two::organizations(store).await;
    let organization = two.mine.organization;
    let first = application(store, organization, "shop").await;
    assert!(!insert(store, row(organization, Some("shop"))).await);
    assert!(insert(store, row(organization, None)).await);
    assert!(insert(store, row(organization, None)).await);
    // Another organization has ids of its own.
    application(store, two.theirs.organization, "shop").await;
    let found = applications::find_by_uid(store.store.reader(), organization, "shop").await;
    assert_eq!(found.unwrap().map(|row| row.id), Some(first.application.0));
    let mut other = row(organization, Some("other"));
    assert!(insert(store, other.clone()).await);
    other.uid = Some("shop".to_owned());
    let mut transaction = store.begin().await;
    let taken = applications::update(&mut transaction, &other).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    transaction.rollback().await.unwrap();
    // Free again once its owner is deleted.
    assert!(delete(store, first).await);
    assert!(insert(store, row(organization, Some("shop"))).await);
}

async fn an_application_exists_in_its_own_organization_only(store: &TestStore) {
    let two = Two::organizations(store).await;
    let mine = application(store, two.mine.organization, "a").await;
    let deleted = application(store, two.mine.organization, "b").await;
    assert!(delete(store, deleted).await);
    let strange = Scope::new(two.theirs.organization, Some(mine.application));
    let default_of_other = Scope::new(
        two.theirs.organization,
        Some(ApplicationId::default_of(two.mine.organization)),
    );
    let nobody = Scope::default_of(OrganizationId::new(NOW));
    let asked = [two.mine, mine, deleted, strange, default_of_other, nobody];
    let found = existing(store.store.reader(), asked).await.unwrap();
    assert_eq!(found, [two.mine, mine].into());
}

async fn applications_are_listed_changed_and_deleted_in_their_organization_only(store: &TestStore) {
    let two = Two::organizations(store).await;
    let mine = application(store, two.mine.organization, "a").await;
    let strange = Scope::new(two.theirs.organization, Some(mine.application));
    let reader = store.store.reader();
    assert!(applications::find(reader, strange).await.unwrap().is_none());
    assert_eq!(list(store, two.theirs.organization).await.len(), 1);
    let mut row = applications::find(reader, mine).await.unwrap().unwrap();
    "Renamed".clone_into(&mut row.name);
    let mut transaction = store.begin().await;
    let foreign = entity::application::Model {
        organization_id: two.theirs.organization.0,
        ..row.clone()
    };
    assert!(!applications::update(&mut transaction, &foreign).await.unwrap());
    assert!(applications::update(&mut transaction, &row).await.unwrap());
    transaction.commit().await.unwrap();
    assert!(!delete(store, strange).await);
    let found = applications::find(reader, mine).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.version), ("Renamed", 1));
    let listed = list(store, two.mine.organization).await;
    assert_eq!(listed.len(), 2);
    let page = Page {
        limit: 1,
        after: Some(ApplicationId(listed[0].id)),
    };
    let scopes = applications::scopes(reader, two.mine.organization, page).await;
    assert_eq!(scopes.unwrap().items, [mine]);
    assert_eq!(
        applications::count(reader, two.mine.organization).await.unwrap(),
        2
    );
}

async fn live_endpoints(store: &TestStore, scope: Scope) -> Vec<EndpointId> {
    let page = Page::first(9);
    let listing = endpoints::list(store.store.reader(), store.store.vault(), scope, page).await;
    listing
        .unwrap()
        .items
        .into_iter()
        .map(|endpoint| endpoint.endpoint.id)
        .collect()
}

async fn a_deleted_application_takes_its_endpoints_and_no_new_one(store: &TestStore) {
    let two = Two::applications(store).await;
    let gone = [store.endpoint(two.mine).await, store.endpoint(two.mine).await];
    let kept = store.endpoint(two.theirs).await;
    let version = store.engine().endpoints_version().await.unwrap();
    assert!(delete(store, two.mine).await);
    assert!(!delete(store, two.mine).await);
    assert_eq!(live_endpoints(store, two.mine).await, [] as [EndpointId; 0]);
    assert_eq!(live_endpoints(store, two.theirs).await, [kept]);
    // A process that knew the version before learns of both.
    let changes = endpoints::load(store.store.reader(), store.store.vault(), Some(version)).await;
    let mut told = changes.unwrap().gone;
    told.sort_unstable();
    assert_eq!(told, gone);
    let mut transaction = store.begin().await;
    let late = endpoint(two.mine);
    let refused = endpoints::insert(&mut transaction, store.store.vault(), &late, 1_000).await;
    assert!(matches!(refused, Err(StoreError::Reference(_))), "{refused:?}");
    transaction.rollback().await.unwrap();
    // Nor can an endpoint be written into an application of another organization.
    let other = organization(store, "Other").await;
    let strange = endpoint(Scope::new(other, Some(two.theirs.application)));
    let mut transaction = store.begin().await;
    let refused = endpoints::insert(&mut transaction, store.store.vault(), &strange, 1_000).await;
    assert!(matches!(refused, Err(StoreError::Reference(_))), "{refused:?}");
    transaction.rollback().await.unwrap();
}

async fn a_deleted_application_stays_until_its_history_is_gone(store: &TestStore) {
    let two = Two::applications(store).await;
    let organization = two.mine.organization;
    let endpoint = store.endpoint(two.mine).await;
    let event = store.message_at(two.mine, NOW, "A").await;
    let key = (two.mine, endpoint, event);
    store.delivery_in(key, DeliveryState::Succeeded).await;
    store.attempt_at(key, NOW, AttemptStatus::Success).await;
    assert!(delete(store, two.mine).await);
    let later = NOW + seconds(60);
    let remove = async |what: &str| {
        let mut transaction = store.begin().await;
        let removed = match what {
            "applications" => retention::applications(&mut transaction, organization, later, 9).await,
            "attempts" => retention::attempts(&mut transaction, two.mine, later, 9).await,
            "endpoints" => retention::endpoints(&mut transaction, two.mine, later, 9).await,
            _ => retention::messages(&mut transaction, two.mine, later, None, 9)
                .await
                .map(|swept| swept.removed),
        };
        transaction.commit().await.unwrap();
        removed.unwrap()
    };
    for kind in ["attempts", "messages", "endpoints"] {
        assert_eq!(remove("applications").await, 0, "before its {kind} are gone");
        assert_eq!(remove(kind).await, 1);
    }
    assert_eq!(remove("applications").await, 1);
    let scopes = applications::scopes(store.store.reader(), organization, Page::first(9)).await;
    assert_eq!(scopes.unwrap().items, [two.theirs], "live ones stay");
}
