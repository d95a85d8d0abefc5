//! The router as its callers see it.

/// Makes a test of each function, once per database.
macro_rules! on_both_databases {
    ($($name:ident,)*) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(crate::testing::TestApi::start().await).await;
                }
            )*
        }

        mod on_postgres {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(crate::testing::TestApi::on_postgres().await).await;
                }
            )*
        }
    };
}

mod audit;
mod auth;
mod computations;
mod customers;
mod document;
mod entitlements;
mod events;
mod feature_flags;
mod fixture;
mod guarantees;
mod instances;
mod licenses;
mod openfeature;
mod problems;
mod releases;
mod repetition;
mod revision;
mod usage;
mod walk;
mod webhooks;
