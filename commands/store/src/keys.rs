//! API keys as the control schema keeps them: an id, a scope, permissions and the hash of the secret.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::StoreError;

/// One API key. The secret itself is nowhere.
#[derive(Clone, Debug)]
pub struct ApiKeyRecord {
    /// The public id, between `rk_` and the secret.
    pub key_id: String,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the secret, 32 bytes.
    pub secret_hash: Vec<u8>,
    /// The account that it acts for.
    pub account_id: String,
    /// The only organization, or every one of the account.
    pub org_id: Option<String>,
    /// The only project, or every one of the organization.
    pub project_id: Option<String>,
    /// Permissions such as `*` or `project_users:view`.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Keeps a new key; `created_at` is the database's. A taken id is a database error.
pub async fn create(pool: &PgPool, key: &ApiKeyRecord) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO api_keys (key_id, name, secret_hash, account_id, org_id, project_id, scopes, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        key.key_id,
        key.name,
        key.secret_hash,
        key.account_id,
        key.org_id,
        key.project_id,
        &key.scopes,
        key.expires_at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The key with an id, revoked and expired ones too.
pub async fn find(pool: &PgPool, key_id: &str) -> Result<Option<ApiKeyRecord>, StoreError> {
    let found = sqlx::query_as!(
        ApiKeyRecord,
        "SELECT * FROM api_keys WHERE key_id = $1",
        key_id
    );
    Ok(found.fetch_optional(pool).await?)
}

/// Every key, newest first.
pub async fn list(pool: &PgPool) -> Result<Vec<ApiKeyRecord>, StoreError> {
    let all = sqlx::query_as!(
        ApiKeyRecord,
        "SELECT * FROM api_keys ORDER BY created_at DESC, key_id"
    );
    Ok(all.fetch_all(pool).await?)
}

/// Revokes a key; whether there was one that was not revoked yet.
pub async fn revoke(pool: &PgPool, key_id: &str) -> Result<bool, StoreError> {
    let revoked = sqlx::query!(
        "UPDATE api_keys SET revoked_at = clock_timestamp() WHERE key_id = $1 AND revoked_at IS NULL",
        key_id
    );
    Ok(revoked.execute(pool).await?.rows_affected() == 1)
}
