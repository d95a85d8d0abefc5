//! What a license grants of an entitlement, and what an instance has used of it: `{"type": …, "value": …}`
//! (kaiten.md, section 2.4).

use demae_event::Faults;
use demae_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    amount::Amount,
    choice::choices,
    fields::check_object,
    model::{from_json, json},
};

choices! {
    /// What kind of thing an entitlement is. `NUMBER_AI_CREDIT`, which is later than the seeds, is not one of them.
    EntitlementType {
        /// A switch.
        Boolean = "BOOLEAN",
        /// An amount, which is used up.
        Number = "NUMBER",
        /// A configuration.
        Config = "CONFIG",
    }
}

/// A value of one of three kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum EntitlementValue {
    /// For `NUMBER`.
    Number {
        /// The amount; [`Amount::UNLIMITED`] in a grant means what it says.
        value: Amount,
        /// How many reports it comes from; only where it was used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event_count: Option<i64>,
    },
    /// For `BOOLEAN`.
    Boolean {
        /// On or off.
        value: bool,
    },
    /// For `CONFIG`.
    Object {
        /// Whatever it may be.
        value: Map<String, Value>,
    },
}

impl EntitlementValue {
    /// An amount that is granted.
    pub const fn number(value: Amount) -> Self {
        Self::Number {
            value,
            event_count: None,
        }
    }

    /// The type of the entitlements that it fits.
    pub const fn fits(&self) -> EntitlementType {
        match self {
            Self::Number { .. } => EntitlementType::Number,
            Self::Boolean { .. } => EntitlementType::Boolean,
            Self::Object { .. } => EntitlementType::Config,
        }
    }

    /// The amount, if it is one.
    pub const fn amount(&self) -> Option<Amount> {
        match self {
            Self::Number { value, .. } => Some(*value),
            Self::Boolean { .. } | Self::Object { .. } => None,
        }
    }

    /// What a column holds.
    pub(crate) fn from_column(text: &str) -> Result<Self, StoreError> {
        from_json(text, "an entitlement's value")
    }

    /// What a column is to hold.
    pub(crate) fn to_column(&self) -> String {
        json(self)
    }

    /// Whether it can be granted: an amount from 0, or -1; any switch; an object of limited size.
    pub(crate) fn check_granted(&self, faults: &mut Faults, location: &str) {
        match self {
            Self::Number { value, .. } => {
                let stated = Amount::ZERO <= *value && *value <= Amount::MAX;
                if !stated && *value != Amount::UNLIMITED {
                    let max = Amount::MAX;
                    faults.push(
                        format!("{location}.value"),
                        format!("must be from 0 to {max}, or -1 for no limit"),
                    );
                }
            }
            Self::Boolean { .. } => {}
            Self::Object { value } => check_object(faults, &format!("{location}.value"), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_written_and_read_in_three_kinds() {
        for value in [
            json!({"type": "number", "value": 0.1}),
            json!({"type": "number", "value": -1}),
            json!({"type": "number", "value": 7, "event_count": 3}),
            json!({"type": "boolean", "value": true}),
            json!({"type": "object", "value": {"b": [1, null], "a": {}}}),
        ] {
            let read: EntitlementValue = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), value);
            assert_eq!(EntitlementValue::from_column(&read.to_column()).unwrap(), read);
        }
        for value in [
            json!({"type": "number", "value": "1"}),
            json!({"type": "number", "value": 1e300}),
            json!({"type": "string", "value": "x"}),
            json!({"value": 1}),
        ] {
            assert!(
                serde_json::from_value::<EntitlementValue>(value.clone()).is_err(),
                "{value}"
            );
        }
    }

    #[test]
    fn what_can_be_granted() {
        let faults = |value: &EntitlementValue| {
            let mut faults = Faults::new();
            value.check_granted(&mut faults, "value");
            faults
                .into_vec()
                .into_iter()
                .map(|fault| fault.location)
                .collect::<Vec<_>>()
        };
        for amount in [-1, 0, 10] {
            assert_eq!(faults(&EntitlementValue::number(Amount::from(amount))), [""; 0]);
        }
        for amount in ["-0.5", "-2"] {
            let value = EntitlementValue::number(amount.parse().unwrap());
            assert_eq!(faults(&value), ["value.value"]);
        }
        let long = Map::from_iter([("key".to_owned(), json!("x".repeat(crate::fields::MAX_OBJECT)))]);
        assert_eq!(faults(&EntitlementValue::Object { value: long }), ["value.value"]);
    }
}
