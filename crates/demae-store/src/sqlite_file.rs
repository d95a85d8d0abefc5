//! Keeps the SQLite file to its owner.
//!
//! The file holds payloads, history and sealed secrets. SQLite creates it with the permissions that the process's umask
//! leaves, and gives `-wal` and `-shm` those of the file. So the file is created here, before SQLite sees it.

use std::{
    fs::OpenOptions,
    io::ErrorKind,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use sea_orm::sqlx;

use crate::StoreError;

/// What a new file's owner may do; others may do nothing.
const PRIVATE: u32 = 0o600;
/// The permissions of those who are neither owner nor in the group. (A group is given access on purpose: programs of
/// other users that write events into the same file.)
const OTHERS: u32 = 0o007;

/// Creates the file if there is none; refuses one that every user of the machine can read or write.
pub(crate) fn prepare(path: &Path) -> Result<(), StoreError> {
    // A database in memory is called `file:…` by the library.
    if path.as_os_str().is_empty() || path.as_os_str().as_bytes().starts_with(b"file:") {
        return Ok(());
    }
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match exposed(path)? {
            None => Ok(()),
            Some(mode) => Err(StoreError::Exposed {
                path: path.to_owned(),
                mode,
            }),
        },
        Err(error) => Err(sqlx::Error::Io(error).into()),
    }
}

/// The permissions of the database in `path`, if every user of the machine can reach it: through its folder, too.
fn exposed(path: &Path) -> Result<Option<u32>, StoreError> {
    let failed = |error| StoreError::from(sqlx::Error::Io(error));
    let mode = path.metadata().map_err(failed)?.mode();
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder
        .unwrap_or(Path::new("."))
        .metadata()
        .map_err(failed)?
        .mode();
    Ok((folder & OTHERS != 0).then_some(mode & 0o777))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use demae_testkit::sqlite::SqliteFile;

    use crate::{Store, StoreError, StoreOptions, Vault};

    async fn open(file: &SqliteFile) -> Result<Store, StoreError> {
        let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
        let store = Store::connect(StoreOptions::new(file.url(), vault)).await?;
        store.migrate().await?;
        Ok(store)
    }

    #[tokio::test]
    async fn all_files_of_a_new_database_are_its_owners_alone() {
        let file = SqliteFile::create().unwrap();
        let _store = open(&file).await.unwrap();
        let path = file.path();
        let mut modes: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                (entry.file_name().into_string().unwrap(), mode)
            })
            .collect();
        modes.sort();
        let expected = ["demae.db", "demae.db-shm", "demae.db-wal"].map(|name| (name.to_owned(), 0o600));
        assert_eq!(modes, expected);
    }

    #[tokio::test]
    async fn a_database_that_every_user_can_read_is_refused() {
        let file = SqliteFile::create().unwrap();
        open(&file).await.unwrap().close().await;
        let path = file.path();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o700)).unwrap();
        open(&file)
            .await
            .expect("its folder keeps others out")
            .close()
            .await;
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        let refused = open(&file).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Exposed { mode: 0o644, .. }),
            "{refused}"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        open(&file)
            .await
            .expect("a group is given access on purpose")
            .close()
            .await;
    }
}
