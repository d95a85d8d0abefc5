//! What instances use of what their licenses grant (kaiten.md, sections 2.6 and 2.9).
//!
//! A report is folded into one counter per instance and entitlement ([`aggregation`]), which begins at zero again with
//! every period if the entitlement has periods ([`period`]). The counter's row is locked while that is done, so that
//! reports made at the same time are folded one after the other.
//!
//! # The limit
//!
//! The limit is what the license grants; -1 is none. Without overage it cannot be passed, with an overage of n percent it
//! can be by so much. A report that would take the value past that is refused and leaves no trace,
//! unless it takes the value down: whoever was above a limit that was lowered can go back.
//! `INSTANCE_ENTITLEMENT_USAGE_REACHED` is emitted by the report that takes the value from below the limit to it or past
//! it. So it is emitted once, and again after the value has been below: after a `set`, a new period or a raised limit.
//!
//! A report is no change of a resource: it is in the audit trail only if it emits that event.

pub mod aggregation;
pub mod period;

use demae_event::{Faults, Timestamp};
use demae_store::{
    Store, StoreError,
    entity::entitlement_usage::Model,
    repository::{self, usages::Metered},
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use self::{aggregation::Tally, period::Period};
use crate::{
    Actor, Amount, Change, DomainError, EntitlementType, EntitlementValue,
    change::Subject,
    entitlements::{AggregationMethod, ResetAnchor, ResetPeriod},
    error::Operation,
    fields::check_object,
    model::time,
};

/// Entitlements of one instance that are listed; the list has no pages (kaiten.md, section 3.1).
const MAX_LISTED: u64 = 1_000;

const RESOURCE: &str = "entitlement usage";

/// An entitlement as an instance has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// The entitlement.
    pub entitlement_id: Uuid,
    /// Its slug.
    pub entitlement_slug: String,
    /// The license that grants it.
    pub license_id: Uuid,
    /// The license's slug.
    pub license_slug: String,
    /// What was used in this period; for what cannot be used up, what is granted.
    pub value: EntitlementValue,
    /// What is granted.
    pub limit: EntitlementValue,
    /// Since when the value has been counted; null if it never begins again.
    pub current_period_start: Option<Timestamp>,
    /// When it begins at zero again.
    pub current_period_end: Option<Timestamp>,
}

/// What a report does to the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behavior {
    /// It is folded in.
    #[default]
    Append,
    /// It replaces all reports before it.
    Set,
}

/// A report of usage.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How much.
    pub value: Amount,
    /// What it does.
    pub behavior: Behavior,
    /// The reporter's own notes, which are checked and not kept.
    pub metadata: Map<String, Value>,
}

/// Everything that an instance's license grants, by slug, with what was used of it.
pub async fn list(
    store: &Store,
    actor: &Actor,
    now: Timestamp,
    instance: &str,
) -> Result<Vec<Usage>, DomainError> {
    let operation = Operation("ListEntitlementUsage");
    let (connection, organization) = (store.reader(), actor.organization_id);
    let rows = repository::usages::list(connection, organization, instance, MAX_LISTED).await?;
    if rows.is_empty()
        && repository::instances::find(connection, organization, instance)
            .await?
            .is_none()
    {
        return Err(operation.missing("InstanceNotFound", "instance"));
    }
    rows.iter()
        .map(|row| Ok(granted(row)?.shown(row, now)?))
        .collect::<Result<_, DomainError>>()
}

/// One of them.
pub async fn get(
    store: &Store,
    actor: &Actor,
    now: Timestamp,
    (instance, entitlement): (&str, &str),
) -> Result<Usage, DomainError> {
    let operation = Operation("GetEntitlementUsage");
    let (connection, organization) = (store.reader(), actor.organization_id);
    let row = repository::usages::find(connection, organization, instance, entitlement).await?;
    let Some(row) = row.filter(|row| row.granted.is_some()) else {
        return Err(nothing(store, actor, operation, instance).await?);
    };
    Ok(granted(&row)?.shown(&row, now)?)
}

