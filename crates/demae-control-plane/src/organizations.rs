//! Organizations: making them, and the first of all.

use demae_event::{Faults, OrganizationId, Timestamp, id::new_uuid};
use demae_store::{
    Store, Transaction,
    entity::{api_token, organization, service_account},
    repository::{self, Listing, Page},
};
use serde::Serialize;

use crate::{
    DomainError,
    error::Operation,
    fields::{check_name, check_optional},
    model::time,
    scope::ScopeSet,
    slug,
    token::TokenText,
};

/// Longest external id, in characters.
const MAX_EXTERNAL_ID: usize = 255;
/// The organization made on the first start.
const FIRST_ORGANIZATION: &str = "Default";
/// The service account that each organization begins with.
const FIRST_ACCOUNT: &str = "Administrator";
/// Its token.
const FIRST_TOKEN: &str = "Bootstrap";

/// An organization. Its keys are those of kaiten.md, section 2.10.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Organization {
    /// Its identity.
    pub id: OrganizationId,
    /// The identity provider's id for it.
    pub external_id: Option<String>,
    /// Display name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What is needed to make one.
#[derive(Debug, Clone, Default)]
pub struct CreateOrganization {
    /// Display name.
    pub name: String,
    /// The identity provider's id for it.
    pub external_id: Option<String>,
}

/// A new organization with the token that opens it.
#[derive(Debug, Clone)]
pub struct NewOrganization {
    /// The organization.
    pub organization: Organization,
    /// The slug of its service account.
    pub service_account: String,
    /// The token, which may do everything in it; never shown again.
    pub token: TokenText,
}

/// Makes an organization with a service account and a token that may do everything in it.
pub async fn create(
    transaction: &mut Transaction,
    input: CreateOrganization,
    now: Timestamp,
) -> Result<NewOrganization, DomainError> {
    create_with_token(transaction, input, TokenText::generate(), now).await
}

/// One organization.
pub async fn get(store: &Store, id: OrganizationId) -> Result<Organization, DomainError> {
    let found = repository::organizations::find(store.reader(), id).await?;
    found
        .map(Organization::from)
        .ok_or(Operation("GetOrganization").not_found("organization"))
}

/// All organizations, oldest first. For operators.
pub async fn list(
    store: &Store,
    page: Page<OrganizationId>,
) -> Result<Listing<Organization, OrganizationId>, DomainError> {
    Ok(repository::organizations::list(store.reader(), page)
        .await?
        .map(Organization::from))
}

/// What the start of a process found or made.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Whether the organization was made now.
    pub created: bool,
    /// The first organization.
    pub organization: Organization,
    /// The text of a token that was made now; print it, it is never shown again.
    pub token: Option<TokenText>,
}

/// Makes sure that there is an organization, and that `token`, if given, opens the first one.
///
/// Safe in any number of processes at once, and changes nothing the second time. A token that was revoked stays so.
pub async fn bootstrap(
    store: &Store,
    token: Option<TokenText>,
    now: Timestamp,
) -> Result<Bootstrap, DomainError> {
    if let Some(found) = settled(store, token.as_ref()).await? {
        return Ok(found);
    }
    let mut transaction = store.begin().await?;
    repository::organizations::lock_creation(&mut transaction).await?;
    let first = repository::organizations::first(transaction.connection()).await?;
    let bootstrap = match first {
        None => {
            let input = CreateOrganization {
                name: FIRST_ORGANIZATION.to_owned(),
                external_id: None,
            };
            let text = token.unwrap_or_else(TokenText::generate);
            let new = create_with_token(&mut transaction, input, text, now).await?;
            Bootstrap {
                created: true,
                organization: new.organization,
                token: Some(new.token),
            }
        }
        Some(row) => {
            let token = match token {
                Some(text) => add_token(&mut transaction, &row, text, now).await?,
                None => None,
            };
            Bootstrap {
                created: false,
                organization: row.into(),
                token,
            }
        }
    };
    transaction.commit().await?;
    Ok(bootstrap)
}

