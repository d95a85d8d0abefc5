//! What can never become an event: kept within bounds, listed, forgotten.

use demae_store::repository::{
    Page,
    rejected::{self, BODY_LIMIT, NewRejected},
    retention,
};
use uuid::Uuid;

use crate::support::{NOW, TestStore, seconds};

on_both_databases!(
    what_arrived_is_kept_as_it_was,
    a_long_body_is_cut_and_its_length_told,
    the_last_comes_first_page_by_page,
    one_is_forgotten_by_its_id,
    the_old_and_the_surplus_go,
    what_nobody_has_looked_at_is_kept,
);

async fn reject(store: &TestStore, body: &[u8], after: u64) -> Uuid {
    let rejected = NewRejected {
        source: "dapr",
        reason: "no JSON",
        body,
    };
    let mut transaction = store.begin().await;
    let id = rejected::insert(&mut transaction, rejected, NOW + seconds(after))
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    id
}

async fn ids(store: &TestStore) -> Vec<Uuid> {
    let listing = rejected::list(store.store.reader(), Page::first(100))
        .await
        .unwrap();
    listing.items.into_iter().map(|rejected| rejected.id).collect()
}

async fn what_arrived_is_kept_as_it_was(store: &TestStore) {
    let hostile = b"\0\xff{\"a\": \"\xc3\xa9\"}";
    let id = reject(store, hostile, 0).await;
    let (kept, body) = rejected::find(store.store.reader(), id).await.unwrap().unwrap();
    assert_eq!(body, hostile);
    assert_eq!((kept.source.as_str(), kept.reason.as_str()), ("dapr", "no JSON"));
    assert_eq!((kept.received_at, kept.body_size), (NOW, hostile.len() as u64));
    assert!(kept.is_whole());

    // A reason may quote what nobody can store.
    let mut transaction = store.begin().await;
    let odd = NewRejected {
        source: "a\0b",
        reason: &"\0é".repeat(2_000),
        body: b"",
    };
    let id = rejected::insert(&mut transaction, odd, NOW).await.unwrap();
    transaction.commit().await.unwrap();
    let (kept, _) = rejected::find(store.store.reader(), id).await.unwrap().unwrap();
    assert_eq!(kept.source, "a\u{fffd}b");
    assert!(kept.reason.starts_with("\u{fffd}é") && kept.reason.len() < 4_000);
}

async fn a_long_body_is_cut_and_its_length_told(store: &TestStore) {
    for length in [BODY_LIMIT, BODY_LIMIT + 1] {
        let id = reject(store, &vec![b'x'; length], 0).await;
        let (kept, body) = rejected::find(store.store.reader(), id).await.unwrap().unwrap();
        assert_eq!(body.len(), BODY_LIMIT);
        assert_eq!(kept.body_size, length as u64);
        assert_eq!(kept.is_whole(), length == BODY_LIMIT);
    }
}

async fn the_last_comes_first_page_by_page(store: &TestStore) {
    let [first, second, third] = [
        reject(store, b"1", 1).await,
        reject(store, b"2", 2).await,
        reject(store, b"3", 3).await,
    ];
    let page = rejected::list(store.store.reader(), Page::first(2))
        .await
        .unwrap();
    assert_eq!(
        page.items.iter().map(|r| r.id).collect::<Vec<_>>(),
        [third, second]
    );
    let rest = Page {
        limit: 2,
        after: page.next,
    };
    let page = rejected::list(store.store.reader(), rest).await.unwrap();
    assert_eq!(page.items.iter().map(|r| r.id).collect::<Vec<_>>(), [first]);
    assert_eq!(page.next, None);
    assert_eq!(rejected::count(store.store.reader()).await.unwrap(), 3);
}

async fn one_is_forgotten_by_its_id(store: &TestStore) {
    let [one, other] = [reject(store, b"1", 1).await, reject(store, b"2", 2).await];
    let mut transaction = store.begin().await;
    assert!(rejected::delete(&mut transaction, one).await.unwrap());
    assert!(!rejected::delete(&mut transaction, one).await.unwrap());
    transaction.commit().await.unwrap();
    assert_eq!(ids(store).await, [other]);
}

async fn the_old_and_the_surplus_go(store: &TestStore) {
    let mut kept = Vec::new();
    for second in 0..6 {
        kept.push(reject(store, b"x", second).await);
    }
    let purge = async |before, keep, limit| {
        let mut transaction = store.begin().await;
        let removed = retention::rejected(&mut transaction, before, keep, limit)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        removed
    };
    assert_eq!(purge(NOW + seconds(3), 100, 2).await, 2);
    assert_eq!(purge(NOW + seconds(3), 100, 2).await, 1);
    assert_eq!(purge(NOW + seconds(3), 100, 2).await, 0);
    assert_eq!(purge(NOW, 2, 100).await, 1);
    kept.reverse();
    assert_eq!(ids(store).await, kept[..2]);
}

async fn what_nobody_has_looked_at_is_kept(store: &TestStore) {
    let mut transaction = store.begin().await;
    let shop = NewRejected {
        source: "source:shop",
        reason: "no JSON",
        body: b"x",
    };
    for second in 0..3 {
        rejected::insert_unseen(&mut transaction, shop, NOW + seconds(second))
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    reject(store, b"x", 3).await;
    let unseen = async |source, limit| {
        rejected::unseen(store.store.reader(), source, limit)
            .await
            .unwrap()
    };
    assert_eq!(unseen("source:shop", 10).await, 3);
    assert_eq!(unseen("source:shop", 2).await, 2);
    assert_eq!(unseen("dapr", 10).await, 0);

    let sweep = async || {
        let mut transaction = store.begin().await;
        retention::rejected(&mut transaction, NOW + seconds(100), 1, 100)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        ids(store).await.len()
    };
    assert_eq!(sweep().await, 3, "old and too many, but unseen");
    let mut transaction = store.begin().await;
    assert_eq!(rejected::mark_seen(&mut transaction).await.unwrap(), 3);
    assert_eq!(rejected::mark_seen(&mut transaction).await.unwrap(), 0);
    transaction.commit().await.unwrap();
    assert_eq!(unseen("source:shop", 10).await, 0);
    assert_eq!(sweep().await, 0);
}
