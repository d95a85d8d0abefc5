//! The key under which secrets are sealed at rest.
//!
//! It comes from the setting `secret_key`, or from a file in the data folder, which is made on the first start. A file
//! that others can read is refused rather than repaired: who has read it so far cannot be undone. The key's text is
//! never printed.
//!
//! While the key is exchanged there are previous keys, too: the setting `previous_secret_keys`, or the lines of the file
//! after its first. They open stored secrets and seal none. [`begin_exchange`] and [`end_exchange`] change the file.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use demae_store::Vault;
use zeroize::Zeroizing;

use crate::config::Settings;

/// Name of the key's file in the data folder.
const FILE_NAME: &str = "secret.key";
/// A key file is a few lines; anything longer is another file.
const MAX_FILE_BYTES: u64 = 4_096;

/// Where the key came from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    /// The setting `secret_key`.
    Setting,
    /// A key file that was there.
    File(PathBuf),
    /// A key file made just now.
    Made(PathBuf),
}

/// The key of the settings or of the data folder; makes one if there is none.
pub(crate) fn obtain(settings: &Settings) -> anyhow::Result<(Vault, KeyOrigin)> {
    if let Some(found) = find(settings)? {
        return Ok(found);
    }
    let path = path(settings);
    make_file(&path, &Vault::generate_text())
        .with_context(|| format!("cannot make the key file {}", path.display()))?;
    // Read back: another process may have been quicker.
    let vault = read_file(&path)?.context("the key file that was just made is gone")?;
    Ok((vault, KeyOrigin::Made(path)))
}

/// The key, if there is one.
pub(crate) fn find(settings: &Settings) -> anyhow::Result<Option<(Vault, KeyOrigin)>> {
    let Some(key) = &settings.secret_key else {
        let path = path(settings);
        return Ok(read_file(&path)?.map(|vault| (vault, KeyOrigin::File(path))));
    };
    let mut vault = Vault::from_text(key.expose())?;
    for previous in &settings.previous_secret_keys {
        vault = vault.with_previous(previous.expose())?;
    }
    Ok(Some((vault, KeyOrigin::Setting)))
}

/// Makes a new key the current one of the file and keeps the others, unless an exchange has begun already. Answers whether
/// one had.
pub(crate) fn begin_exchange(path: &Path) -> anyhow::Result<bool> {
    let Some(text) = read_text(path)? else {
        bail!(
            "the key file {} does not exist\nstart a server first: it creates the file",
            path.display()
        );
    };
    if keys(&text).count() > 1 {
        return Ok(true);
    }
    let new = Vault::generate_text();
    replace_file(path, &Zeroizing::new(format!("{}\n{}", *new, text.trim())))?;
    Ok(false)
}

/// Removes the previous keys from the file: nothing is sealed with them any more.
pub(crate) fn end_exchange(path: &Path) -> anyhow::Result<()> {
    let text = read_text(path)?.context("the key file is gone")?;
    let current = keys(&text).next().context("the key file is empty")?;
    Ok(replace_file(path, current)?)
}

fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// The key's file, whether or not it exists.
pub(crate) fn path(settings: &Settings) -> PathBuf {
    settings.data_dir.join(FILE_NAME)
}

fn read_file(path: &Path) -> anyhow::Result<Option<Vault>> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    let mut keys = keys(&text);
    let vault = Vault::from_text(keys.next().unwrap_or_default())
        .and_then(|vault| keys.try_fold(vault, Vault::with_previous))
        .with_context(|| {
            format!(
                "{} does not hold a key\nrestore it from a backup: without it the stored secrets are lost",
                path.display()
            )
        })?;
    Ok(Some(vault))
}

fn read_text(path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read the key file {}", path.display()));
        }
    };
    let mode = file.metadata()?.mode();
    if mode & 0o077 != 0 {
        bail!(
            "the key file {} can be read by others (mode {:o})\nmake it private: chmod 600 {}",
            path.display(),
            mode & 0o777,
            path.display()
        );
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes a private file in one step, leaving alone one that appeared meanwhile.
pub(crate) fn make_file(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = write_draft(path, text)?;
    // A link, unlike a rename, does not replace.
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Writes a private file in one step, in the place of the one that is there. Survives power loss.
fn replace_file(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::rename(write_draft(path, text)?, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn write_draft(path: &Path, text: &str) -> std::io::Result<PathBuf> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(draft.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::{Mode, Sources};

    fn settings(folder: &Path, more: &[(&str, &str)]) -> Settings {
        let mut variables = vec![("DEMAE_DATA_DIR".to_owned(), folder.display().to_string())];
        variables.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        Settings::load(
            &Sources {
                variables,
                ..Sources::default()
            },
            Mode::Serve,
        )
        .unwrap()
    }

    #[test]
    fn makes_a_private_file_once_and_finds_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &[]);
        assert!(find(&settings).unwrap().is_none());
        let (vault, origin) = obtain(&settings).unwrap();
        let path = folder.path().join(FILE_NAME);
        assert_eq!(origin, KeyOrigin::Made(path.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let (again, origin) = obtain(&settings).unwrap();
        assert_eq!(origin, KeyOrigin::File(path));
        let sealed = vault.seal(b"row", b"secret");
        assert_eq!(&**again.open(b"row", &sealed).unwrap(), b"secret");
    }

    #[test]
    fn refuses_a_file_that_others_can_read_or_that_holds_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &[]);
        obtain(&settings).unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(obtain(&settings).unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(
            obtain(&settings)
                .unwrap_err()
                .to_string()
                .contains("does not hold a key")
        );
    }

    #[test]
    fn the_setting_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let key = "0123456789abcdef0123456789abcdef";
        let settings = settings(folder.path(), &[("DEMAE_SECRET_KEY", key)]);
        assert_eq!(obtain(&settings).unwrap().1, KeyOrigin::Setting);
        assert!(!folder.path().join(FILE_NAME).exists());
    }

    #[test]
    fn an_exchange_keeps_the_old_key_until_it_ends_and_can_be_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &[]);
        let path = folder.path().join(FILE_NAME);
        assert!(begin_exchange(&path).is_err());
        let before = obtain(&settings).unwrap().0;
        let sealed = before.seal(b"row", b"secret");

        assert!(!begin_exchange(&path).unwrap());
        let during = std::fs::read_to_string(&path).unwrap();
        assert!(begin_exchange(&path).unwrap(), "it had begun");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), during);
        let vault = find(&settings).unwrap().unwrap().0;
        let resealed = vault.reseal(b"row", &sealed).unwrap().unwrap();

        end_exchange(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let after = find(&settings).unwrap().unwrap().0;
        assert!(!after.has_previous() && after.open(b"row", &sealed).is_err());
        assert_eq!(&**after.open(b"row", &resealed).unwrap(), b"secret");
    }

    #[test]
    fn previous_keys_of_the_settings_open() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (
            "old-old-old-old-old-old-old-old-old",
            "new-new-new-new-new-new-new-new-new",
        );
        let sealed = Vault::from_text(old).unwrap().seal(b"row", b"secret");
        let both = [("DEMAE_SECRET_KEY", new), ("DEMAE_PREVIOUS_SECRET_KEYS", old)];
        let vault = find(&settings(folder.path(), &both)).unwrap().unwrap().0;
        assert_eq!(&**vault.open(b"row", &sealed).unwrap(), b"secret");
    }
}
