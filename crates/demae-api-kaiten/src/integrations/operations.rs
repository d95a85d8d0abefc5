//! The four operations, whoever the integration belongs to.

use demae_api::{
    ApiState,
    caller::Caller,
    problem::Problem,
    revision::{IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::integrations::{self, Integration, NewIntegration, Owner};
use futures::FutureExt;
use http::StatusCode;

use crate::input::JsonBody;

/// Whose integration with which system.
type Place = (Owner, String);

pub(super) async fn get(
    state: &ApiState,
    caller: &Caller,
    owner: &Owner,
    name: &str,
    held: &IfNoneMatch,
) -> Result<Tagged<Integration>, Problem> {
    let integration = integrations::get(state.store(), caller.actor(), owner, name).await?;
    Ok(Tagged::new(held, integration, |integration| integration))
}

pub(super) async fn create(
    state: &ApiState,
    caller: Caller,
    operation: Operation,
    (owner, name): Place,
    body: JsonBody<NewIntegration>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let mut change = caller.change(transaction);
                let made = integrations::create(&mut change, &owner, &name, input).await?;
                Answer::json(StatusCode::CREATED, &made)
            }
            .boxed()
        })
        .await
}

pub(super) async fn replace(
    state: &ApiState,
    caller: Caller,
    operation: Operation,
    (owner, name): Place,
    body: JsonBody<NewIntegration>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let mut change = caller.change(transaction);
                let made = integrations::replace(&mut change, &owner, &name, input).await?;
                Answer::json(StatusCode::OK, &made)
            }
            .boxed()
        })
        .await
}

pub(super) async fn delete(
    state: &ApiState,
    caller: Caller,
    operation: Operation,
    (owner, name): Place,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                integrations::delete(&mut caller.change(transaction), &owner, &name).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
