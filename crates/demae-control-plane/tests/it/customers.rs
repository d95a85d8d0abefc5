//! Customers and their events.

use std::collections::BTreeMap;

use demae_control_plane::{
    Actor, Change, DomainError, Stamps,
    customers::{self, CreateCustomer, Customer, ReplaceCustomer},
    integrations::NewIntegration,
    revision::{self, Expected},
};
use demae_event::catalogue;
use demae_store::{entity::audit_entry, repository::Page};
use sea_orm::{EntityTrait, QueryOrder};
use serde_json::{Map, Value, json};

use crate::support::{NOW, World, code, locations};

on_both_databases!(
    a_change_and_its_event_are_one,
    nothing_is_left_of_a_change_that_is_rolled_back,
    customers_stay_in_their_organization,
    slugs_follow_the_rules,
    a_replacement_clears_what_is_left_out,
    what_is_immutable_is_refused,
    an_outdated_change_is_refused,
    every_change_is_in_the_audit_trail,
    every_fault_is_told,
    the_model_has_the_documented_keys,
);

async fn create(world: &World, actor: &Actor, input: CreateCustomer) -> Result<Customer, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, actor, NOW).traced(Some("00-aa-bb-01"));
    let customer = customers::create(&mut change, input).await;
    transaction.commit().await.unwrap();
    customer
}

fn named(name: &str) -> CreateCustomer {
    CreateCustomer {
        name: name.to_owned(),
        ..Default::default()
    }
}

fn replacement(name: &str) -> ReplaceCustomer {
    ReplaceCustomer {
        name: name.to_owned(),
        ..Default::default()
    }
}

async fn a_change_and_its_event_are_one(world: &World) {
    let customer = create(world, &world.mine, named("Test Webhook Customer"))
        .await
        .unwrap();
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let replaced = customers::replace(&mut change, &customer.slug, replacement("Renamed"))
        .await
        .unwrap();
    customers::delete(&mut change, &customer.slug).await.unwrap();
    transaction.commit().await.unwrap();

    let events = world.events().await;
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names,
        ["CUSTOMER_CREATION", "CUSTOMER_UPDATE", "CUSTOMER_DELETION"]
    );
    for (event, expected) in events.iter().zip([&customer, &replaced, &replaced]) {
        let definition = catalogue::find(&event.name).unwrap();
        assert_eq!(event.event_type, definition.event_type);
        assert_eq!(event.scope.organization, world.mine.organization_id);
        let data: Value = serde_json::from_str(event.data.get()).unwrap();
        let mut shown = serde_json::to_value(expected).unwrap();
        shown["organizationId"] = json!(world.mine.organization_id);
        assert_eq!(data, shown);
        let faults: Vec<_> = jsonschema::validator_for(definition.schema())
            .unwrap()
            .iter_errors(&data)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(faults, [""; 0]);
    }
    assert_eq!(events[0].traceparent.as_deref(), Some("00-aa-bb-01"));
    assert_eq!(events[1].traceparent, None);
}

async fn nothing_is_left_of_a_change_that_is_rolled_back(world: &World) {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    customers::create(&mut change, named("Ada")).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(world.events().await.len(), 0);
    assert_eq!(
        code(customers::get(&world.store, &world.mine, "ada").await),
        "GetCustomer.NotFound"
    );
}

