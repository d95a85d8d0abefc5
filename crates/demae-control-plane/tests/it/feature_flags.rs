//! Feature flags, their events, and their evaluation.

use std::collections::BTreeMap;

use demae_control_plane::{
    Actor, Change, DomainError,
    feature_flags::{
        self, Dates, DefaultVariant, Evaluated, FeatureFlag, FlagCache, FlagInput, FlagType, Percentages,
        Stage, TargetedVariant, Targeting, Variant, evaluation::Reason,
    },
    revision::{self, Expected},
};
use demae_event::{Timestamp, catalogue};
use demae_store::{
    entity::{audit_entry, feature_flag},
    repository::Page,
};
use sea_orm::{EntityTrait, QueryOrder};
use serde_json::{Map, Value, json};

use crate::support::{NOW, World, code, locations};

on_both_databases!(
    a_change_and_its_event_are_one,
    nothing_is_left_of_a_change_that_is_rolled_back,
    flags_stay_in_their_organization,
    slug_and_type_stay,
    an_outdated_change_is_refused,
    every_change_is_in_the_audit_trail,
    every_fault_is_told,
    the_ends_of_a_rollout_fit_together,
    a_flag_reads_as_it_was_written,
    an_organization_has_so_many_flags,
    evaluation_follows_every_change,
);

async fn create(world: &World, actor: &Actor, input: FlagInput) -> Result<FeatureFlag, DomainError> {
    let checked = feature_flags::check_new(input)?;
    let mut transaction = world.begin().await;
    let flag = feature_flags::create(&mut Change::new(&mut transaction, actor, NOW), checked).await;
    transaction.commit().await.unwrap();
    flag
}

async fn replace(world: &World, slug: &str, input: FlagInput) -> Result<FeatureFlag, DomainError> {
    let checked = feature_flags::check_replacement(input)?;
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let flag = feature_flags::replace(&mut change, slug, checked).await;
    transaction.commit().await.unwrap();
    flag
}

async fn evaluate_one(
    world: &World,
    cache: &FlagCache,
    slug: &str,
    context: &Map<String, Value>,
) -> Result<Evaluated, DomainError> {
    let found = feature_flags::find_one(&world.store, cache, &world.mine, slug).await?;
    Ok(found.evaluate(cache, context, NOW)?.remove(0))
}

async fn evaluate_all(
    world: &World,
    cache: &FlagCache,
    context: &Map<String, Value>,
) -> Result<Vec<Evaluated>, DomainError> {
    let found = feature_flags::find_all(&world.store, cache, &world.mine).await?;
    found.evaluate(cache, context, NOW)
}

async fn delete(world: &World, slug: &str) -> Result<FeatureFlag, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let flag = feature_flags::delete(&mut change, slug).await;
    transaction.commit().await.unwrap();
    flag
}

fn variant(name: &str, value: Value) -> Variant {
    Variant {
        name: name.to_owned(),
        description: String::new(),
        value,
    }
}

/// On for `plan == 'pro'`, else off.
fn switch(name: &str) -> FlagInput {
    FlagInput {
        name: name.to_owned(),
        slug: None,
        description: None,
        kind: FlagType::Boolean,
        enabled: true,
        event_name: String::new(),
        metadata: Map::new(),
        variants: vec![variant("on", json!(true)), variant("off", json!(false))],
        default_variant: DefaultVariant::Basic { value: "off".into() },
        targetings: Some(vec![Targeting {
            name: "pro".into(),
            rule: "plan == 'pro'".into(),
            serves: TargetedVariant::Basic { variant: "on".into() },
        }]),
    }
}

fn shares<const N: usize>(shares: [(&str, u8); N]) -> Percentages {
    let distribution = shares.map(|(variant, share)| (variant.to_owned(), share));
    Percentages {
        distribution: BTreeMap::from(distribution),
    }
}

