//! Random work of two workers, compared after every step with a model small enough to be seen to be right.
//!
//! The model is what `engine`'s documentation says of states and leases and nothing more. Beside it, four things are
//! checked on the rows themselves: no lease is held twice, a finished delivery is reopened by a person only, a delivery
//! counts exactly the attempts that were recorded under its leases, and none disappears.

use std::collections::{BTreeMap, BTreeSet};

use demae_event::{AttemptId, EndpointId, Event, Timestamp};
use demae_store::engine::{
    AttemptRecord, AttemptStatus, DeliveryState, Disposition, LeasedDelivery, Release,
};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use uuid::Uuid;

use crate::support::{
    NOW, TestStore, grant, new_attempt, new_endpoint, new_events, new_worker, routed, seconds,
};

const EVENTS: usize = 6;
const ENDPOINTS: usize = 2;
const WORKERS: usize = 2;
/// A worker that gave no sign of life for longer is dead.
const SILENCE: u64 = 20;

#[derive(Debug, Clone)]
enum Step {
    /// Per endpoint: not at all, waiting, or leased to this worker at once.
    Route {
        event: usize,
        to: [Option<bool>; ENDPOINTS],
        worker: usize,
    },
    Claim {
        worker: usize,
        endpoint: usize,
        limit: u32,
    },
    /// By whoever was ever granted the lease, held or not.
    Record {
        lease: Index,
        outcome: Outcome,
    },
    Release {
        lease: Index,
    },
    RetryByHand {
        delivery: Index,
    },
    Pass {
        seconds: u64,
    },
    Heartbeat {
        worker: usize,
    },
    Retire {
        worker: usize,
    },
    Recover,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Succeeded,
    Failing,
    Failed,
    Canceled,
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 0..WORKERS;
    let outcome = prop_oneof![
        2 => Just(Outcome::Succeeded),
        3 => Just(Outcome::Failing),
        1 => Just(Outcome::Failed),
        1 => Just(Outcome::Canceled),
    ];
    prop_oneof![
        3 => (0..EVENTS, any::<[Option<bool>; ENDPOINTS]>(), worker())
            .prop_map(|(event, to, worker)| Step::Route { event, to, worker }),
        4 => (worker(), 0..ENDPOINTS, 0..4_u32)
            .prop_map(|(worker, endpoint, limit)| Step::Claim { worker, endpoint, limit }),
        5 => (any::<Index>(), outcome).prop_map(|(lease, outcome)| Step::Record { lease, outcome }),
        1 => any::<Index>().prop_map(|lease| Step::Release { lease }),
        1 => any::<Index>().prop_map(|delivery| Step::RetryByHand { delivery }),
        3 => (1..25_u64).prop_map(|seconds| Step::Pass { seconds }),
        2 => worker().prop_map(|worker| Step::Heartbeat { worker }),
        1 => worker().prop_map(|worker| Step::Retire { worker }),
        2 => Just(Step::Recover),
    ]
}

/// Endpoint and event.
type Key = (Uuid, Uuid);

/// What must be in a delivery's row.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    state: i16,
    due_at: i64,
    attempts: i32,
    step: i32,
    /// The lease and its worker.
    held: Option<(Uuid, Uuid)>,
    manual: bool,
}

/// A lease that was given out, as its worker remembers it.
#[derive(Debug, Clone, Copy)]
struct Granted {
    lease: AttemptId,
    key: Key,
    attempts: i32,
    step: i32,
    manual: bool,
}

struct World<'a> {
    store: &'a TestStore,
    events: Vec<Event>,
    endpoints: [EndpointId; ENDPOINTS],
    workers: [Uuid; WORKERS],
    now: Timestamp,
    routed: BTreeSet<usize>,
    rows: BTreeMap<Key, Row>,
    alive: BTreeMap<Uuid, Timestamp>,
    granted: Vec<Granted>,
    attempts: BTreeSet<Uuid>,
    /// How many records of each delivery the engine accepted, by its own answers.
    accepted: BTreeMap<Key, i32>,
}

