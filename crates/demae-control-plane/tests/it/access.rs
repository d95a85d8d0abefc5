//! Service accounts and tokens: what they open, and until when.

use std::time::Duration;

use demae_control_plane::{
    Actor, Change, Scope, ScopeSet,
    scope::Module,
    service_accounts::{self, CreateServiceAccount},
    token::{AuthError, authenticate},
    tokens::{self, CreateToken, PlainToken},
};
use demae_event::Timestamp;
use demae_store::repository::Page;

use crate::support::{NOW, World, code, locations};

on_both_databases!(
    a_token_opens_its_own_organization_until_it_is_revoked,
    a_token_expires,
    a_token_does_not_outlive_its_maker,
    unknown_tokens_open_nothing,
    nobody_gives_away_what_they_do_not_have,
    accounts_stay_in_their_organization,
    slugs_are_derived_and_unique,
    every_fault_is_told,
    the_models_have_the_documented_keys,
    every_change_is_in_the_audit_trail,
);

async fn account(world: &World, actor: &Actor, name: &str) -> service_accounts::ServiceAccount {
    let mut transaction = world.begin().await;
    let input = CreateServiceAccount {
        name: name.to_owned(),
        ..Default::default()
    };
    let account = service_accounts::create(&mut Change::new(&mut transaction, actor, NOW), input)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    account
}

async fn issue(world: &World, actor: &Actor, account: &str, input: CreateToken) -> PlainToken {
    let mut transaction = world.begin().await;
    let token = tokens::create(&mut Change::new(&mut transaction, actor, NOW), account, input)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    token
}

fn named(name: &str) -> CreateToken {
    CreateToken {
        name: name.to_owned(),
        ..Default::default()
    }
}

