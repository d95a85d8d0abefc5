//! Reports of usage, what they add up to, and the event at the limit.

use std::{collections::BTreeMap, time::Duration};

use demae_control_plane::{
    Amount, DomainError, EntitlementType, EntitlementValue,
    entitlements::{AggregationMethod, EntitlementInput, ResetAnchor, ResetPeriod},
    instances::InstanceInput,
    license_entitlements::{self, GrantInput},
    usage::{self, Behavior, Report, Usage},
};
use demae_event::{Timestamp, catalogue};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    stock::{Stock, change, entitlement, grant, instance},
    support::{NOW, World, code},
};

on_both_databases!(
    each_method_adds_up,
    the_event_comes_once_per_crossing,
    a_soft_limit_can_be_passed_by_so_much,
    what_is_refused_leaves_no_trace,
    who_is_above_a_lowered_limit_can_go_down,
    only_what_is_granted_and_a_number_is_reported,
    a_new_period_begins_at_zero,
    a_period_follows_the_license,
    everything_granted_is_listed,
    sums_are_exact_under_concurrent_reports,
    a_limit_is_exact_under_concurrent_reports,
);

const PLACE: (&str, &str) = ("production", "seats");

/// An instance whose license grants so much of `seats`.
async fn production(world: &World, input: EntitlementInput, limit: i64, overage: Option<i32>) {
    let stock = Stock::of(world, &world.mine).await;
    entitlement(world, &world.mine, "seats", input).await;
    let granted = EntitlementValue::number(limit.into());
    grant(world, &world.mine, ("gold", "seats"), (granted, overage)).await;
    let input = InstanceInput {
        start_license_date: Some("2026-01-31T00:00:00Z".parse().unwrap()),
        ..stock.instance("Production")
    };
    instance(world, &world.mine, input).await.unwrap();
}

fn appended(value: &str) -> Report {
    Report {
        value: value.parse().unwrap(),
        ..Default::default()
    }
}

fn set(value: &str) -> Report {
    Report {
        behavior: Behavior::Set,
        ..appended(value)
    }
}

async fn report_at(world: &World, now: Timestamp, report: Report) -> Result<Usage, DomainError> {
    change(world, &world.mine, now, async |change| {
        usage::report(change, PLACE, report).await
    })
    .await
}

async fn report(world: &World, what: Report) -> Result<Usage, DomainError> {
    report_at(world, NOW, what).await
}

async fn used_at(world: &World, now: Timestamp) -> Usage {
    usage::get(&world.store, &world.mine, now, PLACE).await.unwrap()
}

/// How often the limit was reached.
async fn reached(world: &World) -> usize {
    let names = world.event_names().await;
    names
        .iter()
        .filter(|name| *name == "INSTANCE_ENTITLEMENT_USAGE_REACHED")
        .count()
}

fn number(value: &str, event_count: i64) -> EntitlementValue {
    EntitlementValue::Number {
        value: value.parse().unwrap(),
        event_count: Some(event_count),
    }
}

async fn each_method_adds_up(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    instance(world, &world.mine, stock.instance("Production"))
        .await
        .unwrap();
    for (word, value) in [
        ("SUM", "1.1"),
        ("COUNT", "11"),
        ("AVERAGE", "0.1"),
        ("MAX", "0.3"),
        ("MIN", "-0.1"),
        ("LATEST", "0.1"),
    ] {
        let slug = word.to_lowercase();
        let input = EntitlementInput {
            aggregation_method: AggregationMethod::find(word),
            ..Default::default()
        };
        entitlement(world, &world.mine, &slug, input).await;
        let granted = EntitlementValue::number(Amount::UNLIMITED);
        grant(world, &world.mine, ("gold", &slug), (granted, None)).await;
        let place = ("production", slug.as_str());
        for value in [
            "0.3", "-0.1", "0.1", "0.1", "0.1", "0.1", "0.1", "0.1", "0.1", "0.1", "0.1",
        ] {
            change(world, &world.mine, NOW, async |change| {
                usage::report(change, place, appended(value)).await
            })
            .await
            .unwrap();
        }
        let used = usage::get(&world.store, &world.mine, NOW, place).await.unwrap();
        assert_eq!(used.value, number(value, 11), "{word}");
        let replaced = change(world, &world.mine, NOW, async |change| {
            usage::report(change, place, set("2.5")).await
        });
        assert_eq!(replaced.await.unwrap().value, number("2.5", 1), "{word}");
    }
    assert_eq!(reached(world).await, 0);
}

