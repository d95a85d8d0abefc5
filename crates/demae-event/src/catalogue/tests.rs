use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::{AttemptId, EndpointId, Subscription, subscription::check_name};

fn every() -> impl Iterator<Item = &'static EventDefinition> {
    all().iter().chain(operational())
}

#[test]
fn holds_27_events_in_seven_domains() {
    let mut counts = BTreeMap::<String, usize>::new();
    for event in all() {
        *counts.entry(event.domain.to_string()).or_default() += 1;
    }
    let expected = [
        ("Customer", 3),
        ("Instance", 6),
        ("License", 6),
        ("Entitlement", 3),
        ("Feature Flag", 3),
        ("Deployment Zone", 4),
        ("Release", 2),
    ];
    assert_eq!(
        counts,
        expected.map(|(domain, count)| (domain.to_owned(), count)).into()
    );
    assert_eq!(all().len(), 27);
}

/// The seed's own list (seed 000, "Available Events"), which is the contract.
#[test]
fn holds_the_names_of_the_seed() {
    let seed = "CUSTOMER_CREATION CUSTOMER_UPDATE CUSTOMER_DELETION \
        INSTANCE_CREATION INSTANCE_UPDATE INSTANCE_DELETION INSTANCE_DEPLOYMENT INSTANCE_MIGRATION \
        INSTANCE_ENTITLEMENT_USAGE_REACHED \
        LICENSE_CREATION LICENSE_UPDATE LICENSE_DELETION LICENSE_ENTITLEMENT_ASSIGNMENT \
        LICENSE_ENTITLEMENT_UNASSIGNMENT LICENSE_ENTITLEMENT_UPDATE \
        ENTITLEMENT_CREATION ENTITLEMENT_UPDATE ENTITLEMENT_DELETION \
        FEATUREFLAG_CREATION FEATUREFLAG_UPDATE FEATUREFLAG_DELETION \
        DEPLOYMENT_ZONE_CREATION DEPLOYMENT_ZONE_UPDATE DEPLOYMENT_ZONE_DELETION RELEASE_DEPLOYMENT \
        RELEASE_CREATION RELEASE_DELETION";
    let names: Vec<_> = all().iter().map(|event| event.name).collect();
    assert_eq!(names, seed.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn every_name_and_type_belongs_to_one_event() {
    let mut seen = BTreeMap::new();
    for event in every() {
        for key in BTreeSet::from([event.name, event.later_name, event.event_type]) {
            assert_eq!(seen.insert(key, event.name), None, "{key} twice");
            assert_eq!(find(key), Some(event), "{key}");
            assert_eq!(check_name(key), Ok(()), "{key}");
            assert!(key.parse::<Subscription>().unwrap().is_known(), "{key}");
        }
    }
    assert_eq!(find("CUSTOMER_EXPLOSION"), None);
    assert_eq!(find("customer_creation"), None);
}

#[test]
fn the_engine_owns_its_types() {
    for event in every() {
        assert_eq!(
            event.event_type.starts_with(OPERATIONAL_TYPE_PREFIX),
            event.is_operational(),
            "{}",
            event.name
        );
        assert!(event.description.ends_with('.'), "{}", event.name);
    }
    assert_eq!(endpoint_failing().name, "ENDPOINT_FAILING");
    assert_eq!(endpoint_disabled().name, "ENDPOINT_DISABLED");
}

#[test]
fn every_example_is_valid_by_its_schema() {
    for payload in Payload::ALL {
        assert!(jsonschema::meta::is_valid(payload.schema()), "{payload:?}");
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(payload.schema())
            .unwrap();
        let faults: Vec<_> = validator
            .iter_errors(payload.example())
            .map(|fault| fault.to_string())
            .collect();
        assert!(faults.is_empty(), "{payload:?}: {faults:?}");
        // An empty object must not pass, or the schema says nothing.
        assert!(
            !validator.is_valid(&Value::Object(serde_json::Map::new())),
            "{payload:?}"
        );
    }
}

#[test]
fn schemas_can_stand_inside_another_document() {
    for payload in Payload::ALL {
        let text = payload.schema().to_string();
        assert!(
            !text.contains("\"$ref\"") && !text.contains("\"$id\""),
            "{payload:?}"
        );
        assert_eq!(payload.schema()["type"], "object", "{payload:?}");
        assert_eq!(
            payload.schema()["properties"]["organizationId"]["format"],
            "uuid",
            "{payload:?}"
        );
    }
}

/// Keys that the official SDK refuses to do without (kaiten.md, section 8.6), and those that may be null.
fn required_by_the_sdk(payload: Payload) -> (&'static str, &'static str) {
    match payload {
        Payload::Customer => ("id name createdAt createdBy updatedAt updatedBy", ""),
        Payload::Instance => (
            "id name description customerId customerSlug licenseId licenseSlug startLicenseDate endLicenseDate \
             createdAt createdBy updatedAt updatedBy",
            "",
        ),
        Payload::License => (
            "id name description type version isDefault createdAt updatedAt",
            "",
        ),
        Payload::LicenseEntitlement => (
            "licenseId licenseSlug entitlementName value createdAt createdBy updatedAt updatedBy",
            "",
        ),
        Payload::Entitlement => ("id name createdAt updatedAt", "description"),
        Payload::EntitlementUsage => ("entitlementId entitlementSlug licenseId licenseSlug value", ""),
        Payload::FeatureFlag => (
            "id name type enabled event_name metadata default_variant",
            "description variants targetings",
        ),
        Payload::DeploymentZone => (
            "id name type description createdAt createdBy updatedAt updatedBy",
            "",
        ),
        Payload::Deployment => ("id deploymentZoneId releaseId createdAt createdBy", ""),
        Payload::Release => ("id version createdAt createdBy", ""),
        Payload::EndpointFailing | Payload::EndpointDisabled => ("", ""),
    }
}

#[test]
fn examples_and_schemas_have_what_the_sdk_requires() {
    for payload in Payload::ALL {
        let (never_null, nullable) = required_by_the_sdk(*payload);
        let required = payload.schema()["required"].as_array().unwrap();
        for key in never_null.split_whitespace() {
            assert!(!payload.example()[key].is_null(), "{payload:?}.{key}");
            assert!(required.contains(&key.into()), "{payload:?}.{key}");
        }
        for key in nullable.split_whitespace() {
            assert!(payload.example().get(key).is_some(), "{payload:?}.{key}");
            assert!(required.contains(&key.into()), "{payload:?}.{key}");
        }
    }
    // What the seed shows of a customer (seed 000, "Inspect the Payload").
    for key in ["id", "name", "slug", "organizationId"] {
        assert!(Payload::Customer.example()[key].is_string(), "{key}");
    }
    assert!(Payload::License.example()["version"].is_string());
}

#[test]
fn examples_of_the_engine_use_its_identifiers() {
    for event in operational() {
        let example = event.example();
        assert!(
            example["webhookId"]
                .as_str()
                .unwrap()
                .parse::<EndpointId>()
                .is_ok()
        );
        assert!(
            example["lastAttempt"]["id"]
                .as_str()
                .unwrap()
                .parse::<AttemptId>()
                .is_ok()
        );
    }
}

#[test]
fn what_the_engine_says_is_reserved_and_what_domains_say_is_not() {
    for event in operational() {
        assert!(is_reserved(event.name) && is_reserved(event.event_type));
    }
    assert!(is_reserved("com.demae.endpoint.v2.failing"));
    for event in all() {
        assert!(!is_reserved(event.name) && !is_reserved(event.later_name) && !is_reserved(event.event_type));
    }
    assert!(!is_reserved("ORDER_PAID") && !is_reserved("com.demaeshop.order"));
}