fn scopes(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn a_token_opens_its_own_organization_until_it_is_revoked(world: &World) {
    let account = account(world, &world.mine, "CI").await;
    let new = CreateToken {
        scopes: Some(scopes(&["read:customers"])),
        ..named("Deploy")
    };
    let token = issue(world, &world.mine, &account.slug, new).await;
    let actor = authenticate(&world.store, token.token.as_str(), NOW)
        .await
        .unwrap();
    assert_eq!(
        (actor.id, actor.organization_id),
        (account.id, world.mine.organization_id)
    );
    assert!(actor.may(Scope::read(Module::Customers)));
    assert!(!actor.may(Scope::write(Module::Customers)));

    for (organization, expected) in [(&world.theirs, Some("DeleteToken.NotFound")), (&world.mine, None)] {
        let mut transaction = world.begin().await;
        let slug = &token.details.slug;
        let revoked = tokens::revoke(
            &mut Change::new(&mut transaction, organization, NOW),
            &account.slug,
            slug,
        )
        .await;
        transaction.commit().await.unwrap();
        assert_eq!(
            revoked
                .err()
                .map(|error| error.code().unwrap().to_string())
                .as_deref(),
            expected
        );
    }
    let refused = authenticate(&world.store, token.token.as_str(), NOW).await;
    assert!(matches!(refused, Err(AuthError::Revoked)));
    // The answer may have been lost: once more is no error.
    let mut transaction = world.begin().await;
    tokens::revoke(
        &mut Change::new(&mut transaction, &world.mine, NOW),
        &account.slug,
        &token.details.slug,
    )
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    let listed = tokens::list(&world.store, &world.mine, &account.slug, Page::first(9))
        .await
        .unwrap();
    assert_eq!(listed.items[0].revoked_at, Some(NOW));
    assert_eq!(listed.items[0].revoked_by, Some(world.mine.user()));
}

async fn a_token_expires(world: &World) {
    let account = account(world, &world.mine, "CI").await;
    let end = NOW + Duration::from_mins(1);
    let token = issue(
        world,
        &world.mine,
        &account.slug,
        CreateToken {
            expires_at: Some(end),
            ..named("x1")
        },
    )
    .await;
    let before = end - Duration::from_micros(1);
    assert!(
        authenticate(&world.store, token.token.as_str(), before)
            .await
            .is_ok()
    );
    let refused = authenticate(&world.store, token.token.as_str(), end).await;
    assert!(matches!(refused, Err(AuthError::Expired)));
}

async fn a_token_does_not_outlive_its_maker(world: &World) {
    let account = account(world, &world.mine, "CI").await;
    let end = NOW + Duration::from_mins(1);
    let until = |slug: &str, expires_at: Option<Timestamp>| CreateToken {
        expires_at,
        ..named(slug)
    };
    let short = issue(world, &world.mine, &account.slug, until("short", Some(end))).await;
    let maker = authenticate(&world.store, short.token.as_str(), NOW)
        .await
        .unwrap();
    let make = async |input| {
        let mut transaction = world.begin().await;
        let made = tokens::create(
            &mut Change::new(&mut transaction, &maker, NOW),
            &account.slug,
            input,
        )
        .await;
        transaction.commit().await.unwrap();
        made
    };
    let inherited = make(until("inherited", None)).await.unwrap();
    assert_eq!(inherited.details.expires_at, Some(end));
    let until_then = make(until("until-then", Some(end))).await.unwrap();
    assert_eq!(until_then.details.expires_at, Some(end));
    let longer = make(until("longer", Some(end + Duration::from_micros(1)))).await;
    assert_eq!(code(longer), "CreateToken.ExpiryExceeded");
    // One of those in turn.
    let maker = authenticate(&world.store, inherited.token.as_str(), NOW)
        .await
        .unwrap();
    assert_eq!(maker.expires_at, Some(end));
}

async fn unknown_tokens_open_nothing(world: &World) {
    for text in [
        "",
        "ksh_",
        "ksh_unknown-token-text",
        "ksm_platform",
        &format!("ksh_{}", "x".repeat(10_000)),
    ] {
        assert!(
            matches!(
                authenticate(&world.store, text, NOW).await,
                Err(AuthError::Unknown)
            ),
            "{text}"
        );
    }
}

async fn nobody_gives_away_what_they_do_not_have(world: &World) {
    let admin = account(world, &world.mine, "Admin").await;
    let limited = CreateToken {
        scopes: Some(scopes(&["write:tokens", "read:customers"])),
        ..named("Limited")
    };
    let token = issue(world, &world.mine, &admin.slug, limited).await;
    let limited = authenticate(&world.store, token.token.as_str(), NOW)
        .await
        .unwrap();

    let mut transaction = world.begin().await;
    // All that the account may do is more than the caller may.
    let all = tokens::create(
        &mut Change::new(&mut transaction, &limited, NOW),
        &admin.slug,
        named("All"),
    )
    .await;
    assert_eq!(code(all), "CreateToken.ScopeExceeded");
    let more = CreateToken {
        scopes: Some(scopes(&["write:customers"])),
        ..named("More")
    };
    let more = tokens::create(
        &mut Change::new(&mut transaction, &limited, NOW),
        &admin.slug,
        more,
    )
    .await;
    assert_eq!(code(more), "CreateToken.ScopeExceeded");
    let wide = CreateServiceAccount {
        name: "Wide".into(),
        scopes: Some(scopes(&["read:*"])),
        ..Default::default()
    };
    let wide = service_accounts::create(&mut Change::new(&mut transaction, &limited, NOW), wide).await;
    assert_eq!(code(wide), "CreateServiceAccount.ScopeExceeded");

    let own = CreateServiceAccount {
        name: "Own".into(),
        ..Default::default()
    };
    let own = service_accounts::create(&mut Change::new(&mut transaction, &limited, NOW), own)
        .await
        .unwrap();
    assert_eq!(own.scopes, limited.scopes);
    // And even who may do everything cannot give an account's token more than the account has.
    let more = CreateToken {
        scopes: Some(scopes(&["write:customers"])),
        ..named("More")
    };
    let more = tokens::create(
        &mut Change::new(&mut transaction, &world.mine, NOW),
        &own.slug,
        more,
    )
    .await;
    assert_eq!(code(more), "CreateToken.ScopeExceeded");
    let same = CreateToken {
        scopes: Some(scopes(&["read:tokens"])),
        ..named("Same")
    };
    assert!(
        tokens::create(&mut Change::new(&mut transaction, &limited, NOW), &own.slug, same)
            .await
            .is_ok()
    );
}

async fn accounts_stay_in_their_organization(world: &World) {
    let mine = account(world, &world.mine, "CI").await;
    let theirs = account(world, &world.theirs, "CI").await;
    assert_eq!(mine.slug, theirs.slug);
    let got = service_accounts::get(&world.store, &world.theirs, &mine.slug)
        .await
        .unwrap();
    assert_eq!(got.id, theirs.id);
    let other = account(world, &world.mine, "Other").await;
    let refused = service_accounts::get(&world.store, &world.theirs, &other.slug).await;
    assert_eq!(code(refused), "GetServiceAccount.NotFound");
    let refused = tokens::list(&world.store, &world.theirs, &other.slug, Page::first(9)).await;
    assert_eq!(code(refused), "ListTokens.NotFound");
    let mut transaction = world.begin().await;
    let refused = service_accounts::rename(
        &mut Change::new(&mut transaction, &world.theirs, NOW),
        &other.slug,
        "Stolen",
    )
    .await;
    assert_eq!(code(refused), "UpdateServiceAccount.NotFound");
    let refused = tokens::create(
        &mut Change::new(&mut transaction, &world.theirs, NOW),
        &other.slug,
        named("Stolen"),
    )
    .await;
    assert_eq!(code(refused), "CreateToken.NotFound");
    service_accounts::rename(
        &mut Change::new(&mut transaction, &world.mine, NOW),
        &other.slug,
        "Renamed",
    )
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    let listed = service_accounts::list(&world.store, &world.mine, Page::first(9))
        .await
        .unwrap();
    let names: Vec<_> = listed.items.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["Administrator", "CI", "Renamed"]);
    // Each with its own tokens: the administrator's is the only one.
    let counts: Vec<_> = listed.items.iter().map(|account| account.tokens.len()).collect();
    assert_eq!(counts, [1, 0, 0]);
}

