//! Reasons, rollouts, and the places that rollouts are made of.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use serde_json::json;

use super::*;

const START: Timestamp = Timestamp::from_secs(1_790_000_000);
const DAY: Duration = Duration::from_hours(24);

/// A flag of three texts: `a`, `b` and `c`.
fn flag(default: Value, targetings: Value, enabled: bool) -> CompiledFlag {
    let variant = |name: &str| json!({"name": name, "description": "", "value": name.to_uppercase()});
    let read = |value: Value| serde_json::from_value(value).unwrap();
    CompiledFlag::new(FeatureFlag {
        id: uuid::Uuid::nil(),
        name: "New checkout".to_owned(),
        slug: "new-checkout".to_owned(),
        description: None,
        kind: super::super::FlagType::String,
        enabled,
        event_name: String::new(),
        metadata: read(json!({"team": "web", "priority": 2, "nested": {"a": 1}})),
        variants: serde_json::from_value(json!([variant("a"), variant("b"), variant("c")])).unwrap(),
        default_variant: serde_json::from_value(default).unwrap(),
        targetings: serde_json::from_value(targetings).unwrap(),
    })
}

fn subject(context: &Value) -> Subject {
    Subject::new(context.as_object().unwrap())
}

fn shares(a: u8, b: u8, c: u8) -> Value {
    json!({"type": "rollout_percentage", "distribution": {"c": c, "a": a, "b": b}})
}

/// From `a`, which so many have at the start, to `b`, which so many have at the end.
fn dates(from: u8, to: u8) -> Value {
    json!({
        "type": "rollout_date",
        "start": {"variant": "a", "percentage": from, "date": START},
        "end": {"variant": "b", "percentage": to, "date": START + DAY}
    })
}

fn served(flag: &CompiledFlag, key: &str, now: Timestamp) -> String {
    evaluate(flag, &subject(&json!({"targetingKey": key})), now)
        .unwrap()
        .variant
}

#[test]
fn every_reason() {
    let basic = json!({"type": "basic", "value": "a"});
    let pro = json!([
        {"name": "broken", "rule": "country == 'JP'", "type": "basic", "variant": "c"},
        {"name": "pro", "rule": "plan == 'pro'", "type": "basic", "variant": "b"},
        {"name": "later", "rule": "true", "type": "rollout_percentage", "distribution": {"c": 100}}
    ]);
    let only_pro = json!([{"name": "pro", "rule": "plan == 'pro'", "type": "basic", "variant": "b"}]);
    for (flag, context, variant, reason) in [
        (
            flag(basic.clone(), json!(null), true),
            json!({}),
            "a",
            Reason::Static,
        ),
        (
            flag(basic.clone(), json!([]), true),
            json!({}),
            "a",
            Reason::Static,
        ),
        (
            flag(basic.clone(), only_pro.clone(), true),
            json!({"plan": "free"}),
            "a",
            Reason::Default,
        ),
        (
            flag(basic.clone(), only_pro.clone(), true),
            json!({}),
            "a",
            Reason::Default,
        ),
        (
            flag(basic.clone(), pro.clone(), true),
            json!({"plan": "pro"}),
            "b",
            Reason::TargetingMatch,
        ),
        (
            flag(basic.clone(), pro.clone(), true),
            json!({"plan": "free"}),
            "c",
            Reason::Split,
        ),
        (
            flag(shares(0, 100, 0), json!(null), true),
            json!({}),
            "b",
            Reason::Split,
        ),
        (
            flag(basic, pro, false),
            json!({"plan": "pro"}),
            "a",
            Reason::Disabled,
        ),
        (
            flag(shares(0, 100, 0), only_pro, false),
            json!({"plan": "pro"}),
            "b",
            Reason::Disabled,
        ),
    ] {
        let evaluation = evaluate(&flag, &subject(&context), START).unwrap();
        assert_eq!(
            (evaluation.variant.as_str(), evaluation.reason),
            (variant, reason)
        );
        assert_eq!(evaluation.value, json!(variant.to_uppercase()));
    }
}

#[test]
fn metadata_is_flat_and_tells_what_happened() {
    let targetings = json!([
        {"name": "japan", "rule": "country == 'JP'", "type": "basic", "variant": "c"},
        {"name": "pro", "rule": "plan == 'pro'", "type": "basic", "variant": "b"}
    ]);
    let flag = flag(json!({"type": "basic", "value": "a"}), targetings, true);
    let evaluation = evaluate(&flag, &subject(&json!({"plan": "pro"})), START).unwrap();
    let expected = json!({
        "team": "web", "priority": 2, "targeting": "pro",
        "failedTargetings": "japan: Undeclared reference to 'country'"
    });
    assert_eq!(Value::Object(evaluation.metadata), expected);
}

#[test]
fn a_rollout_needs_to_know_who_asks_only_if_it_matters() {
    for (default, now, known) in [
        (shares(50, 50, 0), START, false),
        (shares(100, 0, 0), START, true),
        (dates(90, 90), START + DAY, false),
        (dates(90, 100), START + DAY, true),
        (dates(100, 90), START, true),
    ] {
        let flag = flag(default, json!(null), true);
        for context in [json!({}), json!({"targetingKey": ""}), json!({"plan": "pro"})] {
            let evaluation = evaluate(&flag, &subject(&context), now);
            if known {
                evaluation.unwrap();
            } else {
                assert_eq!(evaluation, Err(EvaluationError::TargetingKeyMissing));
            }
        }
    }
}