fn stage(variant: &str, percentage: u8, date: Timestamp) -> Stage {
    Stage {
        variant: variant.to_owned(),
        percentage,
        date,
    }
}

async fn a_change_and_its_event_are_one(world: &World) {
    let created = create(world, &world.mine, switch("New checkout")).await.unwrap();
    let mut input = switch("Renamed");
    input.enabled = false;
    let replaced = replace(world, &created.slug, input).await.unwrap();
    delete(world, &created.slug).await.unwrap();
    let events = world.events().await;
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "FEATUREFLAG_CREATION",
            "FEATUREFLAG_UPDATE",
            "FEATUREFLAG_DELETION"
        ]
    );
    for (event, expected) in events.iter().zip([&created, &replaced, &replaced]) {
        let definition = catalogue::find(&event.name).unwrap();
        assert_eq!(event.event_type, definition.event_type);
        let data: Value = serde_json::from_str(event.data.get()).unwrap();
        let mut shown = serde_json::to_value(expected).unwrap();
        shown["organizationId"] = json!(world.mine.organization_id);
        assert_eq!(data, shown);
        let validator = jsonschema::validator_for(definition.schema()).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(&data)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(faults, [""; 0]);
    }
}

async fn nothing_is_left_of_a_change_that_is_rolled_back(world: &World) {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let checked = feature_flags::check_new(switch("Ada")).unwrap();
    feature_flags::create(&mut change, checked).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(world.events().await.len(), 0);
    assert_eq!(
        code(feature_flags::get(&world.store, &world.mine, "ada").await),
        "GetFeatureFlag.NotFound"
    );
}

async fn flags_stay_in_their_organization(world: &World) {
    let mine = create(world, &world.mine, switch("Dark mode")).await.unwrap();
    let theirs = create(world, &world.theirs, switch("Dark mode")).await.unwrap();
    assert_eq!(
        (mine.slug.as_str(), theirs.slug.as_str()),
        ("dark-mode", "dark-mode")
    );
    let only_theirs = create(world, &world.theirs, switch("Only theirs")).await.unwrap();
    let slug = only_theirs.slug.as_str();
    assert_eq!(
        code(feature_flags::get(&world.store, &world.mine, slug).await),
        "GetFeatureFlag.NotFound"
    );
    assert_eq!(
        code(replace(world, slug, switch("X")).await),
        "UpdateFeatureFlag.NotFound"
    );
    assert_eq!(code(delete(world, slug).await), "DeleteFeatureFlag.NotFound");
    let cache = FlagCache::default();
    let evaluated = evaluate_one(world, &cache, slug, &Map::new()).await;
    assert_eq!(code(evaluated), "EvaluateFeatureFlag.NotFound");
    let all = evaluate_all(world, &cache, &Map::new()).await;
    assert_eq!(all.unwrap().len(), 1);
    let listed = feature_flags::list(&world.store, &world.theirs, Page::first(1))
        .await
        .unwrap();
    assert_eq!(
        (listed.items, listed.next),
        (vec![theirs.clone()], Some(theirs.id))
    );
}

async fn slug_and_type_stay(world: &World) {
    let first = create(world, &world.mine, switch("Dark mode")).await.unwrap();
    let taken = FlagInput {
        slug: Some(first.slug.clone()),
        ..switch("Other")
    };
    assert_eq!(
        code(create(world, &world.mine, taken).await),
        "CreateFeatureFlag.SlugConflict"
    );
    let same = FlagInput {
        slug: Some(first.slug.clone()),
        ..switch("Renamed")
    };
    assert_eq!(replace(world, &first.slug, same).await.unwrap().slug, first.slug);
    for (input, expected, location) in [
        (
            FlagInput {
                slug: Some("other".into()),
                ..switch("Dark mode")
            },
            "UpdateFeatureFlag.SlugNotRenameable",
            "slug",
        ),
        (
            FlagInput {
                kind: FlagType::String,
                variants: vec![variant("on", json!("on")), variant("off", json!("off"))],
                ..switch("Dark mode")
            },
            "UpdateFeatureFlag.TypeNotChangeable",
            "type",
        ),
    ] {
        let refused = replace(world, &first.slug, input).await.unwrap_err();
        assert_eq!(refused.code().unwrap().to_string(), expected);
        assert_eq!(locations::<()>(Err(refused)), [location]);
    }
    assert_eq!(world.events().await.len(), 2);
}

