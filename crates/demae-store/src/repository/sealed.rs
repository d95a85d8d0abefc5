//! Re-seals stored secrets with the current key, in bounded steps.
//!
//! # Guarantees
//! A step changes only values that a previous key of the vault opens, and each row as a whole. A step that is repeated, or
//! that runs in two processes at once, changes nothing more, so an exchange of the key can stop anywhere and go on later.
//!
//! # Design
//! Every step is one transaction over at most [`STEP`] rows in the order of their key. Servers need not stop if they hold
//! both keys: the plaintext stays the same, so no cache has to be told.
//!
//! # Limits
//! A value that no key opens is left as it is and named in the result.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use demae_event::{EndpointId, OrganizationId};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use uuid::Uuid;

use super::idempotency;
use crate::{
    Store, StoreError,
    entity::{endpoint, idempotency_key},
};

/// Rows in one transaction.
const STEP: u64 = 100;

/// The key of a stored answer's row: organization and digest.
pub type AnswerKey = (Uuid, Vec<u8>);

/// What one step did.
#[derive(Debug)]
pub struct Step<K> {
    /// Rows that are sealed with the current key now and were not before.
    pub resealed: u64,
    /// Rows that no key of the vault opens.
    pub unreadable: Vec<String>,
    /// Where the next step begins; `None` at the end.
    pub next: Option<K>,
}

/// Re-seals the endpoints after `after`, deleted ones included: their history can still be read.
pub async fn reseal_endpoints(
    store: &Store,
    after: Option<EndpointId>,
) -> Result<Step<EndpointId>, StoreError> {
    use endpoint::{Column, Entity};
    let transaction = store.begin().await?;
    let mut query = Entity::find()
        .order_by_asc(Column::Id)
        .limit(STEP)
        .lock_exclusive();
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.0));
    }
    let rows = query.all(transaction.connection()).await?;
    let mut step = Step::of(&rows, |row| EndpointId(row.id));
    for row in rows {
        let values = [&row.headers, &row.secret, &row.previous_secrets];
        let Ok(resealed) = reseal(store, row.id.as_bytes(), values) else {
            step.unreadable.push(format!("endpoint {}", EndpointId(row.id)));
            continue;
        };
        let Some([headers, secret, previous_secrets]) = resealed else {
            continue;
        };
        Entity::update_many()
            .col_expr(Column::Headers, Expr::value(headers))
            .col_expr(Column::Secret, Expr::value(secret))
            .col_expr(Column::PreviousSecrets, Expr::value(previous_secrets))
            .filter(Column::Id.eq(row.id))
            .exec(transaction.connection())
            .await?;
        step.resealed += 1;
    }
    transaction.commit().await?;
    Ok(step)
}

/// Re-seals the answers to requests with an `Idempotency-Key` after `after`.
pub async fn reseal_answers(store: &Store, after: Option<AnswerKey>) -> Result<Step<AnswerKey>, StoreError> {
    use idempotency_key::{Column, Entity};
    let transaction = store.begin().await?;
    let mut query = Entity::find()
        .order_by_asc(Column::OrganizationId)
        .order_by_asc(Column::KeyDigest)
        .limit(STEP)
        .lock_exclusive();
    if let Some((organization, digest)) = after {
        query = query.filter(
            Condition::any().add(Column::OrganizationId.gt(organization)).add(
                Condition::all()
                    .add(Column::OrganizationId.eq(organization))
                    .add(Column::KeyDigest.gt(digest)),
            ),
        );
    }
    let rows = query.all(transaction.connection()).await?;
    let mut step = Step::of(&rows, |row| (row.organization_id, row.key_digest.clone()));
    for row in rows {
        let owner = idempotency::owner(OrganizationId(row.organization_id), &row.key_digest);
        let resealed = STANDARD
            .decode(&row.answer)
            .map_err(|_| StoreError::Unreadable("a stored answer"))
            .and_then(|sealed| reseal(store, &owner, [&sealed]));
        match resealed {
            Ok(Some([sealed])) => {
                Entity::update_many()
                    .col_expr(Column::Answer, Expr::value(STANDARD.encode(sealed)))
                    .filter(Column::OrganizationId.eq(row.organization_id))
                    .filter(Column::KeyDigest.eq(row.key_digest))
                    .exec(transaction.connection())
                    .await?;
                step.resealed += 1;
            }
            Ok(None) => {}
            Err(_) => step
                .unreadable
                .push(format!("a stored answer of organization {}", row.organization_id)),
        }
    }
    transaction.commit().await?;
    Ok(step)
}

impl<K> Step<K> {
    fn of<R>(rows: &[R], key: impl Fn(&R) -> K) -> Self {
        Self {
            resealed: 0,
            unreadable: Vec::new(),
            next: rows.last().filter(|_| rows.len() as u64 == STEP).map(key),
        }
    }
}

/// All values of one row; `None` if every one is sealed with the current key.
fn reseal<const N: usize>(
    store: &Store,
    owner: &[u8],
    values: [&Vec<u8>; N],
) -> Result<Option<[Vec<u8>; N]>, StoreError> {
    let mut changed = false;
    let mut resealed = values.map(Vec::clone);
    for value in &mut resealed {
        if let Some(sealed) = store.vault().reseal(owner, value)? {
            *value = sealed;
            changed = true;
        }
    }
    Ok(changed.then_some(resealed))
}
