//! One event to one endpoint, in every way that this can go.

use std::{sync::Arc, time::Duration};

use demae_delivery::engine::Settings;
use demae_signature::standard;
use demae_store::{
    engine::{AttemptStatus, DeliveryState},
    repository::{deliveries, endpoints},
};
use demae_testkit::receiver::{Answer, Behaviour, Receiver, Recorder};

use crate::support::{
    Bench, DRAIN_LIMIT, Database, Names, closed_url, drain, numbers, on_both, schedule, start_resolving,
    status_of,
};

on_both!(
    a_delivery_is_signed_and_recorded,
    failures_are_retried_until_success,
    the_schedule_ends,
    retry_after_stretches_the_wait,
    gone_disables_the_endpoint,
    gone_counts_though_its_body_breaks,
    a_manual_attempt_takes_no_success_away,
    hostile_receivers_are_failures_in_history,
    the_history_shows_what_came_of_an_answer,
    a_refused_address_is_final,
    an_internal_name_looks_like_one_that_does_not_exist,
    plain_http_is_refused_where_only_https_is_allowed,
    a_disabled_endpoint_cancels,
    a_retry_goes_out_under_the_settings_of_now,
    nothing_is_leased_after_a_drain,
    an_event_is_routed_once_however_often_it_is_read,
    the_rate_limit_spaces_deliveries,
);

