//! Reading the audit trail.

use std::time::Duration;

use demae_control_plane::{
    Actor,
    audit::{self, AuditEntry, AuditQuery},
    customers::{self, CreateCustomer},
    instances::{self, PatchInstance, Status},
};
use demae_event::Timestamp;
use demae_store::repository::Page;

use crate::{
    stock::{Stock, change, instance},
    support::{NOW, World, code},
};

on_both_databases!(
    the_newest_is_first_and_pages_follow,
    filters_leave_out_what_is_not_meant,
    an_instance_s_trail_follows_it_through_its_names,
    nobody_sees_another_s,
);

async fn names(world: &World, actor: &Actor, query: AuditQuery) -> Vec<String> {
    let listing = audit::list(&world.store, actor, query, Page::first(50))
        .await
        .unwrap();
    assert_eq!(listing.next, None);
    listing.items.into_iter().map(|entry| entry.event_name).collect()
}

/// Finer than what is shown of a time.
const UNSEEN: Duration = Duration::from_micros(400);

/// A license and two customers, a minute and a bit apart.
async fn three_changes(world: &World) -> Timestamp {
    Stock::of(world, &world.mine).await;
    let later = NOW + Duration::from_mins(1) + UNSEEN;
    let second = CreateCustomer {
        name: "Second".to_owned(),
        ..Default::default()
    };
    change(world, &world.mine, later, async |change| {
        customers::create(change, second).await
    })
    .await
    .unwrap();
    later
}

async fn the_newest_is_first_and_pages_follow(world: &World) {
    three_changes(world).await;
    let mut page = Page::first(2);
    let mut seen: Vec<AuditEntry> = Vec::new();
    loop {
        let listing = audit::list(&world.store, &world.mine, AuditQuery::default(), page)
            .await
            .unwrap();
        assert!(listing.items.len() <= 2);
        seen.extend(listing.items);
        page.after = listing.next;
        if page.after.is_none() {
            break;
        }
    }
    let names: Vec<&str> = seen.iter().map(|entry| entry.event_name.as_str()).collect();
    assert_eq!(
        names,
        ["CUSTOMER_CREATION", "LICENSE_CREATION", "CUSTOMER_CREATION"]
    );
    assert_eq!(seen[0].payload["name"], "Second");
    assert_eq!(seen[0].actor.id, world.mine.id);
    assert_eq!(seen[0].resource_slug, "second");
}

async fn filters_leave_out_what_is_not_meant(world: &World) {
    let later = three_changes(world).await;
    let both = ["CUSTOMER_CREATION", "CUSTOMER_CREATION"];
    let all = ["CUSTOMER_CREATION", "LICENSE_CREATION", "CUSTOMER_CREATION"];
    let named = |name: &str| AuditQuery {
        event_name: Some(name.to_owned()),
        ..Default::default()
    };
    for name in [
        "CUSTOMER_CREATION",
        "CUSTOMER_CREATED",
        "com.kaiten.customer.v1.created",
    ] {
        assert_eq!(names(world, &world.mine, named(name)).await, both, "{name}");
    }
    let about = |resource: &str| AuditQuery {
        resource: Some(resource.to_owned()),
        ..Default::default()
    };
    assert_eq!(names(world, &world.mine, about("customer")).await, both);
    assert_eq!(
        names(world, &world.mine, about("license")).await,
        ["LICENSE_CREATION"]
    );
    let by = |actor: &Actor| AuditQuery {
        actor: Some(actor.id),
        ..Default::default()
    };
    assert_eq!(names(world, &world.mine, by(&world.mine)).await, all);
    assert_eq!(names(world, &world.mine, by(&world.theirs)).await, [""; 0]);
    let contradictory = AuditQuery {
        resource: Some("license".to_owned()),
        actor: Some(world.mine.id),
        ..named("CUSTOMER_CREATION")
    };
    assert_eq!(names(world, &world.mine, contradictory).await, [""; 0]);
    let instant = Duration::from_micros(1);
    for (after, before, expected) in [
        (Some(later), None, &all[..1]),
        (Some(later + instant), None, &all[..0]),
        (None, Some(NOW), &all[1..]),
        (None, Some(NOW - instant), &all[..0]),
        (Some(NOW), Some(later), &all[..]),
        // The time that an entry shows, which is a bit before its own, does not leave it out.
        (Some(NOW), Some(later - UNSEEN), &all[..]),
        (None, Some(later - UNSEEN - instant), &all[1..]),
    ] {
        let query = AuditQuery {
            after,
            before,
            ..Default::default()
        };
        assert_eq!(names(world, &world.mine, query).await, expected);
    }
}

async fn an_instance_s_trail_follows_it_through_its_names(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    instance(world, &world.mine, stock.instance("Other"))
        .await
        .unwrap();
    instance(world, &world.mine, stock.instance("Production"))
        .await
        .unwrap();
    let renamed = instances::InstanceInput {
        slug: Some("prod".to_owned()),
        ..stock.instance("Production")
    };
    change(world, &world.mine, NOW, async |change| {
        instances::replace(change, "production", renamed).await
    })
    .await
    .unwrap();
    let degraded = PatchInstance {
        status: Some(Status::Degraded),
        ..Default::default()
    };
    change(world, &world.mine, NOW, async |change| {
        instances::patch(change, "prod", degraded).await
    })
    .await
    .unwrap();
    let read =
        async |slug, query| audit::of_instance(&world.store, &world.mine, slug, query, Page::first(50)).await;
    let trail = read("prod", AuditQuery::default()).await.unwrap().items;
    let told: Vec<_> = trail
        .iter()
        .map(|entry| (entry.event_name.as_str(), entry.instance_slug.as_deref().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("INSTANCE_STATUS_CHANGED", "prod"),
            ("INSTANCE_UPDATE", "prod"),
            ("INSTANCE_CREATION", "production"),
        ]
    );
    let updates = AuditQuery {
        event_name: Some("INSTANCE_UPDATED".to_owned()),
        ..Default::default()
    };
    assert_eq!(read("prod", updates).await.unwrap().items, trail[1..2]);
    assert_eq!(
        code(read("production", AuditQuery::default()).await),
        "ListAuditTrails.InstanceNotFound"
    );
}

async fn nobody_sees_another_s(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    instance(world, &world.mine, stock.instance("Production"))
        .await
        .unwrap();
    assert_eq!(names(world, &world.theirs, AuditQuery::default()).await, [""; 0]);
    let query = AuditQuery::default();
    let refused = audit::of_instance(&world.store, &world.theirs, "production", query, Page::first(9)).await;
    assert_eq!(code(refused), "ListAuditTrails.InstanceNotFound");
}
