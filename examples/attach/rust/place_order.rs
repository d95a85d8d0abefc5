//! An order and its event, in one transaction: sqlx and the function `demae_emit`.

use sqlx::{Connection, PgConnection};

/// Places an order and answers the event's id.
pub async fn place_order(url: &str, organization: &str, number: i32) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("INSERT INTO orders (number) VALUES ($1)")
        .bind(number)
        .execute(&mut *transaction)
        .await?;
    let event = sqlx::query_scalar(
        "SELECT demae_emit($1::uuid, 'ORDER_PLACED', 'com.example.order.placed', jsonb_build_object('number', $2))::text",
    )
    .bind(organization)
    .bind(number)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(event)
}