/// Takes a report in; answers what was used with it.
pub async fn report(
    change: &mut Change<'_>,
    (instance, entitlement): (&str, &str),
    report: Report,
) -> Result<Usage, DomainError> {
    let operation = Operation("ReportEntitlementUsageMetric");
    let mut faults = Faults::new();
    check_object(&mut faults, "metadata", &report.metadata);
    operation.check(faults)?;
    let row = find_for_update(change, operation, (instance, entitlement)).await?;
    let Granted::Meter(meter) = granted(&row)? else {
        return Err(not_a_number(operation, entitlement));
    };
    let (period, before) = meter.counted(&row, change.now)?;
    let after = match report.behavior {
        Behavior::Append => before.append(meter.method, report.value),
        Behavior::Set => Some(Tally::set(report.value)),
    };
    let too_large = || operation.invalid("value", "takes the value further than it can be kept");
    let after = after.ok_or_else(too_large)?;
    if after.value > before.value && meter.is_beyond(after.value) {
        let limit = meter.limit.unwrap_or_default();
        let detail = format!(
            "the license grants {limit} of {entitlement:?}, and with this report {} would be used",
            after.value
        );
        return Err(operation.conflict("ThresholdExceeded", detail));
    }
    let model = Model {
        instance_id: row.instance_id,
        entitlement_id: row.entitlement_id,
        organization_id: change.organization_id().0,
        value: after.value.to_string(),
        total: after.total.to_string(),
        event_count: after.event_count,
        period_start: period.map(|period| period.start.as_micros()),
        period_end: period.map(|period| period.end.as_micros()),
        updated_at: change.now.as_micros(),
    };
    repository::usages::update(change.transaction, &model).await?;
    let usage = usage(&row, number(after), meter.granted.clone(), period);
    if meter
        .limit
        .is_some_and(|limit| before.value < limit && limit <= after.value)
    {
        let subject = Subject {
            resource: RESOURCE,
            id: row.entitlement_id,
            slug: &row.entitlement_slug,
            instance: Some((row.instance_id, &row.instance_slug)),
        };
        change
            .emit("INSTANCE_ENTITLEMENT_USAGE_REACHED", subject, &usage)
            .await?;
    }
    Ok(usage)
}

/// The counter, which nobody else changes until the transaction ends; it is made if this is its first report.
async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    (instance, entitlement): (&str, &str),
) -> Result<Metered, DomainError> {
    let organization = change.organization_id();
    let missing = || operation.missing("EntitlementNotFound", "entitlement");
    let find = repository::usages::find_for_update;
    if let Some(row) = find(change.transaction, organization, instance, entitlement).await? {
        return Ok(row);
    }
    let connection = change.transaction.connection();
    let Some(row) = repository::usages::find(connection, organization, instance, entitlement).await? else {
        let known = repository::instances::find(connection, organization, instance).await?;
        return Err(known.map_or_else(
            || operation.missing("InstanceNotFound", "instance"),
            |_| missing(),
        ));
    };
    if !is_number(&row)? {
        return Err(not_a_number(operation, entitlement));
    }
    if row.granted.is_none() {
        return Err(operation.missing("NotGranted", "entitlement in the instance's license"));
    }
    let first = Model {
        instance_id: row.instance_id,
        entitlement_id: row.entitlement_id,
        organization_id: organization.0,
        value: Amount::ZERO.to_string(),
        total: Amount::ZERO.to_string(),
        event_count: 0,
        period_start: None,
        period_end: None,
        updated_at: change.now.as_micros(),
    };
    match repository::usages::insert(change.transaction, first).await {
        // Deleted since it was read.
        Err(StoreError::Reference(_)) => return Err(missing()),
        // Somebody else's first report was quicker, which is as good.
        written => written?,
    };
    find(change.transaction, organization, instance, entitlement)
        .await?
        .ok_or_else(missing)
}

fn not_a_number(operation: Operation, entitlement: &str) -> DomainError {
    let detail = format!("{entitlement:?} is no number: it cannot be used up");
    operation.unsupported("UnsupportedEntitlementType", detail)
}

/// Why there is no such row.
async fn nothing(
    store: &Store,
    actor: &Actor,
    operation: Operation,
    instance: &str,
) -> Result<DomainError, StoreError> {
    let known = repository::instances::find(store.reader(), actor.organization_id, instance).await?;
    Ok(match known {
        Some(_) => operation.missing("EntitlementNotFound", "entitlement"),
        None => operation.missing("InstanceNotFound", "instance"),
    })
}

/// What is granted.
enum Granted {
    /// Something that is used up.
    Meter(Meter),
    /// Something that one has or has not.
    Fixed(EntitlementValue),
}

