//! What `roster migrate` sets for the service's role in one database.

use roster_store::{Vault, migrate};
use roster_tests::database::{CELL, Database, KEK};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, Executor as _, PgConnection};

/// How the service's connections compress images of pages after a migration, and what the server itself could do.
async fn methods(database: &Database) -> (String, Vec<String>) {
    migrate::link_role(database.owner_url(), CELL)
        .await
        .expect("settings of the role");
    let vault = Vault::parse(KEK).expect("a key");
    let url = migrate::service_url(database.owner_url(), CELL, &vault).expect("a URL");
    let mut service = PgConnection::connect(url.expose_secret())
        .await
        .expect("a connection of the service");
    sqlx::query_as("SELECT setting, enumvals FROM pg_settings WHERE name = 'wal_compression'")
        .fetch_one(&mut service)
        .await
        .expect("a setting")
}

async fn set(database: &Database, method: &str) {
    let mut superuser = database.superuser().await.expect("a connection");
    let name = database.name();
    let setting = format!("ALTER DATABASE {name} SET wal_compression = '{method}'");
    superuser
        .execute(setting.as_str())
        .await
        .expect("a setting");
}

#[tokio::test]
async fn images_of_pages_are_not_compressed_by_pglz() {
    let database = Database::create().await.expect("a database");
    set(&database, "pglz").await;
    let (method, known) = methods(&database).await;
    let faster = if known.iter().any(|known| known == "lz4") {
        "lz4"
    } else {
        "off"
    };
    assert_eq!(method, faster, "of {known:?}");
}

#[tokio::test]
async fn a_server_that_compresses_nothing_keeps_to_that() {
    let database = Database::create().await.expect("a database");
    set(&database, "off").await;
    let (method, _) = methods(&database).await;
    assert_eq!(method, "off");
}
