//! All that one endpoint asks for, prepared for being asked about every event.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Kind, Subscription};
use crate::catalogue;

/// Entries an endpoint may have: far above the catalogue's size, far below what makes matching slow.
pub const MAX_SUBSCRIPTIONS: usize = 500;

/// What an endpoint asks for. Never empty, in the order in which it was given.
#[derive(Debug, Clone)]
pub struct SubscriptionSet {
    entries: Vec<Subscription>,
    everything: bool,
    /// Names and types that were asked for as they are.
    exact: HashSet<String>,
    /// Prefixes of the families, sorted; none begins with another one, which would be the same with less.
    families: Vec<String>,
    /// For catalogue events whose later name was asked for: the event's own name, and the later one.
    later: HashMap<&'static str, &'static str>,
    /// The same for events that only a family of later names asks for.
    later_by_family: HashMap<&'static str, &'static str>,
}

/// Why a list of subscriptions is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionSetError {
    /// An endpoint that asks for nothing is a mistake.
    #[error("must name at least one event; '*' asks for all")]
    Empty,
    /// More than [`MAX_SUBSCRIPTIONS`].
    #[error("must not name more than {MAX_SUBSCRIPTIONS} events, but names {0}")]
    TooMany(usize),
}

impl SubscriptionSet {
    /// Prepares a list of 1 to [`MAX_SUBSCRIPTIONS`] entries. A repeated entry is kept once.
    pub fn new(entries: impl IntoIterator<Item = Subscription>) -> Result<Self, SubscriptionSetError> {
        let mut seen = HashSet::new();
        let entries: Vec<_> = entries
            .into_iter()
            .filter(|entry| seen.insert(entry.clone()))
            .collect();
        match entries.len() {
            0 => Err(SubscriptionSetError::Empty),
            count if count > MAX_SUBSCRIPTIONS => Err(SubscriptionSetError::TooMany(count)),
            _ => Ok(Self::prepare(entries)),
        }
    }

    fn prepare(entries: Vec<Subscription>) -> Self {
        let texts = |kind| entries.iter().filter(move |entry| entry.kind == kind);
        let exact: HashSet<String> = texts(Kind::Exact).map(|entry| entry.text.clone()).collect();
        let mut families: Vec<String> = texts(Kind::Family)
            .map(|entry| entry.prefix().to_owned())
            .collect();
        families.sort_unstable();
        // A longer prefix comes right after the shorter one, and those between begin with that as well.
        families.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str()));
        let everything = texts(Kind::Everything).next().is_some();
        let renamed = || {
            catalogue::all()
                .iter()
                .filter(|event| event.later_name != event.name)
        };
        let later = renamed()
            .filter(|event| exact.contains(event.later_name))
            .map(|event| (event.name, event.later_name))
            .collect();
        let later_by_family = renamed()
            .filter(|event| is_in_one(&families, event.later_name))
            .map(|event| (event.name, event.later_name))
            .collect();
        Self {
            entries,
            everything,
            exact,
            families,
            later,
            later_by_family,
        }
    }

    /// The name under which the event is delivered to this endpoint; `None` if the endpoint does not want it.
    ///
    /// `event_name` is the event's own: for catalogue events the seed's, as [`crate::Event::name`] promises.
    pub fn delivered_name<'event>(&self, event_name: &'event str, event_type: &str) -> Option<&'event str> {
        if self.exact.contains(event_name) {
            return Some(event_name);
        }
        if let Some(later) = self.later.get(event_name) {
            return Some(later);
        }
        if self.exact.contains(event_type) || is_in_one(&self.families, event_name) {
            return Some(event_name);
        }
        if let Some(later) = self.later_by_family.get(event_name) {
            return Some(later);
        }
        let for_everyone = !event_type.starts_with(catalogue::OPERATIONAL_TYPE_PREFIX);
        (self.everything && for_everyone).then_some(event_name)
    }

    /// The entries, in the order in which they were given.
    pub fn entries(&self) -> &[Subscription] {
        &self.entries
    }
}

/// Whether `name` begins with one of `families`: if it does, then with the last one that is not after it. This is asked
/// for each event and endpoint, so it must not depend on how many an endpoint names.
fn is_in_one(families: &[String], name: &str) -> bool {
    let after = families.partition_point(|prefix| prefix.as_str() <= name);
    after > 0 && name.starts_with(&families[after - 1])
}

