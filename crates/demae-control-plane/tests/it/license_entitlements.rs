//! Grants: what fits, what follows from a value, and what happens when many write at once.

use demae_control_plane::{
    Amount, Change, DomainError, EntitlementType, EntitlementValue, entitlements as catalog,
    fields::MAX_OBJECT,
    license_entitlements::{self, GrantInput, LicenseEntitlement, MAX_OVERAGE_PERCENT},
    licenses as plans,
    revision::{self, Expected},
};
use demae_store::repository::Page;
use futures::future::join_all;
use serde_json::{Map, json};

use crate::{
    entitlements, licenses,
    support::{NOW, World, code, locations},
};

on_both_databases!(
    a_grant_and_its_events_are_one,
    a_value_fits_its_entitlement,
    the_overage_follows_from_the_value,
    what_is_not_there_is_said,
    grants_are_listed_in_the_order_in_which_they_were_given,
    grants_stay_in_their_organization,
    an_outdated_change_is_refused,
    writers_at_once_grant_once,
    granting_and_deleting_at_once_leave_no_loose_end,
);

async fn assign(
    world: &World,
    license: &str,
    entitlement: &str,
    input: GrantInput,
) -> Result<LicenseEntitlement, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let grant = license_entitlements::assign(&mut change, license, entitlement, input).await?;
    transaction.commit().await.unwrap();
    Ok(grant)
}

async fn replace(
    world: &World,
    license: &str,
    entitlement: &str,
    input: GrantInput,
) -> Result<LicenseEntitlement, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let grant = license_entitlements::replace(&mut change, license, entitlement, input).await?;
    transaction.commit().await.unwrap();
    Ok(grant)
}

async fn unassign(
    world: &World,
    license: &str,
    entitlement: &str,
) -> Result<LicenseEntitlement, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let grant = license_entitlements::unassign(&mut change, license, entitlement).await?;
    transaction.commit().await.unwrap();
    Ok(grant)
}

fn number(value: i64) -> GrantInput {
    of(EntitlementValue::number(Amount::from(value)))
}

fn of(value: EntitlementValue) -> GrantInput {
    GrantInput {
        value,
        overage_percent: None,
    }
}

/// A license `growth`, and an entitlement of each type: `seats`, `sso`, `theme`, `open`.
async fn catalog(world: &World) {
    licenses::create_named(world, "Growth").await;
    for input in [
        entitlements::typed("Seats", EntitlementType::Number),
        entitlements::typed("SSO", EntitlementType::Boolean),
        entitlements::typed("Theme", EntitlementType::Config),
        entitlements::named("Open"),
    ] {
        entitlements::create(world, input).await.unwrap();
    }
}

async fn a_grant_and_its_events_are_one(world: &World) {
    let license = licenses::create_named(world, "Growth").await;
    let seats = entitlements::typed("Seats", EntitlementType::Number);
    let seats = entitlements::create(world, seats).await.unwrap();
    let granted = assign(world, "growth", "seats", number(10)).await.unwrap();
    let user = json!({"id": world.mine.id, "name": "Administrator"});
    let expected = json!({
        "licenseId": license.id, "licenseSlug": "growth",
        "entitlementName": "Seats", "entitlementSlug": "seats", "entitlementType": "NUMBER",
        "value": {"type": "number", "value": 10}, "limitCapExceededOveragePercent": 0, "entitlementGroups": [],
        "createdAt": "2026-09-21T14:13:20.000Z", "createdBy": user,
        "updatedAt": "2026-09-21T14:13:20.000Z", "updatedBy": user,
    });
    assert_eq!(serde_json::to_value(&granted).unwrap(), expected);
    let again = assign(world, "growth", "seats", number(10)).await;
    assert_eq!(code(again), "AssignLicenseEntitlement.AlreadyAssigned");
    let replaced = replace(world, "growth", "seats", number(20)).await.unwrap();
    assert!(replaced.updated_at > granted.updated_at);
    let read = license_entitlements::get(&world.store, &world.mine, "growth", "seats").await;
    assert_eq!(read.unwrap(), replaced);
    unassign(world, "growth", "seats").await.unwrap();
    let replaced = serde_json::to_value(&replaced).unwrap();
    let (license, seats) = (json!(license), json!(seats));
    world
        .assert_events(&[
            ("LICENSE_CREATION", &license),
            ("ENTITLEMENT_CREATION", &seats),
            ("LICENSE_ENTITLEMENT_ASSIGNMENT", &expected),
            ("LICENSE_ENTITLEMENT_UPDATE", &replaced),
            ("LICENSE_ENTITLEMENT_UNASSIGNMENT", &replaced),
        ])
        .await;
    let audited = world.audited().await;
    let last = audited.last().unwrap();
    assert_eq!(
        (last.resource.as_str(), last.resource_slug.as_str()),
        ("license_entitlement", "growth/seats")
    );
}

