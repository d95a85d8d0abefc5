//! Own event types.

use demae_delivery::management::{
    EventType, Management, ManagementError, Page, Rules, event_types::EventTypeInput, schema::MAX_DOCUMENT,
};
use demae_event::OrganizationId;
use serde_json::json;

use crate::support::{NOW, World, code, locations, seconds};

on_both_databases!(
    a_type_is_registered_replaced_and_removed,
    every_fault_is_told,
    types_stay_in_their_organization,
    the_number_of_types_is_bounded,
);

fn named(name: &str) -> EventTypeInput {
    EventTypeInput {
        name: name.to_owned(),
        ..EventTypeInput::default()
    }
}

async fn create(
    world: &World,
    organization: OrganizationId,
    input: EventTypeInput,
) -> Result<EventType, ManagementError> {
    let mut transaction = world.begin().await;
    let created = world
        .management
        .create_event_type(&mut transaction, organization, input.check_new()?, NOW)
        .await?;
    transaction.commit().await.unwrap();
    Ok(created)
}

async fn a_type_is_registered_replaced_and_removed(world: &World) {
    let schema = json!({"type": "object", "required": ["id"]});
    let full = EventTypeInput {
        description: Some("An order left.".into()),
        schema: Some(schema.clone()),
        example: Some(json!({"id": 7})),
        ..named("ORDER_SHIPPED")
    };
    let created = create(world, world.mine.organization, full).await.unwrap();
    assert_eq!(
        (created.event_type.as_str(), created.schema.as_ref()),
        ("order.shipped", Some(&schema))
    );
    assert_eq!(
        world
            .management
            .event_type(world.mine.organization, "ORDER_SHIPPED")
            .await
            .unwrap(),
        created
    );
    assert_eq!(
        code(create(world, world.mine.organization, named("ORDER_SHIPPED")).await),
        "CreateEventType.NameTaken"
    );

    let later = NOW + seconds(5);
    let mut transaction = world.begin().await;
    let plain = named("ORDER_SHIPPED").check_replacement().unwrap();
    let replaced = world
        .management
        .replace_event_type(&mut transaction, world.mine.organization, plain, later)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        (replaced.schema, replaced.created_at, replaced.updated_at),
        (None, NOW, later)
    );
    let mut transaction = world.begin().await;
    world
        .management
        .delete_event_type(&mut transaction, world.mine.organization, "ORDER_SHIPPED")
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let gone = world
        .management
        .event_type(world.mine.organization, "ORDER_SHIPPED")
        .await;
    assert_eq!(code(gone), "GetEventType.NotFound");
}

async fn every_fault_is_told(world: &World) {
    for (input, expected) in [
        (named("CUSTOMER_CREATION"), vec!["name"]),
        (named("CUSTOMER_CREATED"), vec!["name"]),
        (named("a b"), vec!["name", "type"]),
        (
            EventTypeInput {
                event_type: Some("com.demae.mine".into()),
                ..named("A")
            },
            vec!["type"],
        ),
        (
            EventTypeInput {
                event_type: Some("com.kaiten.customer.v1.created".into()),
                ..named("A")
            },
            vec!["type"],
        ),
        (
            EventTypeInput {
                schema: Some(json!({"type": "wish"})),
                ..named("A")
            },
            vec!["schema"],
        ),
        (
            EventTypeInput {
                schema: Some(json!([])),
                ..named("A")
            },
            vec!["schema"],
        ),
        // Nothing is fetched.
        (
            EventTypeInput {
                schema: Some(json!({"$ref": "https://example.com/schema.json"})),
                ..named("A")
            },
            vec!["schema"],
        ),
        (
            EventTypeInput {
                schema: Some(json!({"required": ["id"]})),
                example: Some(json!({})),
                ..named("A")
            },
            vec!["example"],
        ),
        (
            EventTypeInput {
                example: Some(json!({"x": "x".repeat(MAX_DOCUMENT)})),
                ..named("A")
            },
            vec!["example"],
        ),
    ] {
        let shown = format!("{:.200}", format!("{input:?}"));
        assert_eq!(
            locations(create(world, world.mine.organization, input).await),
            expected,
            "{shown}"
        );
    }
}

async fn types_stay_in_their_organization(world: &World) {
    let created = create(world, world.mine.organization, named("ORDER_SHIPPED"))
        .await
        .unwrap();
    assert_eq!(
        code(
            world
                .management
                .event_type(world.theirs.organization, "ORDER_SHIPPED")
                .await
        ),
        "GetEventType.NotFound"
    );
    let mut transaction = world.begin().await;
    let refused = world
        .management
        .replace_event_type(
            &mut transaction,
            world.theirs.organization,
            named("ORDER_SHIPPED").check_replacement().unwrap(),
            NOW,
        )
        .await;
    assert_eq!(code(refused), "UpdateEventType.NotFound");
    let refused = world
        .management
        .delete_event_type(&mut transaction, world.theirs.organization, "ORDER_SHIPPED")
        .await;
    assert_eq!(code(refused), "DeleteEventType.NotFound");
    transaction.commit().await.unwrap();
    let listed = async |organization| {
        world
            .management
            .event_types(organization, Page::first(9))
            .await
            .unwrap()
    };
    assert_eq!(listed(world.mine.organization).await.items, [created]);
    assert_eq!(listed(world.theirs.organization).await.items, []);
}

async fn the_number_of_types_is_bounded(world: &World) {
    let rules = Rules {
        event_types_per_organization: 1,
        ..Rules::default()
    };
    let management = Management::new(world.store.clone(), rules);
    let mut transaction = world.begin().await;
    management
        .create_event_type(
            &mut transaction,
            world.mine.organization,
            named("A").check_new().unwrap(),
            NOW,
        )
        .await
        .unwrap();
    let refused = management
        .create_event_type(
            &mut transaction,
            world.mine.organization,
            named("B").check_new().unwrap(),
            NOW,
        )
        .await;
    assert_eq!(code(refused), "CreateEventType.LimitReached");
    assert!(
        management
            .create_event_type(
                &mut transaction,
                world.theirs.organization,
                named("B").check_new().unwrap(),
                NOW
            )
            .await
            .is_ok()
    );
}
