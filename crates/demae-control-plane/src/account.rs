//! What tokens and their service accounts have in common: the account, found by its slug, and the scopes that may be given.

use demae_event::Faults;
use demae_fields::{
    Kind, Node, RefOrSchema, Shape as _,
    schema::{array, sized},
};
use demae_store::{entity::service_account::Model, repository};
use sea_orm::ConnectionTrait;

use crate::{
    Actor, DomainError,
    error::Operation,
    scope::{Scope, ScopeSet},
};

pub(crate) const RESOURCE: &str = "service account";

pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    operation: Operation,
    actor: &Actor,
    slug: &str,
) -> Result<Model, DomainError> {
    repository::service_accounts::find(connection, actor.organization_id, slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))
}

/// Scopes that a caller names; whether they may be given is a rule.
pub(crate) struct Scopes;

/// Longest list of them.
const MAX_SCOPES: usize = 64;

impl Kind<Vec<String>> for Scopes {
    fn read(&self, node: Node<'_>) -> Option<Vec<String>> {
        node.array(0..=MAX_SCOPES, |node| {
            node.string_with(0..=usize::MAX, |text| match text.parse::<Scope>() {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            })
        })
    }

    fn schema(&self) -> RefOrSchema {
        sized(array(String::shape()), 0..=MAX_SCOPES)
    }
}

/// Reads `scopes`.
pub(crate) fn parse_scopes(faults: &mut Faults, words: &[String]) -> ScopeSet {
    let read = |(place, word): (usize, &String)| {
        word.parse::<Scope>()
            .map_err(|error| {
                faults.push_value(format!("scopes[{place}]"), error.to_string(), word.as_str());
            })
            .ok()
    };
    words.iter().enumerate().filter_map(read).collect()
}

/// Nobody gives away what they do not have.
pub(crate) fn refuse_more(
    operation: Operation,
    have: &ScopeSet,
    wanted: &ScopeSet,
) -> Result<(), DomainError> {
    match have.missing(wanted) {
        None => Ok(()),
        Some(scope) => Err(operation.forbidden(
            "ScopeExceeded",
            format!("the scope {scope} is beyond what you may give"),
        )),
    }
}