impl PartialEq for SubscriptionSet {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for SubscriptionSet {}

impl Serialize for SubscriptionSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SubscriptionSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &str) -> SubscriptionSet {
        SubscriptionSet::new(texts.split(' ').map(|text| text.parse().unwrap())).unwrap()
    }

    /// Under which name `event` (a catalogue name) reaches an endpoint that subscribed with `texts`.
    fn delivered(texts: &str, event: &str) -> Option<String> {
        let event = catalogue::find(event).unwrap();
        set(texts)
            .delivered_name(event.name, event.event_type)
            .map(str::to_owned)
    }

    #[test]
    fn the_name_is_that_of_the_subscription() {
        for (texts, name) in [
            ("CUSTOMER_CREATION", "CUSTOMER_CREATION"),
            ("CUSTOMER_CREATED", "CUSTOMER_CREATED"),
            ("com.kaiten.customer.v1.created", "CUSTOMER_CREATION"),
            ("CUSTOMER_*", "CUSTOMER_CREATION"),
            ("*", "CUSTOMER_CREATION"),
            ("CUSTOMER_CREATED CUSTOMER_CREATION", "CUSTOMER_CREATION"),
            (
                "* CUSTOMER_* com.kaiten.customer.v1.created CUSTOMER_CREATED",
                "CUSTOMER_CREATED",
            ),
        ] {
            assert_eq!(
                delivered(texts, "CUSTOMER_CREATION").as_deref(),
                Some(name),
                "{texts}"
            );
        }
    }

    #[test]
    fn a_family_of_later_names_gives_the_later_name() {
        for (texts, name) in [
            ("FEATURE_FLAG_*", "FEATURE_FLAG_CREATED"),
            ("FEATURE_FLAG_* *", "FEATURE_FLAG_CREATED"),
            ("FEATUREFLAG_*", "FEATUREFLAG_CREATION"),
            ("FEATURE_FLAG_* FEATUREFLAG_*", "FEATUREFLAG_CREATION"),
            (
                "FEATURE_FLAG_* com.kaiten.feature_flag.v1.created",
                "FEATUREFLAG_CREATION",
            ),
        ] {
            assert_eq!(
                delivered(texts, "FEATUREFLAG_CREATION").as_deref(),
                Some(name),
                "{texts}"
            );
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_delivered() {
        for texts in [
            "CUSTOMER_UPDATE",
            "CUSTOMER_UPDATED",
            "INSTANCE_*",
            "com.kaiten.customer.v1.updated",
            "ORDER_*",
        ] {
            assert_eq!(delivered(texts, "CUSTOMER_CREATION"), None, "{texts}");
        }
        assert_eq!(delivered("ENTITLEMENT_*", "LICENSE_ENTITLEMENT_UPDATE"), None);
        assert_eq!(
            delivered("INSTANCE_*", "INSTANCE_ENTITLEMENT_USAGE_REACHED"),
            Some(catalogue::all()[8].name.into())
        );
    }

    #[test]
    fn operational_events_must_be_asked_for() {
        for event in catalogue::operational() {
            for texts in [event.name, event.event_type, "ENDPOINT_*", "* ENDPOINT_*"] {
                assert_eq!(
                    delivered(texts, event.name).as_deref(),
                    Some(event.name),
                    "{texts}"
                );
            }
            for texts in ["*", "CUSTOMER_* *", "END_*"] {
                assert_eq!(delivered(texts, event.name), None, "{texts}");
            }
        }
    }

    #[test]
    fn an_applications_own_events_match_by_name_type_family_and_everything() {
        for texts in ["ORDER_SHIPPED", "shop.order.shipped", "ORDER_*", "*"] {
            let name = set(texts)
                .delivered_name("ORDER_SHIPPED", "shop.order.shipped")
                .map(str::to_owned);
            assert_eq!(name.as_deref(), Some("ORDER_SHIPPED"), "{texts}");
        }
    }

    #[test]
    fn a_set_has_between_one_and_the_limit_and_each_once() {
        let many = |count: usize| SubscriptionSet::new((0..count).map(|n| format!("E{n}").parse().unwrap()));
        assert_eq!(many(0), Err(SubscriptionSetError::Empty));
        assert!(many(MAX_SUBSCRIPTIONS).is_ok());
        assert_eq!(
            many(MAX_SUBSCRIPTIONS + 1),
            Err(SubscriptionSetError::TooMany(MAX_SUBSCRIPTIONS + 1))
        );
        let repeated: Vec<_> = set("B A B").entries().iter().map(ToString::to_string).collect();
        assert_eq!(repeated, ["B", "A"]);
    }

    #[test]
    fn families_within_families_match_as_before() {
        let set = set("A_B_* A_* AB_* B_1_* B_2_*");
        assert_eq!(set.families, ["AB_", "A_", "B_1_", "B_2_"]);
        for (name, wanted) in [
            ("A_B_C", true),
            ("A_Z", true),
            ("AB_", true),
            ("AB", false),
            ("A", false),
            ("B_1_X", true),
            ("B_1", false),
            ("B_3_X", false),
            ("ZZ", false),
            ("", false),
        ] {
            assert_eq!(set.delivered_name(name, "t").is_some(), wanted, "{name}");
        }
    }

    #[test]
    fn is_kept_as_a_list_of_texts() {
        let text = r#"["CUSTOMER_*","order.shipped"]"#;
        let read: SubscriptionSet = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(serde_json::from_str::<SubscriptionSet>("[]").is_err());
        assert!(serde_json::from_str::<SubscriptionSet>(r#"["a b"]"#).is_err());
    }
}
