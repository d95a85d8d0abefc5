//! Endpoints: what may be asked for, and what becomes of it.

use std::collections::BTreeMap;

use demae_delivery::management::{
    Endpoint, EndpointInput, EndpointPatch, Management, ManagementError, Page, Rules,
    endpoint::{MAX_PREVIOUS_SECRETS, MAX_STATS_WINDOW, receiver_secret},
    event_types::EventTypeInput,
    load_endpoints,
};
use demae_event::{EndpointId, Scope, Timestamp};
use demae_signature::standard::SigningKey;

use crate::support::{NOW, World, code, input, locations, owned, seconds};

in_every_scope!(
    the_defaults_are_those_of_the_design,
    every_fault_is_told_and_nothing_is_written,
    unknown_events_are_refused_until_they_are_registered,
    the_number_of_endpoints_is_bounded,
    a_replacement_gives_defaults_and_keeps_the_secret,
    a_patch_changes_only_what_it_names,
    credentials_belong_to_an_origin,
    a_secret_header_becomes_public_only_with_its_value,
    enabling_again_is_a_fresh_start,
    a_rotated_key_signs_until_its_overlap_ends,
    the_number_of_old_keys_is_bounded,
    a_brought_key_is_kept_and_never_its_private_half_given,
    other_organizations_get_nothing,
    the_engine_loads_what_was_written,
    the_window_of_statistics_is_bounded,
);

async fn patch(world: &World, id: EndpointId, patch: EndpointPatch) -> Result<Endpoint, ManagementError> {
    let mut transaction = world.begin().await;
    let endpoint = world
        .management
        .patch_endpoint(&mut transaction, world.mine, id, patch, NOW)
        .await?;
    transaction.commit().await.unwrap();
    Ok(endpoint)
}

async fn rotate(
    world: &World,
    id: EndpointId,
    key: Option<&str>,
    overlap: Option<i64>,
    now: Timestamp,
) -> Result<Endpoint, ManagementError> {
    let mut transaction = world.begin().await;
    let endpoint = world
        .management
        .rotate_secret(&mut transaction, (world.mine, id), key, overlap, now)
        .await?;
    transaction.commit().await.unwrap();
    Ok(endpoint)
}

async fn get(world: &World, scope: Scope, id: EndpointId) -> Result<Endpoint, ManagementError> {
    world.management.endpoint(scope, id).await
}

async fn the_defaults_are_those_of_the_design(world: &World) {
    let created = world
        .create(world.mine, input("https://Example.com", &["CUSTOMER_CREATION"]))
        .await
        .unwrap();
    assert_eq!(created.url, "https://example.com/");
    assert_eq!(
        (created.timeout_seconds, created.rate_limit, created.enabled),
        (30, None, true)
    );
    assert_eq!(
        (created.retry_schedule.as_ref(), created.dialect.as_str()),
        (None, "standard")
    );
    assert!(receiver_secret(&created).unwrap().starts_with("whsec_"));
    assert_eq!(get(world, world.mine, created.id).await.unwrap(), created);
}

async fn every_fault_is_told_and_nothing_is_written(world: &World) {
    let bad = EndpointInput {
        url: "ftp://example.com".into(),
        event_names: owned(&["CUSTOMER_CREATION", "not a name"]),
        name: Some("n".repeat(101)),
        description: Some("d".repeat(501)),
        headers: BTreeMap::from([("svix-id".to_owned(), "x".to_owned())]),
        public_headers: owned(&["x-none"]),
        rate_limit: Some(10_001),
        timeout_seconds: Some(31),
        retry_schedule: Some(vec![5, -1]),
        enabled: None,
        dialect: Some("morse".into()),
        metadata: BTreeMap::from([("k".to_owned(), "v".repeat(4_096))]),
        secret: Some("whsec_short".into()),
    };
    let mut found = locations(world.create(world.mine, bad).await);
    found.sort();
    let expected = [
        "description",
        "dialect",
        "event_names[1]",
        "headers[\"svix-id\"]",
        "metadata",
        "name",
        "public_headers[0]",
        "rate_limit",
        "retry_schedule[1]",
        "secret",
        "timeout_seconds",
        "url",
    ];
    assert_eq!(found, expected);
    assert_eq!(
        world
            .management
            .endpoints(world.mine, Page::first(9))
            .await
            .unwrap()
            .items,
        []
    );

    let edge = EndpointInput {
        name: Some("n".repeat(100)),
        description: Some("d".repeat(500)),
        rate_limit: Some(10_000),
        timeout_seconds: Some(1),
        retry_schedule: Some(vec![0; 20]),
        ..input("https://example.com/", &["*"])
    };
    assert!(world.create(world.mine, edge).await.is_ok());
    for (rate_limit, timeout_seconds) in [(0, 30), (1, 0)] {
        let beyond = EndpointInput {
            rate_limit: Some(rate_limit),
            timeout_seconds: Some(timeout_seconds),
            ..input("https://example.com/", &["*"])
        };
        assert_eq!(locations(world.create(world.mine, beyond).await).len(), 1);
    }
    let strict = Management::new(
        world.store.clone(),
        Rules {
            https_only: true,
            ..Rules::default()
        },
    );
    let mut transaction = world.begin().await;
    let plain = input("http://example.com/", &["*"]);
    let refused = strict
        .create_endpoint(&mut transaction, world.mine, plain, NOW)
        .await;
    assert_eq!(locations(refused), ["url"]);
}

