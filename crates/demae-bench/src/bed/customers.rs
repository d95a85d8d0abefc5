//! Customers, written straight into the database: what a list's cost may not depend on.

use anyhow::Result;
use demae_event::{Clock as _, SystemClock};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};

use super::dialect::Dialect;

/// Rows in one transaction.
const CHUNK: u64 = 50_000;

/// Writes so many, numbered from `first`, for the one organization there is.
pub(super) async fn write(connection: &DatabaseConnection, first: u64, count: u64) -> Result<()> {
    let dialect = Dialect::of(connection)?;
    let now = SystemClock.now().as_micros();
    let end = first + count;
    for from in (first..end).step_by(CHUNK as usize) {
        let statement = format!(
            "INSERT INTO customers (id, organization_id, name, slug, integrations, \
             created_at, created_by_id, created_by_name, updated_at, updated_by_id, updated_by_name) \
             SELECT {id}, o.id, 'Customer ' || s.n, 'customer-' || s.n, '{{}}', \
             {now}, o.id, 'Administrator', {now}, o.id, 'Administrator' \
             FROM organizations o, {numbers} ORDER BY s.n",
            id = dialect.id(now),
            numbers = (dialect.numbers)(from, (from + CHUNK).min(end) - 1),
        );
        connection
            .execute_unprepared(&format!("BEGIN; {statement}; COMMIT"))
            .await?;
    }
    Ok(())
}
