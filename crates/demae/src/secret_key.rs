//! The key under which secrets are sealed at rest.
//!
//! It comes from the setting `secret_key`, or from a file in the data folder, which is made on the first start. A file
//! that others can read is refused rather than repaired: who has read it so far cannot be undone. The key's text is
//! never printed.

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
/// A key file is a line; anything longer is another file.
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
    if let Some(key) = &settings.secret_key {
        return Ok(Some((Vault::from_text(key.expose())?, KeyOrigin::Setting)));
    }
    let path = path(settings);
    Ok(read_file(&path)?.map(|vault| (vault, KeyOrigin::File(path))))
}

fn path(settings: &Settings) -> PathBuf {
    settings.data_dir.join(FILE_NAME)
}

fn read_file(path: &Path) -> anyhow::Result<Option<Vault>> {
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
    let vault = Vault::from_text(&text).with_context(|| {
        format!(
            "{} does not hold a key\nrestore it from a backup: without it the stored secrets are lost",
            path.display()
        )
    })?;
    Ok(Some(vault))
}

/// Writes a private file in one step, leaving alone one that appeared meanwhile.
pub(crate) fn make_file(path: &Path, text: &str) -> std::io::Result<()> {
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
    // A link, unlike a rename, does not replace.
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
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
}
