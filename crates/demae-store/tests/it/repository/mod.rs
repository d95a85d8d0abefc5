//! The queries that are not hot. Every case has two organizations, and asks for one's rows in the name of the other. Cases
//! about what belongs to an application do the same with two applications of one organization.

mod applications;
mod damaged;
mod deliveries;
mod endpoints;
mod history;
mod idempotency;
mod jobs;
mod messages;
mod plans;
mod rejected;
mod retention;
mod sealed;
mod tenants;
mod timers;

use std::collections::BTreeMap;

use demae_event::{ApplicationId, AttemptId, EndpointId, Event, EventId, OrganizationId, Scope, Timestamp};
use demae_store::{
    Transaction,
    engine::{AttemptStatus, DeliveryState},
    entity::{application, attempt, delivery, organization},
    repository::{self, endpoints::Endpoint},
};
use sea_orm::EntityTrait;

use crate::support::{NOW, Tenants, TestStore, new_event};

/// Two organizations, or applications of one, in one database.
#[derive(Clone, Copy)]
struct Two {
    mine: Scope,
    theirs: Scope,
}

impl Two {
    /// What the case has two of.
    async fn scopes(store: &TestStore) -> Self {
        match store.tenants {
            Tenants::Organizations => Self::organizations(store).await,
            Tenants::Applications => Self::applications(store).await,
        }
    }

    async fn organizations(store: &TestStore) -> Self {
        Self {
            mine: Scope::default_of(organization(store, "Mine").await),
            theirs: Scope::default_of(organization(store, "Theirs").await),
        }
    }

    /// The second of two is the default one: what is written without an application must not reach the first.
    async fn applications(store: &TestStore) -> Self {
        let organization = organization(store, "Ours").await;
        Self {
            mine: application(store, organization, "mine").await,
            theirs: Scope::default_of(organization),
        }
    }
}

pub(crate) async fn application(store: &TestStore, organization: OrganizationId, uid: &str) -> Scope {
    let id = ApplicationId::new(NOW);
    let row = application::Model {
        id: id.0,
        organization_id: organization.0,
        uid: Some(uid.to_owned()),
        name: "An application".to_owned(),
        version: 0,
        created_at: NOW.as_micros(),
        updated_at: NOW.as_micros(),
        deleted_at: None,
    };
    let mut transaction = store.begin().await;
    assert!(
        repository::applications::insert(&mut transaction, row)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    Scope::new(organization, Some(id))
}

pub(crate) async fn organization(store: &TestStore, name: &str) -> OrganizationId {
    let id = OrganizationId::new(NOW);
    let row = organization::Model {
        id: id.0,
        external_id: None,
        name: name.to_owned(),
        created_at: NOW.as_micros(),
    };
    let mut transaction = store.begin().await;
    assert!(
        repository::organizations::insert(&mut transaction, row)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    id
}

impl TestStore {
    async fn begin(&self) -> Transaction {
        self.store.begin().await.unwrap()
    }

    /// Writes an endpoint.
    pub(crate) async fn endpoint(&self, scope: Scope) -> EndpointId {
        let endpoint = endpoint(scope);
        let mut transaction = self.begin().await;
        let written = repository::endpoints::insert(&mut transaction, self.store.vault(), &endpoint, 1_000)
            .await
            .unwrap();
        assert!(written);
        transaction.commit().await.unwrap();
        endpoint.id
    }

    /// Writes a message.
    async fn message_at(&self, scope: Scope, created_at: Timestamp, name: &str) -> EventId {
        let event = event(scope, created_at, name);
        let mut transaction = self.begin().await;
        assert!(
            repository::messages::insert(&mut transaction, &event)
                .await
                .unwrap()
        );
        transaction.commit().await.unwrap();
        event.id
    }

    /// Writes a delivery in a state; leased ones get a lease.
    async fn delivery_in(
        &self,
        (scope, endpoint, event): (Scope, EndpointId, EventId),
        state: DeliveryState,
    ) -> Option<AttemptId> {
        let lease = (state == DeliveryState::Leased).then(|| AttemptId::new(NOW));
        let row = delivery::Model {
            endpoint_id: endpoint.0,
            event_id: event.0,
            organization_id: scope.organization.0,
            state: state as i16,
            attempts: 2,
            step: 2,
            due_at: (NOW + crate::support::seconds(300)).as_micros(),
            lease: lease.map(|lease| lease.0),
            worker_id: None,
            manual: false,
            resume_state: None,
            resume_due_at: None,
            delivered_name: "CUSTOMER_CREATED".to_owned(),
            created_at: NOW.as_micros(),
        };
        let transaction = self.begin().await;
        delivery::Entity::insert(delivery::ActiveModel::from(row))
            .exec_without_returning(transaction.connection())
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        lease
    }

    /// Writes a finished attempt.
    async fn attempt_at(
        &self,
        (scope, endpoint, event): (Scope, EndpointId, EventId),
        started_at: Timestamp,
        status: AttemptStatus,
    ) -> AttemptId {
        let id = AttemptId::new(started_at);
        let row = attempt::Model {
            organization_id: scope.organization.0,
            application_id: scope.application.0,
            id: id.0,
            endpoint_id: endpoint.0,
            event_id: event.0,
            event_name: "CUSTOMER_CREATION".to_owned(),
            number: 1,
            manual: false,
            status: status as i16,
            next_attempt_at: None,
            url: "https://example.com/hook".to_owned(),
            http_status: Some(503),
            error_kind: Some("http_status".to_owned()),
            error_detail: None,
            request_headers: "{}".to_owned(),
            response_headers: "{}".to_owned(),
            response_body: "busy".to_owned(),
            duration_ms: 12,
            started_at: started_at.as_micros(),
        };
        let transaction = self.begin().await;
        attempt::Entity::insert(attempt::ActiveModel::from(row))
            .exec_without_returning(transaction.connection())
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        id
    }
}

fn event(scope: Scope, created_at: Timestamp, name: &str) -> Event {
    Event {
        id: EventId::new(created_at),
        scope,
        name: name.to_owned(),
        event_type: format!("test.{}", name.to_lowercase()),
        created_at,
        ..new_event()
    }
}

fn endpoint(scope: Scope) -> Endpoint {
    Endpoint {
        id: EndpointId::new(NOW),
        scope,
        url: "https://example.com/hook".to_owned(),
        event_names: vec!["CUSTOMER_*".to_owned()],
        name: "Billing".to_owned(),
        description: String::new(),
        headers: BTreeMap::from([("x-api-key".to_owned(), "s3cret".to_owned())]),
        public_headers: vec!["x-tenant".to_owned()],
        rate_limit: Some(50),
        timeout_seconds: 10,
        retry_schedule: Some(vec![1, 60]),
        enabled: true,
        dialect: "standard".to_owned(),
        metadata: BTreeMap::from([("team".to_owned(), "billing".to_owned())]),
        secret: "whsec_current".to_owned().into(),
        previous_secrets: Vec::new(),
        failing_since: None,
        failing_notified_at: None,
        disabled_reason: None,
        created_at: NOW,
        updated_at: NOW,
    }
}
