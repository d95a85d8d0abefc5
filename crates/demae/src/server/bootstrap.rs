//! The first organization and its token, made on the first start.

use std::path::PathBuf;

use anyhow::Context as _;
use demae_control_plane::{organizations, token::TokenText};
use demae_event::Clock;
use demae_store::Store;

use crate::{
    config::{Mode, Secret, Settings},
    dev_token,
};

/// A token that was made just now, for the operator.
pub(super) enum FirstToken {
    /// To be shown on the terminal of `demae dev`.
    Shown(Secret),
    /// Written to this private file by `demae serve`.
    Written(PathBuf),
}

/// Makes sure that there is an organization, and that the settings' token opens it. Answers a token if somebody must be
/// told of it: one from the settings is known already.
pub(super) async fn ensure(
    settings: &Settings,
    mode: Mode,
    store: &Store,
    clock: &dyn Clock,
) -> anyhow::Result<Option<FirstToken>> {
    let given = settings
        .bootstrap_token
        .as_ref()
        .map(|token| TokenText::parse(token.expose()))
        .transpose()
        .context("the setting bootstrap_token is no token")?;
    let given_by_settings = given.is_some();
    let bootstrap = organizations::bootstrap(store, given, clock.now())
        .await
        .context("the first organization could not be made")?;
    if bootstrap.created {
        tracing::info!(organization = %bootstrap.organization.id, "made the first organization");
    }
    let Some(token) = bootstrap.token else {
        return Ok(None);
    };
    if mode == Mode::Dev {
        dev_token::keep(&settings.data_dir, token.as_str())?;
    }
    if given_by_settings {
        return Ok(None);
    }
    Ok(Some(match mode {
        Mode::Dev => FirstToken::Shown(Secret::new(token.as_str())),
        Mode::Serve => FirstToken::Written(dev_token::hand_over(&settings.data_dir, token.as_str())?),
    }))
}
