//! No list grows dearer with the age of an organization: each is read along an index, in the order of that index, up to
//! its limit.
//!
//! The queries are those that the functions themselves send, caught on their way. On Postgres every other way of reading
//! or sorting is made as dear as can be first, so that a plan that still has one says that there is no index to do
//! without it. Tables are empty: what is asserted is which index serves, not how it is weighed.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use demae_event::{AttemptId, EndpointId, EventId, JobId, OrganizationId};
use demae_store::{
    StoreError,
    entity::{component, customer, deployment_zone, entitlement, feature_flag, license, release},
    inspect,
    repository::{
        Page, api_tokens,
        audit::{self, AuditFilter},
        components, deployment_zones, endpoints, entitlements, event_types,
        history::{self, HistoryFilter, HistoryStatus},
        instances, jobs, license_entitlements, licenses,
        messages::{self, MessageCursor, MessageFilter},
        organizations, rejected, releases, resource, service_accounts, stats, timers, usages,
    },
};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult,
    Statement, TransactionTrait,
};
use sea_orm_migration::async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::Two;
use crate::support::{NOW, TestStore, seconds};

on_both_databases!(
    resources_are_listed_along_their_indices,
    what_belongs_to_something_is_listed_along_its_index,
    the_audit_trail_has_an_index_for_every_filter,
    events_and_history_are_listed_along_their_indices,
    who_uses_something_is_found_by_index,
    single_things_are_found_by_index,
    timers_are_found_by_index,
);

/// The ways that a plan on Postgres takes only where there is no index.
const DEAR: [&str; 6] = [
    "enable_seqscan",
    "enable_bitmapscan",
    "enable_sort",
    "enable_incremental_sort",
    "enable_hashjoin",
    "enable_mergejoin",
];

/// Lines of plans on SQLite for rows that were read along an index up to a limit, and are counted then by status.
const COUNTED: [&str; 6] = [
    "SCAN CONSTANT ROW",
    "SCAN newest",
    "SCAN some",
    // One row per kind, or per organization that has its turn.
    "SCAN kinds",
    "SCAN turns",
    "SCAN first",
];
const BY_STATUS: &str = "USE TEMP B-TREE FOR GROUP BY";

/// A connection that remembers what was asked.
struct Recording<'a> {
    inner: &'a DatabaseConnection,
    statements: Mutex<Vec<Statement>>,
}

impl Recording<'_> {
    fn remember(&self, statement: &Statement) {
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.push(statement.clone());
    }
}

#[async_trait]
impl ConnectionTrait for Recording<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.remember(&statement);
        self.inner.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.remember(&statement);
        self.inner.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.remember(&statement);
        self.inner.query_all_raw(statement).await
    }
}

/// What a plan has of each.
#[derive(Default)]
struct Plan {
    indices: BTreeSet<String>,
    /// Tables that are read whole, and results that are sorted.
    dear: Vec<String>,
}

