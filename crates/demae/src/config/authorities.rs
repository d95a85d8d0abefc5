//! The certificate authorities that are trusted besides the public ones (`extra_ca_file`).
//!
//! Guarantees: the file is read once, when the settings are read, and every certificate in it can be used as an authority.
//! Each client adds them to the public authorities; no check of a certificate is left out.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::reader::Problem;

/// The largest file that is read, in bytes: the public authorities of a whole system are a quarter of it.
const FILE_LIMIT: u64 = 1024 * 1024;

const REMEDY: &str =
    "name a PEM file with the certificates of your authorities (-----BEGIN CERTIFICATE-----)";

/// Authorities from a PEM file. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Authorities {
    file: Arc<Path>,
    pem: Arc<str>,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl Authorities {
    /// Where they came from, for the one client that reads files only.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The certificates in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificates.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

/// Reads and checks the file named by the setting.
pub(super) fn authorities(text: &str) -> Result<Authorities, Problem> {
    let problem = |what: String| -> Problem { (what, REMEDY.to_owned()) };
    let pem = read(Path::new(text)).map_err(|error| problem(format!("{text} cannot be read: {error}")))?;
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| problem(format!("{text} is not a PEM file: {error}")))?;
    if certificates.is_empty() {
        return Err(problem(format!("{text} holds no certificate")));
    }
    let mut store = RootCertStore::empty();
    for (place, certificate) in certificates.iter().enumerate() {
        store.add(certificate.clone()).map_err(|error| {
            problem(format!(
                "certificate {} in {text} cannot be used as an authority: {error}",
                place + 1
            ))
        })?;
    }
    Ok(Authorities {
        file: Path::new(text).into(),
        pem: pem.into(),
        certificates: certificates.into(),
    })
}

fn read(file: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(file)?.len();
    if length > FILE_LIMIT {
        let text = format!("it has {length} bytes, more than {FILE_LIMIT}");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text));
    }
    std::fs::read_to_string(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(content: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        authorities(file.path().to_str().unwrap()).unwrap_err().0
    }

    #[test]
    fn a_file_with_two_authorities_is_read() {
        let (one, two) = (
            demae_testkit::receiver::SelfSigned::for_hosts(&["a"]),
            demae_testkit::receiver::SelfSigned::for_hosts(&["b"]),
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            format!("our authorities\n{}{}", one.pem(), two.pem()),
        )
        .unwrap();
        let read = authorities(file.path().to_str().unwrap()).unwrap();
        assert_eq!(read.certificates(), [one.certificate(), two.certificate()]);
        assert_eq!(read.file(), file.path());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_fault() {
        assert!(fault("").ends_with("holds no certificate"));
        assert!(
            fault("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
                .contains("is not a PEM file")
        );
        let junk = fault("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(
            junk.contains("certificate 1 in") && junk.contains("cannot be used"),
            "{junk}"
        );
        assert!(fault(&"x".repeat(FILE_LIMIT as usize + 1)).contains("more than"));
        let missing = authorities("/nowhere/ca.pem").unwrap_err().0;
        assert!(missing.starts_with("/nowhere/ca.pem cannot be read"), "{missing}");
    }
}
