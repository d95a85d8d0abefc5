//! Organizations, service accounts, tokens, customers, event types.

use demae_event::{OrganizationId, id::new_uuid};
use demae_store::{
    entity::{api_token, customer, event_type, organization, service_account},
    repository::{
        Page, api_tokens, api_tokens::Revoker, event_types, organizations, resource, service_accounts,
    },
};

use super::Two;
use crate::support::{NOW, TestStore, seconds};

on_both_databases!(
    organizations_are_listed_from_the_oldest,
    an_external_id_is_taken_once,
    a_service_account_has_its_slug_in_its_organization,
    a_token_is_found_with_its_account_by_digest_only,
    a_token_is_revoked_once,
    customers_stay_in_their_organization,
    a_taken_slug_does_not_spoil_the_transaction,
    event_types_stay_in_their_organization,
);

fn account(organization: OrganizationId, slug: &str) -> service_account::Model {
    service_account::Model {
        id: new_uuid(NOW),
        organization_id: organization.0,
        name: slug.to_uppercase(),
        slug: slug.to_owned(),
        external_id: None,
        scopes: r#"["write:*"]"#.to_owned(),
        created_at: NOW.as_micros(),
        created_by_id: None,
        created_by_name: None,
    }
}

fn token(account: &service_account::Model, slug: &str, digest: u8) -> api_token::Model {
    api_token::Model {
        id: new_uuid(NOW),
        organization_id: account.organization_id,
        service_account_id: account.id,
        name: slug.to_owned(),
        slug: slug.to_owned(),
        digest: vec![digest; 32],
        scopes: None,
        created_at: NOW.as_micros(),
        created_by_id: None,
        created_by_name: None,
        expires_at: None,
        revoked_at: None,
        revoked_by_id: None,
        revoked_by_name: None,
    }
}

fn customer(organization: OrganizationId, slug: &str) -> customer::Model {
    customer::Model {
        id: new_uuid(NOW),
        organization_id: organization.0,
        name: slug.to_owned(),
        slug: slug.to_owned(),
        external_customer_id: None,
        domain: None,
        integrations: "{}".to_owned(),
        created_at: NOW.as_micros(),
        created_by_id: new_uuid(NOW),
        created_by_name: None,
        updated_at: NOW.as_micros(),
        updated_by_id: new_uuid(NOW),
        updated_by_name: None,
    }
}

async fn organizations_are_listed_from_the_oldest(store: &TestStore) {
    assert_eq!(organizations::first(store.store.reader()).await.unwrap(), None);
    let two = Two::organizations(store).await;
    let first = organizations::first(store.store.reader()).await.unwrap().unwrap();
    assert_eq!(first.id, two.mine.organization.0);
    let page = organizations::list(store.store.reader(), Page::first(1))
        .await
        .unwrap();
    assert_eq!((page.items.len(), page.next), (1, Some(two.mine.organization)));
    let page = organizations::list(
        store.store.reader(),
        Page {
            limit: 1,
            after: page.next,
        },
    )
    .await
    .unwrap();
    assert_eq!((page.items[0].id, page.next), (two.theirs.organization.0, None));
    assert!(
        organizations::find(store.store.reader(), two.theirs.organization)
            .await
            .unwrap()
            .is_some()
    );
}

async fn an_external_id_is_taken_once(store: &TestStore) {
    let row = || organization::Model {
        id: new_uuid(NOW),
        external_id: Some("idp-1".to_owned()),
        name: "One".to_owned(),
        created_at: NOW.as_micros(),
    };
    let mut transaction = store.begin().await;
    organizations::lock_creation(&mut transaction).await.unwrap();
    let first = row();
    assert!(
        organizations::insert(&mut transaction, first.clone())
            .await
            .unwrap()
    );
    assert!(!organizations::insert(&mut transaction, row()).await.unwrap());
    transaction.commit().await.unwrap();
    let found = organizations::find_by_external_id(store.store.reader(), "idp-1")
        .await
        .unwrap();
    assert_eq!(found, Some(first));
    assert_eq!(
        organizations::find_by_external_id(store.store.reader(), "idp-2")
            .await
            .unwrap(),
        None
    );
}