async fn customers_stay_in_their_organization(world: &World) {
    let mine = create(world, &world.mine, named("Acme")).await.unwrap();
    let theirs = create(world, &world.theirs, named("Acme")).await.unwrap();
    assert_eq!((mine.slug.as_str(), theirs.slug.as_str()), ("acme", "acme"));
    let only_mine = create(world, &world.mine, named("Only Mine")).await.unwrap();
    let slug = only_mine.slug.as_str();
    assert_eq!(
        code(customers::get(&world.store, &world.theirs, slug).await),
        "GetCustomer.NotFound"
    );
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    let refused = customers::replace(&mut change, slug, replacement("X")).await;
    assert_eq!(code(refused), "UpdateCustomer.NotFound");
    let refused = customers::delete(&mut change, slug).await;
    assert_eq!(code(refused), "DeleteCustomer.NotFound");
    transaction.commit().await.unwrap();
    assert_eq!(world.events().await.len(), 3);
    let listed = customers::list(&world.store, &world.mine, Page::first(1))
        .await
        .unwrap();
    assert_eq!((listed.items, listed.next), (vec![mine.clone()], Some(mine.id)));
    let page = Page {
        limit: 9,
        after: listed.next,
    };
    let listed = customers::list(&world.store, &world.mine, page).await.unwrap();
    assert_eq!((listed.items, listed.next), (vec![only_mine], None));
}

async fn slugs_follow_the_rules(world: &World) {
    let first = create(world, &world.mine, named("Test Webhook Customer"))
        .await
        .unwrap();
    assert_eq!(first.slug, "test-webhook-customer");
    let second = create(world, &world.mine, named("Test Webhook Customer"))
        .await
        .unwrap();
    let end = second.slug.strip_prefix("test-webhook-customer-").unwrap();
    assert_eq!(end.len(), 6);
    let taken = CreateCustomer {
        slug: Some(first.slug.clone()),
        ..named("Other")
    };
    assert_eq!(
        code(create(world, &world.mine, taken).await),
        "CreateCustomer.SlugConflict"
    );
    let free = CreateCustomer {
        slug: Some("my-own".into()),
        ..named("Other")
    };
    assert_eq!(create(world, &world.mine, free).await.unwrap().slug, "my-own");
    // What was refused left no event.
    assert_eq!(world.events().await.len(), 3);
}

async fn a_replacement_clears_what_is_left_out(world: &World) {
    let full = CreateCustomer {
        external_customer_id: Some("crm-1".into()),
        domain: Some("acme.test".into()),
        integrations: BTreeMap::from([(
            "crm".to_owned(),
            NewIntegration {
                external_id: "42".into(),
                ..Default::default()
            },
        )]),
        ..named("Acme")
    };
    let before = create(world, &world.mine, full).await.unwrap();
    let later = NOW + std::time::Duration::from_secs(9);
    let mut transaction = world.begin().await;
    let input = ReplaceCustomer {
        slug: Some(before.slug.clone()),
        ..replacement("Acme Inc")
    };
    let mut change = Change::new(&mut transaction, &world.mine, later);
    customers::replace(&mut change, "acme", input).await.unwrap();
    transaction.commit().await.unwrap();
    let after = customers::get(&world.store, &world.mine, "acme").await.unwrap();
    let expected = Customer {
        name: "Acme Inc".into(),
        external_customer_id: None,
        domain: None,
        stamps: Stamps {
            updated_at: later,
            ..before.stamps.clone()
        },
        ..before
    };
    assert_eq!(after, expected);
}

async fn what_is_immutable_is_refused(world: &World) {
    create(world, &world.mine, named("Acme")).await.unwrap();
    let mut transaction = world.begin().await;
    for (input, expected, location) in [
        (
            ReplaceCustomer {
                slug: Some("other".into()),
                ..replacement("Acme")
            },
            "UpdateCustomer.SlugNotRenameable",
            "slug",
        ),
        (
            ReplaceCustomer {
                integrations: Some(Map::new()),
                ..replacement("Acme")
            },
            "UpdateCustomer.IntegrationsNotSettable",
            "integrations",
        ),
    ] {
        let mut change = Change::new(&mut transaction, &world.mine, NOW);
        let refused = customers::replace(&mut change, "acme", input).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code().unwrap().to_string(), expected);
        assert_eq!(locations::<()>(Err(refused)), [location]);
    }
}

