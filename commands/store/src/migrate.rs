//! Schemas, roles and migrations. Runs with an owner's connection; the service itself never changes a table's form.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use crate::vault::{Vault, VaultError};
use crate::{StoreError, restore};

static CONTROL: Migrator = sqlx::migrate!("../../migrations/control");
static CELL: Migrator = sqlx::migrate!("../../migrations/cell");

/// The schema of everything that is shared by cells.
pub(crate) const CONTROL_SCHEMA: &str = "roster_control";
/// The values of `wal_compression` that mean `pglz`.
pub const PGLZ: [&str; 2] = ["on", "pglz"];
/// What every key-encryption key seals once, so that a wrong one is noticed at start.
const CHECK: [u8; 32] = *b"roster key-encryption key check\0";
/// How often a role is made or changed while others do the same.
const ROLE_ATTEMPTS: u32 = 100;
/// How long Postgres may take to start: recovery from a large write-ahead log takes minutes.
const RECOVERY: Duration = Duration::from_mins(5);
/// How often it is tried meanwhile.
const LOOK: Duration = Duration::from_millis(500);
/// What is authenticated with it.
const CHECK_ABOUT: &[u8] = b"roster key check";

/// What the service's role may do, by table; everything else stays the owner's.
const CELL_GRANTS: [(&str, &str); 14] = [
    ("log_head", "SELECT, UPDATE"),
    ("log_events", "SELECT, INSERT"),
    ("log_batches", "SELECT, INSERT"),
    ("log_streams", "SELECT, INSERT, UPDATE"),
    ("log_claims", "SELECT, INSERT, UPDATE, DELETE"),
    ("log_idempotency", "SELECT, INSERT, UPDATE, DELETE"),
    ("log_checkpoints", "SELECT, INSERT, UPDATE, DELETE"),
    ("log_types", "SELECT, INSERT"),
    ("log_epoch", "SELECT, UPDATE"),
    ("log_journal_head", "SELECT, UPDATE"),
    ("log_journal", "SELECT, INSERT"),
    ("log_unmatched", "SELECT, INSERT, UPDATE, DELETE"),
    ("log_restores", "SELECT, INSERT, UPDATE"),
    ("_sqlx_migrations", "SELECT"),
];
/// What runs as the owner for it.
const CELL_FUNCTIONS: [&str; 3] = [
    "log_journal_prepare(integer)",
    "log_journal_drop(integer)",
    "log_journal_forget(integer, bytea[])",
];
const CONTROL_GRANTS: [(&str, &str); 5] = [
    ("cells", "SELECT"),
    ("projects", "SELECT, INSERT"),
    ("api_keys", "SELECT, INSERT, UPDATE"),
    ("key_checks", "SELECT, INSERT"),
    ("_sqlx_migrations", "SELECT"),
];

/// Makes or updates the control schema and one cell, with the service's role, and gives the URL of that role.
///
/// # Errors
/// [`StoreError::NotMigrated`] for a bad cell name, [`StoreError::Vault`] where the database has another key.
pub async fn migrate(
    owner_url: &SecretString,
    cell: &str,
    vault: &Vault,
) -> Result<SecretString, StoreError> {
    let valid = cell
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !valid || cell.is_empty() || cell.len() > 40 || cell == "control" {
        return Err(StoreError::NotMigrated(
            "a cell's name is lower-case letters, digits and _, not 'control'".into(),
        ));
    }
    let mut owner = connect(owner_url, "public").await?;
    if restore::is_under_way(&mut owner).await? {
        return Err(StoreError::RestoreUnfinished);
    }
    owner.close().await?;
    migrate_restored(owner_url, cell, vault).await
}

