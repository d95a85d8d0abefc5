//! The first start, the second, and several at once.

use demae_control_plane::{
    Scope,
    organizations::{self, bootstrap},
    scope::Module,
    token::{TokenText, authenticate},
};
use demae_store::{Store, repository::Page};

use crate::support::{NOW, empty_postgres, empty_sqlite};

#[tokio::test]
async fn on_sqlite() {
    let (store, _home) = empty_sqlite().await;
    starts_once_and_adds_a_chosen_token(&store).await;
}

#[tokio::test]
async fn on_postgres() {
    let (store, _home) = empty_postgres().await;
    starts_once_and_adds_a_chosen_token(&store).await;
}

async fn starts_once_and_adds_a_chosen_token(store: &Store) {
    let starts = futures::future::join_all((0..4).map(|_| bootstrap(store, None, NOW))).await;
    let starts: Vec<_> = starts.into_iter().map(Result::unwrap).collect();
    let made: Vec<_> = starts.iter().filter(|start| start.created).collect();
    assert_eq!(made.len(), 1);
    let organization = &made[0].organization;
    assert!(starts.iter().all(|start| start.organization == *organization));
    let text = made[0].token.clone().unwrap();
    assert!(
        starts
            .iter()
            .filter(|start| !start.created)
            .all(|start| start.token.is_none())
    );
    let actor = authenticate(store, text.as_str(), NOW).await.unwrap();
    assert_eq!(actor.organization_id, organization.id);
    assert!(actor.may(Scope::write(Module::Webhooks)));

    let chosen = TokenText::parse("ksh_chosen-by-an-operator-0123456789abcdef").unwrap();
    let starts = futures::future::join_all((0..4).map(|_| bootstrap(store, Some(chosen.clone()), NOW))).await;
    assert_eq!(
        starts
            .iter()
            .filter(|start| start.as_ref().unwrap().token.is_some())
            .count(),
        1
    );
    assert_eq!(authenticate(store, chosen.as_str(), NOW).await.unwrap(), actor);
    assert!(authenticate(store, text.as_str(), NOW).await.is_ok());
    assert_eq!(
        organizations::list(store, Page::first(9))
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

#[tokio::test]
async fn the_first_start_takes_a_chosen_token() {
    let (store, _home) = empty_sqlite().await;
    let chosen = TokenText::parse("ksh_chosen-by-an-operator-0123456789abcdef").unwrap();
    let start = bootstrap(&store, Some(chosen.clone()), NOW).await.unwrap();
    assert!(start.created);
    assert_eq!(start.token.as_ref(), Some(&chosen));
    assert!(authenticate(&store, chosen.as_str(), NOW).await.is_ok());
    let again = bootstrap(&store, Some(chosen), NOW).await.unwrap();
    assert!(!again.created && again.token.is_none());
}
