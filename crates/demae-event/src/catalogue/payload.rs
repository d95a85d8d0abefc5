//! What events carry: a schema and an example per kind of payload, kept as files beside the source.

use std::sync::LazyLock;

use serde_json::Value;

macro_rules! payloads {
    ($($(#[$doc:meta])* $variant:ident = $file:literal,)*) => {
        /// A kind of `data`, shared by the events that carry it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Payload {
            $($(#[$doc])* $variant,)*
        }

        impl Payload {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The kind's name, usable as the name of a schema in a larger document.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }

            fn document(self) -> &'static Document {
                match self {
                    $(Self::$variant => {
                        static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document {
                            schema: parse(include_str!(concat!("../../catalogue/", $file, ".schema.json"))),
                            example: parse(include_str!(concat!("../../catalogue/", $file, ".example.json"))),
                        });
                        &DOCUMENT
                    })*
                }
            }
        }
    };
}

payloads! {
    /// A customer.
    Customer = "customer",
    /// An instance.
    Instance = "instance",
    /// A license.
    License = "license",
    /// An entitlement as a license grants it.
    LicenseEntitlement = "license_entitlement",
    /// An entitlement.
    Entitlement = "entitlement",
    /// Usage of an entitlement.
    EntitlementUsage = "entitlement_usage",
    /// A feature flag.
    FeatureFlag = "feature_flag",
    /// A deployment zone.
    DeploymentZone = "deployment_zone",
    /// A release that became a zone's current one.
    Deployment = "deployment",
    /// A release.
    Release = "release",
    /// An endpoint that fails.
    EndpointFailing = "endpoint_failing",
    /// An endpoint that was disabled.
    EndpointDisabled = "endpoint_disabled",
}

struct Document {
    schema: Value,
    example: Value,
}

impl Payload {
    /// The JSON Schema, draft 2020-12.
    pub fn schema(self) -> &'static Value {
        &self.document().schema
    }

    /// A value that the schema accepts.
    pub fn example(self) -> &'static Value {
        &self.document().example
    }
}

#[expect(
    clippy::expect_used,
    reason = "the text is part of the program, and a test reads every one of them"
)]
fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("a catalogue file is JSON")
}
