//! A database that cannot hold every text is refused before anything is written to it.

use std::os::unix::fs::PermissionsExt as _;

use demae_store::{Store, StoreError, StoreOptions, Vault};
use demae_testkit::{postgres::TestDatabase, sqlite::SqliteFile};
use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions as _, Connection as _, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};

async fn refusal(url: String) -> StoreError {
    let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
    Store::connect(StoreOptions::new(url, vault)).await.unwrap_err()
}

#[tokio::test]
async fn a_postgres_database_of_another_encoding_is_refused_with_its_name() {
    let database = TestDatabase::create().await.unwrap();
    let options: PgConnectOptions = database.url().parse().unwrap();
    let mut administrator = options.connect().await.unwrap();
    let mut run = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut administrator)
            .await
            .unwrap()
    };
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let name = format!("{}_{}", options.get_database().unwrap(), encoding.to_lowercase());
        run(format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        ))
        .await;
        let url = database.url().replace(options.get_database().unwrap(), &name);
        let refusal = refusal(url).await;
        run(format!("DROP DATABASE {name} WITH (FORCE)")).await;
        assert!(
            matches!(&refusal, StoreError::Encoding { database, encoding: found }
                if *database == name && found == encoding),
            "{refusal}"
        );
        assert!(!refusal.is_transient());
    }
    administrator.close().await.unwrap();
}

#[tokio::test]
async fn an_sqlite_file_of_another_encoding_is_refused() {
    let file = SqliteFile::create().unwrap();
    let options: SqliteConnectOptions = file.url().parse().unwrap();
    let mut other = options.pragma("encoding", "'UTF-16'").connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (x)")
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let refusal = refusal(file.url()).await;
    assert!(matches!(refusal, StoreError::Encoding { .. }), "{refusal}");
}
