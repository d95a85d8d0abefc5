//! Delivery by somebody else's Svix.

use url::Url;

use super::{
    Authorities,
    parse::http_url,
    reader::{Problem, Reader},
    secret::Secret,
};

/// A Svix server that delivers instead of Demae.
#[derive(Debug, Clone)]
pub(crate) struct SvixSettings {
    /// Up to, not including, `/api/v1`.
    pub(crate) url: Url,
    /// Of the Svix organization in which applications are made.
    pub(crate) token: Secret,
    /// Certificate authorities trusted besides the public ones.
    pub(crate) authorities: Option<Authorities>,
}

/// `None`: Demae delivers itself.
pub(super) fn read(reader: &mut Reader, trusted: Option<&Authorities>) -> Option<SvixSettings> {
    let svix = reader.one("delivery_mode", is_svix);
    let url = reader.optional("svix_url", http_url);
    let token = reader.optional("svix_token", token);
    for (setting, given, remedy) in [
        (
            "svix_url",
            url.is_some(),
            "name the server: https://svix.example.com",
        ),
        (
            "svix_token",
            token.is_some(),
            "give it a token of the Svix organization",
        ),
    ] {
        reader.require(
            setting,
            &["delivery_mode"],
            given || !svix,
            "delivery_mode is svix, which needs it",
            remedy,
        );
    }
    if !svix {
        return None;
    }
    Some(SvixSettings {
        url: url?,
        token: token?,
        authorities: trusted.cloned(),
    })
}

fn is_svix(text: &str) -> Result<bool, Problem> {
    match text {
        "internal" => Ok(false),
        "svix" => Ok(true),
        _ => Err((
            format!("{text:?} is no way of delivering"),
            "write internal or svix".to_owned(),
        )),
    }
}

/// What can stand in a header. The text is not repeated.
fn token(text: &str) -> Result<Secret, Problem> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(text))
    } else {
        Err((
            "it holds characters that no token has".to_owned(),
            "copy it as `svix-server jwt generate` prints it".to_owned(),
        ))
    }
}