/// The same while a restore is under way.
pub(crate) async fn migrate_restored(
    owner_url: &SecretString,
    cell: &str,
    vault: &Vault,
) -> Result<SecretString, StoreError> {
    let schema = schema_of(cell);
    let mut owner = connect(owner_url, "public").await?;
    // Two servers that start together take turns.
    owner.execute("SELECT pg_advisory_lock(7309, 2)").await?;
    create_extensions(&mut owner).await?;
    owner
        .execute(format!("CREATE SCHEMA IF NOT EXISTS {CONTROL_SCHEMA}").as_str())
        .await?;
    owner
        .execute(format!("CREATE SCHEMA IF NOT EXISTS {schema}").as_str())
        .await?;
    let mut control = connect(owner_url, &format!("{CONTROL_SCHEMA},public")).await?;
    CONTROL.run(&mut control).await?;
    sqlx::query("INSERT INTO cells (name) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(cell)
        .execute(&mut control)
        .await?;
    check_key(&mut control, vault).await?;
    let mut tables = connect(owner_url, &format!("{schema},public")).await?;
    CELL.run(&mut tables).await?;
    ensure_role(&mut owner, owner_url, cell, vault).await?;
    grant(&mut owner, &schema).await?;
    for connection in [control, tables, owner] {
        connection.close().await?;
    }
    service_url(owner_url, cell, vault)
}

/// What the search's indexes are made of.
pub(crate) async fn create_extensions(owner: &mut PgConnection) -> Result<(), StoreError> {
    for extension in ["pg_trgm", "btree_gin"] {
        owner
            .execute(format!("CREATE EXTENSION IF NOT EXISTS {extension} SCHEMA public").as_str())
            .await?;
    }
    Ok(())
}

/// The URL of a cell's service role, whose password is derived from the oldest key-encryption key in use.
pub fn service_url(
    owner_url: &SecretString,
    cell: &str,
    vault: &Vault,
) -> Result<SecretString, StoreError> {
    let role = schema_of(cell);
    url_with(owner_url, &role, &password(&role, vault))
}

/// The same where nobody has asked the database yet which keys are in use: the first of the configured ones that lets the
/// role in.
pub async fn find_service_url(
    owner_url: &SecretString,
    cell: &str,
    vault: &Vault,
) -> Result<SecretString, StoreError> {
    let (role, numbers) = (schema_of(cell), vault.numbers());
    if numbers.len() > 1 {
        for key_no in numbers {
            let url = url_with(
                owner_url,
                &role,
                &vault.derive_from(key_no, &login_of(&role)),
            )?;
            match connect(&url, "public").await {
                Ok(connection) => {
                    connection.close().await?;
                    return Ok(url);
                }
                Err(StoreError::Database(error)) if is_bad_password(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    service_url(owner_url, cell, vault)
}

fn url_with(
    owner_url: &SecretString,
    role: &str,
    password: &str,
) -> Result<SecretString, StoreError> {
    let options: PgConnectOptions = owner_url.expose_secret().parse()?;
    let options = options.username(role).password(password);
    Ok(SecretString::from(options.to_url_lossy().to_string()))
}

/// Whether Postgres refused the login (`invalid_authorization_specification`, `invalid_password`).
fn is_bad_password(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["28000", "28P01"].contains(&code.as_ref()))
}

/// The schema that a cell's tables are in, which is also the name of the service's role.
pub fn schema_of(cell: &str) -> String {
    format!("roster_{cell}")
}

/// An owner's connection that sees the tables of a cell.
pub async fn connect_owner(
    owner_url: &SecretString,
    cell: &str,
) -> Result<PgConnection, StoreError> {
    let search_path = format!("{},{CONTROL_SCHEMA},public", schema_of(cell));
    connect(owner_url, &search_path).await
}

/// The same service's URL for connections that look for tables in another schema first.
pub fn with_schema_first(service_url: &SecretString, cell: &str, schema: &str) -> SecretString {
    let url = service_url.expose_secret();
    let sign = if url.contains('?') { '&' } else { '?' };
    let cell = schema_of(cell);
    SecretString::from(format!(
        "{url}{sign}options[search_path]={schema},{cell},{CONTROL_SCHEMA},public"
    ))
}

fn login_of(role: &str) -> String {
    format!("login of {role}")
}

/// The password of a cell's role.
pub(crate) fn password(role: &str, vault: &Vault) -> String {
    vault.derive(&login_of(role))
}

pub(crate) async fn connect(
    url: &SecretString,
    search_path: &str,
) -> Result<PgConnection, StoreError> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let options = options.options([
        ("search_path", search_path),
        ("client_min_messages", "warning"),
    ]);
    // A slow statement is logged whole, and one of these carries the role's password.
    let options = options.disable_statement_logging();
    Ok(PgConnection::connect_with(&options).await?)
}

/// Waits while Postgres starts or recovers from a crash (SQLSTATE 57P03), as it does beside a server that was started with
/// the same machine. Any other failure is left to whoever connects next.
pub async fn awake(url: &SecretString) {
    let started = Instant::now();
    while let Err(StoreError::Database(error)) = connect(url, "public").await {
        let code = error.as_database_error().and_then(DatabaseError::code);
        if code.is_none_or(|code| code != "57P03") || started.elapsed() > RECOVERY {
            return;
        }
        tracing::info!("Postgres starts: waiting for it");
        sleep(LOOK).await;
    }
}

/// Sees to it that the derived password opens the role. It may be that of another database too, whose servers must not be locked
/// out.
async fn ensure_role(
    owner: &mut PgConnection,
    owner_url: &SecretString,
    cell: &str,
    vault: &Vault,
) -> Result<(), StoreError> {
    let role = schema_of(cell);
    match connect(&service_url(owner_url, cell, vault)?, "public").await {
        Ok(connection) => return Ok(connection.close().await?),
        // There may be no such role yet, or one that nothing uses any more.
        Err(StoreError::Database(error)) if is_bad_password(&error) => {
            let elsewhere: Option<String> = sqlx::query_scalar(
                "SELECT d.datname::text
                   FROM pg_shdepend s
                   JOIN pg_roles r ON r.oid = s.refobjid
                   JOIN pg_database d ON d.oid = s.dbid
                  WHERE s.refclassid = 'pg_authid'::regclass
                    AND r.rolname = $1
                    AND d.datname <> current_database()
                  LIMIT 1",
            )
            .bind(&role)
            .fetch_optional(&mut *owner)
            .await?;
            if let Some(database) = elsewhere {
                return Err(StoreError::RoleElsewhere { role, database });
            }
        }
        Err(_) => {}
    }
    create_role(owner, &role, vault).await
}

/// Makes the role, or sets its password again. Roles belong to the cluster and advisory locks to a database, so the
/// migration of another database may do the same at this moment.
pub(crate) async fn create_role(
    owner: &mut PgConnection,
    role: &str,
    vault: &Vault,
) -> Result<(), StoreError> {
    let password = password(role, vault);
    let mut left = ROLE_ATTEMPTS;
    loop {
        let known: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
                .bind(role)
                .fetch_one(&mut *owner)
                .await?;
        let verb = if known { "ALTER" } else { "CREATE" };
        left -= 1;
        match owner
            .execute(format!("{verb} ROLE {role} LOGIN PASSWORD '{password}'").as_str())
            .await
        {
            Err(error) if left > 0 && has_lost_a_race(&error) => {}
            ended => return Ok(ended.map(|_| ())?),
        }
    }
}

/// Whether another session made or changed the role first: `unique_violation`, `duplicate_object`, or the internal error
/// that Postgres has for "tuple concurrently updated" in a catalogue.
fn has_lost_a_race(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["23505", "42710", "XX000"].contains(&code.as_ref()))
}

/// Role settings belong to a database, so a copy of a migrated database needs this again.
pub async fn link_role(owner_url: &SecretString, cell: &str) -> Result<(), StoreError> {
    let mut owner = connect(owner_url, "public").await?;
    set_role(&mut owner, &schema_of(cell)).await?;
    owner.close().await?;
    Ok(())
}

async fn set_role(owner: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    let database: String = sqlx::query_scalar("SELECT quote_ident(current_database())")
        .fetch_one(&mut *owner)
        .await?;
    let mut settings = vec![
        format!("search_path = {schema}, {CONTROL_SCHEMA}, public"),
        "jit = off".into(),
        // The service looks rows up by key. A plan that is kept from when a table was empty must fit when it is large.
        "enable_seqscan = off".into(),
        "enable_hashjoin = off".into(),
        "enable_mergejoin = off".into(),
        // For the same reason a plan made for the values at hand is no better, and making it costs more than the look-up.
        "plan_cache_mode = force_generic_plan".into(),
        // One page read ahead costs more than it saves where pages are in memory: half the time of a search that finds 6,000.
        "effective_io_concurrency = 0".into(),
        "TimeZone = 'UTC'".into(),
    ];
    settings.extend(page_images(owner).await?);
    for setting in settings {
        owner
            .execute(format!("ALTER ROLE {schema} IN DATABASE {database} SET {setting}").as_str())
            .await?;
    }
    Ok(())
}

/// How images of pages are compressed in the write-ahead log instead, as a setting with its value: where this connection does it by
/// `pglz`, and the owner may say otherwise.
///
/// # Errors
/// Where Postgres does not answer.
pub async fn page_images(owner: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let faster: Option<String> = sqlx::query_scalar(
        "SELECT CASE WHEN 'lz4' = ANY (enumvals) THEN 'lz4' ELSE 'off' END
           FROM pg_settings
          WHERE name = 'wal_compression'
            AND setting = ANY ($1)
            AND has_parameter_privilege(name, 'SET')",
    )
    .bind(PGLZ)
    .fetch_optional(owner)
    .await?;
    Ok(faster.map(|method| format!("wal_compression = {method}")))
}

async fn grant(owner: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    set_role(owner, schema).await?;
    let mut statements = vec![format!(
        "GRANT USAGE ON SCHEMA {schema}, {CONTROL_SCHEMA}, public TO {schema}"
    )];
    for (table, rights) in CELL_GRANTS {
        statements.push(format!("GRANT {rights} ON {schema}.{table} TO {schema}"));
    }
    for function in CELL_FUNCTIONS {
        statements.push(format!(
            "GRANT EXECUTE ON FUNCTION {schema}.{function} TO {schema}"
        ));
    }
    statements.push(format!(
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {schema}"
    ));
    for (table, rights) in CONTROL_GRANTS {
        statements.push(format!(
            "GRANT {rights} ON {CONTROL_SCHEMA}.{table} TO {schema}"
        ));
    }
    statements.push(format!(
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {CONTROL_SCHEMA} TO {schema}"
    ));
    let derived: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(tablename)
           FROM pg_tables
          WHERE schemaname = $1 AND (tablename LIKE 'view\\_%' OR tablename LIKE 'job\\_%')",
    )
    .bind(schema)
    .fetch_all(&mut *owner)
    .await?;
    for table in derived {
        statements.push(format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {schema}.{table} TO {schema}"
        ));
    }
    for statement in statements {
        owner.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Refuses unless this server has every key-encryption key in use, and learns which these are; a new database keeps the
/// check value of the newest.
pub(crate) async fn check_key(control: &mut PgConnection, vault: &Vault) -> Result<(), StoreError> {
    let stored = checks(control).await?;
    for check in &stored {
        check.verify(vault)?;
    }
    if stored.is_empty() {
        keep_check(control, vault, vault.current()).await?;
        vault.adopt(&[vault.current()]);
    } else {
        let numbers: Vec<i16> = stored.iter().map(|check| check.key_no).collect();
        vault.adopt(&numbers);
    }
    Ok(())
}

/// A known value sealed under a key-encryption key that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCheck {
    /// The key's number.
    pub key_no: i16,
    /// The sealed value.
    pub sealed: Vec<u8>,
}

impl KeyCheck {
    /// Refuses a vault that has not this key, or another one under its number.
    pub fn verify(&self, vault: &Vault) -> Result<(), VaultError> {
        if vault.unwrap(CHECK_ABOUT, self.key_no, &self.sealed)? == CHECK {
            Ok(())
        } else {
            Err(VaultError::WrongKey(self.key_no))
        }
    }
}

/// The keys in use, in order of their numbers.
pub(crate) async fn checks(control: &mut PgConnection) -> Result<Vec<KeyCheck>, StoreError> {
    let stored: Vec<(i16, Vec<u8>)> =
        sqlx::query_as("SELECT key_no, sealed FROM key_checks ORDER BY key_no")
            .fetch_all(control)
            .await?;
    Ok(stored
        .into_iter()
        .map(|(key_no, sealed)| KeyCheck { key_no, sealed })
        .collect())
}

/// Puts a key in use.
pub(crate) async fn keep_check(
    control: &mut PgConnection,
    vault: &Vault,
    key_no: i16,
) -> Result<(), StoreError> {
    let wrapped = vault.wrap_under(key_no, CHECK_ABOUT, &CHECK);
    sqlx::query("INSERT INTO key_checks (key_no, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(wrapped.key_no)
        .bind(wrapped.bytes)
        .execute(control)
        .await?;
    Ok(())
}

/// The same check for a server that starts.
pub(crate) async fn check_keys(pool: &PgPool, vault: &Vault) -> Result<(), StoreError> {
    check_key(&mut *pool.acquire().await?, vault).await
}

/// Refuses a cell that lacks a migration of this build. One that has more was migrated by a newer build, which is fine.
pub(crate) async fn check_migrated(pool: &PgPool) -> Result<(), StoreError> {
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(pool)
            .await
            .map_err(|error| StoreError::NotMigrated(error.to_string()))?;
    match CELL
        .iter()
        .find(|migration| !applied.contains(&migration.version))
    {
        None => Ok(()),
        Some(missing) => Err(StoreError::NotMigrated(format!(
            "migration {} is missing: run `roster migrate`",
            missing.version
        ))),
    }
}
