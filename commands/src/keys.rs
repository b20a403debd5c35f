//! API keys: `rk_<id>_<secret>`. The secret is shown once, when the key is made, and kept as SHA-256 only.

use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use rand::RngCore;
use roster_domain::meta::Principal;
use roster_domain::{Personal, Timestamp};
use roster_store::keys::{self, ApiKeyRecord};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::authority::Grants;
use crate::clock::Clock;
use crate::{Actor, CommandError, NotFound};

/// How long a key that was found is believed without looking again, in seconds: a revocation elsewhere holds after that.
const BELIEVED_SECONDS: i64 = 10;
/// Ids that this server does not know are looked up so many at a time: whoever makes ids up holds no more connections.
const STRANGERS: usize = 2;
/// Keys in the cache.
const CACHED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: String,
    /// The account that it acts for.
    pub account_id: String,
    /// The only organization, or every one of the account.
    pub org_id: Option<String>,
    /// The only project, or every one of the organization.
    pub project_id: Option<String>,
    /// `*`, `module:*` or `module:verb`.
    pub scopes: Vec<String>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key that was just made.
pub struct CreatedKey {
    /// The public id.
    pub key_id: String,
    /// The whole credential: nobody can read it again.
    pub token: String,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CreatedKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The API keys of a database.
#[derive(Clone)]
pub struct Keys {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    clock: Arc<dyn Clock>,
    cache: Mutex<LruCache<String, Cached>>,
    strangers: Semaphore,
}

#[derive(Clone)]
struct Cached {
    record: Arc<ApiKeyRecord>,
    read_at: Timestamp,
}

impl Keys {
    /// The keys in the database of a cell.
    pub fn new(pool: PgPool, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                clock,
                cache: Mutex::new(LruCache::new(CACHED)),
                strangers: Semaphore::new(STRANGERS),
            }),
        }
    }

    /// Makes a key with a random id and secret.
    pub async fn create(&self, new: NewKey) -> Result<CreatedKey, CommandError> {
        let key_id = random_hex(8);
        let secret = random_hex(32);
        let record = ApiKeyRecord {
            key_id: key_id.clone(),
            name: new.name,
            secret_hash: hash(&secret).to_vec(),
            account_id: new.account_id,
            org_id: new.org_id,
            project_id: new.project_id,
            scopes: new.scopes,
            created_at: self.shared.clock.now().to_utc(),
            expires_at: new.expires_at.map(Timestamp::to_utc),
            revoked_at: None,
        };
        keys::create(&self.shared.pool, &record).await?;
        Ok(CreatedKey {
            token: format!("rk_{key_id}_{secret}"),
            key_id,
        })
    }

    /// The key of a credential; `None` where it is malformed, unknown, wrong, revoked or expired.
    pub async fn verify(&self, token: &str) -> Result<Option<Arc<ApiKeyRecord>>, CommandError> {
        let Some((key_id, secret)) = parts(token) else {
            return Ok(None);
        };
        let Some(record) = self.find(key_id).await? else {
            return Ok(None);
        };
        let is_right: bool = hash(secret).ct_eq(&record.secret_hash).into();
        let now = self.shared.clock.now().to_utc();
        let is_alive = record.revoked_at.is_none() && record.expires_at.is_none_or(|end| now < end);
        Ok((is_right && is_alive).then_some(record))
    }

    /// Every key, newest first.
    pub async fn list(&self) -> Result<Vec<ApiKeyRecord>, CommandError> {
        Ok(keys::list(&self.shared.pool).await?)
    }

    /// Ends a key: here at once, on other servers within ten seconds.
    pub async fn revoke(&self, key_id: &str) -> Result<(), CommandError> {
        let revoked = keys::revoke(&self.shared.pool, key_id).await?;
        self.cache().pop(key_id);
        if revoked {
            Ok(())
        } else {
            Err(CommandError::NotFound(NotFound::ApiKey))
        }
    }

    async fn find(&self, key_id: &str) -> Result<Option<Arc<ApiKeyRecord>>, CommandError> {
        let now = self.shared.clock.now();
        let is_believed = |cached: &Cached| now < cached.read_at.plus_seconds(BELIEVED_SECONDS);
        let mut cached = self.cache().get(key_id).cloned();
        let mut turn = None;
        if cached.is_none() {
            turn = self.shared.strangers.acquire().await.ok();
            // Somebody else may have looked it up meanwhile.
            cached = self.cache().get(key_id).cloned();
        }
        if let Some(cached) = cached.filter(is_believed) {
            return Ok(Some(cached.record));
        }
        let found = keys::find(&self.shared.pool, key_id).await?;
        drop(turn);
        let Some(record) = found.map(Arc::new) else {
            return Ok(None);
        };
        self.cache().put(
            key_id.to_owned(),
            Cached {
                record: Arc::clone(&record),
                read_at: now,
            },
        );
        Ok(Some(record))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, LruCache<String, Cached>> {
        self.shared
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The actor of a verified key.
pub fn actor(record: &ApiKeyRecord) -> Actor {
    Actor {
        principal: Principal::ApiKey(record.key_id.clone()),
        subject: Personal::Erased,
        grants: Grants::of_key(
            &record.account_id,
            record.org_id.as_deref(),
            record.project_id.as_deref(),
            &record.scopes,
        ),
    }
}

/// Whether a credential has the form of an API key, so that it is not tried as a token.
pub fn is_api_key(credential: &str) -> bool {
    credential.starts_with("rk_")
}

fn parts(token: &str) -> Option<(&str, &str)> {
    let (key_id, secret) = token.strip_prefix("rk_")?.split_once('_')?;
    let is_word = |text: &str| {
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    (is_word(key_id) && is_word(secret)).then_some((key_id, secret))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    rand::rng().fill_bytes(&mut random);
    random
        .iter()
        .fold(String::with_capacity(2 * bytes), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::{parts, random_hex};

    #[test]
    fn a_key_has_an_id_and_a_secret() {
        assert_eq!(parts("rk_ab12_cd34"), Some(("ab12", "cd34")));
        for bad in [
            "",
            "rk_",
            "rk_ab",
            "rk__cd",
            "rk_ab_",
            "xx_ab_cd",
            "rk_a b_cd",
            "rk_ab_cd_ef",
            "RK_ab_cd",
        ] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }

    #[test]
    fn random_text_is_hexadecimal_of_twice_the_length() {
        let (one, other) = (random_hex(32), random_hex(32));
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
    }
}
