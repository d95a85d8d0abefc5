//! Names in URLs: 2 to 100 lowercase letters, digits and hyphens, none at the ends (kaiten.md, section 2.0).

use rand::{Rng as _, distr::slice::Choose};

/// Shortest slug.
pub const MIN_LENGTH: usize = 2;
/// Longest slug.
pub const MAX_LENGTH: usize = 100;
/// What a slug is, as a regular expression.
pub const PATTERN: &str = "^[a-z0-9][a-z0-9-]*[a-z0-9]$";
/// Characters of the suffix that tells a derived slug from one that is taken.
const SUFFIX_LENGTH: usize = 6;
const SUFFIX_ALPHABET: &[char] = &[
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k',
    'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z',
];

/// Random ends that are tried; two of six characters meet once in two thousand million.
const SUFFIX_ATTEMPTS: usize = 4;

/// The text is not a slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be {MIN_LENGTH} to {MAX_LENGTH} lowercase letters, digits and hyphens, and neither begin nor end with a hyphen"
)]
pub struct InvalidSlug;

/// Whether `text` is a slug.
pub fn check(text: &str) -> Result<(), InvalidSlug> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let well_formed = (MIN_LENGTH..=MAX_LENGTH).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if well_formed { Ok(()) } else { Err(InvalidSlug) }
}

/// The slugs to try for something new, in this order: the one that was asked for and nothing else, or the one derived
/// from its name, and then that with random ends, because it may be taken.
pub(crate) fn candidates(asked: Option<&str>, name: &str) -> impl Iterator<Item = String> + Send + use<> {
    let (first, ends) = match asked {
        Some(slug) => (slug.to_owned(), 0),
        None => (derive(name), SUFFIX_ATTEMPTS),
    };
    let derived = first.clone();
    std::iter::once(first).chain((0..ends).map(move |_| with_suffix(&derived)))
}

/// A slug from a display name: "Test Webhook Customer" gives `test-webhook-customer`.
///
/// Letters of other scripts are written in Latin ones. A name that leaves too little gets a random end.
pub fn derive(name: &str) -> String {
    let mut slug = ::slug::slugify(name);
    shorten(&mut slug, MAX_LENGTH);
    if check(&slug).is_ok() {
        slug
    } else {
        with_suffix(&slug)
    }
}

/// The slug with a random end, for when it is taken.
pub fn with_suffix(slug: &str) -> String {
    let mut stem = slug.to_owned();
    shorten(&mut stem, MAX_LENGTH - SUFFIX_LENGTH - 1);
    if !stem.is_empty() {
        stem.push('-');
    }
    #[expect(clippy::expect_used, reason = "the alphabet is not empty")]
    let alphabet = Choose::new(SUFFIX_ALPHABET).expect("an alphabet");
    stem.extend(rand::rng().sample_iter(alphabet).take(SUFFIX_LENGTH));
    stem
}

/// Cuts to `length`, without leaving a hyphen at the end. Slugs are ASCII.
fn shorten(slug: &mut String, length: usize) {
    slug.truncate(length);
    slug.truncate(slug.trim_end_matches('-').len());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn derives_what_the_seed_shows() {
        for (name, slug) in [
            ("Test Webhook Customer", "test-webhook-customer"),
            ("  ACME, Inc. (EU) ", "acme-inc-eu"),
            ("Größe & Söhne", "grosse-sohne"),
            ("a--b", "a-b"),
        ] {
            assert_eq!(derive(name), slug);
        }
        assert_eq!(derive(&"x".repeat(300)), "x".repeat(MAX_LENGTH));
        let cut = format!("{} y", "x".repeat(MAX_LENGTH - 1));
        assert_eq!(derive(&cut), "x".repeat(MAX_LENGTH - 1));
    }

    #[test]
    fn too_little_gets_an_end() {
        for name in ["", "!", "x", "…"] {
            let slug = derive(name);
            assert_eq!(check(&slug), Ok(()), "{slug}");
            assert_ne!(slug, derive(name));
        }
    }

    #[test]
    fn refuses_what_is_no_slug() {
        for text in ["", "x", "-x", "x-", "Ab", "a b", "a_b", "ä-b", &"x".repeat(101)] {
            assert_eq!(check(text), Err(InvalidSlug), "{text}");
        }
        for text in ["ab", "0-9", "a--b", &"x".repeat(100)] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_name_the_slug_is_one(name in "\\PC{0,150}") {
            let slug = derive(&name);
            prop_assert_eq!(check(&slug), Ok(()), "{}", slug);
            prop_assert_eq!(check(&with_suffix(&slug)), Ok(()));
        }
    }
}