async fn an_outdated_change_is_refused(world: &World) {
    let seen = create(world, &world.mine, named("Acme")).await.unwrap();
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    customers::replace(&mut change, "acme", replacement("First"))
        .await
        .unwrap();
    let refused = customers::replace(&mut change, "acme", replacement("Second")).await;
    assert_eq!(code(refused), "UpdateCustomer.PreconditionFailed");
    let refused = customers::delete(&mut change, "acme").await;
    assert_eq!(code(refused), "DeleteCustomer.PreconditionFailed");
    transaction.commit().await.unwrap();
    let kept = customers::get(&world.store, &world.mine, "acme").await.unwrap();
    assert_eq!(kept.name, "First");
    // What was refused left no event.
    assert_eq!(world.events().await.len(), 2);
}

async fn every_change_is_in_the_audit_trail(world: &World) {
    let customer = create(world, &world.mine, named("Acme")).await.unwrap();
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    customers::delete(&mut change, "acme").await.unwrap();
    transaction.commit().await.unwrap();
    let entries = audit_entry::Entity::find()
        .order_by_asc(audit_entry::Column::Id)
        .all(world.store.reader())
        .await
        .unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry.event_name.as_str()).collect();
    assert_eq!(names, ["CUSTOMER_CREATION", "CUSTOMER_DELETION"]);
    for entry in &entries {
        assert_eq!(entry.organization_id, world.mine.organization_id.0);
        assert_eq!(entry.created_by_id, world.mine.id);
        assert_eq!(
            (
                entry.resource.as_str(),
                entry.resource_id,
                entry.resource_slug.as_str()
            ),
            ("customer", customer.id, "acme")
        );
        let payload: Value = serde_json::from_str(&entry.payload).unwrap();
        assert_eq!(payload["name"], "Acme");
    }
}

async fn every_fault_is_told(world: &World) {
    let bad = CreateCustomer {
        name: String::new(),
        slug: Some("Not A Slug".into()),
        external_customer_id: Some("x".repeat(customers::MAX_EXTERNAL_ID + 1)),
        domain: Some("\u{7}".into()),
        integrations: BTreeMap::from([("crm".to_owned(), NewIntegration::default())]),
    };
    let expected = [
        "name",
        "slug",
        "external_customer_id",
        "domain",
        "integrations[\"crm\"].external_id",
    ];
    assert_eq!(locations(create(world, &world.mine, bad).await), expected);
    let longest = "x".repeat(customers::MAX_EXTERNAL_ID);
    let good = CreateCustomer {
        external_customer_id: Some(longest),
        ..named(&"n".repeat(255))
    };
    assert!(create(world, &world.mine, good).await.is_ok());
    assert_eq!(
        locations(create(world, &world.mine, named(&"n".repeat(256))).await),
        ["name"]
    );
}

async fn the_model_has_the_documented_keys(world: &World) {
    let plain = create(world, &world.mine, named("Acme")).await.unwrap();
    let user = json!({"id": world.mine.id, "name": "Administrator"});
    let expected = json!({
        "id": plain.id, "name": "Acme", "slug": "acme",
        "createdAt": "2026-09-21T14:13:20.000Z", "createdBy": user,
        "updatedAt": "2026-09-21T14:13:20.000Z", "updatedBy": user,
    });
    assert_eq!(serde_json::to_value(&plain).unwrap(), expected);
    let integration = NewIntegration {
        external_id: "42".into(),
        web_url: Some("https://crm.test/42".into()),
        ..Default::default()
    };
    let full = CreateCustomer {
        external_customer_id: Some("crm-1".into()),
        domain: Some("acme.test".into()),
        integrations: BTreeMap::from([("crm".to_owned(), integration)]),
        ..named("Full")
    };
    let shown = serde_json::to_value(create(world, &world.mine, full).await.unwrap()).unwrap();
    assert_eq!(
        (&shown["externalCustomerId"], &shown["domain"]),
        (&json!("crm-1"), &json!("acme.test"))
    );
    let integration = json!({
        "external_id": "42", "synced_at": "2026-09-21T14:13:20.000Z", "web_url": "https://crm.test/42",
    });
    assert_eq!(shown["integrations"], json!({"crm": integration}));
}