async fn the_event_comes_once_per_crossing(world: &World) {
    production(world, EntitlementInput::default(), 10, None).await;
    let entries = world.audited().await.len();
    for (what, total, events) in [
        (appended("9"), "9", 0),
        (appended("1"), "10", 1),
        (appended("0"), "10", 1),
        (set("10"), "10", 1),
        (appended("-1"), "9", 1),
        (appended("0.5"), "9.5", 1),
        (appended("0.5"), "10", 2),
        (set("3"), "3", 2),
        (set("10"), "10", 3),
    ] {
        let used = report(world, what).await.unwrap();
        assert_eq!(used.value.amount(), Some(total.parse().unwrap()));
        assert_eq!(reached(world).await, events, "{total}");
    }
    // Only what had an event is in the audit trail.
    assert_eq!(world.audited().await.len(), entries + 3);
    let event = world.events().await.pop().unwrap();
    let headers: Value = serde_json::from_str(event.headers.as_ref().unwrap().get()).unwrap();
    let entry = world.audited().await.pop().unwrap();
    assert_eq!(headers, json!({"instance_id": entry.instance_id}));
    assert_eq!(entry.resource_slug, "seats");
    let mut shown = serde_json::to_value(used_at(world, NOW).await).unwrap();
    shown["organizationId"] = json!(world.mine.organization_id);
    let data: Value = serde_json::from_str(event.data.get()).unwrap();
    assert_eq!(data, shown);
    let schema = catalogue::find(&event.name).unwrap().schema();
    assert!(
        jsonschema::validator_for(schema).unwrap().is_valid(&data),
        "{data}"
    );
}

async fn a_soft_limit_can_be_passed_by_so_much(world: &World) {
    production(world, EntitlementInput::default(), 10, Some(15)).await;
    report(world, appended("8")).await.unwrap();
    // Past the limit at once.
    report(world, appended("3.5")).await.unwrap();
    assert_eq!(reached(world).await, 1);
    assert_eq!(
        code(report(world, appended("0.000000001")).await),
        "ReportEntitlementUsageMetric.ThresholdExceeded"
    );
    let regrant = async |limit: i64, overage_percent: Option<i32>| {
        let input = GrantInput {
            value: EntitlementValue::number(limit.into()),
            overage_percent,
        };
        change(world, &world.mine, NOW, async |change| {
            license_entitlements::replace(change, "gold", "seats", input).await
        })
        .await
        .unwrap();
    };
    // A raised limit was not reached yet.
    regrant(2_000, None).await;
    report(world, set("2000")).await.unwrap();
    assert_eq!(reached(world).await, 2);
    regrant(-1, None).await;
    report(world, appended("1000000")).await.unwrap();
    assert_eq!(reached(world).await, 2);
}

async fn what_is_refused_leaves_no_trace(world: &World) {
    production(world, EntitlementInput::default(), 10, Some(0)).await;
    report(world, appended("9")).await.unwrap();
    let before = (
        used_at(world, NOW).await,
        world.events().await.len(),
        world.audited().await.len(),
    );
    for what in [appended("2"), set("11"), appended("1.000000001")] {
        assert_eq!(
            code(report(world, what).await),
            "ReportEntitlementUsageMetric.ThresholdExceeded"
        );
    }
    let too_long = Report {
        metadata: serde_json::Map::from_iter([("note".to_owned(), json!("x".repeat(20_000)))]),
        ..appended("1")
    };
    assert_eq!(
        code(report(world, too_long).await),
        "ReportEntitlementUsageMetric.Invalid"
    );
    let after = (
        used_at(world, NOW).await,
        world.events().await.len(),
        world.audited().await.len(),
    );
    assert_eq!(after, before);
}