/// A counter and its limit.
struct Meter {
    granted: EntitlementValue,
    method: AggregationMethod,
    reset: Option<(ResetPeriod, Option<Timestamp>)>,
    /// None if there is none.
    limit: Option<Amount>,
    overage_percent: i32,
}

fn granted(row: &Metered) -> Result<Granted, StoreError> {
    match EntitlementValue::from_column(row.granted.as_deref().unwrap_or_default())? {
        value @ EntitlementValue::Number { .. } => Ok(Granted::Meter(Meter::new(row, value)?)),
        fixed => Ok(Granted::Fixed(fixed)),
    }
}

/// Whether it can be used up. An entitlement without a type is what its grant makes of it.
fn is_number(row: &Metered) -> Result<bool, StoreError> {
    match (&row.kind, &row.granted) {
        (Some(kind), _) => Ok(kind == EntitlementType::Number.as_str()),
        (None, Some(granted)) => Ok(EntitlementValue::from_column(granted)?.amount().is_some()),
        (None, None) => Ok(true),
    }
}

impl Granted {
    fn shown(&self, row: &Metered, now: Timestamp) -> Result<Usage, StoreError> {
        match self {
            Self::Fixed(value) => Ok(usage(row, value.clone(), value.clone(), None)),
            Self::Meter(meter) => {
                let (period, tally) = meter.counted(row, now)?;
                Ok(usage(row, number(tally), meter.granted.clone(), period))
            }
        }
    }
}

impl Meter {
    fn new(row: &Metered, granted: EntitlementValue) -> Result<Self, StoreError> {
        let method = match &row.aggregation_method {
            None => AggregationMethod::Sum,
            Some(word) => {
                AggregationMethod::find(word).ok_or(StoreError::Unreadable("an aggregation method"))?
            }
        };
        let reset = match &row.reset_period {
            None => None,
            Some(word) => {
                let length = ResetPeriod::find(word).ok_or(StoreError::Unreadable("a reset period"))?;
                let by_license = row.reset_anchor.as_deref() == Some(ResetAnchor::LicenseStart.as_str());
                Some((length, by_license.then(|| time(row.license_start))))
            }
        };
        Ok(Self {
            limit: granted.amount().filter(|limit| *limit != Amount::UNLIMITED),
            overage_percent: row.overage_percent.unwrap_or(0),
            granted,
            method,
            reset,
        })
    }

    /// What was counted in the current period, and which that is.
    ///
    /// A period that has begun lasts until its end, whatever becomes of the license's start meanwhile; and a process
    /// whose clock is a little behind does not go back to the one before.
    fn counted(&self, row: &Metered, now: Timestamp) -> Result<(Option<Period>, Tally), StoreError> {
        let tally = match (&row.value, &row.total, row.event_count) {
            (Some(value), Some(total), Some(event_count)) => Tally {
                value: Amount::from_column(value)?,
                total: Amount::from_column(total)?,
                event_count,
            },
            _ => Tally::EMPTY,
        };
        let Some((length, origin)) = self.reset else {
            return Ok((None, tally));
        };
        if let (Some(start), Some(end)) = (row.period_start, row.period_end)
            && now < time(end)
        {
            let (start, end) = (time(start), time(end));
            return Ok((Some(Period { start, end }), tally));
        }
        Ok((Period::at(length, origin, now), Tally::EMPTY))
    }

    /// Whether this much is more than may be used.
    fn is_beyond(&self, value: Amount) -> bool {
        let Some(limit) = self.limit else {
            return false;
        };
        // Hundredths of billionths of what may be stated fit, and so does the largest percentage of them.
        let cap = limit.billionths() * (100 + i128::from(self.overage_percent.max(0)));
        value
            .billionths()
            .checked_mul(100)
            .is_none_or(|value| value > cap)
    }
}

fn number(tally: Tally) -> EntitlementValue {
    EntitlementValue::Number {
        value: tally.value,
        event_count: Some(tally.event_count),
    }
}

fn usage(row: &Metered, value: EntitlementValue, limit: EntitlementValue, period: Option<Period>) -> Usage {
    Usage {
        entitlement_id: row.entitlement_id,
        entitlement_slug: row.entitlement_slug.clone(),
        license_id: row.license_id,
        license_slug: row.license_slug.clone(),
        value,
        limit,
        current_period_start: period.map(|period| period.start),
        current_period_end: period.map(|period| period.end),
    }
}
