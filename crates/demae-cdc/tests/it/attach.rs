//! Preparing a database, then reading what is written into it.

use demae_cdc::{
    DEFAULT_NAME, Fault, MissingSlot, Preset,
    attach::{Attachment, Plan},
};
use demae_event::{EventId, OrganizationId};

use crate::support::{Database, ORGANIZATION, reader, take};

/// For statements that nothing holds up.
const LIMIT: std::time::Duration = std::time::Duration::from_mins(1);

fn attachment(
    database: &Database,
    preset: Preset,
    table: &str,
    organization: Option<OrganizationId>,
) -> Attachment {
    let mut config = database.config(MissingSlot::Refuse);
    table.clone_into(&mut config.table);
    config.messages = organization.is_some() || !preset.has_organization();
    Attachment::new(config, preset, organization)
}

fn faults(plan: &Plan) -> Vec<&Fault> {
    plan.findings
        .iter()
        .filter_map(|finding| finding.fault.as_ref())
        .collect()
}

#[tokio::test]
async fn every_preset_is_installed_emits_and_is_read() {
    let fixed = Some(ORGANIZATION.parse().unwrap());
    for (preset, organization) in [
        (Preset::Demae, None),
        (Preset::Seed, None),
        (Preset::Debezium, fixed),
        (Preset::CloudEvents, fixed),
        (Preset::Debezium, None),
    ] {
        let mut database = Database::create().await;
        let attachment = attachment(&database, preset, "shop_events", organization);
        let plan = attachment.plan().await.unwrap();
        assert!(plan.is_possible(), "{:?}", faults(&plan));
        assert_eq!(plan.statements.len(), 4, "{:?}", plan.statements);
        attachment.install(&plan, LIMIT, &mut |_| {}).await.unwrap();

        let mut reader = reader(attachment.config.clone());
        let id = database
            .text(format!(
                "SELECT demae_emit('{ORGANIZATION}', 'ORDER_PAID', 'com.example.order.paid', '{{\"n\": 1}}')::text"
            ))
            .await
            .unwrap();
        let event = take(&mut reader, 1).await.remove(0);
        let expected = EventId::of_source(
            demae_event::Scope::default_of(ORGANIZATION.parse().unwrap()),
            "test",
            &id,
        );
        assert_eq!(event.id, expected, "{preset:?}");
        assert_eq!(
            (event.name.as_str(), event.event_type.as_str()),
            ("ORDER_PAID", "com.example.order.paid")
        );
        assert_eq!(event.scope.organization.to_string(), ORGANIZATION);
        assert_eq!(event.data.get().replace(' ', ""), r#"{"n":1}"#);
    }
}

#[tokio::test]
async fn installing_again_changes_nothing_that_is_right() {
    let database = Database::create().await;
    let attachment = attachment(&database, Preset::Demae, "outbox_events", None);
    attachment
        .install(&attachment.plan().await.unwrap(), LIMIT, &mut |_| {})
        .await
        .unwrap();
    let again = attachment.plan().await.unwrap();
    assert_eq!(
        again.statements.len(),
        1,
        "only the function: {:?}",
        again.statements
    );
    attachment.install(&again, LIMIT, &mut |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_rolled_back_emit_is_no_event() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, Preset::Demae, "outbox_events", None);
    attachment
        .install(&attachment.plan().await.unwrap(), LIMIT, &mut |_| {})
        .await
        .unwrap();
    let emit = format!("SELECT demae_emit('{ORGANIZATION}', 'A', 'a', '{{\"n\": 1}}');");
    database
        .run(format!("BEGIN; {emit} ROLLBACK; {}", emit.replace("1}", "2}")))
        .await;
    let mut reader = reader(attachment.config.clone());
    assert_eq!(crate::support::numbers(&take(&mut reader, 1).await), [2]);
}

#[tokio::test]
async fn who_reads_an_attached_database_needs_replication_and_no_right_to_the_table() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, Preset::Demae, "outbox_events", None);
    attachment
        .install(&attachment.plan().await.unwrap(), LIMIT, &mut |_| {})
        .await
        .unwrap();
    let (role, url) = database.create_role("REPLICATION").await;
    let right = format!("SELECT has_table_privilege('{role}', 'outbox_events', 'SELECT')::text");
    assert_eq!(database.text(right).await.as_deref(), Some("false"));
    let mut reader = reader(database.config_at(&url, MissingSlot::Refuse));
    database.emit(1).await;
    assert_eq!(crate::support::numbers(&take(&mut reader, 1).await), [1]);
    drop(reader);
    database.drop_role(&role).await;
}