impl<'a> World<'a> {
    fn new(store: &'a TestStore) -> Self {
        Self {
            store,
            events: new_events(EVENTS),
            endpoints: [(); ENDPOINTS].map(|()| new_endpoint()),
            workers: [(); WORKERS].map(|()| new_worker()),
            now: NOW,
            routed: BTreeSet::new(),
            rows: BTreeMap::new(),
            alive: BTreeMap::new(),
            granted: Vec::new(),
            attempts: BTreeSet::new(),
            accepted: BTreeMap::new(),
        }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Route { event, to, worker } => self.route(*event, to, *worker).await,
            Step::Claim {
                worker,
                endpoint,
                limit,
            } => self.claim(*worker, *endpoint, *limit).await,
            Step::Record { lease, outcome } if !self.granted.is_empty() => {
                self.record(*lease.get(&self.granted), *outcome).await;
            }
            Step::Release { lease } if !self.granted.is_empty() => {
                self.release(*lease.get(&self.granted)).await;
            }
            Step::RetryByHand { delivery } if !self.rows.is_empty() => {
                let keys: Vec<Key> = self.rows.keys().copied().collect();
                self.retry_by_hand(*delivery.get(&keys)).await;
            }
            Step::Record { .. } | Step::Release { .. } | Step::RetryByHand { .. } => {}
            Step::Pass { seconds: passed } => self.now = self.now + seconds(*passed),
            Step::Heartbeat { worker } => {
                let worker = self.workers[*worker];
                self.store.engine().heartbeat(worker, self.now).await.unwrap();
                self.alive.insert(worker, self.now);
            }
            Step::Retire { worker } => {
                let worker = self.workers[*worker];
                self.store.engine().retire(worker).await.unwrap();
                self.alive.remove(&worker);
            }
            Step::Recover => self.recover().await,
        }
    }

    async fn route(&mut self, index: usize, to: &[Option<bool>; ENDPOINTS], worker: usize) {
        let event = self.events[index].clone();
        let grant = grant(self.workers[worker], self.now);
        let targets: Vec<_> = self
            .endpoints
            .iter()
            .zip(to)
            .filter_map(|(endpoint, leased)| leased.map(|leased| (*endpoint, leased.then(new_attempt))))
            .collect();
        let message = routed(event.clone(), targets.clone());
        let new = self.store.engine().route(&[message], grant).await.unwrap();
        assert_eq!(new, [self.routed.insert(index)]);
        if !new[0] {
            return;
        }
        for (endpoint, lease) in targets {
            let key = (endpoint.0, event.id.0);
            let row = Row {
                state: lease.map_or(DeliveryState::Waiting, |_| DeliveryState::Leased) as i16,
                due_at: lease.map_or(grant.now, |_| grant.until).as_micros(),
                attempts: 0,
                step: 0,
                held: lease.map(|lease| (lease.0, grant.worker)),
                manual: false,
            };
            self.rows.insert(key, row);
            self.granted.extend(lease.map(|lease| Granted {
                lease,
                key,
                attempts: 0,
                step: 0,
                manual: false,
            }));
        }
    }

    async fn claim(&mut self, worker: usize, endpoint: usize, limit: u32) {
        let (endpoint, grant) = (self.endpoints[endpoint], grant(self.workers[worker], self.now));
        let mut due: Vec<i64> = self
            .rows
            .iter()
            .filter(|((of, _), row)| *of == endpoint.0 && is_due(row, self.now))
            .map(|(_, row)| row.due_at)
            .collect();
        due.sort_unstable();
        due.truncate(limit as usize);
        let leased = self.store.claim(endpoint, limit, grant).await;
        let answered: Vec<i64> = leased
            .iter()
            .map(|delivery| delivery.due_at.as_micros())
            .collect();
        assert_eq!(answered, due, "the longest due, in order");
        for delivery in leased {
            self.was_leased(&delivery, grant.worker);
        }
    }

    fn was_leased(&mut self, delivery: &LeasedDelivery, worker: Uuid) {
        let key = (delivery.endpoint_id.0, delivery.message.event_id.0);
        let row = self.rows.get_mut(&key).expect("only what was routed is claimed");
        assert!(is_due(row, self.now), "{row:?}");
        assert_eq!(delivery.due_at.as_micros(), row.due_at);
        assert_eq!(
            (delivery.attempts as i32, delivery.step as i32, delivery.manual),
            (row.attempts, row.step, row.manual)
        );
        row.state = DeliveryState::Leased as i16;
        row.due_at = delivery.lease_until.as_micros();
        row.held = Some((delivery.lease.0, worker));
        self.granted.push(Granted {
            lease: delivery.lease,
            key,
            attempts: row.attempts,
            step: row.step,
            manual: row.manual,
        });
    }

    async fn record(&mut self, granted: Granted, outcome: Outcome) {
        let retry_at = self.now + seconds(5);
        let (status, disposition) = match outcome {
            Outcome::Succeeded => (
                AttemptStatus::Success,
                Disposition::Finish(DeliveryState::Succeeded),
            ),
            Outcome::Failing => (AttemptStatus::Failing, Disposition::Retry(retry_at)),
            Outcome::Failed => (AttemptStatus::Failed, Disposition::Finish(DeliveryState::Failed)),
            Outcome::Canceled => (
                AttemptStatus::Canceled,
                Disposition::Finish(DeliveryState::Canceled),
            ),
        };
        let event = &self.events[self.event_index(granted.key)];
        let record = AttemptRecord {
            id: granted.lease,
            scope: event.scope,
            endpoint_id: EndpointId(granted.key.0),
            event_id: event.id,
            event_name: event.name.clone(),
            number: granted.attempts as u32 + 1,
            manual: granted.manual,
            status,
            disposition,
            step: granted.step as u32 + u32::from(!granted.manual),
            url: "https://example.com/".to_owned(),
            http_status: None,
            error_kind: None,
            error_detail: None,
            request_headers: "{}".to_owned(),
            response_headers: "{}".to_owned(),
            response_body: String::new(),
            duration_ms: 1,
            started_at: self.now,
        };
        let step = record.step as i32;
        let moved = self.store.engine().record(&[record]).await.unwrap();
        let row = self.rows.get_mut(&granted.key).unwrap();
        let holds = row.held.is_some_and(|(lease, _)| lease == granted.lease.0);
        assert_eq!(moved, [holds]);
        self.attempts.insert(granted.lease.0);
        if holds {
            *self.accepted.entry(granted.key).or_default() += 1;
            *row = Row {
                state: disposition.state() as i16,
                due_at: match disposition {
                    Disposition::Retry(at) => at.as_micros(),
                    Disposition::Finish(_) => row.due_at,
                },
                attempts: granted.attempts + 1,
                step,
                held: None,
                manual: false,
            };
        }
    }

    async fn release(&mut self, granted: Granted) {
        let release = Release {
            lease: granted.lease,
            endpoint_id: EndpointId(granted.key.0),
            event_id: self.events[self.event_index(granted.key)].id,
            due_at: self.now,
        };
        self.store.engine().release(&[release]).await.unwrap();
        let row = self.rows.get_mut(&granted.key).unwrap();
        if row.held.is_some_and(|(lease, _)| lease == granted.lease.0) {
            *row = waiting_again(row, self.now);
        }
    }

    async fn retry_by_hand(&mut self, key: Key) {
        self.store
            .execute(&format!(
                "UPDATE deliveries SET state = 0, due_at = {}, manual = true
                 WHERE state <> 1 AND endpoint_id = {} AND event_id = {}",
                self.now.as_micros(),
                self.store.literal(key.0),
                self.store.literal(key.1)
            ))
            .await
            .unwrap();
        let row = self.rows.get_mut(&key).unwrap();
        if row.held.is_none() {
            *row = Row {
                manual: true,
                ..waiting_again(row, self.now)
            };
        }
    }

    async fn recover(&mut self) {
        let dead_before = self.now - seconds(SILENCE);
        let engine = self.store.engine();
        let recovered = engine.recover_leases(self.now, dead_before, 1000).await.unwrap();
        let mut expected = 0;
        for row in self.rows.values_mut() {
            let Some((_, worker)) = row.held else { continue };
            let dead = self.alive.get(&worker).is_none_or(|seen| *seen < dead_before);
            if dead || row.due_at < self.now.as_micros() {
                *row = waiting_again(row, self.now);
                expected += 1;
            }
        }
        assert_eq!(recovered, expected);
    }

    fn event_index(&self, (_, event): Key) -> usize {
        self.events
            .iter()
            .position(|candidate| candidate.id.0 == event)
            .unwrap()
    }

    /// Compares the tables with the model and answers what the rows say.
    async fn compare(&self) -> BTreeMap<Key, Row> {
        let rows: BTreeMap<Key, Row> = self
            .store
            .deliveries()
            .await
            .into_iter()
            .map(|row| {
                let key = (row.endpoint_id, row.event_id);
                assert_eq!(row.lease.is_some(), row.worker_id.is_some());
                let row = Row {
                    state: row.state,
                    due_at: row.due_at,
                    attempts: row.attempts,
                    step: row.step,
                    held: row.lease.zip(row.worker_id),
                    manual: row.manual,
                };
                (key, row)
            })
            .collect();
        assert_eq!(rows, self.rows);
        let attempts: BTreeSet<Uuid> = self.store.attempts().await.iter().map(|kept| kept.id).collect();
        assert_eq!(attempts, self.attempts);
        rows
    }

    /// What holds whatever the model says.
    fn check(&self, before: &BTreeMap<Key, Row>, step: &Step, after: &BTreeMap<Key, Row>) {
        let leases: Vec<Uuid> = after
            .values()
            .filter_map(|row| row.held.map(|(lease, _)| lease))
            .collect();
        assert_eq!(
            leases.len(),
            leases.iter().collect::<BTreeSet<_>>().len(),
            "held twice"
        );
        let granted: BTreeSet<Uuid> = self.granted.iter().map(|granted| granted.lease.0).collect();
        assert_eq!(granted.len(), self.granted.len(), "granted twice");
        for (key, row) in after {
            let accepted = self.accepted.get(key).copied().unwrap_or(0);
            assert_eq!(row.attempts, accepted, "counted as often as recorded");
        }
        for (key, row) in before {
            let now = after.get(key).expect("nothing disappears");
            let reopened = is_finished(row) && !is_finished(now);
            assert!(!reopened || matches!(step, Step::RetryByHand { .. }), "{step:?}");
        }
    }
}

fn is_due(row: &Row, now: Timestamp) -> bool {
    row.state == DeliveryState::Waiting as i16 && row.due_at <= now.as_micros()
}

fn is_finished(row: &Row) -> bool {
    row.state >= DeliveryState::Succeeded as i16
}

fn waiting_again(row: &Row, due_at: Timestamp) -> Row {
    Row {
        state: DeliveryState::Waiting as i16,
        due_at: due_at.as_micros(),
        held: None,
        ..row.clone()
    }
}

#[test]
fn two_workers_do_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = runtime.block_on(TestStore::sqlite());
    let config = ProptestConfig {
        cases: 64,
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let history = proptest::collection::vec(step(), 1..60);
    TestRunner::new(config)
        .run(&history, |history| {
            runtime.block_on(async {
                for table in ["deliveries", "messages", "attempts", "workers"] {
                    store.execute(&format!("DELETE FROM {table}")).await.unwrap();
                }
                let mut world = World::new(&store);
                let mut before = world.compare().await;
                for step in &history {
                    world.take(step).await;
                    let after = world.compare().await;
                    world.check(&before, step, &after);
                    before = after;
                }
            });
            Ok(())
        })
        .unwrap();
}