impl TestStore {
    /// That everything that `read` asks for is read along exactly these indices, and nothing is sorted.
    async fn assert_indices<T>(
        &self,
        indices: &[&str],
        read: impl AsyncFnOnce(&Recording<'_>) -> Result<T, StoreError>,
    ) {
        let plan = self.plan(read).await;
        assert_eq!(plan.dear, [""; 0], "{indices:?}");
        let expected: BTreeSet<String> = indices.iter().map(ToString::to_string).collect();
        assert_eq!(plan.indices, expected);
    }

    async fn plan<T>(&self, read: impl AsyncFnOnce(&Recording<'_>) -> Result<T, StoreError>) -> Plan {
        let recording = Recording {
            inner: self.store.reader(),
            statements: Mutex::default(),
        };
        read(&recording).await.unwrap();
        let statements = recording.statements.into_inner().unwrap();
        assert!(!statements.is_empty(), "nothing was asked");
        let transaction = self.store.reader().begin().await.unwrap();
        let mut plan = Plan::default();
        if self.is_postgres() {
            for way in DEAR {
                let setting = format!("SET LOCAL {way} = off");
                transaction.execute_unprepared(&setting).await.unwrap();
            }
            for statement in statements {
                let tree = explain(&transaction, "EXPLAIN (FORMAT JSON)", statement).await;
                for row in tree {
                    plan.add_postgres(&row.try_get::<Value>("", "QUERY PLAN").unwrap());
                }
            }
        } else {
            for statement in statements {
                for row in explain(&transaction, "EXPLAIN QUERY PLAN", statement).await {
                    plan.add_sqlite(&row.try_get::<String>("", "detail").unwrap());
                }
            }
        }
        transaction.rollback().await.unwrap();
        plan
    }
}

async fn explain(
    transaction: &DatabaseTransaction,
    explain: &str,
    mut statement: Statement,
) -> Vec<QueryResult> {
    statement.sql = format!("{explain} {}", statement.sql);
    transaction.query_all_raw(statement).await.unwrap()
}

impl Plan {
    fn add_postgres(&mut self, part: &Value) {
        match part {
            Value::Array(parts) => parts.iter().for_each(|part| self.add_postgres(part)),
            Value::Object(members) => {
                if let Some(index) = members.get("Index Name").and_then(Value::as_str) {
                    self.indices.insert(index.to_owned());
                }
                let node = members.get("Node Type").and_then(Value::as_str);
                if let Some(node) = node
                    && ["Seq Scan", "Bitmap Heap Scan", "Sort", "Incremental Sort"].contains(&node)
                {
                    let of = members.get("Relation Name").or(members.get("Sort Key"));
                    self.dear.push(format!("{node} {of:?}"));
                }
                members.values().for_each(|part| self.add_postgres(part));
            }
            _ => {}
        }
    }

    /// A line of the plan. What a key is made of by itself has another name here.
    fn add_sqlite(&mut self, line: &str) {
        if let Some((_, index)) = line.split_once(" INDEX ") {
            let name = index.split(' ').next().unwrap_or(index);
            let key = name
                .strip_prefix("sqlite_autoindex_")
                .and_then(|name| name.strip_suffix("_1"));
            self.indices
                .insert(key.map_or_else(|| name.to_owned(), |table| format!("{table}_pkey")));
        } else if line.starts_with("SCAN ") && !COUNTED.contains(&line) {
            self.dear.push(line.to_owned());
        }
        if line.contains("TEMP B-TREE") && line != BY_STATUS {
            self.dear.push(line.to_owned());
        }
    }
}

/// The first page, and one after it.
fn pages<C>(cursor: C) -> [Page<C>; 2] {
    [
        Page::first(50),
        Page {
            limit: 50,
            after: Some(cursor),
        },
    ]
}

const SOME: Uuid = Uuid::from_u128(1);

async fn resources_are_listed_along_their_indices(store: &TestStore) {
    let scope = Two::organizations(store).await.mine;
    let mine = scope.organization;
    for page in pages(SOME) {
        store
            .assert_indices(&["customers_page"], async |c| {
                resource::list::<customer::Entity>(c, mine, page).await
            })
            .await;
        store
            .assert_indices(&["licenses_page"], async |c| {
                resource::list::<license::Entity>(c, mine, page).await
            })
            .await;
        store
            .assert_indices(&["entitlements_page"], async |c| {
                resource::list::<entitlement::Entity>(c, mine, page).await
            })
            .await;
        store
            .assert_indices(&["feature_flags_page"], async |c| {
                resource::list::<feature_flag::Entity>(c, mine, page).await
            })
            .await;
        store
            .assert_indices(&["deployment_zones_page"], async |c| {
                resource::list::<deployment_zone::Entity>(c, mine, page).await
            })
            .await;
        store
            .assert_indices(&["releases_page"], async |c| {
                resource::list::<release::Entity>(c, mine, page).await
            })
            .await;
        store
            .assert_indices(&["components_page"], async |c| {
                resource::list::<component::Entity>(c, mine, page).await
            })
            .await;
        let joined = [
            "instances_page",
            "customers_pkey",
            "licenses_pkey",
            "deployment_zones_pkey",
        ];
        store
            .assert_indices(&joined, async |c| instances::list(c, mine, page).await)
            .await;
        store
            .assert_indices(&["rejected_events_pkey"], async |c| rejected::list(c, page).await)
            .await;
    }
    for page in pages(EndpointId(SOME)) {
        let vault = store.store.vault();
        store
            .assert_indices(&["endpoints_page"], async |c| {
                endpoints::list(c, vault, scope, page).await
            })
            .await;
    }
    for page in pages(OrganizationId(SOME)) {
        store
            .assert_indices(&["organizations_pkey"], async |c| {
                organizations::list(c, page).await
            })
            .await;
    }
    for page in pages(JobId(SOME)) {
        store
            .assert_indices(&["jobs_page"], async |c| jobs::list(c, scope, page).await)
            .await;
    }
    for page in pages("name".to_owned()) {
        store
            .assert_indices(&["event_types_pkey"], async |c| {
                event_types::list(c, mine, page.clone()).await
            })
            .await;
        store
            .assert_indices(&["service_accounts_slug"], async |c| {
                service_accounts::list(c, mine, page).await
            })
            .await;
    }
}

async fn what_belongs_to_something_is_listed_along_its_index(store: &TestStore) {
    let scope = Two::organizations(store).await.mine;
    let mine = scope.organization;
    for page in pages(SOME) {
        let grants = ["license_entitlements_page", "entitlements_pkey"];
        store
            .assert_indices(&grants, async |c| {
                license_entitlements::list(c, mine, SOME, page).await
            })
            .await;
        store
            .assert_indices(&["deployments_zone"], async |c| {
                deployment_zones::deployments(c, mine, SOME, page).await
            })
            .await;
    }
    for page in pages("slug".to_owned()) {
        store
            .assert_indices(&["api_tokens_slug"], async |c| {
                api_tokens::list(c, mine, SOME, page).await
            })
            .await;
    }
    // By slug of the entitlement: what one license grants is sorted, and nothing else is read.
    let usages = store
        .plan(async |c| usages::list(c, mine, "production", 100).await)
        .await;
    let of_usages = |index: &String| index.starts_with("entitlement_usages_");
    assert!(usages.indices.iter().any(of_usages), "{:?}", usages.indices);
    assert!(
        usages
            .dear
            .iter()
            .all(|part| part.contains("Sort") || part.contains("ORDER BY")),
        "{:?}",
        usages.dear
    );
}

async fn the_audit_trail_has_an_index_for_every_filter(store: &TestStore) {
    let scope = Two::organizations(store).await.mine;
    let mine = scope.organization;
    let name = || Some("CUSTOMER_CREATION".to_owned());
    let filters = [
        ("audit_entries_page", AuditFilter::default()),
        (
            "audit_entries_name",
            AuditFilter {
                event_name: name(),
                ..AuditFilter::default()
            },
        ),
        (
            "audit_entries_resource",
            AuditFilter {
                resource: Some("customer".to_owned()),
                ..AuditFilter::default()
            },
        ),
        (
            "audit_entries_actor",
            AuditFilter {
                actor: Some(SOME),
                ..AuditFilter::default()
            },
        ),
        (
            "audit_entries_instance",
            AuditFilter {
                instance: Some(SOME),
                ..AuditFilter::default()
            },
        ),
        (
            "audit_entries_instance_name",
            AuditFilter {
                instance: Some(SOME),
                event_name: name(),
                ..AuditFilter::default()
            },
        ),
    ];
    for (index, filter) in filters {
        let within = AuditFilter {
            after: Some(NOW),
            before: Some(NOW + seconds(60)),
            ..filter.clone()
        };
        for filter in [filter, within] {
            for page in pages(SOME) {
                store
                    .assert_indices(&[index], async |c| audit::list(c, mine, &filter, page).await)
                    .await;
            }
        }
    }
}

async fn events_and_history_are_listed_along_their_indices(store: &TestStore) {
    let scope = Two::organizations(store).await.mine;
    let place = MessageCursor {
        created_at: NOW,
        event_id: EventId(SOME),
    };
    let named = MessageFilter {
        event_names: Some(vec!["CUSTOMER_CREATION".to_owned()]),
        ..MessageFilter::default()
    };
    let within = MessageFilter {
        since: Some(NOW),
        until: Some(NOW + seconds(60)),
        ..named.clone()
    };
    for filter in [MessageFilter::default(), named, within] {
        for page in pages(place) {
            store
                .assert_indices(&["messages_page"], async |c| {
                    messages::list(c, scope, &filter, page).await
                })
                .await;
        }
    }
    let filters = [
        ("attempts_pkey", HistoryFilter::default()),
        (
            "attempts_pkey",
            HistoryFilter {
                statuses: Some(vec![
                    HistoryStatus::Sending,
                    HistoryStatus::Finished(demae_store::engine::AttemptStatus::Failed),
                ]),
                since: Some(NOW),
                until: Some(NOW + seconds(60)),
                ..HistoryFilter::default()
            },
        ),
        (
            "attempts_endpoint",
            HistoryFilter {
                endpoint_id: Some(EndpointId(SOME)),
                ..HistoryFilter::default()
            },
        ),
        (
            "attempts_endpoint",
            HistoryFilter {
                endpoint_id: Some(EndpointId(SOME)),
                since: Some(NOW),
                until: Some(NOW + seconds(60)),
                ..HistoryFilter::default()
            },
        ),
        (
            "attempts_event",
            HistoryFilter {
                event_id: Some(EventId(SOME)),
                ..HistoryFilter::default()
            },
        ),
    ];
    for (index, filter) in filters {
        let [first, next] = pages(AttemptId(SOME));
        store
            .assert_indices(&[index, "deliveries_leased", "endpoints_page"], async |c| {
                history::list(c, scope, &filter, first).await
            })
            .await;
        store
            .assert_indices(&[index], async |c| history::list(c, scope, &filter, next).await)
            .await;
    }
    let window = (NOW, NOW + seconds(60));
    store
        .assert_indices(
            &[
                "attempts_endpoint",
                "deliveries_waiting",
                "deliveries_leased",
                "endpoints_page",
            ],
            async |c| stats::of_endpoint(c, scope, EndpointId(SOME), window).await,
        )
        .await;
}

async fn who_uses_something_is_found_by_index(store: &TestStore) {
    let scope = Two::organizations(store).await.mine;
    let mine = scope.organization;
    store
        .assert_indices(&["instances_customer"], async |c| {
            instances::of_customer(c, mine, SOME, 6).await
        })
        .await;
    store
        .assert_indices(&["instances_license"], async |c| {
            licenses::instances_under(c, mine, SOME, 6).await
        })
        .await;
    store
        .assert_indices(&["license_entitlements_page", "entitlements_pkey"], async |c| {
            licenses::entitlements_granted(c, mine, SOME, 6).await
        })
        .await;
    store
        .assert_indices(
            &["license_entitlements_entitlement", "licenses_pkey"],
            async |c| entitlements::licenses_granting(c, mine, SOME, 6).await,
        )
        .await;
    store
        .assert_indices(&["entitlement_usages_entitlement", "instances_pkey"], async |c| {
            entitlements::instances_using(c, mine, SOME, 6).await
        })
        .await;
    store
        .assert_indices(&["release_components_component", "releases_pkey"], async |c| {
            components::releases_with(c, mine, SOME, 6).await
        })
        .await;
    store
        .assert_indices(&["deployments_release", "deployment_zones_pkey"], async |c| {
            releases::zones_with(c, mine, SOME, 6).await
        })
        .await;
}

/// On empty tables Postgres has no reason to prefer the key to another index of the organization; that it reads none of
/// them whole is what can be said there.
async fn single_things_are_found_by_index(store: &TestStore) {
    let scope = Two::organizations(store).await.mine;
    let mine = scope.organization;
    let customer = store
        .plan(async |c| resource::find::<customer::Entity>(c, mine, "a").await)
        .await;
    let instance = store.plan(async |c| instances::find(c, mine, "a").await).await;
    let usage = store.plan(async |c| usages::find(c, mine, "a", "b").await).await;
    let version = store
        .plan(async |c| licenses::highest_version(c, mine, "a").await)
        .await;
    let named = [
        "instances_slug",
        "customers_pkey",
        "licenses_pkey",
        "deployment_zones_pkey",
    ];
    let metered = [
        "instances_slug",
        "licenses_pkey",
        "entitlements_slug",
        "license_entitlements_pair",
        "entitlement_usages_pkey",
    ];
    for (plan, indices) in [
        (customer, &["customers_slug"][..]),
        (instance, &named),
        (usage, &metered),
        (version, &["licenses_version"]),
    ] {
        assert_eq!(plan.dear, [""; 0], "{indices:?}");
        if !store.is_postgres() {
            assert_eq!(plan.indices, indices.iter().map(ToString::to_string).collect());
        }
    }
}

async fn timers_are_found_by_index(store: &TestStore) {
    let earliest = store.plan(async |c| timers::earliest(c).await).await;
    assert_eq!(earliest.dear, [""; 0]);
    // Kinds are found by either of the two that begin with them.
    for index in &earliest.indices {
        assert!(
            ["timers_waiting", "timers_organization"].contains(&index.as_str()),
            "{index}"
        );
    }
    store
        .assert_indices(&["timers_waiting"], async |c| {
            timers::due(c, "kind", NOW, 64).await
        })
        .await;
    for after in [None, Some(OrganizationId(SOME))] {
        store
            .assert_indices(&["timers_organization"], async |c| {
                timers::due_by_organization(c, "kind", NOW, after, 64).await
            })
            .await;
    }
    store
        .assert_indices(&["timers_leased", "workers_pkey"], async |c| {
            timers::is_any_abandoned(c, NOW, NOW).await
        })
        .await;
    store
        .assert_indices(&["timers_failing"], async |c| {
            inspect::failing_timers(c, 3, 5).await
        })
        .await;
    store
        .assert_indices(&["timers_pkey"], async |c| {
            timers::find(c, "kind", "subject").await
        })
        .await;
}
