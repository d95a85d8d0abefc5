//! What instances use: reports over HTTP (kaiten.md, section 2.6).

use serde_json::json;

use super::instances::{events, stock};
use crate::testing::TestApi;

on_both_databases! {
    usage_is_reported_in_both_forms,
    a_repeated_report_counts_once,
    requests_at_the_same_time_are_counted_exactly,
}

/// Of the instance in the stock.
pub(super) const SEATS: &str = "/api/instances/production/entitlements/seats/usage";

async fn usage_is_reported_in_both_forms(api: TestApi) {
    let body = stock(&api).await;
    api.post("/api/instances", body).await;
    let reports = [
        (
            json!({"value": {"type": "number", "value": 0.1}, "behavior": "append", "metadata": {"by": "cron"}}),
            json!(0.1),
            1,
        ),
        (json!({"value": 0.2}), json!(0.3), 2),
        (
            json!({"value": {"type": "number", "value": 10}, "behavior": "set"}),
            json!(10),
            1,
        ),
        (
            json!({"value": -3, "behavior": null, "metadata": null}),
            json!(7),
            2,
        ),
    ];
    for (report, value, count) in reports {
        let reply = api.post(SEATS, report).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let usage = reply.json();
        assert_eq!(
            usage["value"],
            json!({"type": "number", "value": value, "event_count": count})
        );
        assert_eq!(usage["limit"], json!({"type": "number", "value": 10}));
        for key in ["entitlementId", "entitlementSlug", "licenseId", "licenseSlug"] {
            assert!(usage[key].is_string(), "{key}: {usage}");
        }
        assert_eq!(api.get(SEATS).await.json(), usage);
    }
    let listed = api
        .get("/api/instances/production/entitlements/usage")
        .await
        .json();
    let slugs: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|usage| usage["entitlementSlug"].as_str().unwrap())
        .collect();
    assert_eq!(slugs, ["seats", "sso"]);
    assert_eq!(
        events(&api).await,
        ["INSTANCE_CREATION", "INSTANCE_ENTITLEMENT_USAGE_REACHED"]
    );
}

async fn a_repeated_report_counts_once(api: TestApi) {
    let body = stock(&api).await;
    api.post("/api/instances", body).await;
    let report = json!({"value": 10});
    let first = api.post_with_key(SEATS, "report-1", &report).await;
    let again = api.post_with_key(SEATS, "report-1", &report).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (200, 200));
    assert_eq!(first.text, again.text);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(api.get(SEATS).await.json()["value"]["event_count"], 1);
    assert_eq!(events(&api).await.len(), 2);
}

async fn requests_at_the_same_time_are_counted_exactly(api: TestApi) {
    let body = stock(&api).await;
    api.post("/api/instances", body).await;
    let report = |_| api.post(SEATS, json!({"value": 0.5}));
    let replies = futures::future::join_all((0..64).map(report)).await;
    let accepted = replies.iter().filter(|reply| reply.status == 200).count();
    let refused = replies.iter().filter(|reply| reply.status == 409).count();
    assert_eq!((accepted, refused), (20, 44));
    assert_eq!(
        api.get(SEATS).await.json()["value"],
        json!({"type": "number", "value": 10, "event_count": 20})
    );
    assert_eq!(events(&api).await.len(), 2);
}
