//! Own events, and test deliveries.

use demae_delivery::management::{
    EndpointPatch, ManagementError, Page,
    event_types::EventTypeInput,
    events::{EventFilter, PublishInput},
};
use demae_event::{Event, EventId, catalogue};
use demae_store::outbox;

use crate::support::{NOW, World, code, input, json, locations, owned};

in_every_scope!(
    names_and_types_stand_for_each_other,
    what_is_wrong_with_each_event_is_told,
    a_senders_id_is_the_same_event_in_its_organization,
    an_event_is_seen_before_and_after_routing,
    lists_choose_by_either_name_and_type,
    an_example_goes_to_one_endpoint_only,
);

fn publish(name: Option<&str>, event_type: Option<&str>) -> PublishInput {
    PublishInput {
        location: String::new(),
        name: name.map(str::to_owned),
        event_type: event_type.map(str::to_owned),
        data: json("{}"),
        headers: None,
        id: None,
    }
}

async fn prepare(world: &World, inputs: Vec<PublishInput>) -> Result<Vec<Event>, ManagementError> {
    world
        .management
        .prepare_events(world.mine, inputs, NOW, None)
        .await
}

async fn register(world: &World, name: &str, event_type: &str) {
    let mut transaction = world.begin().await;
    let input = EventTypeInput {
        name: name.to_owned(),
        event_type: Some(event_type.to_owned()),
        example: Some(serde_json::json!({"order": 17})),
        ..EventTypeInput::default()
    };
    world
        .management
        .create_event_type(
            &mut transaction,
            world.mine.organization,
            input.check_new().unwrap(),
            NOW,
        )
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

async fn names_and_types_stand_for_each_other(world: &World) {
    register(world, "ORDER_SHIPPED", "shop.order.shipped").await;
    let created = ("CUSTOMER_CREATION", "com.kaiten.customer.v1.created");
    let shipped = ("ORDER_SHIPPED", "shop.order.shipped");
    for (name, event_type, expected) in [
        (Some("CUSTOMER_CREATION"), None, created),
        (Some("CUSTOMER_CREATED"), None, created),
        (None, Some(created.1), created),
        (Some("CUSTOMER_CREATED"), Some(created.1), created),
        (Some("ORDER_SHIPPED"), None, shipped),
        (None, Some("shop.order.shipped"), shipped),
        (Some("AD_HOC"), Some("shop.ad.hoc"), ("AD_HOC", "shop.ad.hoc")),
    ] {
        let events = prepare(world, vec![publish(name, event_type)]).await.unwrap();
        assert_eq!(
            (events[0].name.as_str(), events[0].event_type.as_str()),
            expected,
            "{name:?} {event_type:?}"
        );
        assert_eq!(events[0].scope, world.mine);
    }
}

async fn what_is_wrong_with_each_event_is_told(world: &World) {
    for (name, event_type, expected) in [
        (None, None, "name"),
        (Some("UNREGISTERED"), None, "name"),
        (None, Some("un.registered"), "type"),
        (Some("a b"), Some("x"), "name"),
        (Some("A"), Some("x y"), "type"),
        (
            Some("CUSTOMER_CREATION"),
            Some("com.kaiten.customer.v1.updated"),
            "type",
        ),
        (Some("MINE"), Some("com.kaiten.customer.v1.created"), "name"),
        (Some("ENDPOINT_FAILING"), None, "name"),
        (Some("MINE"), Some("com.demae.endpoint.v2.failing"), "type"),
    ] {
        assert_eq!(
            locations(prepare(world, vec![publish(name, event_type)]).await),
            [expected],
            "{name:?} {event_type:?}"
        );
    }
    let at = |location: &str, input: PublishInput| PublishInput {
        location: location.to_owned(),
        ..input
    };
    let good = publish(Some("CUSTOMER_CREATION"), None);
    let shapes = vec![
        at(
            "events[0]",
            PublishInput {
                data: json("[1]"),
                ..good.clone()
            },
        ),
        at(
            "events[1]",
            PublishInput {
                headers: Some(json("1")),
                ..good.clone()
            },
        ),
        at(
            "events[2]",
            PublishInput {
                id: Some(String::new()),
                ..good.clone()
            },
        ),
        at(
            "events[3]",
            PublishInput {
                id: Some("x".repeat(257)),
                ..good.clone()
            },
        ),
        at("events[4]", good),
    ];
    let expected = [
        "events[0].data",
        "events[1].headers",
        "events[2].id",
        "events[3].id",
    ];
    assert_eq!(locations(prepare(world, shapes).await), expected);
}

async fn a_senders_id_is_the_same_event_in_its_organization(world: &World) {
    let named = || PublishInput {
        id: Some("order-17".into()),
        ..publish(Some("CUSTOMER_CREATION"), None)
    };
    let first = prepare(world, vec![named()]).await.unwrap();
    let again = prepare(world, vec![named()]).await.unwrap();
    assert_eq!(first[0].id, again[0].id);
    let theirs = world
        .management
        .prepare_events(world.theirs, vec![named()], NOW, None)
        .await
        .unwrap();
    assert_ne!(first[0].id, theirs[0].id);
    let unnamed = || publish(Some("CUSTOMER_CREATION"), None);
    let unnamed = prepare(world, vec![unnamed(), unnamed()]).await.unwrap();
    assert_ne!(unnamed[0].id, unnamed[1].id);
}

async fn an_event_is_seen_before_and_after_routing(world: &World) {
    let event = world.event(NOW);
    let mut transaction = world.begin().await;
    outbox::append(&mut transaction, &event).await.unwrap();
    transaction.commit().await.unwrap();
    let seen = world.management.event(world.mine, event.id).await.unwrap();
    assert_eq!((seen.routed, seen.deliveries.len()), (false, 0));
    assert_eq!(seen.message.event_id, event.id);

    let endpoint = world.endpoint().await;
    let routed = world.waiting(endpoint.id).await;
    let seen = world.management.event(world.mine, routed).await.unwrap();
    assert!(seen.routed);
    assert_eq!(seen.deliveries[0].endpoint_id, endpoint.id);
    for id in [event.id, routed, EventId::new(NOW)] {
        assert_eq!(
            code(world.management.event(world.theirs, id).await),
            "GetEvent.NotFound"
        );
    }
}

async fn lists_choose_by_either_name_and_type(world: &World) {
    register(world, "ORDER_SHIPPED", "shop.order.shipped").await;
    let endpoint = world.endpoint().await;
    let customer = world.waiting(endpoint.id).await;
    let order = Event {
        name: "ORDER_SHIPPED".into(),
        event_type: "shop.order.shipped".into(),
        ..world.event(NOW)
    };
    world.message(&order).await;
    let ids = async |events: &[&str], scope| {
        let filter = EventFilter {
            events: owned(events),
            ..EventFilter::default()
        };
        let listed = world
            .management
            .events(scope, &filter, Page::first(9))
            .await
            .unwrap();
        listed
            .items
            .iter()
            .map(|view| (view.message.event_id, view.deliveries.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[], world.mine).await.len(), 2);
    for events in [
        &["CUSTOMER_CREATION"][..],
        &["CUSTOMER_CREATED"],
        &["com.kaiten.customer.v1.created"],
    ] {
        assert_eq!(ids(events, world.mine).await, [(customer, 1)]);
    }
    for events in [&["ORDER_SHIPPED"][..], &["shop.order.shipped"]] {
        assert_eq!(ids(events, world.mine).await, [(order.id, 0)]);
    }
    assert_eq!(ids(&["NOTHING"], world.mine).await, []);
    assert_eq!(ids(&[], world.theirs).await, []);
}

async fn an_example_goes_to_one_endpoint_only(world: &World) {
    register(world, "ORDER_SHIPPED", "shop.order.shipped").await;
    let mine = world
        .create(world.mine, input("https://example.com/", &["CUSTOMER_CREATED"]))
        .await
        .unwrap();
    let other = world.endpoint().await;
    let send = async |event| {
        let mut transaction = world.begin().await;
        let test = world
            .management
            .send_example(&mut transaction, (world.mine, mine.id), event, NOW, None)
            .await?;
        transaction.commit().await.unwrap();
        Ok::<_, ManagementError>(test)
    };
    // The first that it subscribes to, under the name it subscribed with.
    let test = send(None).await.unwrap();
    assert_eq!(test.name, "CUSTOMER_CREATION");
    assert_eq!(
        world.delivery(mine.id, test.id).await.unwrap().delivered_name,
        "CUSTOMER_CREATED"
    );
    assert!(world.delivery(other.id, test.id).await.is_none());
    assert!(world.outbox().await.is_empty());
    let data: serde_json::Value = serde_json::from_str(test.data.get()).unwrap();
    assert_eq!(&data, catalogue::find("CUSTOMER_CREATION").unwrap().example());
    // Any other that is asked for, whether it subscribes to it or not.
    assert_eq!(
        send(Some("LICENSE_CREATED")).await.unwrap().name,
        "LICENSE_CREATION"
    );
    assert_eq!(
        send(Some("ORDER_SHIPPED")).await.unwrap().data.get(),
        r#"{"order":17}"#
    );
    assert_eq!(locations(send(Some("NOTHING")).await), ["event_name"]);
    let leased = world.claim(mine.id).await;
    assert_eq!(leased.len(), 3);

    let mut transaction = world.begin().await;
    let disable = EndpointPatch {
        enabled: Some(false),
        ..EndpointPatch::default()
    };
    world
        .management
        .patch_endpoint(&mut transaction, world.mine, mine.id, disable, NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(code(send(None).await), "TestEndpoint.EndpointDisabled");
}
