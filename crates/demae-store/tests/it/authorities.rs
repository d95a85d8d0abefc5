//! Further certificate authorities are trusted for the database, and no check is left out.

use demae_store::{Store, StoreOptions, Vault};
use demae_testkit::{
    postgres::{Durability, PrivatePostgres},
    receiver::SelfSigned,
};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Connection as _, postgres::PgConnectOptions};

#[tokio::test]
async fn a_database_certified_by_a_further_authority_is_trusted_and_no_other() {
    let served = SelfSigned::for_hosts(&["localhost"]);
    let postgres = PrivatePostgres::start(Durability::None).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let mut administrator = url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    for (name, text) in [("server.crt", served.pem()), ("server.key", served.key_pem())] {
        let copy = format!(
            "COPY (SELECT unnest(string_to_array('{text}', E'\\n'))) TO PROGRAM 'umask 077; cat > {name}'"
        );
        sqlx::raw_sql(AssertSqlSafe(copy))
            .execute(&mut administrator)
            .await
            .unwrap();
    }
    sqlx::raw_sql("ALTER SYSTEM SET ssl = 'on'")
        .execute(&mut administrator)
        .await
        .unwrap();
    administrator.close().await.unwrap();
    postgres.restart().await.unwrap();

    let checked = url.replace("@127.0.0.1:", "@localhost:") + "?sslmode=verify-full";
    let connect = async |authority: Option<&SelfSigned>| {
        let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
        let options = StoreOptions {
            authorities: authority.map(|authority| authority.pem().to_owned()),
            ..StoreOptions::new(&checked, vault)
        };
        Store::connect(options).await
    };
    connect(Some(&served)).await.unwrap().close().await;
    let other = SelfSigned::for_hosts(&["localhost"]);
    for authority in [None, Some(&other)] {
        let refusal = connect(authority).await.unwrap_err();
        let cause = std::error::Error::source(&refusal).map_or_else(String::new, ToString::to_string);
        assert!(
            format!("{refusal} {cause}").contains("certificate"),
            "{refusal}: {cause}"
        );
    }
}