async fn a_service_account_has_its_slug_in_its_organization(store: &TestStore) {
    let two = Two::organizations(store).await;
    let (mine, theirs) = (
        account(two.mine.organization, "ci"),
        account(two.theirs.organization, "ci"),
    );
    let mut transaction = store.begin().await;
    assert!(
        service_accounts::insert(&mut transaction, mine.clone())
            .await
            .unwrap()
    );
    assert!(
        service_accounts::insert(&mut transaction, theirs.clone())
            .await
            .unwrap()
    );
    assert!(
        !service_accounts::insert(&mut transaction, account(two.mine.organization, "ci"))
            .await
            .unwrap()
    );
    assert!(
        !service_accounts::rename(&mut transaction, two.theirs.organization, mine.id, "Stolen")
            .await
            .unwrap()
    );
    assert!(
        service_accounts::rename(&mut transaction, two.mine.organization, mine.id, "Builds")
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();

    let reader = store.store.reader();
    let found = service_accounts::find(reader, two.mine.organization, "ci")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.id, found.name.as_str()), (mine.id, "Builds"));
    assert_eq!(
        service_accounts::find(reader, two.mine.organization, "other")
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        service_accounts::find_by_id(reader, two.mine.organization, theirs.id)
            .await
            .unwrap(),
        None
    );
    let listed = service_accounts::list(reader, two.theirs.organization, Page::first(10))
        .await
        .unwrap();
    assert_eq!((listed.items, listed.next), (vec![theirs], None));
}

