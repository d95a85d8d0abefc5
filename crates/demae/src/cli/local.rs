//! Working on the database without a server: what the commands for operators share.

use anyhow::{Context as _, bail};
use demae_control_plane::{Actor, organizations};
use demae_event::OrganizationId;
use demae_store::{Store, repository::Page};

use super::settings::SettingsArgs;
use crate::{config::Mode, data_folder, database};

/// Items per query.
const PAGE: u32 = 500;

/// Opens the database and brings its schema up to date. A server may be running meanwhile.
pub(crate) async fn open(args: &SettingsArgs) -> anyhow::Result<Store> {
    let settings = args.load(Mode::Serve)?;
    data_folder::prepare(&settings.data_dir)?;
    let store = database::open_without_key(&settings).await?;
    store
        .migrate()
        .await
        .context("the database could not be migrated")?;
    Ok(store)
}

/// The operator in the organization named by `id`, or in the only one there is.
pub(crate) async fn operator(store: &Store, id: Option<OrganizationId>) -> anyhow::Result<Actor> {
    if let Some(id) = id {
        let organization = organizations::get(store, id)
            .await
            .context("see `demae org list`")?;
        return Ok(Actor::operator(organization.id));
    }
    let listing = organizations::list(store, Page::first(2)).await?;
    match listing.items.as_slice() {
        [only] => Ok(Actor::operator(only.id)),
        [] => bail!("there is no organization yet\nmake one with `demae org create NAME`, or start a server"),
        _ => bail!("there are several organizations\nname one with --organization; see `demae org list`"),
    }
}

/// Every page of a list.
macro_rules! every_page {
    ($after:ident => $page:expr) => {{
        let mut items = Vec::new();
        let mut $after = None;
        loop {
            let listing = $page.await?;
            items.extend(listing.items);
            match listing.next {
                Some(next) => $after = Some(next),
                None => break items,
            }
        }
    }};
}
pub(crate) use every_page;

/// A page that begins after `after`.
pub(crate) fn page<C>(after: Option<C>) -> Page<C> {
    Page { limit: PAGE, after }
}
