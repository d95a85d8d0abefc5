//! Opening the database named by the settings.

use anyhow::Context as _;
use demae_store::{Store, StoreOptions, Vault};

use crate::config::Settings;

/// Opens the database; nothing is migrated.
pub(crate) async fn open(settings: &Settings, vault: Vault) -> anyhow::Result<Store> {
    let options = StoreOptions {
        connections: settings.database.connections,
        engine_connections: settings.database.engine_connections,
        ..StoreOptions::new(settings.database.url.expose(), vault)
    };
    Store::connect(options).await.with_context(|| {
        format!(
            "cannot open the database {}\nis it running, and is DEMAE_DATABASE_URL right? `demae doctor` looks closer",
            settings.database_label()
        )
    })
}

/// The same for those who neither seal nor open secrets.
pub(crate) async fn open_without_key(settings: &Settings) -> anyhow::Result<Store> {
    // A throw-away key: nothing will be sealed with it.
    open(settings, Vault::from_text(&Vault::generate_text())?).await
}