async fn a_value_fits_its_entitlement(world: &World) {
    catalog(world).await;
    let switch = || of(EntitlementValue::Boolean { value: false });
    let object = |text: &str| {
        let value = Map::from_iter([("colour".to_owned(), json!(text))]);
        of(EntitlementValue::Object { value })
    };
    for (entitlement, input, fault) in [
        ("seats", switch(), "value.type"),
        ("seats", object("red"), "value.type"),
        ("sso", number(1), "value.type"),
        ("theme", switch(), "value.type"),
        ("seats", number(-2), "value.value"),
        ("theme", object("\0"), "value.value"),
        ("theme", object(&"x".repeat(MAX_OBJECT)), "value.value"),
    ] {
        let refused = assign(world, "growth", entitlement, input).await;
        assert_eq!(locations(refused), [fault], "{entitlement}");
    }
    for (entitlement, input) in [
        ("seats", of(EntitlementValue::number("0.1".parse().unwrap()))),
        ("sso", switch()),
        ("theme", object("red")),
        ("open", switch()),
    ] {
        let granted = assign(world, "growth", entitlement, input.clone()).await.unwrap();
        assert_eq!(granted.value, input.value);
    }
    assert_eq!(
        locations(replace(world, "growth", "sso", number(1)).await),
        ["value.type"]
    );
    // Without a type there is nothing that a value could fail to fit.
    let open = replace(world, "growth", "open", number(1)).await.unwrap();
    assert_eq!(open.entitlement_type, EntitlementType::Number);
}

async fn the_overage_follows_from_the_value(world: &World) {
    catalog(world).await;
    let with = |value, overage_percent| GrantInput {
        overage_percent,
        ..number(value)
    };
    assign(world, "growth", "seats", number(1)).await.unwrap();
    for (value, asked, overage) in [
        (10, None, Some(0)),
        (-1, None, Some(-1)),
        (-1, Some(-1), Some(-1)),
        (10, Some(25), Some(25)),
        (0, Some(MAX_OVERAGE_PERCENT), Some(MAX_OVERAGE_PERCENT)),
    ] {
        let granted = replace(world, "growth", "seats", with(value, asked))
            .await
            .unwrap();
        assert_eq!(granted.limit_cap_exceeded_overage_percent, overage);
    }
    for (value, asked) in [(10, -1), (10, MAX_OVERAGE_PERCENT + 1), (-1, 0), (-1, 10)] {
        let refused = replace(world, "growth", "seats", with(value, Some(asked))).await;
        assert_eq!(
            locations(refused),
            ["limit_cap_exceeded_overage_percent"],
            "{value} {asked}"
        );
    }
    let switch = GrantInput {
        overage_percent: Some(0),
        ..of(EntitlementValue::Boolean { value: true })
    };
    let refused = assign(world, "growth", "sso", switch.clone()).await;
    assert_eq!(locations(refused), ["limit_cap_exceeded_overage_percent"]);
    let granted = assign(world, "growth", "sso", of(switch.value)).await.unwrap();
    assert_eq!(granted.limit_cap_exceeded_overage_percent, None);
}

async fn what_is_not_there_is_said(world: &World) {
    catalog(world).await;
    assign(world, "growth", "seats", number(1)).await.unwrap();
    for (license, entitlement, reason) in [
        ("nobody", "seats", "LicenseNotFound"),
        ("growth", "nobody", "NotFound"),
        ("growth", "sso", "NotFound"),
    ] {
        let read = license_entitlements::get(&world.store, &world.mine, license, entitlement).await;
        assert_eq!(code(read), format!("GetLicenseEntitlement.{reason}"));
        let refused = replace(world, license, entitlement, number(2)).await;
        assert_eq!(code(refused), format!("UpdateLicenseEntitlement.{reason}"));
        let refused = unassign(world, license, entitlement).await;
        assert_eq!(code(refused), format!("UnassignLicenseEntitlement.{reason}"));
    }
    let refused = assign(world, "nobody", "seats", number(1)).await;
    assert_eq!(code(refused), "AssignLicenseEntitlement.LicenseNotFound");
    let refused = assign(world, "growth", "nobody", number(1)).await;
    assert_eq!(code(refused), "AssignLicenseEntitlement.EntitlementNotFound");
    let refused = license_entitlements::list(&world.store, &world.mine, "nobody", Page::first(9)).await;
    assert_eq!(code(refused), "ListLicenseEntitlements.LicenseNotFound");
}

