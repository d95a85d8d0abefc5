//! The exchange of the key under which secrets are sealed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use demae_store::{
    Store, StoreOptions, Vault,
    repository::{
        endpoints,
        idempotency::{self, Request, Reservation},
        sealed,
    },
};

use super::{Two, endpoint as example};
use crate::support::{NOW, TestStore, seconds};

on_both_databases!(every_stored_secret_is_resealed_in_steps_and_only_once);

const OLD: &str = "the old key of at least thirty-two characters";
const NEW: &str = "the new key of at least thirty-two characters";
/// More than one step of endpoints.
const ENDPOINTS: usize = 130;

async fn open(store: &TestStore, vault: Vault) -> Store {
    Store::connect(StoreOptions::new(store.url(), vault))
        .await
        .unwrap()
}

/// Every step of both tables; how many rows changed and which could not be read.
async fn reseal(store: &Store) -> (u64, Vec<String>) {
    let (mut resealed, mut unreadable, mut steps) = (0, Vec::new(), 0);
    let mut after = None;
    loop {
        let step = sealed::reseal_endpoints(store, after).await.unwrap();
        resealed += step.resealed;
        unreadable.extend(step.unreadable);
        steps += 1;
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    assert!(steps > 1, "one transaction would hold them all");
    let step = sealed::reseal_answers(store, None).await.unwrap();
    assert!(step.next.is_none());
    unreadable.extend(step.unreadable);
    (resealed + step.resealed, unreadable)
}

async fn every_stored_secret_is_resealed_in_steps_and_only_once(store: &TestStore) {
    let two = Two::organizations(store).await;
    let (old, new) = (Vault::from_text(OLD).unwrap(), Vault::from_text(NEW).unwrap());
    let during = Vault::from_text(NEW).unwrap().with_previous(OLD).unwrap();
    let stranger = Vault::from_text(&Vault::generate_text()).unwrap();

    let before = open(store, old.clone()).await;
    let mut made = Vec::new();
    let mut transaction = before.begin().await.unwrap();
    for number in 0..ENDPOINTS {
        let endpoint = example(if number % 2 == 0 { two.mine } else { two.theirs });
        let vault = if number == 7 { &stranger } else { before.vault() };
        assert!(
            endpoints::insert(&mut transaction, vault, &endpoint, 1_000)
                .await
                .unwrap()
        );
        made.push(endpoint);
    }
    let request = Request {
        organization_id: two.mine.organization,
        key_digest: [7; 32],
        request_digest: [1; 32],
        expires_at: NOW + seconds(60),
    };
    let owner = idempotency::owner(two.mine.organization, &request.key_digest);
    idempotency::reserve(&mut transaction, &request, NOW)
        .await
        .unwrap();
    let sealed = STANDARD.encode(old.seal(&owner, b"answer"));
    idempotency::complete(&mut transaction, &request, 201, &sealed)
        .await
        .unwrap();
    transaction.commit().await.unwrap();

    let exchange = open(store, during).await;
    let (resealed, unreadable) = reseal(&exchange).await;
    assert_eq!(
        resealed, ENDPOINTS as u64,
        "all endpoints but one, and the answer"
    );
    assert_eq!(unreadable, [format!("endpoint {}", made[7].id)]);
    assert_eq!(reseal(&exchange).await.0, 0, "a second run finds nothing to do");

    let after = open(store, new).await;
    for (number, endpoint) in made.iter().enumerate() {
        let found = endpoints::find(after.reader(), after.vault(), endpoint.scope, endpoint.id).await;
        if number == 7 {
            assert!(found.is_err());
        } else {
            assert_eq!(found.unwrap().as_ref(), Some(endpoint));
        }
    }
    let mut transaction = after.begin().await.unwrap();
    let found = idempotency::reserve(&mut transaction, &request, NOW)
        .await
        .unwrap();
    let Reservation::Answered { answer, .. } = found else {
        panic!("{found:?}")
    };
    let opened = after
        .vault()
        .open(&owner, &STANDARD.decode(answer).unwrap())
        .unwrap();
    assert_eq!(&**opened, b"answer");
}
