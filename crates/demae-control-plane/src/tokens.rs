//! API tokens of service accounts (kaiten.md, section 2.10).

use demae_event::{Timestamp, id::new_uuid};
use demae_fields::{Input, Shown};
use demae_store::{
    Store, StoreError,
    entity::api_token::Model,
    repository::{self, Listing, Page, api_tokens::Revoker},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, User,
    account::{Scopes, find, parse_scopes, refuse_more},
    change::Subject,
    error::Operation,
    fields::{NAME, Slug},
    model::{time, user},
    scope::ScopeSet,
    slug,
    token::TokenText,
};

/// A token, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    #[shown(example = "deploy")]
    pub name: String,
    /// Name in URLs.
    #[shown(example = "deploy")]
    pub slug: String,
    /// What it may do; null means what its service account may do.
    pub scopes: Option<ScopeSet>,
    /// Whom it acts for.
    pub service_account_id: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
    /// When its time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<User>,
}

/// A new token with its text, which is never shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlainToken {
    /// The token.
    #[serde(flatten)]
    pub details: Token,
    /// Its text.
    pub token: TokenText,
}

/// A new token.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "deploy", "scopes": ["write:webhooks"]}))]
pub struct CreateToken {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// Name in URLs; derived from the name if left out.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// What it may do; null or left out: what its service account may do. Nobody gives what they do not have.
    #[input(kind = Scopes)]
    pub scopes: Option<Vec<String>>,
    /// When its time is over; never if left out. A token made with a token that expires does not outlive it: it ends at
    /// the same time if this is left out.
    pub expires_at: Option<Timestamp>,
}

/// Makes a token. It can do neither more than its service account nor more than its maker, and not for longer.
pub async fn create(
    change: &mut Change<'_>,
    service_account: &str,
    input: CreateToken,
) -> Result<PlainToken, DomainError> {
    let (actor, now, text) = (change.actor, change.now, TokenText::generate());
    let operation = Operation("CreateToken");
    let mut faults = input.check();
    let scopes = input
        .scopes
        .as_ref()
        .map(|words| parse_scopes(&mut faults, words));
    if let Some(end) = input.expires_at.filter(|end| *end <= now) {
        faults.push_value("expires_at", "must be in the future", end.to_string());
    }
    operation.check(faults)?;
    let account = find(change.transaction.connection(), operation, actor, service_account).await?;
    let granted = ScopeSet::from_column(&account.scopes);
    let effective = scopes.as_ref().unwrap_or(&granted);
    refuse_more(operation, &granted, effective)?;
    refuse_more(operation, &actor.scopes, effective)?;
    let expires_at = input.expires_at.or(actor.expires_at);
    if let (Some(asked), Some(end)) = (expires_at, actor.expires_at)
        && asked > end
    {
        let detail = format!("a token made with one that expires at {end} must not outlive it");
        return Err(operation.forbidden("ExpiryExceeded", detail));
    }
    let row = |slug: String| Model {
        id: new_uuid(now),
        organization_id: actor.organization_id.0,
        service_account_id: account.id,
        name: input.name.clone(),
        slug,
        digest: text.digest().to_vec(),
        scopes: scopes.as_ref().map(ScopeSet::to_column),
        created_at: now.as_micros(),
        created_by_id: Some(actor.id),
        created_by_name: Some(actor.name.clone()),
        expires_at: expires_at.map(Timestamp::as_micros),
        revoked_at: None,
        revoked_by_id: None,
        revoked_by_name: None,
    };
    let mut taken = String::new();
    for slug in slug::candidates(input.slug.as_deref(), &input.name) {
        let row = row(slug);
        if repository::api_tokens::insert(change.transaction, row.clone()).await? {
            let details = Token::from(row);
            note(change, "TOKEN_CREATION", "com.kaiten.token.v1.created", &details).await?;
            return Ok(PlainToken { details, token: text });
        }
        taken = row.slug;
    }
    Err(operation.slug_taken(&taken))
}

/// The tokens of a service account, revoked ones included, by slug.
pub async fn list(
    store: &Store,
    actor: &Actor,
    service_account: &str,
    page: Page<String>,
) -> Result<Listing<Token, String>, DomainError> {
    let connection = store.reader();
    let account = find(connection, Operation("ListTokens"), actor, service_account).await?;
    let listing = repository::api_tokens::list(connection, actor.organization_id, account.id, page).await?;
    Ok(listing.map(Token::from))
}

/// Revokes a token at once. Revoking it again changes nothing and is no error: an answer may have been lost.
pub async fn revoke(change: &mut Change<'_>, service_account: &str, token: &str) -> Result<(), DomainError> {
    let operation = Operation("DeleteToken");
    let (actor, organization) = (change.actor, change.organization_id());
    let connection = change.transaction.connection();
    let account = find(connection, operation, actor, service_account).await?;
    let found = repository::api_tokens::find(connection, organization, account.id, token)
        .await?
        .ok_or(operation.not_found("token"))?;
    let by = Revoker {
        id: actor.id,
        name: &actor.name,
    };
    if repository::api_tokens::revoke(change.transaction, organization, found.id, change.now, by).await? {
        let revoked = Token {
            revoked_at: Some(change.now),
            revoked_by: Some(actor.user()),
            ..found.into()
        };
        note(
            change,
            "TOKEN_REVOCATION",
            "com.kaiten.token.v1.revoked",
            &revoked,
        )
        .await?;
    }
    Ok(())
}

/// Writes the entry in the audit trail, which never holds the token's text.
async fn note(
    change: &mut Change<'_>,
    name: &'static str,
    event_type: &'static str,
    token: &Token,
) -> Result<(), StoreError> {
    let subject = Subject::new("token", token.id, &token.slug);
    change.note(name, event_type, subject, token).await
}

impl From<Model> for Token {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            slug: row.slug,
            scopes: row.scopes.as_deref().map(ScopeSet::from_column),
            service_account_id: row.service_account_id,
            created_at: time(row.created_at),
            // The first token of all was made by nobody but its own service account.
            created_by: user(row.created_by_id, row.created_by_name).unwrap_or(User {
                id: row.service_account_id,
                name: None,
            }),
            expires_at: row.expires_at.map(time),
            revoked_at: row.revoked_at.map(time),
            revoked_by: user(row.revoked_by_id, row.revoked_by_name),
        }
    }
}
