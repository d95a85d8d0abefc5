//! How customers and instances are known to other systems, one at a time.

use std::time::Duration;

use demae_control_plane::{
    Change,
    customers::{self, CreateCustomer},
    instances,
    integrations::{self, Integration, MAX_INTEGRATIONS, NewIntegration, Owner},
    revision::{self, Expected},
};
use demae_store::repository::Page;
use serde_json::{Value, json};

use crate::{
    stock::{Stock, change, instance},
    support::{NOW, World, code, locations},
};

on_both_databases!(
    each_change_is_an_update_of_its_owner,
    one_that_is_not_there_is_not_changed,
    there_are_not_too_many,
    every_fault_is_told,
    an_outdated_change_is_refused,
    nobody_changes_another_s,
);

/// A customer and an instance, both named in their slugs.
async fn owners(world: &World) -> [Owner; 2] {
    let stock = Stock::of(world, &world.mine).await;
    instance(world, &world.mine, stock.instance("Production"))
        .await
        .unwrap();
    [
        Owner::Customer("acme".to_owned()),
        Owner::Instance("production".to_owned()),
    ]
}

fn known_as(external_id: &str) -> NewIntegration {
    NewIntegration {
        external_id: external_id.to_owned(),
        ..Default::default()
    }
}

async fn add(world: &World, owner: &Owner, adapter: &str) -> Integration {
    change(world, &world.mine, NOW, async |change| {
        integrations::create(change, owner, adapter, known_as("1")).await
    })
    .await
    .unwrap()
}

/// The owner as it is shown.
async fn shown(world: &World, owner: &Owner) -> Value {
    match owner {
        Owner::Customer(slug) => {
            let customer = customers::get(&world.store, &world.mine, slug).await;
            serde_json::to_value(customer.unwrap()).unwrap()
        }
        Owner::Instance(slug) => {
            let instance = instances::get(&world.store, &world.mine, slug).await;
            serde_json::to_value(instance.unwrap()).unwrap()
        }
    }
}

async fn each_change_is_an_update_of_its_owner(world: &World) {
    let owners = owners(world).await;
    let mut expected = Vec::new();
    for (owner, name) in owners.iter().zip(["CUSTOMER_UPDATE", "INSTANCE_UPDATE"]) {
        let before = shown(world, owner).await;
        let made = add(world, owner, "crm").await;
        let read = integrations::get(&world.store, &world.mine, owner, "crm").await;
        assert_eq!(read.unwrap(), made);
        let after_create = shown(world, owner).await;
        assert_eq!(after_create["integrations"], json!({"crm": made}));
        assert_eq!(after_create["createdAt"], before["createdAt"]);
        let other = NewIntegration {
            web_url: Some("https://crm.example/2".to_owned()),
            ..known_as("2")
        };
        let later = NOW + Duration::from_secs(1);
        let replaced = change(world, &world.mine, later, async |change| {
            integrations::replace(change, owner, "crm", other).await
        })
        .await
        .unwrap();
        assert_eq!(replaced.external_id, "2");
        assert_eq!((made.synced_at, replaced.synced_at), (NOW, later));
        let after_replace = shown(world, owner).await;
        assert_eq!(after_replace["integrations"], json!({"crm": replaced}));
        let removed = change(world, &world.mine, later, async |change| {
            integrations::delete(change, owner, "crm").await
        })
        .await
        .unwrap();
        assert_eq!(removed, replaced);
        let after_delete = shown(world, owner).await;
        assert_eq!(after_delete.get("integrations"), None);
        for state in [after_create, after_replace, after_delete] {
            expected.push((name, state));
        }
    }
    let events = world.events().await;
    let told: Vec<(String, Value)> = events
        .into_iter()
        .filter(|event| event.name.ends_with("_UPDATE"))
        .map(|event| (event.name, serde_json::from_str(event.data.get()).unwrap()))
        .collect();
    let organization = json!(world.mine.organization_id);
    let expected = expected.into_iter().map(|(name, mut state)| {
        state["organizationId"] = organization.clone();
        (name.to_owned(), state)
    });
    assert_eq!(told, expected.collect::<Vec<_>>());
}

