//! Prints the first lines of a server on standard output: for the person who has just started `demae dev`, and where
//! `demae serve` wrote the first token.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use super::bootstrap::FirstToken;
use crate::config::{Mode, Secret, Settings};

/// Says where things are, and on the first start the token and what to do with it.
pub(super) fn print(mode: Mode, settings: &Settings, addresses: &[SocketAddr], token: Option<&FirstToken>) {
    let text = match (mode, token) {
        (Mode::Dev, Some(FirstToken::Shown(secret))) => dev(settings, addresses, Some(secret)),
        (Mode::Dev, _) => dev(settings, addresses, None),
        (Mode::Serve, Some(FirstToken::Written(path))) => format!(
            "\nThe first organization's token is in {}: keep the token in a safe place and delete the file.\n\n",
            path.display()
        ),
        (Mode::Serve, _) => return,
    };
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason not to serve.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn dev(settings: &Settings, addresses: &[SocketAddr], token: Option<&Secret>) -> String {
    let Some(first) = addresses.first() else {
        return String::new();
    };
    let page = base(*first);
    // The seeds' port if it is served: what people copy from the documentation then works as it stands.
    let api = base(
        addresses
            .iter()
            .copied()
            .find(|address| address.port() == 6000)
            .unwrap_or(*first),
    );
    let mut text =
        format!("\nDemae is running: {page}\n\n  API    {page}/api/docs\n  Inbox  {page}/inbox/demo\n");
    // Writing to a string cannot fail.
    let _ = match token {
        Some(token) => writeln!(
            text,
            "  Token  {}\n         (shown only now, and kept in {} for the other commands)\n\n\
             Three lines to see a webhook arrive:\n\n{}",
            token.expose(),
            settings.data_dir.display(),
            three_lines(&api, &page, token.expose()),
        ),
        None => writeln!(text, "\nSend an event: demae trigger CUSTOMER_CREATION\n"),
    };
    text
}

/// Where the process itself finds its page.
pub(super) fn page(settings: &Settings) -> Option<String> {
    settings.listen.first().copied().map(base)
}

fn three_lines(api: &str, page: &str, token: &str) -> String {
    format!(
        "curl -X POST {api}/api/webhooks \\\n  -H \"Authorization: Bearer {token}\" \\\n  \
         -H \"Content-Type: application/json\" \\\n  \
         -d '{{\"url\": \"{page}/inbox/demo\", \"eventNames\": [\"CUSTOMER_CREATION\"]}}'\n\n\
         curl -X POST {api}/api/customers \\\n  -H \"Authorization: Bearer {token}\" \\\n  \
         -H \"Content-Type: application/json\" \\\n  -d '{{\"name\": \"Test Webhook Customer\"}}'\n\n\
         curl {api}/api/webhooks/history \\\n  -H \"Authorization: Bearer {token}\"\n"
    )
}

/// A URL that works on this machine; "every address" is reached by loopback.
fn base(address: SocketAddr) -> String {
    let ip = if address.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        address.ip()
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}