async fn slugs_are_derived_and_unique(world: &World) {
    let first = account(world, &world.mine, "Build Server").await;
    let second = account(world, &world.mine, "Build Server").await;
    assert_eq!(first.slug, "build-server");
    assert!(second.slug.starts_with("build-server-"), "{}", second.slug);
    let mut transaction = world.begin().await;
    let explicit = CreateServiceAccount {
        name: "X".into(),
        slug: Some("build-server".into()),
        ..Default::default()
    };
    let refused =
        service_accounts::create(&mut Change::new(&mut transaction, &world.mine, NOW), explicit).await;
    assert_eq!(code(refused), "CreateServiceAccount.SlugConflict");
    let explicit = CreateToken {
        slug: Some("one".into()),
        ..named("One")
    };
    tokens::create(
        &mut Change::new(&mut transaction, &world.mine, NOW),
        &first.slug,
        explicit.clone(),
    )
    .await
    .unwrap();
    let refused = tokens::create(
        &mut Change::new(&mut transaction, &world.mine, NOW),
        &first.slug,
        explicit,
    )
    .await;
    assert_eq!(code(refused), "CreateToken.SlugConflict");
}

async fn every_fault_is_told(world: &World) {
    let mut transaction = world.begin().await;
    let bad = CreateServiceAccount {
        name: " ".into(),
        slug: Some("-".into()),
        scopes: Some(scopes(&["read:customers", "nonsense"])),
    };
    let refused = service_accounts::create(&mut Change::new(&mut transaction, &world.mine, NOW), bad).await;
    assert_eq!(locations(refused), ["name", "slug", "scopes[1]"]);
    let bad = CreateToken {
        name: "x\u{0}".into(),
        slug: Some("A".into()),
        scopes: Some(scopes(&["x"])),
        expires_at: Some(NOW),
    };
    let refused = tokens::create(
        &mut Change::new(&mut transaction, &world.mine, NOW),
        "administrator",
        bad,
    )
    .await;
    assert_eq!(locations(refused), ["name", "slug", "scopes[0]", "expires_at"]);
}

async fn the_models_have_the_documented_keys(world: &World) {
    let account = account(world, &world.mine, "CI").await;
    let token = issue(world, &world.mine, &account.slug, named("Deploy")).await;
    let shown = serde_json::to_value(&token).unwrap();
    assert_eq!(shown["token"], token.token.as_str());
    assert_eq!(shown["scopes"], serde_json::Value::Null);
    assert_eq!(
        shown["createdBy"],
        serde_json::json!({"id": world.mine.id, "name": "Administrator"})
    );
    assert_eq!(shown["createdAt"], NOW.to_string());
    let got = service_accounts::get(&world.store, &world.mine, &account.slug)
        .await
        .unwrap();
    let shown = serde_json::to_value(&got).unwrap();
    let keys: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["id", "name", "slug", "scopes", "tokens", "createdAt", "createdBy"]
    );
    assert_eq!(shown["tokens"][0]["slug"], "deploy");
    assert!(shown["tokens"][0].get("token").is_none());
    assert_eq!(shown["scopes"], serde_json::to_value(ScopeSet::all()).unwrap());
}

async fn every_change_is_in_the_audit_trail(world: &World) {
    let account = account(world, &world.mine, "CI").await;
    let token = issue(world, &world.mine, &account.slug, named("Deploy")).await;
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    service_accounts::rename(&mut change, &account.slug, "Robot")
        .await
        .unwrap();
    for _ in 0..2 {
        tokens::revoke(&mut change, &account.slug, &token.details.slug)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    let entries = world.audited().await;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.event_name.as_str(), entry.resource_slug.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("SERVICE_ACCOUNT_CREATION", "ci"),
            ("TOKEN_CREATION", "deploy"),
            ("SERVICE_ACCOUNT_UPDATE", "ci"),
            ("TOKEN_REVOCATION", "deploy"),
        ]
    );
    assert!(entries[2].payload.contains("Robot"));
    assert!(
        entries
            .iter()
            .all(|entry| !entry.payload.contains(token.token.as_str()))
    );
    // None of them is an event.
    assert_eq!(world.event_names().await, [""; 0]);
}
