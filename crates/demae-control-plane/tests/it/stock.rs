//! What instances refer to: a customer, a license with grants, zones.

use std::collections::BTreeMap;

use demae_control_plane::{
    Actor, Change, DomainError, EntitlementType, EntitlementValue,
    customers::{self, CreateCustomer, Customer},
    deployment_zones::{self, CreateDeploymentZone},
    entitlements::{self, EntitlementInput},
    instances::{self, Instance, InstanceInput},
    license_entitlements::{self, GrantInput},
    licenses::{self, License, LicenseInput, LicenseType},
};
use demae_event::Timestamp;
use uuid::Uuid;

use crate::support::{NOW, World};

pub(crate) struct Stock {
    pub(crate) customer: Customer,
    pub(crate) license: License,
}

/// Does one change and commits it; one that was refused is rolled back.
pub(crate) async fn change<T>(
    world: &World,
    actor: &Actor,
    now: Timestamp,
    work: impl AsyncFnOnce(&mut Change<'_>) -> Result<T, DomainError>,
) -> Result<T, DomainError> {
    let mut transaction = world.begin().await;
    let done = work(&mut Change::new(&mut transaction, actor, now)).await;
    if done.is_ok() {
        transaction.commit().await.unwrap();
    } else {
        transaction.rollback().await.unwrap();
    }
    done
}

impl Stock {
    pub(crate) async fn of(world: &World, actor: &Actor) -> Self {
        let customer = CreateCustomer {
            name: "Acme".to_owned(),
            ..Default::default()
        };
        Self {
            customer: change(world, actor, NOW, async |change| {
                customers::create(change, customer).await
            })
            .await
            .unwrap(),
            license: license(world, actor, "Gold").await,
        }
    }

    /// What it takes to create an instance.
    pub(crate) fn instance(&self, name: &str) -> InstanceInput {
        InstanceInput {
            name: name.to_owned(),
            customer_id: self.customer.id,
            license_id: self.license.id,
            ..Default::default()
        }
    }
}

pub(crate) async fn license(world: &World, actor: &Actor, name: &str) -> License {
    let input = LicenseInput {
        name: name.to_owned(),
        slug: None,
        description: String::new(),
        kind: LicenseType::Paid,
        version: None,
        version_name: None,
        is_default: false,
        is_active: None,
        lifecycle_state: None,
        family_id: None,
        family_slug: None,
    };
    change(world, actor, NOW, async |change| {
        licenses::create(change, input).await
    })
    .await
    .unwrap()
}

pub(crate) async fn zone(world: &World, actor: &Actor, name: &str) -> Uuid {
    let input = CreateDeploymentZone {
        name: name.to_owned(),
        kind: "production".to_owned(),
        ..Default::default()
    };
    let zone = change(world, actor, NOW, async |change| {
        deployment_zones::create(change, input).await
    });
    zone.await.unwrap().id
}

pub(crate) async fn instance(
    world: &World,
    actor: &Actor,
    input: InstanceInput,
) -> Result<Instance, DomainError> {
    change(world, actor, NOW, async |change| {
        instances::create(change, input, BTreeMap::default()).await
    })
    .await
}

/// An entitlement of this slug; its kind follows from the fields.
pub(crate) async fn entitlement(world: &World, actor: &Actor, slug: &str, input: EntitlementInput) {
    let input = EntitlementInput {
        name: slug.to_owned(),
        slug: Some(slug.to_owned()),
        kind: input.kind.or(Some(EntitlementType::Number)),
        ..input
    };
    change(world, actor, NOW, async |change| {
        entitlements::create(change, input).await
    })
    .await
    .unwrap();
}

/// Grants it to the license.
pub(crate) async fn grant(
    world: &World,
    actor: &Actor,
    (license, entitlement): (&str, &str),
    (value, overage_percent): (EntitlementValue, Option<i32>),
) {
    let input = GrantInput {
        value,
        overage_percent,
    };
    change(world, actor, NOW, async |change| {
        license_entitlements::assign(change, license, entitlement, input).await
    })
    .await
    .unwrap();
}
