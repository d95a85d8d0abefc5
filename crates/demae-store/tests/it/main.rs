//! The store on real databases: an SQLite file and a Postgres server of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test ends at the first error")]

/// Makes a test of every case for every database.
macro_rules! on_both_databases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::support::TestStore::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::support::TestStore::postgres().await).await;
            })+
        }
    };
}

/// Makes two tests of every case for every database: two organizations, and two applications of one organization.
macro_rules! in_every_scope {
    ($($case:ident),+ $(,)?) => {
        on_both_databases!($($case),+);

        mod sqlite_applications {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::support::TestStore::sqlite().await.of_applications()).await;
            })+
        }

        mod postgres_applications {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::support::TestStore::postgres().await.of_applications()).await;
            })+
        }
    };
}

mod authorities;
mod conformance;
mod connections;
mod encoding;
mod leadership;
mod migration;
mod model;
mod repository;
mod support;
mod transaction;
