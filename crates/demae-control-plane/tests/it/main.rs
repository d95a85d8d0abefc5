//! Organizations, tokens and customers on real databases: an SQLite file and a Postgres server of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test ends at the first error")]

/// Makes a test of every case for every database.
macro_rules! on_both_databases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::support::World::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::support::World::postgres().await).await;
            })+
        }
    };
}

mod access;
mod applications;
mod audit;
mod bootstrap;
mod components;
mod customers;
mod deployment_zones;
mod deployments;
mod entitlements;
mod feature_flags;
mod instances;
mod integrations;
mod license_entitlements;
mod licenses;
mod releases;
mod stock;
mod support;
mod usage;
