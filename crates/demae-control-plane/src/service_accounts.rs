//! Service accounts: machine users, in whose name tokens act (kaiten.md, section 2.10).

use demae_event::{Faults, Timestamp, id::new_uuid};
use demae_fields::{
    Input, Kind as _, Shape as _, Shown,
    schema::{array, example},
};
use demae_store::{
    Store, StoreError,
    entity::{api_token, service_account::Model},
    repository::{self, Listing, Page},
};
use sea_orm::ConnectionTrait;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, User,
    account::{RESOURCE, Scopes, find, parse_scopes, refuse_more},
    change::Subject,
    error::Operation,
    fields::{NAME, Slug},
    model::{time, user},
    scope::ScopeSet,
    slug,
    tokens::Token,
};

/// Tokens shown with a service account; the rest is in their own list.
const TOKENS_SHOWN: u64 = 200;

/// A machine user, in whose name tokens act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    #[shown(example = "CI")]
    pub name: String,
    /// Name in URLs; never changes.
    #[shown(example = "ci")]
    pub slug: String,
    /// Its id elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What its tokens may do unless they were made for less.
    #[shown(schema = array(example(String::shape(), vec!["write:customers", "read:webhooks"])))]
    pub scopes: ScopeSet,
    /// Its first tokens, revoked ones included.
    pub tokens: Vec<Token>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom; absent for the one made on the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<User>,
}

/// A new service account.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "CI", "scopes": ["write:webhooks"]}))]
pub struct CreateServiceAccount {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// Name in URLs; derived from the name if left out.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// What its tokens may do at most; what the caller may do if left out. Nobody gives what they do not have.
    #[input(kind = Scopes)]
    pub scopes: Option<Vec<String>>,
}

/// A service account's new name.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "CI"}))]
pub struct ReplaceServiceAccount {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
}

/// Makes a service account, which cannot do more than its maker.
pub async fn create(
    change: &mut Change<'_>,
    input: CreateServiceAccount,
) -> Result<ServiceAccount, DomainError> {
    let (actor, now) = (change.actor, change.now);
    let operation = Operation("CreateServiceAccount");
    let mut faults = input.check();
    let scopes = match &input.scopes {
        Some(words) => parse_scopes(&mut faults, words),
        None => actor.scopes.clone(),
    };
    operation.check(faults)?;
    refuse_more(operation, &actor.scopes, &scopes)?;
    let row = |slug: String| Model {
        id: new_uuid(now),
        organization_id: actor.organization_id.0,
        name: input.name.clone(),
        slug,
        external_id: None,
        scopes: scopes.to_column(),
        created_at: now.as_micros(),
        created_by_id: Some(actor.id),
        created_by_name: Some(actor.name.clone()),
    };
    let mut taken = String::new();
    for slug in slug::candidates(input.slug.as_deref(), &input.name) {
        let row = row(slug);
        if repository::service_accounts::insert(change.transaction, row.clone()).await? {
            let account = model(row, Vec::new());
            let event_type = "com.kaiten.service_account.v1.created";
            note(change, "SERVICE_ACCOUNT_CREATION", event_type, &account).await?;
            return Ok(account);
        }
        taken = row.slug;
    }
    Err(operation.slug_taken(&taken))
}

/// One service account.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<ServiceAccount, DomainError> {
    let connection = store.reader();
    let row = find(connection, Operation("GetServiceAccount"), actor, slug).await?;
    shown(connection, actor, row).await
}

/// With its first tokens.
async fn shown(
    connection: &impl ConnectionTrait,
    actor: &Actor,
    row: Model,
) -> Result<ServiceAccount, DomainError> {
    let page = Page::first(TOKENS_SHOWN as u32);
    let tokens = repository::api_tokens::list(connection, actor.organization_id, row.id, page).await?;
    Ok(model(row, tokens.items))
}

/// The service accounts of the actor's organization, by slug.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<String>,
) -> Result<Listing<ServiceAccount, String>, DomainError> {
    let connection = store.reader();
    let listing = repository::service_accounts::list(connection, actor.organization_id, page).await?;
    let ids: Vec<Uuid> = listing.items.iter().map(|row| row.id).collect();
    let mut tokens =
        repository::api_tokens::of_accounts(connection, actor.organization_id, &ids, TOKENS_SHOWN).await?;
    Ok(listing.map(|row| {
        let (own, others) = tokens
            .drain(..)
            .partition(|token| token.service_account_id == row.id);
        tokens = others;
        model(row, own)
    }))
}

/// Gives a service account another name.
pub async fn rename(change: &mut Change<'_>, slug: &str, name: &str) -> Result<(), DomainError> {
    let operation = Operation("UpdateServiceAccount");
    let mut faults = Faults::new();
    NAME.check(&name.to_owned(), "name", &mut faults);
    operation.check(faults)?;
    let organization = change.organization_id();
    let row = repository::service_accounts::find_for_update(change.transaction, organization, slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    let current = shown(change.transaction.connection(), change.actor, row.clone()).await?;
    change.check_expected(operation, &current)?;
    repository::service_accounts::rename(change.transaction, organization, row.id, name).await?;
    let row = Model {
        name: name.to_owned(),
        ..row
    };
    let account = model(row, Vec::new());
    let event_type = "com.kaiten.service_account.v1.updated";
    note(change, "SERVICE_ACCOUNT_UPDATE", event_type, &account).await?;
    Ok(())
}

/// Writes the entry in the audit trail; tokens are not in it.
async fn note(
    change: &mut Change<'_>,
    name: &'static str,
    event_type: &'static str,
    account: &ServiceAccount,
) -> Result<(), StoreError> {
    let subject = Subject::new("service_account", account.id, &account.slug);
    change.note(name, event_type, subject, account).await
}

fn model(row: Model, tokens: Vec<api_token::Model>) -> ServiceAccount {
    ServiceAccount {
        id: row.id,
        name: row.name,
        slug: row.slug,
        external_id: row.external_id,
        scopes: ScopeSet::from_column(&row.scopes),
        tokens: tokens.into_iter().map(Token::from).collect(),
        created_at: time(row.created_at),
        created_by: user(row.created_by_id, row.created_by_name),
    }
}
