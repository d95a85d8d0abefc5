//! What a flag must be before it is written: one that can be evaluated for whoever asks.

use std::collections::HashSet;

use demae_event::{Faults, fault::keyed};

use super::{
    model::{Dates, FlagInput, FlagType, Percentages, Serving, Variant},
    rule::Rule,
};
use crate::{
    fields::{check_description, check_name, check_object, check_text, has_nul},
    model::json,
};

/// Longest name of an event, in characters.
pub const MAX_EVENT_NAME: usize = 255;
/// Variants of a flag.
pub const MAX_VARIANTS: usize = 50;
/// Targetings of a flag.
pub const MAX_TARGETINGS: usize = 50;
/// Longest variants, default and targetings together, in bytes of JSON.
pub const MAX_DOCUMENT: usize = 65_536;

/// Notes every fault of a flag at its location.
pub(super) fn check(faults: &mut Faults, input: &FlagInput) {
    check_name(faults, "name", &input.name);
    if let Some(description) = &input.description {
        check_description(faults, "description", description);
    }
    if !input.event_name.is_empty() {
        check_text(faults, "event_name", &input.event_name, MAX_EVENT_NAME);
    }
    check_object(faults, "metadata", &input.metadata);
    check_variants(faults, input.kind, &input.variants);
    let names: HashSet<&str> = input
        .variants
        .iter()
        .map(|variant| variant.name.as_str())
        .collect();
    let default = input.default_variant.serving();
    check_serving(faults, "default_variant", "value", default, &names);
    let targetings = input.targetings.as_deref().unwrap_or_default();
    check_count(faults, "targetings", 0, targetings.len(), MAX_TARGETINGS);
    for (index, targeting) in targetings.iter().enumerate().take(MAX_TARGETINGS) {
        let at = format!("targetings[{index}]");
        check_name(faults, &format!("{at}.name"), &targeting.name);
        faults.take(&format!("{at}.rule"), Rule::compile(&targeting.rule));
        check_serving(faults, &at, "variant", targeting.serves.serving(), &names);
    }
    let document = json(&(&input.variants, &input.default_variant, &input.targetings));
    if document.len() > MAX_DOCUMENT {
        let message =
            format!("its variants and targetings must not be longer than {MAX_DOCUMENT} bytes as JSON");
        faults.push("", message);
    }
}

fn check_count(faults: &mut Faults, at: &str, least: usize, count: usize, most: usize) {
    if !(least..=most).contains(&count) {
        faults.push(at, format!("must have {least} to {most} items"));
    }
}

fn check_variants(faults: &mut Faults, kind: FlagType, variants: &[Variant]) {
    check_count(faults, "variants", 1, variants.len(), MAX_VARIANTS);
    let mut names = HashSet::new();
    for (index, variant) in variants.iter().enumerate().take(MAX_VARIANTS) {
        let at = format!("variants[{index}]");
        check_name(faults, &format!("{at}.name"), &variant.name);
        if !names.insert(&variant.name) {
            faults.push_value(
                format!("{at}.name"),
                "is the name of another variant",
                variant.name.as_str(),
            );
        }
        check_description(faults, &format!("{at}.description"), &variant.description);
        if !kind.admits(&variant.value) {
            faults.push(
                format!("{at}.value"),
                format!("must be of the flag's type, {}", kind.name()),
            );
        } else if has_nul(&variant.value) {
            faults.push(format!("{at}.value"), "must not contain the character U+0000");
        }
    }
}

fn check_serving(faults: &mut Faults, at: &str, key: &str, serving: Serving<'_>, names: &HashSet<&str>) {
    match serving {
        Serving::One(variant) => check_variant(faults, format!("{at}.{key}"), variant, names),
        Serving::Shares(shares) => check_shares(faults, &format!("{at}.distribution"), shares, names),
        Serving::Growing(dates) => check_dates(faults, at, dates, names),
    }
}

fn check_variant(faults: &mut Faults, at: String, variant: &str, names: &HashSet<&str>) {
    if !names.contains(variant) {
        faults.push_value(at, "is not the name of a variant", variant);
    }
}

fn check_shares(faults: &mut Faults, at: &str, shares: &Percentages, names: &HashSet<&str>) {
    for (variant, share) in &shares.distribution {
        check_variant(faults, keyed(at, variant), variant, names);
        check_percentage(faults, keyed(at, variant), *share);
    }
    let sum: u32 = shares.distribution.values().map(|share| u32::from(*share)).sum();
    if sum != 100 {
        faults.push_value(at, "must add up to 100", format!("adds up to {sum}"));
    }
}

fn check_percentage(faults: &mut Faults, at: String, share: u8) {
    if share > 100 {
        faults.push_value(at, "must be from 0 to 100", share);
    }
}

fn check_dates(faults: &mut Faults, at: &str, Dates { start, end }: &Dates, names: &HashSet<&str>) {
    for (key, stage) in [("start", start), ("end", end)] {
        check_variant(faults, format!("{at}.{key}.variant"), &stage.variant, names);
        check_percentage(faults, format!("{at}.{key}.percentage"), stage.percentage);
    }
    if start.date > end.date {
        faults.push(format!("{at}.end.date"), "must not be before the start's date");
    }
    if start.variant == end.variant {
        if names.len() != 2 {
            let message = "must not be the start's, unless the flag has exactly two variants";
            faults.push(format!("{at}.end.variant"), message);
        }
    } else if u16::from(start.percentage) + u16::from(end.percentage) <= 100 {
        // Each is a share of its own variant. Who takes both for shares of the end's variant would have everyone served that
        // variant at once.
        let message = "must make more than 100 with the start's: at each date, so many have that end's own variant, and \
            the end's must become more";
        faults.push(format!("{at}.end.percentage"), message);
    }
}