async fn a_token_is_found_with_its_account_by_digest_only(store: &TestStore) {
    let two = Two::organizations(store).await;
    let (mine, theirs) = (
        account(two.mine.organization, "ci"),
        account(two.theirs.organization, "ci"),
    );
    let one = token(&mine, "one", 1);
    let mut transaction = store.begin().await;
    for row in [&mine, &theirs] {
        assert!(
            service_accounts::insert(&mut transaction, row.clone())
                .await
                .unwrap()
        );
    }
    assert!(api_tokens::insert(&mut transaction, one.clone()).await.unwrap());
    // The digest is taken everywhere, the slug in its account.
    assert!(
        !api_tokens::insert(&mut transaction, token(&theirs, "one", 1))
            .await
            .unwrap()
    );
    assert!(
        !api_tokens::insert(&mut transaction, token(&mine, "one", 2))
            .await
            .unwrap()
    );
    assert!(
        api_tokens::insert(&mut transaction, token(&theirs, "one", 3))
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();

    let reader = store.store.reader();
    assert_eq!(
        api_tokens::find_by_digest(reader, &[1; 32]).await.unwrap(),
        Some((one.clone(), mine.clone()))
    );
    assert_eq!(api_tokens::find_by_digest(reader, &[9; 32]).await.unwrap(), None);
    assert_eq!(
        api_tokens::find(reader, two.mine.organization, mine.id, "one")
            .await
            .unwrap(),
        Some(one.clone())
    );
    assert_eq!(
        api_tokens::find(reader, two.theirs.organization, mine.id, "one")
            .await
            .unwrap(),
        None
    );
    let listed = api_tokens::list(reader, two.mine.organization, mine.id, Page::first(10))
        .await
        .unwrap();
    assert_eq!(listed.items, std::slice::from_ref(&one));
    let both = [mine.id, theirs.id];
    assert_eq!(
        api_tokens::of_accounts(reader, two.mine.organization, &both, 10)
            .await
            .unwrap(),
        [one]
    );
}

async fn a_token_is_revoked_once(store: &TestStore) {
    let two = Two::organizations(store).await;
    let mine = account(two.mine.organization, "ci");
    let one = token(&mine, "one", 1);
    let mut transaction = store.begin().await;
    service_accounts::insert(&mut transaction, mine.clone())
        .await
        .unwrap();
    api_tokens::insert(&mut transaction, one.clone()).await.unwrap();
    let by = Revoker {
        id: mine.id,
        name: "CI",
    };
    let later = NOW + seconds(5);
    assert!(
        !api_tokens::revoke(&mut transaction, two.theirs.organization, one.id, NOW, by)
            .await
            .unwrap()
    );
    assert!(
        api_tokens::revoke(&mut transaction, two.mine.organization, one.id, NOW, by)
            .await
            .unwrap()
    );
    assert!(
        !api_tokens::revoke(&mut transaction, two.mine.organization, one.id, later, by)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    let (found, _) = api_tokens::find_by_digest(store.store.reader(), &[1; 32])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.revoked_at, Some(NOW.as_micros()));
    assert_eq!(found.revoked_by_name.as_deref(), Some("CI"));
}

async fn customers_stay_in_their_organization(store: &TestStore) {
    let two = Two::organizations(store).await;
    let (mine, theirs) = (
        customer(two.mine.organization, "acme"),
        customer(two.theirs.organization, "acme"),
    );
    let mut transaction = store.begin().await;
    assert!(
        resource::insert::<customer::Entity>(&mut transaction, mine.clone())
            .await
            .unwrap()
    );
    assert!(
        resource::insert::<customer::Entity>(&mut transaction, theirs.clone())
            .await
            .unwrap()
    );
    let changed = customer::Model {
        name: "Acme".to_owned(),
        domain: Some("acme.test".to_owned()),
        ..mine.clone()
    };
    assert!(
        resource::update::<customer::Entity>(&mut transaction, &changed)
            .await
            .unwrap()
    );
    let foreign = customer::Model {
        organization_id: two.theirs.organization.0,
        ..changed.clone()
    };
    assert!(
        !resource::update::<customer::Entity>(&mut transaction, &foreign)
            .await
            .unwrap()
    );
    assert!(
        !resource::delete::<customer::Entity>(&mut transaction, two.theirs.organization, mine.id)
            .await
            .unwrap()
    );
    let locked =
        resource::find_for_update::<customer::Entity>(&mut transaction, two.mine.organization, "acme")
            .await
            .unwrap();
    assert_eq!(locked, Some(changed.clone()));
    transaction.commit().await.unwrap();

    let reader = store.store.reader();
    assert_eq!(
        resource::find::<customer::Entity>(reader, two.mine.organization, "acme")
            .await
            .unwrap(),
        Some(changed)
    );
    assert_eq!(
        resource::find::<customer::Entity>(reader, two.theirs.organization, "acme")
            .await
            .unwrap(),
        Some(theirs.clone())
    );
    let mut transaction = store.begin().await;
    assert!(
        resource::delete::<customer::Entity>(&mut transaction, two.mine.organization, mine.id)
            .await
            .unwrap()
    );
    assert!(
        !resource::delete::<customer::Entity>(&mut transaction, two.mine.organization, mine.id)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    assert_eq!(
        resource::list::<customer::Entity>(reader, two.mine.organization, Page::first(9))
            .await
            .unwrap()
            .items,
        []
    );
    assert_eq!(
        resource::list::<customer::Entity>(reader, two.theirs.organization, Page::first(9))
            .await
            .unwrap()
            .items,
        [theirs]
    );
}

async fn a_taken_slug_does_not_spoil_the_transaction(store: &TestStore) {
    let two = Two::organizations(store).await;
    let mut transaction = store.begin().await;
    let first = customer(two.mine.organization, "acme");
    assert!(
        resource::insert::<customer::Entity>(&mut transaction, first.clone())
            .await
            .unwrap()
    );
    assert!(
        !resource::insert::<customer::Entity>(&mut transaction, customer(two.mine.organization, "acme"))
            .await
            .unwrap()
    );
    let second = customer(two.mine.organization, "acme-2");
    assert!(
        resource::insert::<customer::Entity>(&mut transaction, second.clone())
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    let listed =
        resource::list::<customer::Entity>(store.store.reader(), two.mine.organization, Page::first(9))
            .await
            .unwrap();
    assert_eq!(listed.items, [first, second]);
}

async fn event_types_stay_in_their_organization(store: &TestStore) {
    let two = Two::organizations(store).await;
    let row = |organization: OrganizationId, name: &str| event_type::Model {
        organization_id: organization.0,
        name: name.to_owned(),
        event_type: name.to_lowercase(),
        description: String::new(),
        schema: None,
        example: None,
        created_at: NOW.as_micros(),
        updated_at: NOW.as_micros(),
    };
    let mut transaction = store.begin().await;
    for row in [
        row(two.mine.organization, "B"),
        row(two.mine.organization, "A"),
        row(two.theirs.organization, "A"),
    ] {
        assert!(event_types::insert(&mut transaction, row).await.unwrap());
    }
    assert!(
        !event_types::insert(&mut transaction, row(two.mine.organization, "A"))
            .await
            .unwrap()
    );
    let changed = event_type::Model {
        schema: Some("{}".to_owned()),
        ..row(two.mine.organization, "A")
    };
    assert!(event_types::update(&mut transaction, &changed).await.unwrap());
    assert!(
        !event_types::update(&mut transaction, &row(two.theirs.organization, "B"))
            .await
            .unwrap()
    );
    assert!(
        !event_types::delete(&mut transaction, two.theirs.organization, "B")
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();

    let reader = store.store.reader();
    assert_eq!(
        event_types::count(reader, two.mine.organization).await.unwrap(),
        2
    );
    let page = event_types::list(reader, two.mine.organization, Page::first(1))
        .await
        .unwrap();
    assert_eq!(
        (page.items, page.next.as_deref()),
        (vec![changed.clone()], Some("A"))
    );
    assert_eq!(
        event_types::find(reader, two.theirs.organization, "A")
            .await
            .unwrap(),
        Some(row(two.theirs.organization, "A"))
    );
    let names = event_types::names(reader, two.theirs.organization, 9)
        .await
        .unwrap();
    let theirs = row(two.theirs.organization, "A");
    assert_eq!(names, [(theirs.name, theirs.event_type)]);
    assert_eq!(
        event_types::names(reader, two.mine.organization, 1)
            .await
            .unwrap()
            .len(),
        1
    );
    let mut transaction = store.begin().await;
    assert!(
        event_types::delete(&mut transaction, two.mine.organization, "A")
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    assert_eq!(
        event_types::find(reader, two.mine.organization, "A")
            .await
            .unwrap(),
        None
    );
}