async fn unknown_events_are_refused_until_they_are_registered(world: &World) {
    let names = ["CUSTOMER_*", "ORDER_SHIPPED", "ORDER_*", "shop.order.shipped"];
    let own = || input("https://example.com/", &names);
    let expected = ["event_names[1]", "event_names[2]", "event_names[3]"];
    assert_eq!(locations(world.create(world.mine, own()).await), expected);
    let mut transaction = world.begin().await;
    let registered = EventTypeInput {
        name: "ORDER_SHIPPED".into(),
        event_type: Some("shop.order.shipped".into()),
        ..EventTypeInput::default()
    };
    world
        .management
        .create_event_type(
            &mut transaction,
            world.mine.organization,
            registered.check_new().unwrap(),
            NOW,
        )
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert!(world.create(world.mine, own()).await.is_ok());
    // It is my organization's, not theirs.
    let theirs = world.create(world.theirs, own()).await;
    if world.mine.organization == world.theirs.organization {
        assert!(theirs.is_ok());
    } else {
        assert_eq!(locations(theirs), expected);
    }
}

async fn the_number_of_endpoints_is_bounded(world: &World) {
    let rules = Rules {
        endpoints_per_organization: 2,
        ..Rules::default()
    };
    let management = Management::new(world.store.clone(), rules);
    let create = async |scope| {
        let mut transaction = world.begin().await;
        let input = input("https://example.com/", &["*"]);
        let created = management
            .create_endpoint(&mut transaction, scope, input, NOW)
            .await?;
        transaction.commit().await.unwrap();
        Ok::<_, ManagementError>(created.id)
    };
    let first = create(world.mine).await.unwrap();
    create(world.mine).await.unwrap();
    assert_eq!(code(create(world.mine).await), "CreateEndpoint.LimitReached");
    // The organization's, whatever applications it has.
    let is_theirs = world.mine.organization != world.theirs.organization;
    assert_eq!(create(world.theirs).await.is_ok(), is_theirs);
    let mut transaction = world.begin().await;
    management
        .delete_endpoint(&mut transaction, world.mine, first, NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert!(create(world.mine).await.is_ok());
}

async fn a_replacement_gives_defaults_and_keeps_the_secret(world: &World) {
    let full = EndpointInput {
        name: Some("Billing".into()),
        rate_limit: Some(5),
        retry_schedule: Some(vec![1]),
        enabled: Some(false),
        headers: BTreeMap::from([("x-a".to_owned(), "1".to_owned())]),
        ..input("https://u:p@example.com/", &["*"])
    };
    let before = world.create(world.mine, full).await.unwrap();
    assert_eq!(before.headers["authorization"], "Basic dTpw");
    assert!(!before.url.contains('@'));
    let mut transaction = world.begin().await;
    let later = NOW + seconds(5);
    let replace = input("https://example.com/new", &["LICENSE_*"]);
    let after = world
        .management
        .replace_endpoint(&mut transaction, world.mine, before.id, replace, later)
        .await
        .unwrap();
    let brought = EndpointInput {
        secret: Some("whsec_x".into()),
        ..input("https://example.com/", &["*"])
    };
    let refused = world
        .management
        .replace_endpoint(&mut transaction, world.mine, before.id, brought, later)
        .await;
    assert_eq!(locations(refused), ["secret"]);
    transaction.commit().await.unwrap();
    let expected = Endpoint {
        url: "https://example.com/new".into(),
        event_names: owned(&["LICENSE_*"]),
        name: String::new(),
        rate_limit: None,
        retry_schedule: None,
        enabled: true,
        headers: BTreeMap::new(),
        updated_at: later,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(get(world, world.mine, after.id).await.unwrap(), expected);
}

async fn a_patch_changes_only_what_it_names(world: &World) {
    let before = EndpointInput {
        rate_limit: Some(5),
        name: Some("A".into()),
        ..input("https://example.com/", &["*"])
    };
    let before = world.create(world.mine, before).await.unwrap();
    let change = EndpointPatch {
        timeout_seconds: Some(Some(7)),
        ..EndpointPatch::default()
    };
    let after = patch(world, before.id, change).await.unwrap();
    assert_eq!(
        after,
        Endpoint {
            timeout_seconds: 7,
            ..before.clone()
        }
    );
    let clear = EndpointPatch {
        rate_limit: Some(None),
        name: Some(None),
        timeout_seconds: Some(None),
        ..EndpointPatch::default()
    };
    let after = patch(world, before.id, clear).await.unwrap();
    assert_eq!(
        after,
        Endpoint {
            rate_limit: None,
            name: String::new(),
            ..before.clone()
        }
    );
    let bad = EndpointPatch {
        event_names: Some(vec![]),
        url: Some("x".into()),
        ..EndpointPatch::default()
    };
    assert_eq!(
        locations(patch(world, before.id, bad).await),
        ["event_names", "url"]
    );
    assert_eq!(get(world, world.mine, before.id).await.unwrap(), after);
}

fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

async fn credentials_belong_to_an_origin(world: &World) {
    let before = EndpointInput {
        headers: headers(&[
            ("Authorization", "Bearer old"),
            ("X-Secret", "s3cret"),
            ("X-Tenant", "7"),
        ]),
        public_headers: owned(&["x-tenant"]),
        ..input("https://old.example.com/a", &["*"])
    };
    let id = world.create(world.mine, before).await.unwrap().id;
    let to = async |url: &str, given: Option<&[(&str, &str)]>| {
        let change = EndpointPatch {
            url: Some(url.to_owned()),
            headers: given.map(headers),
            ..EndpointPatch::default()
        };
        patch(world, id, change).await.unwrap().headers
    };
    let all = headers(&[
        ("Authorization", "Bearer old"),
        ("X-Secret", "s3cret"),
        ("X-Tenant", "7"),
    ]);
    assert_eq!(to("https://old.example.com:443/b", None).await, all);
    // A new password counts, on the same origin and on another one.
    let password = [
        ("X-Secret", "s3cret"),
        ("X-Tenant", "7"),
        ("authorization", "Basic dTpw"),
    ];
    assert_eq!(
        to("https://u:p@old.example.com/b", None).await,
        headers(&password)
    );
    assert_eq!(to("https://old.example.com/c", None).await, headers(&password));
    let moved = [("X-Tenant", "7"), ("authorization", "Basic dTpx")];
    assert_eq!(to("https://u:q@new.example.com/", None).await, headers(&moved));
    for other in [
        "https://new.example.com:444/",
        "http://new.example.com:444/",
        "https://new.example.com.evil.example/",
    ] {
        assert_eq!(to(other, None).await, headers(&[("X-Tenant", "7")]), "{other}");
        let given = [("X-Api-Key", "anew")];
        assert_eq!(to(other, Some(&given)).await, headers(&given), "{other}");
        let restored = [("X-Tenant", "7"), ("authorization", "Bearer x")];
        let change = EndpointPatch {
            headers: Some(headers(&restored)),
            public_headers: Some(owned(&["X-Tenant"])),
            ..EndpointPatch::default()
        };
        patch(world, id, change).await.unwrap();
    }
    // A header that is given goes before the URL's password.
    let both = to(
        "https://u:p@last.example.com/",
        Some(&[("Authorization", "Bearer mine")]),
    )
    .await;
    assert_eq!(both, headers(&[("Authorization", "Bearer mine")]));
    let replaced = EndpointInput {
        headers: headers(&[("x-a", "1")]),
        ..input("https://u:r@last.example.com/", &["*"])
    };
    let mut transaction = world.begin().await;
    let replaced = world
        .management
        .replace_endpoint(&mut transaction, world.mine, id, replaced, NOW)
        .await;
    let expected = [("authorization", "Basic dTpy"), ("x-a", "1")];
    assert_eq!(replaced.unwrap().headers, headers(&expected));
}

async fn a_secret_header_becomes_public_only_with_its_value(world: &World) {
    let before = EndpointInput {
        headers: headers(&[("X-Secret", "s3cret"), ("X-Tenant", "7")]),
        public_headers: owned(&["X-Tenant"]),
        ..input("https://example.com/", &["*"])
    };
    let id = world.create(world.mine, before).await.unwrap().id;
    let change = async |given: Option<&[(&str, &str)]>, public: &[&str]| {
        let change = EndpointPatch {
            headers: given.map(headers),
            public_headers: Some(owned(public)),
            ..EndpointPatch::default()
        };
        patch(world, id, change).await
    };
    for (given, public, places) in [
        (
            None,
            ["x-tenant", "X-Secret"].as_slice(),
            ["public_headers[1]"].as_slice(),
        ),
        (None, &["x-none"], &["public_headers[0]"]),
        (
            Some([("Authorization", "Bearer x")].as_slice()),
            &["authorization"],
            &["public_headers[0]"],
        ),
        (Some(&[("x-b", "1")]), &["X-Tenant"], &["public_headers[0]"]),
    ] {
        assert_eq!(locations(change(given, public).await), places, "{public:?}");
    }
    let kept = change(None, &["x-tenant"]).await.unwrap();
    assert_eq!(kept.public_headers, ["x-tenant"]);
    let shown = change(Some(&[("X-Secret", "new")]), &["x-secret"]).await.unwrap();
    assert_eq!(
        (shown.public_headers, shown.headers),
        (owned(&["x-secret"]), headers(&[("X-Secret", "new")]))
    );
    let hidden = change(None, &[]).await.unwrap();
    assert_eq!(hidden.public_headers, [""; 0]);
}

async fn enabling_again_is_a_fresh_start(world: &World) {
    use demae_store::repository::endpoints;
    let created = world.endpoint().await;
    let mut transaction = world.begin().await;
    endpoints::note_failing(&mut transaction, world.mine, created.id, NOW)
        .await
        .unwrap();
    endpoints::disable(&mut transaction, world.mine, created.id, "failing", NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let renamed = EndpointPatch {
        name: Some(Some("B".into())),
        ..EndpointPatch::default()
    };
    let renamed = patch(world, created.id, renamed).await.unwrap();
    assert_eq!((renamed.enabled, renamed.failing_since), (false, Some(NOW)));
    assert_eq!(renamed.disabled_reason.as_deref(), Some("failing"));
    let enable = EndpointPatch {
        enabled: Some(true),
        ..EndpointPatch::default()
    };
    let enabled = patch(world, created.id, enable).await.unwrap();
    assert_eq!(
        (enabled.enabled, enabled.failing_since, enabled.disabled_reason),
        (true, None, None)
    );
}

async fn a_rotated_key_signs_until_its_overlap_ends(world: &World) {
    let created = world.endpoint().await;
    let rotated = rotate(world, created.id, None, Some(60), NOW).await.unwrap();
    assert_ne!(rotated.secret, created.secret);
    let signing = async |now| {
        let loaded = load_endpoints(&world.store).await.unwrap();
        loaded[0]
            .signing_keys(now)
            .map(|key| key.secret_text().to_string())
            .collect::<Vec<_>>()
    };
    let both = [rotated.secret.to_string(), created.secret.to_string()];
    assert_eq!(signing(NOW + seconds(59)).await, both);
    assert_eq!(signing(NOW + seconds(60)).await, both[..1]);
    // Without an overlap every earlier key stops at once: that is asked for when one has leaked.
    let at_once = rotate(world, created.id, None, Some(0), NOW).await.unwrap();
    assert_eq!(signing(NOW).await, [at_once.secret.to_string()]);
    let default = rotate(world, created.id, None, None, NOW).await.unwrap();
    assert_eq!(default.previous_secrets[0].expires_at, NOW + seconds(86_400));
    for overlap in [-1, 604_801] {
        let refused = rotate(world, created.id, None, Some(overlap), NOW).await;
        assert_eq!(locations(refused), ["overlap_seconds"]);
    }
    let same = rotate(world, created.id, Some(&default.secret), None, NOW).await;
    assert_eq!(locations(same), ["key"]);
}

async fn the_number_of_old_keys_is_bounded(world: &World) {
    let created = world.endpoint().await;
    for _ in 0..MAX_PREVIOUS_SECRETS {
        rotate(world, created.id, None, Some(60), NOW).await.unwrap();
    }
    let refused = rotate(world, created.id, None, Some(60), NOW).await;
    assert_eq!(code(refused), "RotateEndpointSecret.LimitReached");
    assert!(rotate(world, created.id, None, Some(0), NOW).await.is_ok());
    // Expired ones make room.
    let rotated = rotate(world, created.id, None, Some(60), NOW + seconds(60))
        .await
        .unwrap();
    assert_eq!(rotated.previous_secrets.len(), 1);
}

async fn a_brought_key_is_kept_and_never_its_private_half_given(world: &World) {
    let key = SigningKey::generate_ed25519();
    let brought = EndpointInput {
        secret: Some(key.secret_text().to_string()),
        ..input("https://example.com/", &["*"])
    };
    let created = world.create(world.mine, brought).await.unwrap();
    assert_eq!(created.secret, key.secret_text());
    assert_eq!(
        receiver_secret(&created).unwrap().as_str(),
        key.public_text().unwrap()
    );
}

async fn other_organizations_get_nothing(world: &World) {
    let mine = world.endpoint().await;
    let management = &world.management;
    assert_eq!(
        code(get(world, world.theirs, mine.id).await),
        "GetEndpoint.NotFound"
    );
    assert_eq!(
        management
            .endpoints(world.theirs, Page::first(9))
            .await
            .unwrap()
            .items,
        []
    );
    let mut transaction = world.begin().await;
    let change = EndpointPatch::default();
    let refused = management
        .patch_endpoint(&mut transaction, world.theirs, mine.id, change, NOW)
        .await;
    assert_eq!(code(refused), "UpdateEndpoint.NotFound");
    let refused = management
        .delete_endpoint(&mut transaction, world.theirs, mine.id, NOW)
        .await;
    assert_eq!(code(refused), "DeleteEndpoint.NotFound");
    let refused = management
        .rotate_secret(&mut transaction, (world.theirs, mine.id), None, None, NOW)
        .await;
    assert_eq!(code(refused), "RotateEndpointSecret.NotFound");
    let refused = management
        .send_example(&mut transaction, (world.theirs, mine.id), None, NOW, None)
        .await;
    assert_eq!(code(refused), "TestEndpoint.NotFound");
    transaction.rollback().await.unwrap();
    let refused = management
        .endpoint_stats(world.theirs, mine.id, (None, None), NOW)
        .await;
    assert_eq!(code(refused), "GetEndpointStats.NotFound");
    assert_eq!(get(world, world.mine, mine.id).await.unwrap(), mine);
}

async fn the_engine_loads_what_was_written(world: &World) {
    let full = EndpointInput {
        headers: BTreeMap::from([("X-Tenant".to_owned(), "7".to_owned())]),
        rate_limit: Some(5),
        timeout_seconds: Some(3),
        retry_schedule: Some(vec![1, 2]),
        ..input("https://example.com/hook", &["CUSTOMER_CREATED"])
    };
    let written = world.create(world.mine, full).await.unwrap();
    let loaded = load_endpoints(&world.store).await.unwrap();
    let [config] = loaded.as_slice() else {
        panic!("{loaded:?}")
    };
    assert_eq!(
        (config.id, config.scope, config.enabled),
        (written.id, world.mine, true)
    );
    assert_eq!((config.rate_limit, config.timeout), (Some(5), seconds(3)));
    assert_eq!(config.schedule.as_ref().unwrap().as_seconds(), [1, 2]);
    assert_eq!(config.headers["x-tenant"], "7");
    let name = config
        .subscriptions
        .delivered_name("CUSTOMER_CREATION", "com.kaiten.customer.v1.created");
    assert_eq!(name, Some("CUSTOMER_CREATED"));
}

async fn the_window_of_statistics_is_bounded(world: &World) {
    let id = world.endpoint().await.id;
    let stats = async |since, until| {
        world
            .management
            .endpoint_stats(world.mine, id, (since, until), NOW)
            .await
    };
    assert!(stats(None, None).await.unwrap().complete);
    assert!(stats(Some(NOW - MAX_STATS_WINDOW), Some(NOW)).await.is_ok());
    assert_eq!(
        locations(stats(Some(NOW - MAX_STATS_WINDOW - seconds(1)), Some(NOW)).await),
        ["query.since"]
    );
    assert_eq!(
        locations(stats(Some(NOW + seconds(1)), None).await),
        ["query.since"]
    );
}