async fn an_outdated_change_is_refused(world: &World) {
    let seen = create(world, &world.mine, switch("Dark mode")).await.unwrap();
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    let checked = |name: &str| feature_flags::check_replacement(switch(name)).unwrap();
    feature_flags::replace(&mut change, "dark-mode", checked("First"))
        .await
        .unwrap();
    let refused = feature_flags::replace(&mut change, "dark-mode", checked("Second")).await;
    assert_eq!(code(refused), "UpdateFeatureFlag.PreconditionFailed");
    let refused = feature_flags::delete(&mut change, "dark-mode").await;
    assert_eq!(code(refused), "DeleteFeatureFlag.PreconditionFailed");
    transaction.commit().await.unwrap();
    assert_eq!(world.events().await.len(), 2);
}

async fn every_change_is_in_the_audit_trail(world: &World) {
    let flag = create(world, &world.mine, switch("Dark mode")).await.unwrap();
    replace(world, &flag.slug, switch("Renamed")).await.unwrap();
    delete(world, &flag.slug).await.unwrap();
    let entries = audit_entry::Entity::find()
        .order_by_asc(audit_entry::Column::Id)
        .all(world.store.reader())
        .await
        .unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry.event_name.as_str()).collect();
    assert_eq!(
        names,
        [
            "FEATUREFLAG_CREATION",
            "FEATUREFLAG_UPDATE",
            "FEATUREFLAG_DELETION"
        ]
    );
    for entry in &entries {
        assert_eq!(entry.created_by_id, world.mine.id);
        assert_eq!(
            (
                entry.resource.as_str(),
                entry.resource_id,
                entry.resource_slug.as_str()
            ),
            ("feature_flag", flag.id, "dark-mode")
        );
    }
}

async fn the_ends_of_a_rollout_fit_together(world: &World) {
    for (variants, start, end, location) in [
        (2, stage("1", 0, NOW), stage("1", 100, NOW), None),
        (2, stage("0", 100, NOW), stage("1", 1, NOW), None),
        (
            3,
            stage("1", 0, NOW),
            stage("1", 100, NOW),
            Some("default_variant.end.variant"),
        ),
        (
            3,
            stage("0", 50, NOW),
            stage("1", 50, NOW),
            Some("default_variant.end.percentage"),
        ),
        (
            3,
            stage("0", 0, NOW),
            stage("1", 100, NOW),
            Some("default_variant.end.percentage"),
        ),
    ] {
        let input = FlagInput {
            variants: (0..variants)
                .map(|n| variant(&n.to_string(), json!(true)))
                .collect(),
            default_variant: DefaultVariant::RolloutDate(Dates { start, end }),
            targetings: None,
            ..switch("Rollout")
        };
        match (feature_flags::check_new(input), location) {
            (checked, None) => {
                let mut transaction = world.begin().await;
                let mut change = Change::new(&mut transaction, &world.mine, NOW);
                feature_flags::create(&mut change, checked.unwrap())
                    .await
                    .unwrap();
                transaction.rollback().await.unwrap();
            }
            (checked, Some(location)) => assert_eq!(locations(checked), [location]),
        }
    }
}