/// Computed with another program: anyone can.
#[test]
fn places_are_what_the_documentation_says() {
    for (flag, key, expected) in [
        ("new-checkout", "user-1", 0xc3da_3593_59df_ed38),
        ("new-checkout", "user-2", 0xfcc9_7079_4235_667f),
        ("other-flag", "user-1", 0xc0e8_78de_a75e_e234),
        ("new-checkout", "ユーザー", 0x8100_fae5_d00a_8a6e),
    ] {
        assert_eq!(place(flag, key), expected, "{flag}:{key}");
    }
}

/// What is read of a `rollout_date`.
fn read(mut value: Value) -> Dates {
    value.as_object_mut().unwrap().remove("type");
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_rollout_by_date_changes_evenly_between_its_dates() {
    let percent = |dates: &Dates, now: Timestamp| share_at(dates, now) as f64 * 100.0 / WHOLE as f64;
    let before = Timestamp::from_secs(0);
    let growing = read(dates(90, 50));
    let mut shrinking = growing.clone();
    shrinking.start.variant = "b".to_owned();
    for (dates, shares) in [
        (&growing, [10.0, 10.0, 20.0, 30.0, 50.0, 50.0]),
        (&shrinking, [90.0, 90.0, 80.0, 70.0, 50.0, 50.0]),
    ] {
        let moments = [
            before,
            START,
            START + DAY / 4,
            START + DAY / 2,
            START + DAY,
            START + DAY * 400,
        ];
        for (now, expected) in moments.into_iter().zip(shares) {
            let share = percent(dates, now);
            assert!((share - expected).abs() < 1e-9, "{now}: {share}");
        }
    }
    let mut at_once = read(dates(100, 100));
    at_once.end.date = START;
    assert_eq!(
        share_at(&at_once, Timestamp::from_micros(START.as_micros() - 1)),
        0
    );
    assert_eq!(share_at(&at_once, START), WHOLE);
}

#[test]
fn a_rollout_of_one_variant_leaves_the_other_to_the_rest() {
    let mut value = dates(0, 100);
    value["start"]["variant"] = json!("b");
    let mut flag = flag(value, json!(null), true);
    flag.flag.variants.truncate(2);
    assert_eq!(served(&flag, "anyone", START), "a");
    assert_eq!(served(&flag, "anyone", START + DAY), "b");
}

#[test]
fn shares_are_kept_over_many_keys() {
    const KEYS: usize = 20_000;
    let flag = flag(shares(10, 65, 25), json!(null), true);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for key in 0..KEYS {
        *counts
            .entry(served(&flag, &format!("user-{key}"), START))
            .or_default() += 1;
    }
    for (variant, share) in [("a", 0.10), ("b", 0.65), ("c", 0.25)] {
        let seen = counts[variant] as f64 / KEYS as f64;
        // Six standard deviations of a share of 65 percent are two percent.
        assert!((seen - share).abs() < 0.02, "{variant}: {seen}");
    }
}

/// Two sums to 100 by three, the second with more of one and at most as much of the others.
fn growing_shares() -> impl Strategy<Value = ([u8; 3], [u8; 3], usize)> {
    (0_u8..=100, 0_u8..=100, 0_usize..3, any::<u8>(), any::<u8>()).prop_map(|(x, y, raised, less, more)| {
        let (low, high) = (x.min(y), x.max(y));
        let before = [low, high - low, 100 - high];
        let mut after = before;
        let others = [(raised + 1) % 3, (raised + 2) % 3];
        for (other, taken) in others.into_iter().zip([less, more]) {
            let taken = taken % (after[other] + 1);
            after[other] -= taken;
            after[raised] += taken;
        }
        (before, after, raised)
    })
}

proptest! {
    #[test]
    fn who_has_what_is_raised_keeps_it((before, after, raised) in growing_shares(), key in "[a-z0-9]{1,20}") {
        let flag_of = |[a, b, c]: [u8; 3]| flag(shares(a, b, c), json!(null), true);
        let variant = ["a", "b", "c"][raised];
        if served(&flag_of(before), &key, START) == variant {
            prop_assert_eq!(served(&flag_of(after), &key, START), variant);
        }
    }

    #[test]
    fn a_share_of_nothing_is_served_to_nobody(a in 0_u8..=100, key in "[a-z0-9]{1,20}") {
        let served = served(&flag(shares(a, 100 - a, 0), json!(null), true), &key, START);
        prop_assert!(served != "c" && (a > 0 || served != "a") && (a < 100 || served != "b"), "{}", served);
    }

    #[test]
    fn who_has_the_end_keeps_it(
        from in 51_u8..=100, to in 50_u8..=100, first in 0_u64..200_000, then in 0_u64..200_000, key in "[a-z0-9]{1,20}"
    ) {
        let flag = flag(dates(from, to), json!(null), true);
        let now = START + Duration::from_secs(first);
        if served(&flag, &key, now) == "b" {
            prop_assert_eq!(served(&flag, &key, now + Duration::from_secs(then)), "b");
        }
    }
}
