//! Checks of this machine: folder, disk, key, addresses.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use http::Request;
use tokio::net::TcpListener;

use super::Finding;
use crate::{
    config::Settings,
    http_client::HttpClient,
    secret_key::{self, KeyOrigin},
    server::listener,
};

/// Below this the database's own files may not fit any more, in bytes.
const LEAST_SPACE: u64 = 100 * 1024 * 1024;
/// Below this it is time to look, in bytes.
const LOW_SPACE: u64 = 1024 * 1024 * 1024;
/// For asking whoever holds a port.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn data_folder(settings: &Settings) -> Finding {
    const CHECK: &str = "data folder";
    let folder = &settings.data_dir;
    let Ok(metadata) = fs::metadata(folder) else {
        return match fs::metadata(existing_ancestor(folder)) {
            Ok(_) => Finding::good(
                CHECK,
                format!("{} will be made by the first start", folder.display()),
            ),
            Err(error) => Finding::fault(
                CHECK,
                format!("{}: {error}", folder.display()),
                "choose another data_dir",
            ),
        };
    };
    if !metadata.is_dir() {
        return Finding::fault(
            CHECK,
            format!("{} is not a folder", folder.display()),
            "choose another data_dir",
        );
    }
    let probe = folder.join(format!(".doctor.{}", std::process::id()));
    let written = fs::write(&probe, b"x").and_then(|()| fs::remove_file(&probe));
    if let Err(error) = written {
        return Finding::fault(
            CHECK,
            format!("{} cannot be written to: {error}", folder.display()),
            "give it to the user that runs Demae (chown), or choose another data_dir",
        );
    }
    if metadata.mode() & 0o077 != 0 {
        return Finding::warning(
            CHECK,
            format!(
                "{} is open to other users (mode {:o})",
                folder.display(),
                metadata.mode() & 0o777
            ),
            format!("chmod 700 {}", folder.display()),
        );
    }
    Finding::good(CHECK, format!("{} is private and writable", folder.display()))
}

pub(super) fn disk_space(settings: &Settings) -> Finding {
    const CHECK: &str = "disk space";
    let place = existing_ancestor(&settings.data_dir);
    let free = match rustix::fs::statvfs(place) {
        Ok(status) => status.f_bavail.saturating_mul(status.f_frsize),
        Err(error) => return Finding::warning(CHECK, format!("unknown: {error}"), ""),
    };
    let detail = format!("{} MB free for {}", free / 1_000_000, settings.data_dir.display());
    let remedy = "make room, or shorten retention_attempts and retention_messages";
    match free {
        0..LEAST_SPACE => Finding::fault(CHECK, detail, remedy),
        LEAST_SPACE..LOW_SPACE => Finding::warning(CHECK, detail, remedy),
        _ => Finding::good(CHECK, detail),
    }
}

pub(super) fn secret_key(settings: &Settings) -> Finding {
    const CHECK: &str = "secret key";
    match secret_key::find(settings) {
        Ok(Some((_, KeyOrigin::Setting))) => Finding::good(CHECK, "from the settings"),
        Ok(Some((_, KeyOrigin::File(path) | KeyOrigin::Made(path)))) => Finding::good(
            CHECK,
            format!("private file {}; keep a backup of it", path.display()),
        ),
        Ok(None) => Finding::warning(
            CHECK,
            "none yet; the first start will make one in the data folder",
            "for production set DEMAE_SECRET_KEY, e.g. from `openssl rand -base64 32`",
        ),
        Err(error) => {
            let text = error.to_string();
            let (detail, remedy) = text
                .split_once('\n')
                .unwrap_or((&text, "restore the key from a backup"));
            Finding::fault(CHECK, detail, remedy)
        }
    }
}

pub(super) async fn addresses(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "address";
    let mut findings = Vec::new();
    for address in &settings.listen {
        findings.push(match TcpListener::bind(address).await {
            Ok(_) => Finding::good(CHECK, format!("{address} is free")),
            Err(_) if is_demae(*address).await => {
                Finding::good(CHECK, format!("{address} is served by Demae"))
            }
            Err(error) => Finding::fault(
                CHECK,
                listener::explain(*address, &error),
                "stop the other program, or choose another address: DEMAE_LISTEN=127.0.0.1:7070",
            ),
        });
    }
    findings
}

/// Whether a Demae server answers there.
async fn is_demae(address: std::net::SocketAddr) -> bool {
    let Ok(request) = Request::get(format!("http://{address}/healthz")).body(bytes::Bytes::new()) else {
        return false;
    };
    match HttpClient::new().send(request, PROBE_TIMEOUT).await {
        Ok(response) => response.status().is_success() && response.body().starts_with(br#"{"status":"ok""#),
        Err(_) => false,
    }
}

/// The nearest part of `path` that exists.
fn existing_ancestor(path: &Path) -> &Path {
    let nearest = path.ancestors().find(|part| part.exists());
    // A relative path's last ancestor is empty, which means here.
    nearest
        .filter(|part| !part.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
