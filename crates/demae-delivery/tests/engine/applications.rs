//! Applications of one organization do not see each other's events.

use demae_delivery::engine::Settings;
use demae_event::Scope;
use demae_store::entity::message;
use demae_testkit::receiver::Recorder;
use sea_orm::EntityTrait;

use crate::support::{Bench, Database, drain, numbers, on_both};

on_both!(an_application_gets_its_own_events_and_no_others);

/// Two applications of one organization and one of another organization subscribe to the same events, under the same URL.
/// Each gets what was published for it. An event that names an application in an organization that is not its own gets
/// nowhere.
async fn an_application_gets_its_own_events_and_no_others(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let scopes = [
        bench.scope,
        bench.other_application().await,
        bench.other_organization().await,
    ];
    let mut receivers = Vec::new();
    for scope in scopes {
        let receiver = Recorder::start().await;
        let endpoint = bench
            .endpoint(&receiver.url("/"), |endpoint| endpoint.scope = scope)
            .await;
        receivers.push((receiver, endpoint));
    }
    let worker = bench.start(Settings::default()).await;
    let strange = Scope::new(scopes[2].organization, Some(scopes[1].application));
    bench.publish_for(strange, 900..905).await;
    for (place, scope) in scopes.into_iter().enumerate() {
        bench.publish_for(scope, place * 100..place * 100 + 20).await;
    }
    for (place, (receiver, _)) in receivers.iter().enumerate() {
        let requests = receiver.wait_for(20).await;
        let mut received = numbers(requests.iter().map(|request| &request.body));
        received.sort_unstable();
        assert_eq!(received, (place * 100..place * 100 + 20).collect::<Vec<_>>());
    }
    drain(worker).await;
    let messages = message::Entity::find().all(bench.store.reader()).await.unwrap();
    let strangers = messages
        .iter()
        .filter(|message| message.application_id == strange.application.0)
        .filter(|message| message.organization_id == strange.organization.0);
    assert_eq!(strangers.count(), 5);
    for ((_, endpoint), scope) in receivers.iter().zip(scopes) {
        assert_eq!(bench.deliveries(*endpoint).await.len(), 20);
        let attempts = bench.attempts(*endpoint).await;
        assert_eq!(attempts.len(), 20);
        for attempt in attempts {
            let recorded = (attempt.organization_id, attempt.application_id);
            assert_eq!(recorded, (scope.organization.0, scope.application.0));
        }
    }
}