async fn who_is_above_a_lowered_limit_can_go_down(world: &World) {
    production(world, EntitlementInput::default(), 10, None).await;
    report(world, appended("10")).await.unwrap();
    let lowered = GrantInput {
        value: EntitlementValue::number(5.into()),
        overage_percent: None,
    };
    change(world, &world.mine, NOW, async |change| {
        license_entitlements::replace(change, "gold", "seats", lowered).await
    })
    .await
    .unwrap();
    assert!(report(world, appended("1")).await.is_err());
    assert_eq!(report(world, appended("-2")).await.unwrap().value, number("8", 2));
    assert_eq!(reached(world).await, 1);
    report(world, set("4")).await.unwrap();
    report(world, appended("1")).await.unwrap();
    assert_eq!(reached(world).await, 2);
}

async fn only_what_is_granted_and_a_number_is_reported(world: &World) {
    production(world, EntitlementInput::default(), 10, None).await;
    let switch = EntitlementInput {
        kind: Some(EntitlementType::Boolean),
        ..Default::default()
    };
    entitlement(world, &world.mine, "sso", switch).await;
    entitlement(world, &world.mine, "unsold", EntitlementInput::default()).await;
    let on = EntitlementValue::Boolean { value: true };
    grant(world, &world.mine, ("gold", "sso"), (on, None)).await;
    for (place, reason) in [
        (("nowhere", "seats"), "InstanceNotFound"),
        (("production", "nothing"), "EntitlementNotFound"),
        (("production", "unsold"), "NotGranted"),
        (("production", "sso"), "UnsupportedEntitlementType"),
    ] {
        let refused = change(world, &world.mine, NOW, async |change| {
            usage::report(change, place, appended("1")).await
        });
        assert_eq!(
            code(refused.await),
            format!("ReportEntitlementUsageMetric.{reason}")
        );
    }
    let foreign = change(world, &world.theirs, NOW, async |change| {
        usage::report(change, PLACE, appended("1")).await
    });
    assert_eq!(
        code(foreign.await),
        "ReportEntitlementUsageMetric.InstanceNotFound"
    );
    for (actor, place, reason) in [
        (&world.theirs, PLACE, "InstanceNotFound"),
        (&world.mine, ("production", "unsold"), "EntitlementNotFound"),
        (&world.mine, ("nowhere", "seats"), "InstanceNotFound"),
    ] {
        let refused = usage::get(&world.store, actor, NOW, place).await;
        assert_eq!(code(refused), format!("GetEntitlementUsage.{reason}"));
    }
    let refused = usage::list(&world.store, &world.theirs, NOW, "production").await;
    assert_eq!(code(refused), "ListEntitlementUsage.InstanceNotFound");
}

async fn a_new_period_begins_at_zero(world: &World) {
    let monthly = EntitlementInput {
        reset_period: Some(ResetPeriod::Month),
        ..Default::default()
    };
    production(world, monthly, 10, None).await;
    let bounds = |used: &Usage| {
        let text = |moment: Option<Timestamp>| moment.unwrap().to_string();
        (text(used.current_period_start), text(used.current_period_end))
    };
    let september = (
        "2026-09-01T00:00:00.000Z".to_owned(),
        "2026-10-01T00:00:00.000Z".to_owned(),
    );
    let october = (
        "2026-10-01T00:00:00.000Z".to_owned(),
        "2026-11-01T00:00:00.000Z".to_owned(),
    );
    // Before the first report, too.
    let unused = used_at(world, NOW).await;
    assert_eq!(
        (unused.value.clone(), bounds(&unused)),
        (number("0", 0), september.clone())
    );
    let used = report(world, appended("10")).await.unwrap();
    assert_eq!(
        (used.value.clone(), bounds(&used)),
        (number("10", 1), september.clone())
    );
    assert_eq!(reached(world).await, 1);
    let turn: Timestamp = "2026-10-01T00:00:00Z".parse().unwrap();
    let just_before = turn - Duration::from_micros(1);
    assert_eq!(used_at(world, just_before).await.value, number("10", 1));
    let unused = used_at(world, turn).await;
    assert_eq!(
        (unused.value.clone(), bounds(&unused)),
        (number("0", 0), october.clone())
    );
    let used = report_at(world, turn, appended("10")).await.unwrap();
    assert_eq!(
        (used.value.clone(), bounds(&used)),
        (number("10", 1), october.clone())
    );
    assert_eq!(reached(world).await, 2);
    // A process whose clock is behind goes on in the period that has begun.
    let used = report_at(world, just_before, appended("-1")).await.unwrap();
    assert_eq!((used.value.clone(), bounds(&used)), (number("9", 2), october));
}

