//! Bearer tokens: their text, their digest, and who comes with one.
//!
//! A text is `ksh_` and 40 random letters and digits, 238 bits. Only its SHA-256 is kept: with so much randomness a
//! digest cannot be guessed back, and being deterministic it is found through an index. Nothing is cached here, so that
//! a revoked token is refused from the commit of its revocation on.

use std::fmt;

use demae_event::{OrganizationId, Timestamp};
use demae_store::{
    Store, StoreError,
    entity::{api_token, service_account},
    repository::api_tokens,
};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{actor::Actor, scope::ScopeSet};

/// How every token begins.
pub const PREFIX: &str = "ksh_";
/// Random characters after the prefix, each log2(62) bits.
const RANDOM_LENGTH: usize = 40;
/// Characters after the prefix that a token chosen by an operator has at least: 128 bits as hexadecimal digits. A shorter
/// one could be guessed over the network, and its digest reversed.
const MIN_CHOSEN_LENGTH: usize = 32;
/// Longest text that is looked up at all.
const MAX_LENGTH: usize = 256;

/// A token's text. Shown once, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

/// The text cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is `{PREFIX}` and at least {MIN_CHOSEN_LENGTH} letters, digits, '-' or '_'")]
pub struct InvalidToken;

impl TokenText {
    /// A new one.
    pub fn generate() -> Self {
        Self(format!(
            "{PREFIX}{}",
            Alphanumeric.sample_string(&mut rand::rng(), RANDOM_LENGTH)
        ))
    }

    /// One that an operator chose.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).ok_or(InvalidToken)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if rest.len() < MIN_CHOSEN_LENGTH || text.len() > MAX_LENGTH || !rest.bytes().all(allowed) {
            return Err(InvalidToken);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its digest.
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.0)
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({PREFIX}***)")
    }
}

impl Serialize for TokenText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The digest under which a token is kept.
pub fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Why a token opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No such token was ever given out.
    #[error("the token is unknown")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds who comes with this token.
pub async fn authenticate(store: &Store, text: &str, now: Timestamp) -> Result<Actor, AuthError> {
    if !text.starts_with(PREFIX) || text.len() > MAX_LENGTH {
        return Err(AuthError::Unknown);
    }
    let credential = find_credential(store, &digest(text))
        .await?
        .ok_or(AuthError::Unknown)?;
    credential.at(now)
}

/// A token and what it stands for, valid or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The token.
    pub token_id: Uuid,
    /// Whom it speaks for.
    pub actor: Actor,
    /// When its time is over.
    pub expires_at: Option<Timestamp>,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl Credential {
    /// Whom it speaks for at `now`.
    pub fn at(&self, now: Timestamp) -> Result<Actor, AuthError> {
        if self.revoked {
            return Err(AuthError::Revoked);
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(AuthError::Expired);
        }
        Ok(self.actor.clone())
    }
}

/// Finds a token by its digest, expired and revoked ones included.
pub async fn find_credential(store: &Store, digest: &[u8; 32]) -> Result<Option<Credential>, StoreError> {
    let found = api_tokens::find_by_digest(store.reader(), digest).await?;
    Ok(found.map(|(token, account)| credential(&token, account)))
}

fn credential(token: &api_token::Model, account: service_account::Model) -> Credential {
    let scopes = token.scopes.as_deref().unwrap_or(&account.scopes);
    let expires_at = token.expires_at.map(Timestamp::from_micros);
    Credential {
        token_id: token.id,
        expires_at,
        revoked: token.revoked_at.is_some(),
        actor: Actor {
            id: account.id,
            organization_id: OrganizationId(account.organization_id),
            scopes: ScopeSet::from_column(scopes),
            name: account.name,
            expires_at,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_tokens_are_long_random_and_never_printed() {
        let (one, other) = (TokenText::generate(), TokenText::generate());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), PREFIX.len() + RANDOM_LENGTH);
        assert!(RANDOM_LENGTH as f64 * 62_f64.log2() >= 190.0);
        assert_eq!(TokenText::parse(one.as_str()), Ok(one.clone()));
        assert!(!format!("{one:?}").contains(&one.as_str()[PREFIX.len()..]));
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn refuses_what_cannot_be_a_token() {
        for text in [
            "",
            "ksh_",
            "ksh_0123456789abcdef0123456789abcde",
            "ksm_0123456789abcdef0123456789abcdef",
            "ksh_0123456789abcdef 0123456789abcdef",
            &format!("ksh_{}", "x".repeat(300)),
        ] {
            assert_eq!(TokenText::parse(text), Err(InvalidToken), "{text}");
        }
        assert!(TokenText::parse("ksh_0123456789abcdef0123456789abcdef").is_ok());
    }
}