async fn a_delivery_is_signed_and_recorded(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    receiver.answer(Answer::ok().header("x-answer", "yes").body("thanks"));
    let key = standard::SigningKey::generate_hmac();
    let secret = key.secret_text();
    let endpoint = bench
        .endpoint(&receiver.url("/hook"), |endpoint| {
            endpoint.secret = secret;
            endpoint
                .headers
                .insert("authorization".to_owned(), "Bearer very-secret".to_owned());
            for (name, value) in [
                ("x-secret", "also-secret"),
                ("x-customer", "not-declared"),
                ("X-Tenant", "7"),
            ] {
                endpoint.headers.insert(name.to_owned(), value.to_owned());
            }
            endpoint.public_headers = vec!["x-tenant".to_owned()];
        })
        .await;
    let worker = bench.start(Settings::default()).await;
    let mut event = bench.event(1);
    event.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    bench
        .store
        .engine()
        .append(std::slice::from_ref(&event))
        .await
        .unwrap();

    let request = receiver.wait_for(1).await.remove(0);
    drain(worker).await;
    assert_eq!(
        std::str::from_utf8(&request.body).unwrap(),
        r#"{"name":"CUSTOMER_CREATION","type":"com.kaiten.customer.v1.created","data":{"number": 1}}"#
    );
    assert_eq!(request.header("traceparent"), event.traceparent.as_deref());
    assert_eq!(request.header("authorization"), Some("Bearer very-secret"));
    for family in ["webhook", "svix"] {
        let lookup = |name: &str| {
            request
                .header(&name.replace("webhook", family))
                .map(str::as_bytes)
        };
        let seconds = crate::support::now().as_secs();
        let verified = standard::verify(lookup, &request.body, [&key.verifying_key()], seconds, 300).unwrap();
        assert_eq!(verified.message_id, event.id.message_id(event.created_at));
    }
    let attempt = bench.attempts(endpoint).await.remove(0);
    assert_eq!(status_of(&attempt), AttemptStatus::Success);
    assert_eq!(
        (
            attempt.number,
            attempt.http_status,
            attempt.response_body.as_str()
        ),
        (1, Some(200), "thanks")
    );
    assert!(
        attempt.response_headers.contains(r#""x-answer":"yes""#),
        "{}",
        attempt.response_headers
    );
    assert!(
        attempt.request_headers.contains("webhook-signature"),
        "{}",
        attempt.request_headers
    );
    // Own headers are secret unless declared public: the fact that they were sent is kept, and no more.
    let kept: serde_json::Value = serde_json::from_str(&attempt.request_headers).unwrap();
    for (name, value) in [
        ("authorization", "…"),
        ("x-secret", "…"),
        ("x-customer", "…"),
        ("x-tenant", "7"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(kept[name], value, "{name}");
    }
    assert_eq!(bench.in_state(endpoint, DeliveryState::Succeeded).await, 1);
}

async fn failures_are_retried_until_success(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    receiver.script([
        Answer::status(500),
        Answer::status(302).header("location", "/other"),
        Answer::ok(),
    ]);
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let worker = bench.start(schedule(&[0, 0, 0])).await;
    bench.publish(0..1).await;
    let requests = receiver.wait_for(3).await;
    drain(worker).await;

    let ids: Vec<_> = requests
        .iter()
        .map(|request| request.header("webhook-id").unwrap())
        .collect();
    assert!(
        ids.iter().all(|id| *id == ids[0]),
        "the id is the same on every attempt"
    );
    assert!(
        requests.iter().all(|request| request.body == requests[0].body),
        "and so is the body"
    );
    let attempts = bench.attempts(endpoint).await;
    let statuses: Vec<_> = attempts.iter().map(status_of).collect();
    assert_eq!(
        statuses,
        [
            AttemptStatus::Failing,
            AttemptStatus::Failing,
            AttemptStatus::Success
        ]
    );
    assert_eq!(attempts.iter().map(|a| a.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(attempts[1].error_kind.as_deref(), Some("redirect"));
    assert!(attempts[0].next_attempt_at.is_some() && attempts[2].next_attempt_at.is_none());
}

async fn the_schedule_ends(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    receiver.answer(Answer::status(500));
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let worker = bench.start(schedule(&[0, 0])).await;
    bench.publish(0..1).await;
    receiver.wait_for(3).await;
    drain(worker).await;
    assert_eq!(bench.in_state(endpoint, DeliveryState::Failed).await, 1);
    assert_eq!(
        status_of(bench.attempts(endpoint).await.last().unwrap()),
        AttemptStatus::Failed
    );
}

async fn retry_after_stretches_the_wait(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    receiver.answer(Answer::status(503).header("retry-after", "100000"));
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let worker = bench.start(schedule(&[1000])).await;
    bench.publish(0..1).await;
    receiver.wait_for(1).await;
    drain(worker).await;
    let attempt = bench.attempts(endpoint).await.remove(0);
    let wait = Duration::from_micros((attempt.next_attempt_at.unwrap() - attempt.started_at) as u64);
    assert!(
        (1999..=2010).contains(&wait.as_secs()),
        "twice the planned wait, not {wait:?}"
    );
}

async fn gone_disables_the_endpoint(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    receiver.answer(Answer::status(410));
    let attempt = disabled_as_gone(&bench, &receiver.url("/")).await;
    assert_eq!(attempt.error_kind.as_deref(), Some("http_status"));
}

async fn gone_counts_though_its_body_breaks(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let broken = "HTTP/1.1 410 Gone\r\ncontent-length: 100\r\n\r\nwe are";
    let receiver = Receiver::start(Behaviour::Raw(broken.into())).await;
    let attempt = disabled_as_gone(&bench, &receiver.url("/")).await;
    assert_eq!(attempt.http_status, Some(410));
    assert_eq!(attempt.error_kind.as_deref(), Some("http_status"));
    let detail = attempt.error_detail.unwrap_or_default();
    assert!(detail.starts_with("the receiver answered 410, then "), "{detail}");
    assert_eq!(attempt.response_body, "we are");
}

/// Delivers one event to this receiver, which disables its endpoint and tells the owner. Answers the attempt.
async fn disabled_as_gone(bench: &Bench, url: &str) -> demae_store::entity::attempt::Model {
    let owner = Recorder::start().await;
    let endpoint = bench.endpoint(url, |_| {}).await;
    bench
        .endpoint(&owner.url("/"), |endpoint| {
            endpoint.event_names = vec!["ENDPOINT_DISABLED".to_owned()];
        })
        .await;
    let worker = bench.start(Settings::default()).await;
    bench.publish(0..1).await;
    let told = owner.wait_for(1).await.remove(0);
    drain(worker).await;
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["name"], "ENDPOINT_DISABLED");
    assert_eq!(told["data"]["webhookId"], endpoint.to_string());
    assert_eq!(told["data"]["reason"], "gone");
    assert_eq!(bench.in_state(endpoint, DeliveryState::Failed).await, 1);
    let rows =
        demae_store::repository::endpoints::find(bench.store.reader(), &bench.vault, bench.scope, endpoint);
    let row = rows.await.unwrap().unwrap();
    assert!(!row.enabled);
    assert_eq!(row.disabled_reason.as_deref(), Some("gone"));
    bench.attempts(endpoint).await.remove(0)
}

async fn hostile_receivers_are_failures_in_history(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let mut expected = Vec::new();
    let mut receivers = Vec::new();
    for (behaviour, kind) in [
        (Behaviour::slow_headers(), "timeout"),
        (Behaviour::slow_body(), "body_timeout"),
        (Behaviour::Raw("this is not HTTP\r\n\r\n".into()), "protocol"),
        (Behaviour::CloseAfterRequest, "connection_reset"),
        (Behaviour::wrong_length(100, 10), "body_broken"),
        (Behaviour::redirect(302, "http://169.254.169.254/"), "redirect"),
    ] {
        let receiver = Receiver::start(behaviour).await;
        let id = bench
            .endpoint(&receiver.url("/"), |endpoint| endpoint.timeout_seconds = 1)
            .await;
        expected.push((id, kind));
        receivers.push(receiver);
    }
    let dead = bench.endpoint(&closed_url(), |_| {}).await;
    expected.push((dead, "connect_refused"));
    let endless = Receiver::start(Behaviour::endless_body()).await;
    let patient = bench.endpoint(&endless.url("/"), |_| {}).await;
    // The last one says when: it subscribes to what nobody else gets.
    let worker = bench.start(schedule(&[])).await;
    bench.publish(0..1).await;
    for (id, _) in &expected {
        wait_until_finished(&bench, *id).await;
    }
    wait_until_finished(&bench, patient).await;
    drain(worker).await;
    for (id, kind) in expected {
        let attempt = bench.attempts(id).await.remove(0);
        assert_eq!(attempt.error_kind.as_deref(), Some(kind));
        assert_eq!(status_of(&attempt), AttemptStatus::Failed);
        assert!(attempt.error_detail.is_some());
    }
    let attempt = bench.attempts(patient).await.remove(0);
    assert_eq!(
        status_of(&attempt),
        AttemptStatus::Success,
        "a chatty receiver is no failure"
    );
    assert_eq!(
        attempt.response_body.len(),
        demae_delivery::client::RESPONSE_BODY_LIMIT
    );
}

async fn the_history_shows_what_came_of_an_answer(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let gzip = b"HTTP/1.1 500 Oops\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let mut rows = Vec::new();
    for (answer, kind, status, body) in [
        (
            b"HTTP/1.1 200 OK\r\nx-mark: yes\r\ncontent-length: 9\r\n\r\nhalf".as_slice(),
            "body_broken",
            200,
            "half",
        ),
        (gzip, "http_status", 500, "[binary body, 4 bytes, gzip]"),
    ] {
        let receiver = Receiver::start(Behaviour::Raw(answer.into())).await;
        let id = bench.endpoint(&receiver.url("/"), |_| {}).await;
        rows.push((id, kind, status, body, receiver));
    }
    let worker = bench.start(schedule(&[])).await;
    bench.publish(0..1).await;
    for row in &rows {
        wait_until_finished(&bench, row.0).await;
    }
    drain(worker).await;
    for (id, kind, status, body, _receiver) in rows {
        let attempt = bench.attempts(id).await.remove(0);
        assert_eq!(status_of(&attempt), AttemptStatus::Failed);
        assert_eq!(attempt.error_kind.as_deref(), Some(kind));
        assert_eq!(attempt.http_status, Some(status));
        assert_eq!(attempt.response_body, body);
        let detail = attempt.error_detail.unwrap();
        assert!(detail.contains(&format!("answered {status}")), "{detail}");
        assert_ne!(attempt.response_headers, "{}");
    }
}

/// Asks the database until no delivery of the endpoint is open; bounded by the test's own limit.
async fn wait_until_finished(bench: &Bench, endpoint: demae_event::EndpointId) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        let deliveries = bench.deliveries(endpoint).await;
        if !deliveries.is_empty() && deliveries.iter().all(|delivery| delivery.state > 1) {
            return;
        }
    }
}

async fn a_refused_address_is_final(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let endpoint = bench
        .endpoint("http://169.254.169.254/latest/meta-data", |_| {})
        .await;
    let worker = bench.start(Settings::default()).await;
    bench.publish(0..1).await;
    wait_until_finished(&bench, endpoint).await;
    drain(worker).await;
    let attempt = bench.attempts(endpoint).await.remove(0);
    assert_eq!(attempt.error_kind.as_deref(), Some("address_refused"));
    assert_eq!(
        (status_of(&attempt), attempt.http_status),
        (AttemptStatus::Failed, None)
    );
}

async fn an_internal_name_looks_like_one_that_does_not_exist(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let worker = start_resolving(bench.second_store().await, schedule(&[0]), Arc::new(Names)).await;
    let inside = bench.endpoint("https://inside.test/", |_| {}).await;
    let nowhere = bench.endpoint("https://nowhere.test/", |_| {}).await;
    bench.publish(0..1).await;
    let mut kept = Vec::new();
    for endpoint in [inside, nowhere] {
        wait_until_finished(&bench, endpoint).await;
        let attempts = bench.attempts(endpoint).await;
        kept.push(
            attempts
                .into_iter()
                .map(|attempt| {
                    let outcome = (attempt.status, attempt.number, attempt.http_status);
                    (
                        outcome,
                        attempt.error_kind,
                        attempt.error_detail,
                        attempt.response_body,
                    )
                })
                .collect::<Vec<_>>(),
        );
    }
    drain(worker).await;
    assert_eq!(kept[0], kept[1]);
    assert_eq!((kept[0].len(), kept[0][0].1.as_deref()), (2, Some("dns")));
}

async fn plain_http_is_refused_where_only_https_is_allowed(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let settings = Settings {
        https_only: true,
        ..Settings::default()
    };
    let worker = bench.start(settings).await;
    bench.publish(0..1).await;
    wait_until_finished(&bench, endpoint).await;
    drain(worker).await;
    assert_eq!(receiver.connections().get(), 0);
    let attempt = bench.attempts(endpoint).await.remove(0);
    assert_eq!(attempt.error_kind.as_deref(), Some("address_refused"));
    assert_eq!(status_of(&attempt), AttemptStatus::Failed);
}

async fn a_manual_attempt_takes_no_success_away(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let event = bench.publish(0..1).await.remove(0).id;
    let retry = async || {
        let mut transaction = bench.store.begin().await.unwrap();
        let place = (endpoint, event);
        let planned = deliveries::retry(&mut transaction, bench.scope, place, crate::support::now()).await;
        assert_eq!(planned.unwrap(), deliveries::Retry::Planned);
        transaction.commit().await.unwrap();
    };
    let worker = bench.start(Settings::default()).await;
    receiver.wait_for(1).await;
    wait_until_finished(&bench, endpoint).await;
    receiver.answer(Answer::status(410));
    retry().await;
    receiver.wait_for(2).await;
    drain(worker).await;
    assert_eq!(bench.in_state(endpoint, DeliveryState::Succeeded).await, 1);
    let row = endpoints::find(bench.store.reader(), &bench.vault, bench.scope, endpoint);
    assert!(
        !row.await.unwrap().unwrap().enabled,
        "a 410 disables all the same"
    );

    // Asked for just before the endpoint was disabled.
    retry().await;
    let worker = bench.start(Settings::default()).await;
    wait_until_finished(&bench, endpoint).await;
    drain(worker).await;
    assert_eq!(receiver.received().get(), 2);
    let attempts = bench.attempts(endpoint).await;
    assert_eq!(status_of(attempts.last().unwrap()), AttemptStatus::Canceled);
    assert_eq!(bench.in_state(endpoint, DeliveryState::Succeeded).await, 1);
}

async fn a_disabled_endpoint_cancels(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    receiver.answer(Answer::status(500));
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let worker = bench.start(schedule(&[1])).await;
    bench.publish(0..1).await;
    receiver.wait_for(1).await;
    let mut transaction = bench.store.begin().await.unwrap();
    let now = crate::support::now();
    assert!(
        demae_store::repository::endpoints::delete(&mut transaction, bench.scope, endpoint, now)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    // A newer event makes the router look at the directory; the deleted endpoint gets nothing of it.
    bench.publish(1..2).await;
    wait_until_finished(&bench, endpoint).await;
    drain(worker).await;
    assert_eq!(receiver.received().get(), 1);
    let attempts = bench.attempts(endpoint).await;
    assert_eq!(status_of(attempts.last().unwrap()), AttemptStatus::Canceled);
    assert_eq!(bench.in_state(endpoint, DeliveryState::Canceled).await, 1);
}

/// No event comes in between: it is the claim that has to look.
async fn a_retry_goes_out_under_the_settings_of_now(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    receiver.script([Answer::status(500), Answer::ok()]);
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let worker = bench.start(schedule(&[1])).await;
    bench.publish(0..1).await;
    receiver.wait_for(1).await;
    let key = standard::SigningKey::generate_hmac();
    let found = endpoints::find(bench.store.reader(), &bench.vault, bench.scope, endpoint).await;
    let mut changed = found.unwrap().unwrap();
    changed.secret = key.secret_text();
    let mut transaction = bench.store.begin().await.unwrap();
    assert!(
        endpoints::update(&mut transaction, &bench.vault, &changed)
            .await
            .unwrap()
    );
    transaction.commit().await.unwrap();
    let retry = receiver.wait_for(2).await.remove(1);
    drain(worker).await;
    let lookup = |name: &str| retry.header(name).map(str::as_bytes);
    let seconds = crate::support::now().as_secs();
    standard::verify(lookup, &retry.body, [&key.verifying_key()], seconds, 300).unwrap();
}

async fn nothing_is_leased_after_a_drain(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Receiver::start(Behaviour::slow_headers()).await;
    let endpoint = bench
        .endpoint(&receiver.url("/"), |endpoint| endpoint.timeout_seconds = 30)
        .await;
    let worker = bench.start(Settings::default()).await;
    bench.publish(0..50).await;
    receiver.requests().wait_for(1).await;
    let now = tokio::time::Instant::now();
    worker
        .drain(now + Duration::from_millis(100), now + DRAIN_LIMIT)
        .await
        .unwrap();
    assert_eq!(bench.in_state(endpoint, DeliveryState::Leased).await, 0);
    assert_eq!(bench.in_state(endpoint, DeliveryState::Waiting).await, 50);
}

async fn an_event_is_routed_once_however_often_it_is_read(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    bench.endpoint(&receiver.url("/"), |_| {}).await;
    let events = bench.publish(0..20).await;
    let worker = bench.start(Settings::default()).await;
    receiver.wait_for(20).await;
    // As after a crash between routing and acknowledging: the same rows again.
    for event in &events {
        let mut transaction = bench.store.begin().await.unwrap();
        demae_store::outbox::append(&mut transaction, event)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
    bench.publish(20..21).await;
    let requests = receiver.wait_for(21).await;
    drain(worker).await;
    let mut seen = numbers(requests.iter().map(|request| &request.body));
    seen.sort_unstable();
    assert_eq!(seen, (0..21).collect::<Vec<_>>());
}

async fn the_rate_limit_spaces_deliveries(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    let endpoint = bench
        .endpoint(&receiver.url("/"), |endpoint| endpoint.rate_limit = Some(20))
        .await;
    let worker = bench.start(Settings::default()).await;
    bench.publish(0..30).await;
    receiver.wait_for(30).await;
    drain(worker).await;
    let mut begun: Vec<i64> = bench
        .attempts(endpoint)
        .await
        .iter()
        .map(|attempt| attempt.started_at)
        .collect();
    begun.sort_unstable();
    // Not a claim about speed but about the limit: no window of one second holds more than the limit and one. An attempt's
    // recorded start follows its permission, by as much as the machine is busy: a tenth is allowed for that.
    for window in begun.windows(22) {
        assert!(
            window[21] - window[0] >= 900_000,
            "22 attempts within {} us",
            window[21] - window[0]
        );
    }
}
