//! Entitlements: their events, what stays once it is set, and which fields go together.

use demae_control_plane::{
    Amount, Change, DomainError, EntitlementType, EntitlementValue, Stamps,
    entitlements::{
        self, AggregationMethod, Entitlement, EntitlementInput, MAX_ICON, MAX_UNIT, MeterType, ResetAnchor,
        ResetPeriod,
    },
    license_entitlements::{self, GrantInput},
    revision::{self, Expected},
};
use demae_store::repository::Page;
use serde_json::json;

use crate::{
    licenses,
    support::{NOW, World, code, detail, locations},
};

on_both_databases!(
    an_entitlement_and_its_events_are_one,
    a_number_has_all_the_documented_keys,
    a_replacement_clears_what_is_left_out_and_keeps_what_is_fixed,
    what_is_fixed_is_not_changed,
    what_was_left_open_is_set_once_and_only_while_nothing_uses_it,
    fields_that_go_together_come_together,
    every_fault_is_told,
    slugs_follow_the_rules,
    what_is_in_use_stays,
    entitlements_stay_in_their_organization,
    an_outdated_change_is_refused,
);

pub(crate) async fn create(world: &World, input: EntitlementInput) -> Result<Entitlement, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let entitlement = entitlements::create(&mut change, input).await?;
    transaction.commit().await.unwrap();
    Ok(entitlement)
}

async fn replace(world: &World, slug: &str, input: EntitlementInput) -> Result<Entitlement, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let entitlement = entitlements::replace(&mut change, slug, input).await?;
    transaction.commit().await.unwrap();
    Ok(entitlement)
}

async fn delete(world: &World, slug: &str) -> Result<Entitlement, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let entitlement = entitlements::delete(&mut change, slug).await?;
    transaction.commit().await.unwrap();
    Ok(entitlement)
}

pub(crate) fn named(name: &str) -> EntitlementInput {
    EntitlementInput {
        name: name.to_owned(),
        ..EntitlementInput::default()
    }
}

pub(crate) fn typed(name: &str, kind: EntitlementType) -> EntitlementInput {
    EntitlementInput {
        kind: Some(kind),
        ..named(name)
    }
}

fn full() -> EntitlementInput {
    EntitlementInput {
        description: Some("What the API\nanswers.".into()),
        aggregation_method: Some(AggregationMethod::Average),
        meter_type: Some(MeterType::RawEvent),
        reset_period: Some(ResetPeriod::Month),
        reset_anchor: Some(ResetAnchor::LicenseStart),
        warning_threshold_percent: 80,
        unit_singular: Some("call".into()),
        unit_plural: Some("calls".into()),
        sale_unit_singular: Some("pack".into()),
        sale_unit_plural: Some("packs".into()),
        sale_unit_factor: Some("2.5".parse().unwrap()),
        user_facing: true,
        display_order: 3,
        icon: Some("lucide:users".into()),
        ..typed("API calls", EntitlementType::Number)
    }
}

async fn an_entitlement_and_its_events_are_one(world: &World) {
    let created = create(world, named("Single Sign-On")).await.unwrap();
    let user = json!({"id": world.mine.id, "name": "Administrator"});
    let shown = json!({
        "id": created.id, "name": "Single Sign-On", "slug": "single-sign-on", "description": null,
        "warningThresholdPercent": 0, "userFacing": false, "displayOrder": 0, "entitlementGroups": [],
        "createdAt": "2026-09-21T14:13:20.000Z", "createdBy": user,
        "updatedAt": "2026-09-21T14:13:20.000Z", "updatedBy": user,
    });
    assert_eq!(serde_json::to_value(&created).unwrap(), shown);
    let replaced = replace(world, "single-sign-on", named("SSO")).await.unwrap();
    delete(world, "single-sign-on").await.unwrap();
    let replaced = serde_json::to_value(&replaced).unwrap();
    world
        .assert_events(&[
            ("ENTITLEMENT_CREATION", &shown),
            ("ENTITLEMENT_UPDATE", &replaced),
            ("ENTITLEMENT_DELETION", &replaced),
        ])
        .await;
    let audited = world.audited().await;
    let entries: Vec<_> = audited
        .iter()
        .map(|entry| {
            (
                entry.event_name.as_str(),
                entry.resource.as_str(),
                entry.resource_slug.as_str(),
            )
        })
        .collect();
    let entry = |name| (name, "entitlement", "single-sign-on");
    assert_eq!(
        entries,
        [
            "ENTITLEMENT_CREATION",
            "ENTITLEMENT_UPDATE",
            "ENTITLEMENT_DELETION"
        ]
        .map(entry)
    );
}

