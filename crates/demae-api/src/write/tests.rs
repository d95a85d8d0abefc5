//! Who waits for whom, and what a client that leaves changes.

use std::sync::{Arc, Mutex};

use demae_control_plane::{
    Actor,
    customers::{self, CreateCustomer},
};
use demae_event::OrganizationId;
use futures::{FutureExt, future::join_all};
use tokio::{sync::Semaphore, task::JoinHandle};

use super::*;
use crate::{
    Limits,
    testing::{START, TestApi, TestStore},
};

fn operation() -> Operation {
    Operation {
        key: None,
        method_and_target: "POST /test".to_owned(),
        body_digest: [0; 32],
    }
}

/// Changes that hold their transaction until they are let go, and how they ended.
struct Changes<'a> {
    api: &'a TestApi,
    gate: Arc<Semaphore>,
    begun: Arc<Semaphore>,
    /// By organization, in their order.
    ended: Arc<Mutex<Vec<OrganizationId>>>,
}

impl<'a> Changes<'a> {
    fn new(api: &'a TestApi) -> Self {
        Self {
            api,
            gate: Arc::new(Semaphore::new(0)),
            begun: Arc::new(Semaphore::new(0)),
            ended: Arc::default(),
        }
    }

    /// One that waits at the gate.
    fn held(&self, organization: OrganizationId, key: Option<&str>) -> JoinHandle<Outcome> {
        self.start(organization, key, self.gate.clone())
    }

    /// One that ends by itself.
    fn quick(&self, organization: OrganizationId) -> JoinHandle<Outcome> {
        self.start(organization, None, Arc::new(Semaphore::new(1)))
    }

    fn start(
        &self,
        organization: OrganizationId,
        key: Option<&str>,
        gate: Arc<Semaphore>,
    ) -> JoinHandle<Outcome> {
        let (state, begun, ended) = (self.api.state(), self.begun.clone(), self.ended.clone());
        let operation = Operation {
            key: key.map(str::to_owned),
            ..operation()
        };
        let caller = Caller::somebody(Actor::operator(organization), START);
        tokio::spawn(async move {
            let change = state.write(caller, &operation, move |_, _| {
                async move {
                    begun.add_permits(1);
                    gate.acquire().await.unwrap().forget();
                    ended.lock().unwrap().push(organization);
                    Ok(Answer::no_content())
                }
                .boxed()
            });
            change.await
        })
    }

    /// Waits until so many changes of the organization have a place, and have gone as far as they can.
    async fn have_places(&self, organization: OrganizationId, count: usize) {
        while self.api.state().writes().places_of(organization) < count {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    async fn has_begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }
}

fn another() -> OrganizationId {
    OrganizationId(uuid::Uuid::from_u128(7))
}

#[tokio::test]
async fn changes_with_one_key_wait_without_a_connection() {
    let api = TestApi::start(
        TestStore::Postgres { connections: Some(4) },
        Limits::default(),
        Vec::new(),
    )
    .await;
    let changes = Changes::new(&api);
    let first = changes.held(api.organization(), Some("key"));
    changes.has_begun().await;
    let same: Vec<_> = (0..8)
        .map(|_| changes.held(api.organization(), Some("key")))
        .collect();
    changes.have_places(api.organization(), 9).await;
    // Of the same organization, which may use two connections.
    changes.quick(api.organization()).await.unwrap().unwrap();
    changes.gate.add_permits(1);
    assert!(!first.await.unwrap().unwrap().replayed);
    for repetition in join_all(same).await {
        assert!(repetition.unwrap().unwrap().replayed);
    }
}

#[tokio::test]
async fn an_organization_leaves_connections_to_the_changes_of_another() {
    let api = TestApi::start(
        TestStore::Postgres { connections: Some(4) },
        Limits::default(),
        Vec::new(),
    )
    .await;
    let changes = Changes::new(&api);
    let slow: Vec<_> = (0..20).map(|_| changes.held(api.organization(), None)).collect();
    changes.has_begun().await;
    changes.has_begun().await;
    changes.have_places(api.organization(), 20).await;
    changes.quick(another()).await.unwrap().unwrap();
    assert_eq!(*changes.ended.lock().unwrap(), [another()]);
    changes.gate.add_permits(20);
    for change in join_all(slow).await {
        change.unwrap().unwrap();
    }
}

#[tokio::test]
async fn on_one_connection_the_change_of_another_organization_is_the_next() {
    let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
    let changes = Changes::new(&api);
    let mut slow: Vec<_> = (0..20).map(|_| changes.held(api.organization(), None)).collect();
    changes.has_begun().await;
    changes.have_places(api.organization(), 20).await;
    slow.push(changes.quick(another()));
    changes.have_places(another(), 1).await;
    changes.gate.add_permits(20);
    for change in join_all(slow).await {
        change.unwrap().unwrap();
    }
    let ended = changes.ended.lock().unwrap();
    assert_eq!(ended.iter().position(|ended| *ended == another()), Some(1));
}

#[tokio::test]
async fn a_client_that_leaves_before_its_turn_changes_nothing() {
    let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
    let changes = Changes::new(&api);
    let first = changes.held(api.organization(), None);
    changes.has_begun().await;
    let second = changes.quick(api.organization());
    changes.have_places(api.organization(), 2).await;
    second.abort();
    while api.state().writes().places_of(api.organization()) == 2 {
        tokio::task::yield_now().await;
    }
    changes.gate.add_permits(1);
    first.await.unwrap().unwrap();
    assert_eq!(changes.ended.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_that_began_ends_though_its_client_is_gone() {
    let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
    let actor = Actor::operator(api.organization());
    let (begun, has_begun) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let (ended, has_ended) = oneshot::channel();
    let (state, caller) = (api.state(), Caller::somebody(actor.clone(), START));
    let client = tokio::spawn(async move {
        state
            .write_then(
                caller,
                &operation(),
                move |transaction, caller| {
                    async move {
                        begun.send(()).unwrap();
                        may_go_on.await.unwrap();
                        let input = CreateCustomer {
                            name: "Survivor".to_owned(),
                            ..CreateCustomer::default()
                        };
                        customers::create(&mut caller.change(transaction), input).await?;
                        Ok(Answer::no_content())
                    }
                    .boxed()
                },
                move || ended.send(()).unwrap(),
            )
            .await
    });
    has_begun.await.unwrap();
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    go_on.send(()).unwrap();
    has_ended.await.unwrap();
    assert_eq!(
        customers::get(&api.store, &actor, "survivor").await.unwrap().name,
        "Survivor"
    );
}

#[tokio::test]
async fn a_change_that_fails_or_panics_leaves_nothing() {
    let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
    let actor = Actor::operator(api.organization());
    for panics in [false, true] {
        let caller = Caller::somebody(actor.clone(), START);
        let (state, operation) = (api.state(), operation());
        let outcome = state.write(caller, &operation, move |transaction, caller| {
            async move {
                let input = CreateCustomer {
                    name: "Ghost".to_owned(),
                    ..CreateCustomer::default()
                };
                customers::create(&mut caller.change(transaction), input).await?;
                assert!(!panics, "on purpose");
                Err(Problem::new(ProblemKind::Conflict, "Test.Refused", "On purpose."))
            }
            .boxed()
        });
        let expected = if panics {
            ProblemKind::Internal
        } else {
            ProblemKind::Conflict
        };
        assert_eq!(outcome.await.unwrap_err().kind(), expected);
        assert!(customers::get(&api.store, &actor, "ghost").await.is_err());
        assert!(api.store.engine().read_outbox(10).await.unwrap().is_empty());
    }
}