async fn a_period_follows_the_license(world: &World) {
    let monthly = EntitlementInput {
        reset_period: Some(ResetPeriod::Month),
        reset_anchor: Some(ResetAnchor::LicenseStart),
        ..Default::default()
    };
    production(world, monthly, 10, None).await;
    let used = report(world, appended("1")).await.unwrap();
    let bounds = (
        used.current_period_start.unwrap(),
        used.current_period_end.unwrap(),
    );
    // The license began on 31 January.
    assert_eq!(bounds.0.to_string(), "2026-08-31T00:00:00.000Z");
    assert_eq!(bounds.1.to_string(), "2026-09-30T00:00:00.000Z");
    assert_eq!(used_at(world, bounds.1).await.value, number("0", 0));
}

async fn everything_granted_is_listed(world: &World) {
    production(world, EntitlementInput::default(), 10, None).await;
    assert_eq!(
        usage::list(&world.store, &world.mine, NOW, "production")
            .await
            .unwrap()[0]
            .value,
        number("0", 0)
    );
    let config = EntitlementInput {
        kind: Some(EntitlementType::Config),
        ..Default::default()
    };
    entitlement(world, &world.mine, "region", config).await;
    let region = EntitlementValue::Object {
        value: serde_json::Map::from_iter([("eu".to_owned(), json!(true))]),
    };
    grant(world, &world.mine, ("gold", "region"), (region.clone(), None)).await;
    report(world, appended("2")).await.unwrap();
    let listed = usage::list(&world.store, &world.mine, NOW, "production")
        .await
        .unwrap();
    let values: BTreeMap<_, _> = listed
        .iter()
        .map(|usage| (usage.entitlement_slug.as_str(), (&usage.value, &usage.limit)))
        .collect();
    let (two, ten) = (number("2", 1), EntitlementValue::number(10.into()));
    assert_eq!(
        values,
        BTreeMap::from([("region", (&region, &region)), ("seats", (&two, &ten))])
    );
    assert_eq!(listed[1], used_at(world, NOW).await);
}

const WRITERS: usize = 64;
const REPORTS: usize = 5;

/// Every writer reports 1, so many times, all at the same time; answers how many reports were taken in.
async fn hammer(world: &World) -> usize {
    let writers = (0..WRITERS).map(async |_| {
        let mut accepted = 0;
        for _ in 0..REPORTS {
            match report(world, appended("1")).await {
                Ok(_) => accepted += 1,
                Err(refused) => assert_eq!(
                    refused.code().map(|code| code.to_string()).as_deref(),
                    Some("ReportEntitlementUsageMetric.ThresholdExceeded"),
                    "{refused:?}"
                ),
            }
        }
        accepted
    });
    join_all(writers).await.into_iter().sum()
}

async fn sums_are_exact_under_concurrent_reports(world: &World) {
    production(world, EntitlementInput::default(), 100, Some(1_000)).await;
    assert_eq!(hammer(world).await, WRITERS * REPORTS);
    assert_eq!(used_at(world, NOW).await.value, number("320", 320));
    assert_eq!(reached(world).await, 1);
}

async fn a_limit_is_exact_under_concurrent_reports(world: &World) {
    production(world, EntitlementInput::default(), 100, None).await;
    assert_eq!(hammer(world).await, 100);
    assert_eq!(used_at(world, NOW).await.value, number("100", 100));
    assert_eq!(reached(world).await, 1);
}
