//! Projects: the number that stands for a scope, the schema stream, and the pepper of its claim keys.

use std::collections::HashMap;
use std::sync::Arc;

use roster_domain::Scope;
use roster_domain::stream::Claim;
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::StoreError;
use crate::vault::{KeyedHash, Vault};

/// A project of this cell. Nothing of it ever changes.
pub struct Project {
    /// The number in every table.
    pub no: i32,
    /// The tenant.
    pub scope: Scope,
    /// The stream of the project's schema.
    pub schema_stream: Uuid,
    /// Set up with the pepper, which is half of the work of a claim key.
    pepper: KeyedHash,
}

impl std::fmt::Debug for Project {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Project")
            .field("no", &self.no)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Project {
    /// The stored key of a claim: HMAC-SHA-256 under the project's pepper, 16 bytes.
    pub fn claim_key(&self, claim: &Claim) -> Vec<u8> {
        self.pepper
            .of(&[&claim.kind.to_be_bytes(), claim.key.as_bytes()])[..16]
            .to_vec()
    }

    /// What stands for a record of a connection: it tells nothing of the source's id without the pepper.
    pub fn record_key(&self, connection: Uuid, record_id: &str) -> Uuid {
        first_half(&self.hash(&[b"record", connection.as_bytes(), record_id.as_bytes()]))
    }

    /// What stands for what a record says, by everything else that counts.
    pub fn record_digest(&self, basis: &[u8; 32], said: &[u8]) -> Uuid {
        first_half(&self.hash(&[b"said", basis, said]))
    }

    /// A hash under the project's pepper. What is hashed begins with a word for its purpose, which no claim does.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.pepper.of(parts)
    }
}

fn first_half(hash: &[u8; 32]) -> Uuid {
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(first)
}

const COLUMNS: &str =
    "project_no, account_id, org_id, project_id, schema_stream, pepper_key_no, pepper";

pub(crate) async fn find(
    pool: &PgPool,
    vault: &Vault,
    cell: &str,
    scope: &Scope,
) -> Result<Option<Arc<Project>>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM projects WHERE account_id = $1 AND org_id = $2 AND project_id = $3 AND cell = $4"
    );
    let row = sqlx::query(&sql)
        .bind(&scope.account_id)
        .bind(&scope.org_id)
        .bind(&scope.project_id)
        .bind(cell)
        .fetch_optional(pool)
        .await?;
    row.map(|row| from_row(vault, &row)).transpose()
}

pub(crate) async fn find_by_no(
    pool: &PgPool,
    vault: &Vault,
    cell: &str,
    no: i32,
) -> Result<Option<Arc<Project>>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM projects WHERE project_no = $1 AND cell = $2");
    let row = sqlx::query(&sql)
        .bind(no)
        .bind(cell)
        .fetch_optional(pool)
        .await?;
    row.map(|row| from_row(vault, &row)).transpose()
}

/// Every project of a cell by its number.
pub(crate) async fn all(
    connection: &mut PgConnection,
    vault: &Vault,
    cell: &str,
) -> Result<HashMap<i32, Arc<Project>>, StoreError> {
    let rows = sqlx::query(&format!("SELECT {COLUMNS} FROM projects WHERE cell = $1"))
        .bind(cell)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| from_row(vault, row).map(|project| (project.no, project)))
        .collect()
}

pub(crate) async fn create(
    pool: &PgPool,
    vault: &Vault,
    cell: &str,
    scope: &Scope,
    schema_stream: Uuid,
) -> Result<Arc<Project>, StoreError> {
    let mut pepper = [0; 32];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut pepper);
    let wrapped = vault.wrap(schema_stream.as_bytes(), &pepper);
    sqlx::query(
        "INSERT INTO projects (account_id, org_id, project_id, cell, schema_stream, pepper_key_no, pepper)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (account_id, org_id, project_id) DO NOTHING",
    )
    .bind(&scope.account_id)
    .bind(&scope.org_id)
    .bind(&scope.project_id)
    .bind(cell)
    .bind(schema_stream)
    .bind(wrapped.key_no)
    .bind(&wrapped.bytes)
    .execute(pool)
    .await?;
    find(pool, vault, cell, scope)
        .await?
        .ok_or(StoreError::Malformed("project: it lives in another cell"))
}

fn from_row(vault: &Vault, row: &PgRow) -> Result<Arc<Project>, StoreError> {
    let schema_stream: Uuid = row.try_get("schema_stream")?;
    let wrapped: Vec<u8> = row.try_get("pepper")?;
    Ok(Arc::new(Project {
        no: row.try_get("project_no")?,
        scope: Scope {
            account_id: row.try_get("account_id")?,
            org_id: row.try_get("org_id")?,
            project_id: row.try_get("project_id")?,
        },
        schema_stream,
        pepper: KeyedHash::new(&vault.unwrap(
            schema_stream.as_bytes(),
            row.try_get("pepper_key_no")?,
            &wrapped,
        )?),
    }))
}