/// The usual start: everything is there, and nothing has to be locked.
async fn settled(store: &Store, token: Option<&TokenText>) -> Result<Option<Bootstrap>, DomainError> {
    let connection = store.reader();
    let Some(organization) = repository::organizations::first(connection).await? else {
        return Ok(None);
    };
    if let Some(text) = token
        && repository::api_tokens::find_by_digest(connection, &text.digest())
            .await?
            .is_none()
    {
        return Ok(None);
    }
    Ok(Some(Bootstrap {
        created: false,
        organization: organization.into(),
        token: None,
    }))
}

async fn create_with_token(
    transaction: &mut Transaction,
    input: CreateOrganization,
    text: TokenText,
    now: Timestamp,
) -> Result<NewOrganization, DomainError> {
    let operation = Operation("CreateOrganization");
    let mut faults = Faults::new();
    check_name(&mut faults, "name", &input.name);
    check_optional(
        &mut faults,
        "external_id",
        input.external_id.as_deref(),
        MAX_EXTERNAL_ID,
    );
    operation.check(faults)?;
    let row = organization::Model {
        id: OrganizationId::new(now).0,
        external_id: input.external_id,
        name: input.name,
        created_at: now.as_micros(),
    };
    if !repository::organizations::insert(transaction, row.clone()).await? {
        return Err(operation.conflict("ExternalIdTaken", "the external id is taken"));
    }
    let account = add_account(transaction, &row, now).await?;
    let token = first_token(&account, &text, slug::derive(FIRST_TOKEN), now);
    if !repository::api_tokens::insert(transaction, token).await? {
        return Err(operation.conflict("TokenTaken", "the token belongs to another organization"));
    }
    Ok(NewOrganization {
        organization: row.into(),
        service_account: account.slug,
        token: text,
    })
}

/// Adds a chosen token to an organization that exists; `None` if it was known already.
async fn add_token(
    transaction: &mut Transaction,
    organization: &organization::Model,
    text: TokenText,
    now: Timestamp,
) -> Result<Option<TokenText>, DomainError> {
    let connection = transaction.connection();
    if repository::api_tokens::find_by_digest(connection, &text.digest())
        .await?
        .is_some()
    {
        return Ok(None);
    }
    let id = OrganizationId(organization.id);
    let slug = slug::derive(FIRST_ACCOUNT);
    let account = match repository::service_accounts::find(connection, id, &slug).await? {
        Some(account) => account,
        None => add_account(transaction, organization, now).await?,
    };
    let slug = slug::with_suffix(&slug::derive(FIRST_TOKEN));
    repository::api_tokens::insert(transaction, first_token(&account, &text, slug, now)).await?;
    Ok(Some(text))
}

async fn add_account(
    transaction: &mut Transaction,
    organization: &organization::Model,
    now: Timestamp,
) -> Result<service_account::Model, DomainError> {
    let account = service_account::Model {
        id: new_uuid(now),
        organization_id: organization.id,
        name: FIRST_ACCOUNT.to_owned(),
        slug: slug::derive(FIRST_ACCOUNT),
        external_id: None,
        scopes: ScopeSet::all().to_column(),
        created_at: now.as_micros(),
        created_by_id: None,
        created_by_name: None,
    };
    repository::service_accounts::insert(transaction, account.clone()).await?;
    Ok(account)
}

fn first_token(
    account: &service_account::Model,
    text: &TokenText,
    slug: String,
    now: Timestamp,
) -> api_token::Model {
    api_token::Model {
        id: new_uuid(now),
        organization_id: account.organization_id,
        service_account_id: account.id,
        name: FIRST_TOKEN.to_owned(),
        slug,
        digest: text.digest().to_vec(),
        scopes: None,
        created_at: now.as_micros(),
        created_by_id: None,
        created_by_name: None,
        expires_at: None,
        revoked_at: None,
        revoked_by_id: None,
        revoked_by_name: None,
    }
}

impl From<organization::Model> for Organization {
    fn from(row: organization::Model) -> Self {
        Self {
            id: OrganizationId(row.id),
            external_id: row.external_id,
            name: row.name,
            created_at: time(row.created_at),
        }
    }
}
