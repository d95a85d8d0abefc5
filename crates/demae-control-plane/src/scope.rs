//! What a token may do: `read:customers`, `write:webhooks`, `write:*` (kaiten.md, section 5).
//!
//! To write is to read as well: `write:X` covers `read:X`. A star stands for every module, so `write:*` covers
//! everything there is and everything that will be.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Looking, or changing as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// `read:`
    Read,
    /// `write:`, which covers reading.
    Write,
}

macro_rules! modules {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// A part of the API that can be granted on its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Module {
            $($(#[$doc])* $name,)*
        }

        impl Module {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in a scope.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

modules! {
    /// Customers.
    Customers = "customers",
    /// Instances.
    Instances = "instances",
    /// Licenses.
    Licenses = "licenses",
    /// Entitlements and their usage.
    Entitlements = "entitlements",
    /// Feature flags.
    FeatureFlags = "feature_flags",
    /// Deployment zones, and deploying to them.
    DeploymentZones = "deployment_zones",
    /// Releases.
    Releases = "releases",
    /// Components.
    Components = "components",
    /// Metadata fields.
    MetadataFields = "metadata_fields",
    /// Notifications.
    Notifications = "notifications",
    /// The organization's details and settings.
    Organizations = "organizations",
    /// Service accounts and tokens.
    Tokens = "tokens",
    /// Users.
    Users = "users",
    /// Endpoints, events and history.
    Webhooks = "webhooks",
}

/// One thing a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Looking or changing.
    pub access: Access,
    /// Where; `None` is the star.
    pub module: Option<Module>,
}

/// The text is not a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a scope; scopes are read:<module>, write:<module>, read:* and write:*")]
pub struct ParseScopeError;

impl Scope {
    /// Everything.
    pub const ALL: Self = Self {
        access: Access::Write,
        module: None,
    };

    /// Reading a module.
    pub const fn read(module: Module) -> Self {
        Self {
            access: Access::Read,
            module: Some(module),
        }
    }

    /// Changing a module.
    pub const fn write(module: Module) -> Self {
        Self {
            access: Access::Write,
            module: Some(module),
        }
    }

    /// Whether who has this may do `wanted`.
    pub fn covers(self, wanted: Self) -> bool {
        self.access >= wanted.access && self.module.is_none_or(|module| wanted.module == Some(module))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "write",
        };
        write!(f, "{access}:{}", self.module.map_or("*", Module::as_str))
    }
}

impl FromStr for Scope {
    type Err = ParseScopeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (access, module) = text.split_once(':').ok_or(ParseScopeError)?;
        let access = match access {
            "read" => Access::Read,
            "write" => Access::Write,
            _ => return Err(ParseScopeError),
        };
        let module = match module {
            "*" => None,
            word => Some(
                Module::ALL
                    .iter()
                    .copied()
                    .find(|module| module.as_str() == word)
                    .ok_or(ParseScopeError)?,
            ),
        };
        Ok(Self { access, module })
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What a token may do, all in all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct ScopeSet(BTreeSet<Scope>);

impl demae_fields::Shape for ScopeSet {
    fn shape() -> demae_fields::RefOrSchema {
        Vec::<String>::shape()
    }
}

impl ScopeSet {
    /// Everything.
    pub fn all() -> Self {
        Self::from_iter([Scope::ALL])
    }

    /// Whether it allows `wanted`.
    pub fn allows(&self, wanted: Scope) -> bool {
        self.0.iter().any(|scope| scope.covers(wanted))
    }

    /// The first of `wanted` that it does not allow.
    pub fn missing(&self, wanted: &Self) -> Option<Scope> {
        wanted.iter().find(|scope| !self.allows(*scope))
    }

    /// The scopes, each once.
    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// From the column's JSON array. A word that this version does not know grants nothing.
    pub(crate) fn from_column(text: &str) -> Self {
        let words: Vec<String> = serde_json::from_str(text).unwrap_or_default();
        words.iter().filter_map(|word| word.parse().ok()).collect()
    }

    /// For the column.
    pub(crate) fn to_column(&self) -> String {
        self.iter()
            .map(|scope| scope.to_string())
            .collect::<serde_json::Value>()
            .to_string()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> ScopeSet {
        texts.iter().map(|text| text.parse::<Scope>().unwrap()).collect()
    }

    #[test]
    fn writing_covers_reading_and_a_star_covers_every_module() {
        for (have, wanted, allowed) in [
            ("read:customers", "read:customers", true),
            ("write:customers", "read:customers", true),
            ("read:customers", "write:customers", false),
            ("write:customers", "read:webhooks", false),
            ("read:*", "read:webhooks", true),
            ("read:*", "write:webhooks", false),
            ("write:*", "write:webhooks", true),
            ("write:*", "read:*", true),
            ("write:customers", "write:*", false),
            ("write:customers", "read:*", false),
        ] {
            assert_eq!(
                set(&[have]).allows(wanted.parse().unwrap()),
                allowed,
                "{have} {wanted}"
            );
        }
        assert_eq!(
            set(&["read:*"]).missing(&set(&["read:users", "write:users"])),
            "write:users".parse().ok()
        );
        assert!(!ScopeSet::default().allows(Scope::read(Module::Customers)));
    }

    #[test]
    fn refuses_what_is_no_scope() {
        let bad = [
            "",
            "read",
            "read:",
            "read:nothing",
            "delete:customers",
            "READ:customers",
            "read:customers ",
            "*",
        ];
        for text in bad {
            assert_eq!(text.parse::<Scope>(), Err(ParseScopeError), "{text}");
        }
    }

    #[test]
    fn an_unknown_word_in_the_column_grants_nothing() {
        assert_eq!(
            ScopeSet::from_column(r#"["read:planets","read:users"]"#),
            set(&["read:users"])
        );
        assert_eq!(ScopeSet::from_column("broken"), ScopeSet::default());
    }

    fn scope() -> impl Strategy<Value = Scope> {
        let module = prop::option::of(prop::sample::select(Module::ALL));
        (any::<bool>(), module).prop_map(|(write, module)| Scope {
            access: if write { Access::Write } else { Access::Read },
            module,
        })
    }

    proptest! {
        #[test]
        fn every_scope_is_read_back(one in scope()) {
            prop_assert_eq!(one.to_string().parse(), Ok(one));
            prop_assert!(one.covers(one));
            prop_assert!(Scope::ALL.covers(one));
        }

        #[test]
        fn covering_is_transitive(a in scope(), b in scope(), c in scope()) {
            prop_assert!(!(a.covers(b) && b.covers(c)) || a.covers(c));
        }

        #[test]
        fn sets_survive_the_column(scopes in prop::collection::vec(scope(), 0..10)) {
            let set: ScopeSet = scopes.into_iter().collect();
            prop_assert_eq!(ScopeSet::from_column(&set.to_column()), set);
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Scope>();
        }
    }
}