#[tokio::test]
async fn missing_rights_are_found_before_anything_is_changed() {
    let mut database = Database::create().await;
    let (role, url) = database.create_role("").await;
    let config = database.config_at(&url, MissingSlot::Refuse);
    let attachment = Attachment::new(config, Preset::Demae, None);
    let plan = attachment.plan().await.unwrap();
    assert!(!plan.is_possible());
    let told: Vec<String> = faults(&plan).iter().map(|fault| fault.remedy()).collect();
    assert!(
        told.iter().any(|remedy| remedy.contains("WITH REPLICATION")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|remedy| remedy.contains("GRANT CREATE ON DATABASE")),
        "{told:?}"
    );
    assert!(told.iter().any(|remedy| remedy.contains("OWNER TO")), "{told:?}");

    // And if somebody insists, either everything is made or nothing.
    assert!(attachment.install(&plan, LIMIT, &mut |_| {}).await.is_err());
    let publications = format!("SELECT count(*)::text FROM pg_publication WHERE pubname = '{DEFAULT_NAME}'");
    assert_eq!(database.text(publications).await.as_deref(), Some("0"));
    database.drop_role(&role).await;
}

#[tokio::test]
async fn a_table_that_does_not_fit_the_preset_is_told() {
    let database = Database::create().await;
    let attachment = attachment(&database, Preset::Debezium, "outbox_events", None);
    let plan = attachment.plan().await.unwrap();
    assert!(
        matches!(faults(&plan).as_slice(), [Fault::ColumnMissing { .. }]),
        "{:?}",
        faults(&plan)
    );
}

/// A table that an application has already, and a row of it.
struct There {
    preset: Preset,
    organization: Option<OrganizationId>,
    columns: &'static str,
    values: &'static str,
    name: &'static str,
    headers: Option<&'static str>,
}

#[tokio::test]
async fn tables_that_are_there_already_are_attached_as_they_are() {
    let fixed = Some(ORGANIZATION.parse().unwrap());
    let tables = [
        There {
            preset: Preset::Seed,
            organization: None,
            columns: "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), event_name text, event_type text, data jsonb NOT NULL, \
                      headers jsonb, occurred_at timestamptz DEFAULT now(), organization_id uuid DEFAULT \
                      '018f0000-0000-7000-8000-00000000000a'",
            values: "(event_name, event_type, data, headers) VALUES ('ORDER_PAID', 'order.paid', '{\"n\": 1}', \
                     '{\"instance_id\": \"i-1\"}')",
            name: "ORDER_PAID",
            headers: Some(r#"{"instance_id": "i-1"}"#),
        },
        There {
            preset: Preset::Debezium,
            organization: fixed,
            columns: "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype varchar(255), aggregateid varchar(255), \
                      type varchar(255), payload jsonb",
            values: "(aggregatetype, aggregateid, type, payload) VALUES ('order', '17', 'order.paid', '{\"n\": 1}')",
            name: "order.paid",
            headers: Some(r#"{"aggregatetype":"order","aggregateid":"17"}"#),
        },
        There {
            preset: Preset::CloudEvents,
            organization: fixed,
            columns: "id text PRIMARY KEY, source text, type text, subject text, time timestamptz, data json",
            values: "VALUES ('evt-1', '/shop', 'order.paid', NULL, now(), '{\"n\":1}')",
            name: "order.paid",
            headers: Some(r#"{"source":"/shop"}"#),
        },
    ];
    for There {
        preset,
        organization,
        columns,
        values,
        name,
        headers,
    } in tables
    {
        let mut database = Database::create().await;
        database
            .run(format!("CREATE TABLE shop_events ({columns})"))
            .await;
        let attachment = attachment(&database, preset, "shop_events", organization);
        let plan = attachment.plan().await.unwrap();
        assert!(plan.is_possible(), "{:?}", faults(&plan));
        assert!(
            !plan
                .statements
                .iter()
                .any(|statement| statement.starts_with("CREATE TABLE")),
            "{:?}",
            plan.statements
        );
        attachment.install(&plan, LIMIT, &mut |_| {}).await.unwrap();

        let mut reader = reader(attachment.config.clone());
        let emit = format!("SELECT demae_emit('{ORGANIZATION}', 'ORDER_SENT', 'order.sent', '{{\"n\": 2}}')");
        database
            .run(format!("INSERT INTO shop_events {values}; {emit}"))
            .await;
        let events = take(&mut reader, 2).await;
        assert_eq!(crate::support::numbers(&events), [1, 2], "{preset:?}");
        let [row, emitted] = &events[..] else {
            panic!("two events");
        };
        assert_eq!((row.name.as_str(), row.event_type.as_str()), (name, "order.paid"));
        assert_eq!(row.headers.as_ref().map(|headers| headers.get()), headers);
        assert_eq!(row.scope.organization.to_string(), ORGANIZATION);
        assert_eq!(emitted.name, "ORDER_SENT");
        assert_eq!(emitted.scope.organization.to_string(), ORGANIZATION);
    }
}
