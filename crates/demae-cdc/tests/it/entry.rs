//! The ways in: over a socket of this machine, and with each proof of the password that is known.

use demae_cdc::{Fault, MissingSlot, Reader};
use demae_testkit::postgres::Durability;

use crate::support::{Database, numbers, reader, take};

#[tokio::test]
async fn a_folder_of_sockets_leads_to_the_server() {
    let mut database = Database::create().await;
    database.emit(1).await;
    let folder = database
        .text("SELECT current_setting('unix_socket_directories')")
        .await
        .unwrap();
    let (credentials, address) = database.url.rsplit_once('@').unwrap();
    let address = address.replace("127.0.0.1", "localhost");
    let url = format!("{credentials}@{address}?host={folder}");
    let mut reader = reader(database.config_at(&url, MissingSlot::CreateAndReadTable));
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
    database.emit(2).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [2]);
}

#[tokio::test]
async fn a_plain_password_is_given_and_an_outdated_proof_is_refused_by_name() {
    let (_postgres, mut database) = Database::on_own_server(Durability::None).await;
    for statement in [
        "CREATE ROLE plain SUPERUSER LOGIN PASSWORD 'secret'",
        "SET password_encryption = 'md5'",
        "CREATE ROLE outdated SUPERUSER LOGIN PASSWORD 'secret'",
    ] {
        database.run(statement).await;
    }
    let rules = "host all plain 127.0.0.1/32 password\nhost all outdated 127.0.0.1/32 md5\n\
                 host all all 127.0.0.1/32 scram-sha-256";
    database.write_file("pg_hba.conf", rules).await;
    database.run("SELECT pg_reload_conf()").await;
    let (_, address) = database.url.rsplit_once('@').unwrap();
    let address = address.to_owned();
    let url = |user: &str| format!("postgres://{user}:secret@{address}");

    // The reload is a signal: until it is heard, nobody gets in by this proof.
    let plain = database.config_at(&url("plain"), MissingSlot::CreateAndReadTable);
    while Reader::check(&database.config_at(&url("outdated"), MissingSlot::Refuse))
        .await
        .is_ok()
    {}
    database.emit(1).await;
    let mut reader = reader(plain);
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);

    let outdated = database.config_at(&url("outdated"), MissingSlot::Refuse);
    let error = Reader::check(&outdated).await.unwrap_err();
    assert!(
        matches!(&error.fault, Fault::Refused { reason, .. } if reason.contains("SCRAM-SHA-256")),
        "{error}"
    );
}
