//! Opening the database named by the settings.

use demae_store::{ENCODING, Store, StoreError, StoreOptions, Vault};

use crate::config::Settings;

/// Opens the database; nothing is migrated.
pub(crate) async fn open(settings: &Settings, vault: Vault) -> anyhow::Result<Store> {
    let options = StoreOptions {
        connections: settings.database.connections,
        engine_connections: settings.database.engine_connections,
        authorities: settings
            .authorities
            .as_ref()
            .map(|trusted| trusted.pem().to_owned()),
        ..StoreOptions::new(settings.database.url.expose(), vault)
    };
    Store::connect(options).await.map_err(|error| {
        let remedy = remedy(&error).unwrap_or_else(|| {
            "is it running, and is DEMAE_DATABASE_URL right? `demae doctor` looks closer".into()
        });
        anyhow::Error::new(error).context(format!(
            "cannot open the database {}\n{remedy}",
            settings.database_label()
        ))
    })
}

/// What to do about a database that answers and is refused.
pub(crate) fn remedy(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Encoding { .. } => Some(format!(
            "create one that holds every character, e.g. `createdb -E {ENCODING} -T template0 demae`, and name it in \
             DEMAE_DATABASE_URL"
        )),
        StoreError::Exposed { path, .. } => Some(format!("make it private: chmod o-rwx {}", path.display())),
        _ => None,
    }
}

/// The same for those who neither seal nor open secrets.
pub(crate) async fn open_without_key(settings: &Settings) -> anyhow::Result<Store> {
    // A throw-away key: nothing will be sealed with it.
    open(settings, Vault::from_text(&Vault::generate_text())?).await
}
