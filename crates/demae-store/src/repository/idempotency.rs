//! Answers to requests that their senders may repeat.
//!
//! [`reserve`] and the work it guards share a transaction with [`complete`]. A second request with the same key waits in
//! [`reserve`] until the first one's transaction ends: then it finds the answer, or, if that was rolled back, does the
//! work itself.

use demae_event::{OrganizationId, Timestamp};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};

use super::insert_unless_taken;
use crate::{
    StoreError, Transaction,
    entity::idempotency_key::{ActiveModel, Column, Entity, Model},
};

/// A request that may be repeated.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Whose.
    pub organization_id: OrganizationId,
    /// SHA-256 of who asked, the operation and the key.
    pub key_digest: [u8; 32],
    /// SHA-256 of the request's body.
    pub request_digest: [u8; 32],
    /// Until when the answer is kept.
    pub expires_at: Timestamp,
}

/// What a sealed answer belongs to: its row's key.
pub fn owner(organization: OrganizationId, key_digest: &[u8]) -> Vec<u8> {
    [organization.0.as_bytes().as_slice(), key_digest].concat()
}

/// What is known of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// Nothing: do the work, then call [`complete`].
    New,
    /// It was answered already.
    Answered {
        /// With this HTTP status.
        status: u16,
        /// And these headers and this body, sealed.
        answer: String,
    },
    /// The key was used for another request.
    Mismatch,
}

/// Takes the key for this request, or finds what was answered to it.
pub async fn reserve(
    transaction: &mut Transaction,
    request: &Request,
    now: Timestamp,
) -> Result<Reservation, StoreError> {
    let key = (request.organization_id.0, request.key_digest.to_vec());
    Entity::delete_many()
        .filter(Column::OrganizationId.eq(key.0))
        .filter(Column::KeyDigest.eq(key.1.clone()))
        .filter(Column::ExpiresAt.lte(now.as_micros()))
        .exec(transaction.connection())
        .await?;
    let row = ActiveModel::from(Model {
        organization_id: key.0,
        key_digest: key.1.clone(),
        request_digest: request.request_digest.to_vec(),
        status: 0,
        answer: String::new(),
        expires_at: request.expires_at.as_micros(),
    });
    if insert_unless_taken(transaction, row).await? {
        return Ok(Reservation::New);
    }
    match Entity::find_by_id(key).one(transaction.connection()).await? {
        Some(row) if row.request_digest == request.request_digest => Ok(Reservation::Answered {
            status: u16::try_from(row.status).map_err(|_| StoreError::Unreadable("an answer's status"))?,
            answer: row.answer,
        }),
        Some(_) => Ok(Reservation::Mismatch),
        // It was there a moment ago: removed as expired by somebody with a clock ahead of ours.
        None => Err(StoreError::Busy(
            "the idempotency key is being removed".to_owned(),
        )),
    }
}

/// Keeps the answer to a request that was [`Reservation::New`]; `answer` is its sealed headers and body, in base64.
pub async fn complete(
    transaction: &mut Transaction,
    request: &Request,
    status: u16,
    answer: &str,
) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(i32::from(status)))
        .col_expr(Column::Answer, Expr::value(answer))
        .filter(Column::OrganizationId.eq(request.organization_id.0))
        .filter(Column::KeyDigest.eq(request.key_digest.to_vec()))
        .exec(transaction.connection())
        .await?;
    Ok(())
}