async fn every_fault_is_told(world: &World) {
    let dates = |start: Stage, end: Stage| Dates { start, end };
    let targeting = |rule: &str, serves: TargetedVariant| Targeting {
        name: "somebody".into(),
        rule: rule.into(),
        serves,
    };
    let later = NOW + std::time::Duration::from_secs(1);
    let bad = FlagInput {
        slug: Some("Not A Slug".into()),
        event_name: "\u{7}".into(),
        metadata: json!({"text": "x".repeat(70_000)}).as_object().unwrap().clone(),
        variants: vec![
            variant("on", json!(true)),
            variant("on", json!("yes")),
            variant("", json!(false)),
        ],
        default_variant: DefaultVariant::Basic {
            value: "maybe".into(),
        },
        targetings: Some(vec![
            targeting(
                "plan == 'pro'",
                TargetedVariant::RolloutPercentage(shares([("on", 60), ("maybe", 50)])),
            ),
            targeting("plan ==", TargetedVariant::Basic { variant: "on".into() }),
            targeting(
                "true",
                TargetedVariant::RolloutDate(dates(stage("on", 101, later), stage("on", 50, NOW))),
            ),
        ]),
        ..switch("")
    };
    let expected = [
        "name",
        "event_name",
        "metadata",
        "variants[1].name",
        "variants[1].value",
        "variants[2].name",
        "default_variant.value",
        "targetings[0].distribution[\"maybe\"]",
        "targetings[0].distribution",
        "targetings[1].rule",
        "targetings[2].start.percentage",
        "targetings[2].end.date",
        "slug",
    ];
    assert_eq!(locations(create(world, &world.mine, bad).await), expected);
    let none = FlagInput {
        variants: Vec::new(),
        targetings: None,
        ..switch("None")
    };
    assert_eq!(
        locations(create(world, &world.mine, none).await),
        ["variants", "default_variant.value"]
    );
    let many = FlagInput {
        variants: (0..=feature_flags::MAX_VARIANTS)
            .map(|n| variant(&n.to_string(), json!(true)))
            .collect(),
        default_variant: DefaultVariant::Basic { value: "0".into() },
        targetings: None,
        ..switch("Many")
    };
    assert_eq!(locations(create(world, &world.mine, many).await), ["variants"]);
    let large = FlagInput {
        kind: FlagType::String,
        variants: vec![variant("off", json!("x".repeat(feature_flags::MAX_DOCUMENT)))],
        targetings: None,
        ..switch("Large")
    };
    assert_eq!(locations(create(world, &world.mine, large).await), [""]);
    assert_eq!(world.events().await.len(), 0);
}

async fn a_flag_reads_as_it_was_written(world: &World) {
    let input = FlagInput {
        slug: Some("limits".into()),
        description: Some("Two\nlines".into()),
        kind: FlagType::Object,
        event_name: "limits_asked".into(),
        metadata: json!({"team": "web", "nested": {"a": [1, null]}})
            .as_object()
            .unwrap()
            .clone(),
        variants: vec![
            variant("small", json!({"max": 1})),
            variant("large", json!({"max": 1.5, "x": null})),
        ],
        default_variant: DefaultVariant::RolloutDate(Dates {
            start: stage("small", 100, NOW),
            end: stage("large", 100, NOW),
        }),
        targetings: Some(vec![Targeting {
            name: "some".into(),
            rule: "true".into(),
            serves: TargetedVariant::RolloutPercentage(shares([("small", 25), ("large", 75)])),
        }]),
        ..switch("Limits")
    };
    let written = create(world, &world.mine, input).await.unwrap();
    let read = feature_flags::get(&world.store, &world.mine, "limits")
        .await
        .unwrap();
    assert_eq!(read, written);
    let date = "2026-09-21T14:13:20.000Z";
    let expected = json!({
        "id": written.id, "name": "Limits", "slug": "limits", "description": "Two\nlines", "type": "object",
        "enabled": true, "event_name": "limits_asked", "metadata": {"team": "web", "nested": {"a": [1, null]}},
        "variants": [
            {"name": "small", "description": "", "value": {"max": 1}},
            {"name": "large", "description": "", "value": {"max": 1.5, "x": null}}
        ],
        "default_variant": {
            "type": "rollout_date",
            "start": {"variant": "small", "percentage": 100, "date": date},
            "end": {"variant": "large", "percentage": 100, "date": date}
        },
        "targetings": [{
            "name": "some", "rule": "true", "type": "rollout_percentage", "distribution": {"large": 75, "small": 25}
        }]
    });
    assert_eq!(serde_json::to_value(&read).unwrap(), expected);
    let none = FlagInput {
        targetings: None,
        ..switch("None")
    };
    let none = serde_json::to_value(create(world, &world.mine, none).await.unwrap()).unwrap();
    assert_eq!(
        (&none["targetings"], &none["description"]),
        (&Value::Null, &Value::Null)
    );
}