async fn a_number_has_all_the_documented_keys(world: &World) {
    let created = create(world, full()).await.unwrap();
    let shown = serde_json::to_value(&created).unwrap();
    for (key, expected) in [
        ("description", json!("What the API\nanswers.")),
        ("type", json!("NUMBER")),
        ("aggregationMethod", json!("AVERAGE")),
        ("meterType", json!("RAW_EVENT")),
        ("resetPeriod", json!("MONTH")),
        ("resetAnchor", json!("LICENSE_START")),
        ("warningThresholdPercent", json!(80)),
        ("unitSingular", json!("call")),
        ("unitPlural", json!("calls")),
        ("saleUnitSingular", json!("pack")),
        ("saleUnitPlural", json!("packs")),
        ("saleUnitFactor", json!(2.5)),
        ("userFacing", json!(true)),
        ("displayOrder", json!(3)),
        ("icon", json!("lucide:users")),
    ] {
        assert_eq!(shown[key], expected, "{key}");
    }
    assert_eq!(
        entitlements::get(&world.store, &world.mine, "api-calls")
            .await
            .unwrap(),
        created
    );
    world.assert_events(&[("ENTITLEMENT_CREATION", &shown)]).await;
}

async fn a_replacement_clears_what_is_left_out_and_keeps_what_is_fixed(world: &World) {
    let before = create(world, full()).await.unwrap();
    let after = replace(world, "api-calls", named("Calls")).await.unwrap();
    let expected = Entitlement {
        name: "Calls".into(),
        description: None,
        warning_threshold_percent: 0,
        unit_singular: None,
        unit_plural: None,
        sale_unit_singular: None,
        sale_unit_plural: None,
        sale_unit_factor: None,
        user_facing: false,
        display_order: 0,
        icon: None,
        stamps: Stamps {
            updated_at: after.stamps.updated_at,
            ..before.stamps.clone()
        },
        ..before.clone()
    };
    assert_eq!(after, expected);
    assert!(after.stamps.updated_at > before.stamps.updated_at);
    assert_eq!(
        entitlements::get(&world.store, &world.mine, "api-calls")
            .await
            .unwrap(),
        after
    );
    // All of it can be said again.
    let again = EntitlementInput {
        slug: Some("api-calls".into()),
        ..full()
    };
    assert_eq!(replace(world, "api-calls", again).await.unwrap().display_order, 3);
}

async fn what_is_fixed_is_not_changed(world: &World) {
    type Set = fn(&mut EntitlementInput);
    create(world, full()).await.unwrap();
    let changes: [(Set, &str, &str); 6] = [
        (
            |input| input.slug = Some("other".into()),
            "SlugNotRenameable",
            "slug",
        ),
        (
            |input| input.kind = Some(EntitlementType::Config),
            "TypeNotChangeable",
            "type",
        ),
        (
            |input| input.aggregation_method = Some(AggregationMethod::Sum),
            "AggregationMethodNotChangeable",
            "aggregation_method",
        ),
        (
            |input| input.meter_type = Some(MeterType::CalculatedUsage),
            "MeterTypeNotChangeable",
            "meter_type",
        ),
        (
            |input| input.reset_period = Some(ResetPeriod::Day),
            "ResetPeriodNotChangeable",
            "reset_period",
        ),
        (
            |input| input.reset_anchor = Some(ResetAnchor::Calendar),
            "ResetAnchorNotChangeable",
            "reset_anchor",
        ),
    ];
    for (set, reason, location) in changes {
        let mut input = full();
        set(&mut input);
        let refused = replace(world, "api-calls", input).await.unwrap_err();
        assert_eq!(
            refused.code().unwrap().to_string(),
            format!("UpdateEntitlement.{reason}")
        );
        assert_eq!(locations::<()>(Err(refused)), [location]);
    }
    assert_eq!(world.event_names().await, ["ENTITLEMENT_CREATION"]);
}