async fn one_that_is_not_there_is_not_changed(world: &World) {
    for owner in owners(world).await {
        let kind = match &owner {
            Owner::Customer(_) => "Customer",
            Owner::Instance(_) => "Instance",
        };
        add(world, &owner, "crm").await;
        let again = change(world, &world.mine, NOW, async |change| {
            integrations::create(change, &owner, "crm", known_as("2")).await
        });
        assert_eq!(
            code(again.await),
            format!("Create{kind}Integration.AlreadyExists")
        );
        let read = integrations::get(&world.store, &world.mine, &owner, "erp").await;
        assert_eq!(code(read), format!("Get{kind}Integration.NotFound"));
        let replaced = change(world, &world.mine, NOW, async |change| {
            integrations::replace(change, &owner, "erp", known_as("2")).await
        });
        assert_eq!(code(replaced.await), format!("Update{kind}Integration.NotFound"));
        let deleted = change(world, &world.mine, NOW, async |change| {
            integrations::delete(change, &owner, "erp").await
        });
        assert_eq!(code(deleted.await), format!("Delete{kind}Integration.NotFound"));
        let crm = integrations::get(&world.store, &world.mine, &owner, "crm").await;
        assert_eq!(crm.unwrap().external_id, "1");
    }
}

async fn there_are_not_too_many(world: &World) {
    let integrations = (0..MAX_INTEGRATIONS).map(|number| (format!("system-{number}"), known_as("1")));
    let full = CreateCustomer {
        name: "Full".to_owned(),
        integrations: integrations.collect(),
        ..Default::default()
    };
    change(world, &world.mine, NOW, async |change| {
        customers::create(change, full).await
    })
    .await
    .unwrap();
    let owner = Owner::Customer("full".to_owned());
    let one_more = change(world, &world.mine, NOW, async |change| {
        integrations::create(change, &owner, "crm", known_as("1")).await
    });
    assert_eq!(
        code(one_more.await),
        "CreateCustomerIntegration.TooManyIntegrations"
    );
}

async fn every_fault_is_told(world: &World) {
    let [owner, _] = owners(world).await;
    let wrong = NewIntegration {
        external_id: " ".to_owned(),
        web_url: Some(String::new()),
        ..Default::default()
    };
    let created = change(world, &world.mine, NOW, async |change| {
        integrations::create(change, &owner, "\u{7}", wrong.clone()).await
    });
    assert_eq!(locations(created.await), ["adapter", "external_id", "web_url"]);
    add(world, &owner, "crm").await;
    let replaced = change(world, &world.mine, NOW, async |change| {
        integrations::replace(change, &owner, "crm", wrong).await
    });
    assert_eq!(locations(replaced.await), ["external_id", "web_url"]);
}

/// What a caller saw is the integration: a change of its owner in between does no harm.
async fn an_outdated_change_is_refused(world: &World) {
    let [owner, _] = owners(world).await;
    let seen = add(world, &owner, "crm").await;
    add(world, &owner, "erp").await;
    let expecting = |integration: &Integration| Expected::OneOf(vec![revision::of(integration)]);
    let mut transaction = world.begin().await;
    let change = Change::new(&mut transaction, &world.mine, NOW);
    let mut change = change.expecting(expecting(&seen));
    let replaced = integrations::replace(&mut change, &owner, "crm", known_as("2")).await;
    replaced.unwrap();
    let again = integrations::replace(&mut change, &owner, "crm", known_as("3")).await;
    assert_eq!(code(again), "UpdateCustomerIntegration.PreconditionFailed");
    let deleted = integrations::delete(&mut change, &owner, "crm").await;
    assert_eq!(code(deleted), "DeleteCustomerIntegration.PreconditionFailed");
    transaction.commit().await.unwrap();
    let kept = integrations::get(&world.store, &world.mine, &owner, "crm").await;
    assert_eq!(kept.unwrap().external_id, "2");
}

async fn nobody_changes_another_s(world: &World) {
    for owner in owners(world).await {
        let made = add(world, &owner, "crm").await;
        let kind = match &owner {
            Owner::Customer(_) => "Customer",
            Owner::Instance(_) => "Instance",
        };
        let read = integrations::get(&world.store, &world.theirs, &owner, "crm").await;
        assert_eq!(code(read), format!("Get{kind}Integration.{kind}NotFound"));
        let created = change(world, &world.theirs, NOW, async |change| {
            integrations::create(change, &owner, "erp", known_as("2")).await
        });
        assert_eq!(
            code(created.await),
            format!("Create{kind}Integration.{kind}NotFound")
        );
        let deleted = change(world, &world.theirs, NOW, async |change| {
            integrations::delete(change, &owner, "crm").await
        });
        assert_eq!(
            code(deleted.await),
            format!("Delete{kind}Integration.{kind}NotFound")
        );
        let kept = integrations::get(&world.store, &world.mine, &owner, "crm").await;
        assert_eq!(kept.unwrap(), made);
    }
    let theirs = customers::list(&world.store, &world.theirs, Page::first(9)).await;
    assert_eq!(theirs.unwrap().items, []);
}