async fn an_organization_has_so_many_flags(world: &World) {
    let first = create(world, &world.mine, switch("First")).await.unwrap();
    let row = feature_flag::Entity::find_by_id(first.id)
        .one(world.store.reader())
        .await
        .unwrap()
        .unwrap();
    let mut transaction = world.begin().await;
    for number in 1..feature_flags::MAX_FLAGS {
        let copy = feature_flag::Model {
            id: demae_event::id::new_uuid(NOW),
            slug: format!("copy-{number:04}"),
            ..row.clone()
        };
        assert!(
            demae_store::repository::resource::insert::<feature_flag::Entity>(&mut transaction, copy)
                .await
                .unwrap()
        );
    }
    transaction.commit().await.unwrap();
    assert_eq!(
        code(create(world, &world.mine, switch("One too many")).await),
        "CreateFeatureFlag.TooManyFeatureFlags"
    );
    create(world, &world.theirs, switch("Of others")).await.unwrap();
    // All of them are evaluated at once, from the cache too.
    let cache = FlagCache::default();
    let context = json!({"plan": "pro"}).as_object().unwrap().clone();
    for _ in 0..2 {
        let all = evaluate_all(world, &cache, &context).await.unwrap();
        assert_eq!(all.len() as u64, feature_flags::MAX_FLAGS);
        assert!(
            all.iter()
                .all(|flag| flag.outcome.as_ref().unwrap().variant == "on")
        );
        assert!(all.is_sorted_by_key(|flag| flag.key.clone()));
    }
    delete(world, "first").await.unwrap();
    create(world, &world.mine, switch("Room again")).await.unwrap();
}

async fn evaluation_follows_every_change(world: &World) {
    let flag = create(world, &world.mine, switch("Dark mode")).await.unwrap();
    let cache = FlagCache::default();
    let context = json!({"plan": "pro"}).as_object().unwrap().clone();
    let served = async |slug: &str| {
        let one = evaluate_one(world, &cache, slug, &context).await.unwrap();
        let all = evaluate_all(world, &cache, &context).await;
        assert_eq!(all.unwrap(), std::slice::from_ref(&one));
        let evaluation = one.outcome.unwrap();
        (evaluation.value, evaluation.reason)
    };
    assert_eq!(served(&flag.slug).await, (json!(true), Reason::TargetingMatch));
    let mut off = switch("Dark mode");
    off.enabled = false;
    replace(world, &flag.slug, off).await.unwrap();
    assert_eq!(served(&flag.slug).await, (json!(false), Reason::Disabled));
    delete(world, &flag.slug).await.unwrap();
    let again = create(world, &world.mine, switch("Dark mode")).await.unwrap();
    assert_eq!(again.slug, flag.slug);
    assert_eq!(served(&flag.slug).await, (json!(true), Reason::TargetingMatch));
    let found = feature_flags::find_all(&world.store, &cache, &world.mine).await;
    let manifest = found.unwrap().manifest(&cache).unwrap();
    let known: Vec<_> = manifest
        .into_iter()
        .map(|flag| (flag.key, flag.default_value))
        .collect();
    assert_eq!(known, [("dark-mode".to_owned(), json!(false))]);
}