async fn what_was_left_open_is_set_once_and_only_while_nothing_uses_it(world: &World) {
    create(world, named("Open")).await.unwrap();
    let set = replace(world, "open", typed("Open", EntitlementType::Number))
        .await
        .unwrap();
    assert_eq!(set.aggregation_method, Some(AggregationMethod::Sum));
    let refused = replace(world, "open", typed("Open", EntitlementType::Boolean)).await;
    assert_eq!(code(refused), "UpdateEntitlement.TypeNotChangeable");
    let period = EntitlementInput {
        reset_period: Some(ResetPeriod::Year),
        ..named("Open")
    };
    assert_eq!(
        replace(world, "open", period).await.unwrap().reset_period,
        Some(ResetPeriod::Year)
    );

    create(world, named("Granted")).await.unwrap();
    licenses::create_named(world, "Enterprise").await;
    grant(
        world,
        "enterprise",
        "granted",
        EntitlementValue::number(Amount::from(5)),
    )
    .await;
    let refused = replace(world, "granted", typed("Granted", EntitlementType::Boolean)).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.code().unwrap().to_string(),
        "UpdateEntitlement.InUseConflict"
    );
    assert_eq!(
        detail(refused),
        "the entitlement is in use by licenses enterprise"
    );
    // What sets nothing is no matter.
    assert!(replace(world, "granted", named("Renamed")).await.is_ok());
}

async fn fields_that_go_together_come_together(world: &World) {
    let number = || typed("Calls", EntitlementType::Number);
    let text = || Some("x".to_owned());
    let only_singular = EntitlementInput {
        unit_singular: text(),
        ..number()
    };
    let only_plural = EntitlementInput {
        unit_plural: text(),
        ..number()
    };
    let units = || EntitlementInput {
        unit_singular: text(),
        unit_plural: text(),
        ..number()
    };
    let sold_without_units = EntitlementInput {
        sale_unit_singular: text(),
        sale_unit_plural: text(),
        sale_unit_factor: Some(Amount::from(10)),
        ..number()
    };
    let only_factor = EntitlementInput {
        sale_unit_factor: Some(Amount::from(10)),
        ..units()
    };
    let raw_event = EntitlementInput {
        meter_type: Some(MeterType::RawEvent),
        ..number()
    };
    let of_numbers = |kind| EntitlementInput { kind, ..full() };
    let all_of_numbers = [
        "aggregation_method",
        "meter_type",
        "reset_period",
        "reset_anchor",
        "unit_singular",
        "unit_plural",
        "sale_unit_singular",
        "sale_unit_plural",
        "sale_unit_factor",
    ];
    for (input, expected) in [
        (only_singular, vec!["unit_plural"]),
        (only_plural, vec!["unit_singular"]),
        (sold_without_units, vec!["unit_singular", "unit_plural"]),
        (only_factor, vec!["sale_unit_singular", "sale_unit_plural"]),
        (raw_event, vec!["aggregation_method"]),
        (of_numbers(None), all_of_numbers.to_vec()),
        (
            of_numbers(Some(EntitlementType::Boolean)),
            all_of_numbers.to_vec(),
        ),
        (of_numbers(Some(EntitlementType::Config)), all_of_numbers.to_vec()),
    ] {
        assert_eq!(locations(create(world, input).await), expected);
    }
    assert_eq!(world.event_names().await, [""; 0]);
    let calculated = EntitlementInput {
        meter_type: Some(MeterType::CalculatedUsage),
        ..units()
    };
    let created = create(world, calculated).await.unwrap();
    assert_eq!(created.aggregation_method, Some(AggregationMethod::Sum));
}

