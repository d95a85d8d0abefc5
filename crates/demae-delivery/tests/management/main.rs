//! The management service on real databases, with no engine running: what people ask for, and what is written.

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

/// Makes two tests of every case for every database: two organizations, and two applications of one organization.
macro_rules! in_every_scope {
    ($($case:ident),+ $(,)?) => {
        on_both_databases!($($case),+);

        mod sqlite_applications {
            $(#[tokio::test]
            async fn $case() {
                let world = crate::support::World::sqlite().await;
                super::$case(&world.of_applications().await).await;
            })+
        }

        mod postgres_applications {
            $(#[tokio::test]
            async fn $case() {
                let world = crate::support::World::postgres().await;
                super::$case(&world.of_applications().await).await;
            })+
        }
    };
}

mod directory;
mod endpoint;
mod event_types;
mod events;
mod expunge;
mod health;
mod history;
mod recovery;
mod support;
mod timers;