async fn grants_are_listed_in_the_order_in_which_they_were_given(world: &World) {
    catalog(world).await;
    licenses::create_named(world, "Other").await;
    assign(world, "other", "seats", number(1)).await.unwrap();
    for (entitlement, value) in [
        ("sso", EntitlementValue::Boolean { value: true }),
        ("seats", EntitlementValue::number(Amount::from(3))),
        ("open", EntitlementValue::Boolean { value: true }),
    ] {
        assign(world, "growth", entitlement, of(value)).await.unwrap();
    }
    let mut slugs = Vec::new();
    let mut page = Page::first(2);
    loop {
        let listed = license_entitlements::list(&world.store, &world.mine, "growth", page)
            .await
            .unwrap();
        slugs.extend(listed.items.into_iter().map(|grant| grant.entitlement_slug));
        page.after = listed.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(slugs, ["sso", "seats", "open"]);
}

async fn grants_stay_in_their_organization(world: &World) {
    catalog(world).await;
    assign(world, "growth", "seats", number(1)).await.unwrap();
    let read = license_entitlements::get(&world.store, &world.theirs, "growth", "seats").await;
    assert_eq!(code(read), "GetLicenseEntitlement.LicenseNotFound");
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    let theirs = plans::LicenseInput::new("Theirs", plans::LicenseType::Paid);
    plans::create(&mut change, theirs).await.unwrap();
    let refused = license_entitlements::assign(&mut change, "theirs", "seats", number(1)).await;
    assert_eq!(code(refused), "AssignLicenseEntitlement.EntitlementNotFound");
    let refused = license_entitlements::assign(&mut change, "growth", "seats", number(1)).await;
    assert_eq!(code(refused), "AssignLicenseEntitlement.LicenseNotFound");
}

async fn an_outdated_change_is_refused(world: &World) {
    catalog(world).await;
    let seen = assign(world, "growth", "seats", number(1)).await.unwrap();
    // The grant shows the entitlement's name.
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    catalog::replace(&mut change, "seats", entitlements::named("Chairs"))
        .await
        .unwrap();
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    let refused = license_entitlements::replace(&mut change, "growth", "seats", number(2)).await;
    assert_eq!(code(refused), "UpdateLicenseEntitlement.PreconditionFailed");
    let refused = license_entitlements::unassign(&mut change, "growth", "seats").await;
    assert_eq!(code(refused), "UnassignLicenseEntitlement.PreconditionFailed");
}

async fn writers_at_once_grant_once(world: &World) {
    catalog(world).await;
    let outcomes = join_all((0..12).map(|value| assign(world, "growth", "seats", number(value)))).await;
    let (granted, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(granted.len(), 1);
    for refused in refused {
        assert_eq!(code(refused), "AssignLicenseEntitlement.AlreadyAssigned");
    }
    let names = world.event_names().await;
    let assigned = names
        .iter()
        .filter(|name| *name == "LICENSE_ENTITLEMENT_ASSIGNMENT");
    assert_eq!(assigned.count(), 1);
}

/// Either the grant is there and nothing was deleted, or the license (or the entitlement) is gone and so was the grant's
/// chance.
async fn granting_and_deleting_at_once_leave_no_loose_end(world: &World) {
    for round in 0..6 {
        let slug = format!("round-{round}");
        licenses::create_named(world, &slug).await;
        let input = entitlements::typed(&slug, EntitlementType::Number);
        entitlements::create(world, input).await.unwrap();
        let delete = async {
            let mut transaction = world.begin().await;
            let mut change = Change::new(&mut transaction, &world.mine, NOW);
            if round % 2 == 0 {
                plans::delete(&mut change, &slug).await.map(drop)?;
            } else {
                catalog::delete(&mut change, &slug).await.map(drop)?;
            }
            transaction.commit().await.unwrap();
            Ok::<(), DomainError>(())
        };
        let (granted, deleted) = futures::join!(assign(world, &slug, &slug, number(1)), delete);
        match (granted, deleted) {
            (Ok(_), refused) => assert!(code(refused).ends_with(".InUseConflict")),
            (refused, Ok(())) => assert!(code(refused).ends_with("NotFound")),
            (granted, deleted) => panic!("{granted:?} {deleted:?}"),
        }
    }
}