async fn every_fault_is_told(world: &World) {
    let bad = EntitlementInput {
        slug: Some("Not A Slug".into()),
        description: Some("x".repeat(501)),
        warning_threshold_percent: 101,
        unit_singular: Some("x".repeat(MAX_UNIT + 1)),
        unit_plural: Some("\u{7}".into()),
        sale_unit_singular: Some(" ".into()),
        sale_unit_plural: Some(String::new()),
        sale_unit_factor: Some(Amount::ZERO),
        display_order: -1,
        icon: Some("no-provider".into()),
        group_slugs: Some(vec!["any".into()]),
        ..typed("", EntitlementType::Number)
    };
    let expected = [
        "name",
        "slug",
        "description",
        "warning_threshold_percent",
        "unit_singular",
        "unit_plural",
        "sale_unit_singular",
        "sale_unit_plural",
        "sale_unit_factor",
        "display_order",
        "icon",
        "group_slugs",
    ];
    assert_eq!(locations(create(world, bad).await), expected);
    for icon in [":x", "x:", "a b:c", "ä:b", &format!("a:{}", "x".repeat(MAX_ICON))] {
        let input = EntitlementInput {
            icon: Some((*icon).to_owned()),
            ..named("Icon")
        };
        assert_eq!(locations(create(world, input).await), ["icon"], "{icon}");
    }
}

async fn slugs_follow_the_rules(world: &World) {
    assert_eq!(create(world, named("Seats")).await.unwrap().slug, "seats");
    let second = create(world, named("Seats")).await.unwrap();
    assert_eq!(second.slug.strip_prefix("seats-").unwrap().len(), 6);
    let taken = EntitlementInput {
        slug: Some("seats".into()),
        ..named("Other")
    };
    assert_eq!(code(create(world, taken).await), "CreateEntitlement.SlugConflict");
}

async fn what_is_in_use_stays(world: &World) {
    create(world, typed("Seats", EntitlementType::Number))
        .await
        .unwrap();
    for name in ["A", "B", "C", "D", "E", "F"] {
        let license = licenses::create_named(world, &format!("License {name}")).await;
        grant(
            world,
            &license.slug,
            "seats",
            EntitlementValue::number(Amount::from(5)),
        )
        .await;
    }
    let instance = licenses::instance_under(world, "license-a").await;
    licenses::usage_of(world, instance, "seats").await;
    let refused = delete(world, "seats").await.unwrap_err();
    assert_eq!(
        refused.code().unwrap().to_string(),
        "DeleteEntitlement.InUseConflict"
    );
    assert_eq!(
        detail(refused),
        "the entitlement is in use by licenses license-a, license-b, license-c, license-d, license-e and others; \
         usage of instances production"
    );
    assert!(
        entitlements::get(&world.store, &world.mine, "seats")
            .await
            .is_ok()
    );
}

async fn entitlements_stay_in_their_organization(world: &World) {
    let first = create(world, named("First")).await.unwrap();
    let second = create(world, named("Second")).await.unwrap();
    assert_eq!(
        code(entitlements::get(&world.store, &world.theirs, "first").await),
        "GetEntitlement.NotFound"
    );
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    let refused = entitlements::replace(&mut change, "first", named("X")).await;
    assert_eq!(code(refused), "UpdateEntitlement.NotFound");
    let refused = entitlements::delete(&mut change, "first").await;
    assert_eq!(code(refused), "DeleteEntitlement.NotFound");
    drop(transaction);
    let listed = entitlements::list(&world.store, &world.mine, Page::first(1))
        .await
        .unwrap();
    assert_eq!((listed.items, listed.next), (vec![first.clone()], Some(first.id)));
    let page = Page {
        limit: 9,
        after: listed.next,
    };
    let listed = entitlements::list(&world.store, &world.mine, page).await.unwrap();
    assert_eq!((listed.items, listed.next), (vec![second], None));
    let theirs = entitlements::list(&world.store, &world.theirs, Page::first(9))
        .await
        .unwrap();
    assert_eq!(theirs.items, []);
}

async fn an_outdated_change_is_refused(world: &World) {
    let seen = create(world, named("Seats")).await.unwrap();
    replace(world, "seats", named("Chairs")).await.unwrap();
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    let refused = entitlements::replace(&mut change, "seats", named("Stools")).await;
    assert_eq!(code(refused), "UpdateEntitlement.PreconditionFailed");
    let refused = entitlements::delete(&mut change, "seats").await;
    assert_eq!(code(refused), "DeleteEntitlement.PreconditionFailed");
}

pub(crate) async fn grant(world: &World, license: &str, entitlement: &str, value: EntitlementValue) {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let input = GrantInput {
        value,
        overage_percent: None,
    };
    license_entitlements::assign(&mut change, license, entitlement, input)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}
