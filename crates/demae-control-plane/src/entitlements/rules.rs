//! Which fields of an entitlement go together, and which stay.

use demae_event::Faults;
use demae_fields::Input as _;
use demae_store::{StoreError, entity::entitlement::Model};

use super::{AggregationMethod, EntitlementInput, MeterType, ResetAnchor, ResetPeriod};
use crate::{DomainError, EntitlementType, error::Operation};

/// The fields that stay once they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) kind: Option<EntitlementType>,
    pub(super) aggregation_method: Option<AggregationMethod>,
    pub(super) meter_type: Option<MeterType>,
    pub(super) reset_period: Option<ResetPeriod>,
    pub(super) reset_anchor: Option<ResetAnchor>,
}

impl Fixed {
    pub(super) fn of_input(input: &EntitlementInput) -> Self {
        Self {
            kind: input.kind,
            aggregation_method: input.aggregation_method,
            meter_type: input.meter_type,
            reset_period: input.reset_period,
            reset_anchor: input.reset_anchor,
        }
    }

    pub(super) fn of_row(row: &Model) -> Result<Self, StoreError> {
        Ok(Self {
            kind: word(row.kind.as_deref(), EntitlementType::find)?,
            aggregation_method: word(row.aggregation_method.as_deref(), AggregationMethod::find)?,
            meter_type: word(row.meter_type.as_deref(), MeterType::find)?,
            reset_period: word(row.reset_period.as_deref(), ResetPeriod::find)?,
            reset_anchor: word(row.reset_anchor.as_deref(), ResetAnchor::find)?,
        })
    }

    /// `NUMBER` adds up, unless something else was said.
    pub(super) fn with_default_method(self) -> Self {
        let is_number = self.kind == Some(EntitlementType::Number);
        let says_how = self.aggregation_method.is_some() || self.meter_type == Some(MeterType::RawEvent);
        Self {
            aggregation_method: if is_number && !says_how {
                Some(AggregationMethod::Sum)
            } else {
                self.aggregation_method
            },
            ..self
        }
    }

    /// What is stored, and what the caller gave where nothing is; refuses what differs.
    pub(super) fn or(self, given: Self, operation: Operation) -> Result<Self, DomainError> {
        let refuse = |reason, key| move || operation.immutable(reason, key);
        Ok(Self {
            kind: kept(self.kind, given.kind).ok_or_else(refuse("TypeNotChangeable", "type"))?,
            aggregation_method: kept(self.aggregation_method, given.aggregation_method)
                .ok_or_else(refuse("AggregationMethodNotChangeable", "aggregation_method"))?,
            meter_type: kept(self.meter_type, given.meter_type)
                .ok_or_else(refuse("MeterTypeNotChangeable", "meter_type"))?,
            reset_period: kept(self.reset_period, given.reset_period)
                .ok_or_else(refuse("ResetPeriodNotChangeable", "reset_period"))?,
            reset_anchor: kept(self.reset_anchor, given.reset_anchor)
                .ok_or_else(refuse("ResetAnchorNotChangeable", "reset_anchor"))?,
        })
    }
}

fn word<T>(word: Option<&str>, find: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
    let unreadable = StoreError::Unreadable("a word of an entitlement");
    word.map(|word| find(word).ok_or(unreadable)).transpose()
}

/// `None` if the two differ.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether it is allowed, the inner one what it is"
)]
fn kept<T: PartialEq>(stored: Option<T>, given: Option<T>) -> Option<Option<T>> {
    match (stored, given) {
        (Some(stored), Some(given)) if stored != given => None,
        (stored, given) => Some(stored.or(given)),
    }
}

/// What is wrong with `input`, where `fixed` holds.
pub(super) fn check(input: &EntitlementInput, fixed: Fixed) -> Faults {
    let mut faults = input.check();
    check_units(&mut faults, input);
    check_kind(&mut faults, input, fixed);
    faults
}

fn check_units(faults: &mut Faults, input: &EntitlementInput) {
    let units = [
        ("unit_singular", &input.unit_singular),
        ("unit_plural", &input.unit_plural),
    ];
    let sale_units = [
        ("sale_unit_singular", &input.sale_unit_singular),
        ("sale_unit_plural", &input.sale_unit_plural),
    ];
    let [singular, plural] = units.map(|(location, text)| (location, text.is_some()));
    let [sale_singular, sale_plural] = sale_units.map(|(location, text)| (location, text.is_some()));
    let factor = ("sale_unit_factor", input.sale_unit_factor.is_some());
    let sale = [sale_singular, sale_plural, factor];
    let is_sold_otherwise = sale.iter().any(|(_, given)| *given);
    all_or_none(faults, &[singular, plural], is_sold_otherwise);
    all_or_none(faults, &sale, false);
}

/// Notes what is missing if one of them is given, or if they are needed for another reason.
fn all_or_none(faults: &mut Faults, fields: &[(&str, bool)], needed: bool) {
    if !needed && fields.iter().all(|(_, given)| !given) {
        return;
    }
    for (location, _) in fields.iter().filter(|(_, given)| !given) {
        faults.push(*location, "is required with the other fields of units");
    }
}

/// What only numbers have, and what they need.
fn check_kind(faults: &mut Faults, input: &EntitlementInput, fixed: Fixed) {
    if fixed.kind == Some(EntitlementType::Number) {
        if fixed.aggregation_method.is_none() {
            faults.push("aggregation_method", "is required with the meter type RAW_EVENT");
        }
        return;
    }
    let of_numbers = [
        ("aggregation_method", fixed.aggregation_method.is_some()),
        ("meter_type", fixed.meter_type.is_some()),
        ("reset_period", fixed.reset_period.is_some()),
        ("reset_anchor", fixed.reset_anchor.is_some()),
        ("unit_singular", input.unit_singular.is_some()),
        ("unit_plural", input.unit_plural.is_some()),
        ("sale_unit_singular", input.sale_unit_singular.is_some()),
        ("sale_unit_plural", input.sale_unit_plural.is_some()),
        ("sale_unit_factor", input.sale_unit_factor.is_some()),
    ];
    for (location, _) in of_numbers.into_iter().filter(|(_, given)| *given) {
        faults.push(location, "is only for the type NUMBER");
    }
}
