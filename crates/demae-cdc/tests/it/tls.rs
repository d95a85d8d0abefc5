//! Encrypted connections: what is asked for in the URL holds for the stream, too.

use demae_cdc::{Fault, MissingSlot};
use demae_testkit::postgres::Durability;

use crate::support::{Database, numbers, reader, take};

#[tokio::test]
async fn the_stream_is_encrypted_with_scram_and_the_server_is_checked() {
    let (postgres, mut database) = Database::on_own_server(Durability::None).await;
    let served = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    database.write_file("server.crt", &served.cert.pem()).await;
    database
        .write_file("server.key", &served.signing_key.serialize_pem())
        .await;
    database.run("ALTER SYSTEM SET ssl = 'on'").await;
    // Nobody gets in without TLS, nor by another proof than SCRAM's, replication included.
    let rules = "hostssl all all 127.0.0.1/32 scram-sha-256";
    database.write_file("pg_hba.conf", rules).await;
    postgres.restart().await.unwrap();

    let url = database.url.clone();
    let folder = tempfile::tempdir().unwrap();
    let named = url.replace("@127.0.0.1:", "@localhost:");
    let root = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        format!("{named}?sslmode=verify-full&sslrootcert={}", path.display())
    };
    let (known, unknown) = (
        root("known", served.cert.pem()),
        root("unknown", other.cert.pem()),
    );
    let mut database = database.again().await;
    let scram =
        "SELECT (rolpassword LIKE 'SCRAM-SHA-256$%')::text FROM pg_authid WHERE rolname = current_user";
    assert_eq!(database.text(scram).await.as_deref(), Some("true"));
    database.emit(1).await;
    let policy = MissingSlot::CreateAndReadTable;
    let mut reader = reader(database.config_at(&known, policy));
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
    let encrypted = "SELECT bool_and(ssl)::text FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)";
    assert_eq!(database.text(encrypted).await.as_deref(), Some("true"));

    // The same by a file that the URL does not name.
    let checked = format!("{named}?sslmode=verify-full");
    let trusting = |file| {
        let config = database.config_at(&checked, policy);
        config.trusting(&folder.path().join(file))
    };
    drop(reader);
    demae_cdc::Reader::check(&trusting("known")).await.unwrap();
    let error = demae_cdc::Reader::check(&trusting("unknown")).await.unwrap_err();
    assert!(
        matches!(&error.fault, Fault::Connection { reason, .. } if reason.contains("certificate")),
        "{error}"
    );

    let plain = format!("{url}?sslmode=disable");
    let error = demae_cdc::Reader::check(&database.config_at(&plain, policy))
        .await
        .unwrap_err();
    assert!(matches!(error.fault, Fault::Refused { .. }), "{error}");
    let wrong = known.replacen("postgres://demae:", "postgres://demae:not", 1);
    let error = demae_cdc::Reader::check(&database.config_at(&wrong, policy))
        .await
        .unwrap_err();
    assert!(matches!(error.fault, Fault::Refused { .. }), "{error}");

    let error = demae_cdc::Reader::check(&database.config_at(&unknown, policy))
        .await
        .unwrap_err();
    assert!(
        matches!(&error.fault, Fault::Connection { reason, .. } if reason.contains("certificate")),
        "{error}"
    );
}
