//! `If-Match` of changes of a webhook.
//!
//! Its tag is made of what is shown of it, so it changes also when Demae itself disables it: who edits then was not
//! looking at that.

use demae_api::{caller::Caller, problem::Problem, revision};
use demae_control_plane::revision::Expected;
use demae_delivery::management::Management;
use demae_event::EndpointId;
use demae_store::Transaction;

use super::body::WebhookBody;

/// Refuses if the webhook, which nobody else changes until the transaction ends, is not as the caller saw it. One that is
/// not there is left to the change to tell.
pub(super) async fn check(
    transaction: &mut Transaction,
    caller: &Caller,
    management: &Management,
    (operation, id): (&'static str, EndpointId),
) -> Result<(), Problem> {
    if *caller.expected() == Expected::Anything {
        return Ok(());
    }
    let scope = caller.scope();
    let current = management.hold_endpoint(transaction, scope, id).await?;
    revision::check(caller.expected(), operation, current.map(WebhookBody::from))
}
