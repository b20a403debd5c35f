//! A cell: one schema in one database with its own log. Everything hangs off this value; there is no global state.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use roster_domain::Scope;
use roster_domain::stream::{Claim, claim_kind, kind};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use crate::append::{arguments, double_takers};
use crate::bulk::BulkControl;
use crate::link::Link;
use crate::lookups::{LookUp, LookUps};
use crate::prepared::{ChunkVerdict, Prepared, Sent, Verdict};
use crate::recent::Recent;
use crate::sequencer::{Chunk, Interactive, Sequencer};
use crate::streams::StreamCache;
use crate::vault::{DataKey, Vault};
use crate::{Project, StoreError, journal, migrate, project, rotation, trace, types};

/// How a cell is opened.
#[derive(Clone, Debug)]
pub struct CellConfig {
    /// The cell's name: lower-case letters, digits and `_`; its schema is `roster_<name>`.
    pub name: String,
    /// Where it lives, with the service's own role ([`migrate::service_url`]).
    pub database_url: SecretString,
    /// Connections, at least [`CellConfig::LEAST_POOL`].
    pub pool_size: u32,
    /// Streams in the cache; each takes about its profile's size plus 300 bytes.
    pub cache_streams: usize,
}

impl CellConfig {
    /// The fewest connections that do: the sequencer, the look-ups of holders, the journal and the directory projection keep one each.
    pub const LEAST_POOL: u32 = 6;
}

/// An open cell.
#[derive(Clone)]
pub struct Cell(Arc<Inner>);

struct Inner {
    name: String,
    pool: PgPool,
    vault: Vault,
    cache: Arc<StreamCache>,
    recent: Arc<Recent>,
    control: Arc<BulkControl>,
    waiting: Arc<AtomicUsize>,
    interactive: mpsc::Sender<Interactive>,
    bulk: mpsc::Sender<Chunk>,
    look_ups: mpsc::Sender<LookUp>,
    journal: mpsc::Sender<journal::Waiting>,
    head: watch::Sender<i64>,
    epoch: AtomicI32,
    projected: watch::Sender<i64>,
    projects: RwLock<HashMap<Scope, Arc<Project>>>,
    projects_by_no: RwLock<HashMap<i32, Arc<Project>>>,
}

/// Each connection says which keys its server has: a rotation looks, so that it leaves nobody behind.
fn connect_options(url: &SecretString, vault: &Vault) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    Ok(options
        .application_name(&rotation::session_name(vault))
        .statement_cache_capacity(256))
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cell")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

impl Cell {
    /// Connects, checks keys and event types, and starts the sequencer.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`], [`StoreError::TypeMismatch`], [`StoreError::Vault`] under the wrong key-encryption key.
    pub async fn open(
        config: CellConfig,
        vault: Vault,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        Self::open_with(config, vault, tracker, stop, true).await
    }

    /// The same without a look at the event types: [`crate::verify`] tells which of them differ.
    pub async fn open_to_verify(
        config: CellConfig,
        vault: Vault,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        Self::open_with(config, vault, tracker, stop, false).await
    }

    async fn open_with(
        config: CellConfig,
        vault: Vault,
        tracker: &TaskTracker,
        stop: CancellationToken,
        checks_types: bool,
    ) -> Result<Self, StoreError> {
        let database_url = config.database_url;
        let options = connect_options(&database_url, &vault)?;
        let pool = PgPoolOptions::new()
            .max_connections(config.pool_size.max(CellConfig::LEAST_POOL))
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        migrate::check_migrated(&pool).await?;
        migrate::check_keys(&pool, &vault).await?;
        if checks_types {
            types::check(&pool).await?;
        }
        let (interactive, interactive_queue) = mpsc::channel(1_024);
        let (bulk, bulk_queue) = mpsc::channel(2);
        let (look_ups, asked) = mpsc::channel(1_024);
        let (writer, journal) = journal::Writer::new(pool.clone(), stop.clone());
        let inner = Inner {
            name: config.name,
            cache: Arc::new(StreamCache::new(config.cache_streams)),
            recent: Arc::new(Recent::new()),
            control: Arc::new(BulkControl::new()),
            waiting: Arc::new(AtomicUsize::new(0)),
            interactive,
            bulk,
            look_ups,
            journal,
            head: watch::Sender::new(0),
            epoch: AtomicI32::new(0),
            projected: watch::Sender::new(-1),
            projects: RwLock::default(),
            projects_by_no: RwLock::default(),
            pool,
            vault,
        };
        let cell = Self(Arc::new(inner));
        let head = cell.head_position().await?;
        cell.0.head.send_replace(head);
        cell.epoch().await?;
        let sequencer = Sequencer {
            link: Link::new(cell.0.pool.clone()),
            interactive: interactive_queue,
            bulk: bulk_queue,
            cache: Arc::clone(&cell.0.cache),
            recent: Arc::clone(&cell.0.recent),
            control: Arc::clone(&cell.0.control),
            waiting: Arc::clone(&cell.0.waiting),
            head: cell.0.head.clone(),
            stop,
        };
        let (looking, stop) = (cell.clone(), sequencer.stop.clone());
        let look_ups = LookUps {
            link: Link::new(cell.0.pool.clone()),
            queue: asked,
            stop: stop.clone(),
        };
        tracker.spawn(sequencer.run());
        tracker.spawn(look_ups.run());
        tracker.spawn(writer.run());
        if looking.vault().numbers().len() > 1 {
            tracker.spawn(looking.follow_keys(database_url, stop));
        }
        Ok(cell)
    }

    /// Follows which key-encryption keys are in use while one takes the place of another, and with them the password of
    /// the service's role where that is derived from one.
    async fn follow_keys(self, database_url: SecretString, stop: CancellationToken) {
        let role = migrate::schema_of(self.name());
        let mut login = migrate::password(&role, self.vault());
        while stop
            .run_until_cancelled(tokio::time::sleep(rotation::LOOK))
            .await
            .is_some()
        {
            let numbers: Vec<i16> = match sqlx::query_scalar("SELECT key_no FROM key_checks")
                .fetch_all(self.pool())
                .await
            {
                Ok(numbers) => numbers,
                Err(error) => {
                    tracing::warn!(%error, "the keys in use could not be looked up");
                    continue;
                }
            };
            self.vault().adopt(&numbers);
            let next = migrate::password(&role, self.vault());
            if next == login {
                continue;
            }
            tracing::info!(
                key = self.vault().current(),
                "a key-encryption key was retired"
            );
            match connect_options(&database_url, self.vault()) {
                Ok(options) if options.to_url_lossy().password() == Some(login.as_str()) => {
                    self.pool().set_connect_options(options.password(&next));
                }
                // The login was given, not derived.
                _ => {}
            }
            login = next;
        }
    }

    /// The cell's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The connections, for read models and job tables. The `log_*` tables are this crate's own.
    pub fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// The key-encryption keys.
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// Follows the last position that this server wrote or read.
    pub fn head(&self) -> watch::Receiver<i64> {
        self.0.head.subscribe()
    }

    /// Which life of the log this is, as this server last saw it.
    pub fn last_epoch(&self) -> i32 {
        self.0.epoch.load(Ordering::Relaxed)
    }

    /// Remembers an epoch that was just read.
    pub(crate) fn note_epoch(&self, epoch: i32) -> i32 {
        self.0.epoch.store(epoch, Ordering::Relaxed);
        epoch
    }

    /// Where the directory projection reports its position; -1 until it does.
    pub fn projected(&self) -> &watch::Sender<i64> {
        &self.0.projected
    }

    /// Interactive commands that wait for the sequencer.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn cache(&self) -> &StreamCache {
        &self.0.cache
    }

    pub(crate) fn recent(&self) -> &Recent {
        &self.0.recent
    }

    pub(crate) fn look_up_queue(&self) -> &mpsc::Sender<LookUp> {
        &self.0.look_ups
    }

    pub(crate) fn journal_queue(&self) -> &mpsc::Sender<journal::Waiting> {
        &self.0.journal
    }

    pub(crate) fn control(&self) -> &BulkControl {
        &self.0.control
    }

    pub(crate) fn saw(&self, position: i64) {
        self.0.head.send_if_modified(|head| {
            let higher = position > *head;
            *head = position.max(*head);
            higher
        });
    }

    /// The project of a scope, if one was ever written.
    pub async fn project(&self, scope: &Scope) -> Result<Option<Arc<Project>>, StoreError> {
        if let Some(known) = self
            .0
            .projects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(scope)
        {
            return Ok(Some(Arc::clone(known)));
        }
        let found = project::find(&self.0.pool, &self.0.vault, &self.0.name, scope).await?;
        if let Some(found) = &found {
            self.know(found);
        }
        Ok(found)
    }

    /// The project of a scope; made if it does not exist. Only an authorised write may call this.
    pub async fn create_project(
        &self,
        scope: &Scope,
        schema_stream: Uuid,
    ) -> Result<Arc<Project>, StoreError> {
        if let Some(known) = self.project(scope).await? {
            return Ok(known);
        }
        let made = project::create(
            &self.0.pool,
            &self.0.vault,
            &self.0.name,
            scope,
            schema_stream,
        )
        .await?;
        self.know(&made);
        Ok(made)
    }

    /// The project with a number.
    pub async fn project_by_no(&self, no: i32) -> Result<Option<Arc<Project>>, StoreError> {
        if let Some(known) = self
            .0
            .projects_by_no
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&no)
        {
            return Ok(Some(Arc::clone(known)));
        }
        let found = project::find_by_no(&self.0.pool, &self.0.vault, &self.0.name, no).await?;
        if let Some(found) = &found {
            self.know(found);
        }
        Ok(found)
    }

    fn know(&self, project: &Arc<Project>) {
        let mut by_scope = self
            .0
            .projects
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        by_scope.insert(project.scope.clone(), Arc::clone(project));
        let mut by_no = self
            .0
            .projects_by_no
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        by_no.insert(project.no, Arc::clone(project));
    }

    /// Appends one command in a group commit with whatever else waits.
    ///
    /// # Errors
    /// After [`StoreError::Closed`] or a database error it is unknown whether the command was written: decide it again.
    pub async fn append(&self, prepared: Prepared) -> Result<Verdict, StoreError> {
        if prepared.is_empty() {
            return Err(StoreError::Malformed("command without events"));
        }
        let (reply, verdict) = oneshot::channel();
        if !kind::is_job(prepared.kind) {
            self.0.control.interactive();
        }
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        if self
            .0
            .interactive
            .send(Interactive { prepared, reply })
            .await
            .is_err()
        {
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(StoreError::Closed);
        }
        let verdict = verdict.instrument(trace::append());
        match verdict.await.map_err(|_| StoreError::Closed)?? {
            Verdict::Replayed { answer, position } => self.open_answer(&answer, position).await,
            verdict => Ok(verdict),
        }
    }

    /// Appends a chunk of at most 5,000 commands, all of them or none. Streams must differ from each other.
    pub async fn append_all(&self, chunk: Vec<Prepared>) -> Result<ChunkVerdict, StoreError> {
        self.send_all(chunk, None).await?.verdict().await
    }

    /// Encodes and queues such a chunk: for who has other work until it is written. One that relies on a chunk which is still on its
    /// way is sent behind that, and is lost where that is not written: a version alone cannot tell, for another may write it.
    pub async fn send_all(
        &self,
        chunk: Vec<Prepared>,
        behind: Option<&Sent>,
    ) -> Result<Sent, StoreError> {
        if chunk.is_empty() || chunk.iter().any(Prepared::is_empty) {
            return Err(StoreError::Malformed("chunk without events"));
        }
        let commands: Vec<&Prepared> = chunk.iter().collect();
        let doubles = double_takers(&commands);
        let (reply, verdict) = oneshot::channel();
        let written = Arc::<AtomicBool>::default();
        let sent = Sent {
            verdict,
            written: Arc::clone(&written),
        };
        if !doubles.is_empty() {
            drop(reply.send(Ok(ChunkVerdict::Lost(doubles))));
            return Ok(sent);
        }
        let arguments = arguments(true, &commands)?;
        self.0
            .bulk
            .send(Chunk {
                prepared: chunk,
                arguments,
                behind: behind.map(|before| Arc::clone(&before.written)),
                written,
                reply,
            })
            .await
            .map_err(|_| StoreError::Closed)?;
        Ok(sent)
    }

    /// The first answer of a replayed request; its stream id leads it.
    async fn open_answer(&self, answer: &[u8], position: i64) -> Result<Verdict, StoreError> {
        let malformed = StoreError::Malformed("stored answer");
        let Some((stream, sealed)) = answer.split_at_checked(16) else {
            return Err(malformed);
        };
        let stream = Uuid::from_slice(stream).map_err(|_| malformed)?;
        let answer = self
            .open_for(stream, "answer", sealed)
            .await?
            .unwrap_or_default();
        Ok(Verdict::Replayed { answer, position })
    }

    /// The stream that holds a claim.
    pub async fn holder(
        &self,
        project: &Project,
        claim: &Claim,
    ) -> Result<Option<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT stream_id FROM log_claims WHERE project_no = $1 AND kind = $2 AND key = $3",
        )
        .bind(project.no)
        .bind(claim.kind)
        .bind(project.claim_key(claim))
        .fetch_optional(self.pool())
        .await?)
    }

    /// The streams that hold claims of one kind, in the order asked.
    pub async fn holders(
        &self,
        project: &Project,
        kind: i16,
        claims: &[Claim],
    ) -> Result<Vec<Option<Uuid>>, StoreError> {
        let keys: Vec<Vec<u8>> = claims
            .iter()
            .map(|claim| project.claim_key(claim))
            .collect();
        Ok(sqlx::query_scalar(
            "SELECT c.stream_id
               FROM unnest($3::bytea[]) WITH ORDINALITY AS wanted(key, ord)
               LEFT JOIN LATERAL (
                    SELECT h.stream_id
                      FROM log_claims h
                     WHERE h.project_no = $1 AND h.kind = $2 AND h.key = wanted.key
                    OFFSET 0) c ON true
              ORDER BY wanted.ord",
        )
        .bind(project.no)
        .bind(kind)
        .bind(&keys)
        .fetch_all(self.pool())
        .await?)
    }

    /// Claims of one kind in the order of their keys, after a key; the key and the holding stream of each.
    pub async fn claims_page(
        &self,
        project: &Project,
        kind: i16,
        after: &[u8],
        limit: i64,
    ) -> Result<Vec<(Vec<u8>, Uuid)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT key, stream_id
               FROM log_claims
              WHERE project_no = $1 AND kind = $2 AND key > $3
              ORDER BY key
              LIMIT $4",
            project.no,
            kind,
            after,
            limit
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.key, row.stream_id))
            .collect())
    }

    /// How many claims of one kind a project has, counted to a bound.
    pub async fn count_claims(
        &self,
        project: &Project,
        kind: i16,
        bound: i64,
    ) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT FROM log_claims WHERE project_no = $1 AND kind = $2 LIMIT $3) AS bounded",
        )
        .bind(project.no)
        .bind(kind)
        .bind(bound)
        .fetch_one(self.pool())
        .await?)
    }

    /// The unfinished jobs of some stream kinds: kind, project number and stream of each.
    pub async fn open_jobs(
        &self,
        stream_kinds: &[i16],
    ) -> Result<Vec<(i16, i32, Uuid)>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT DISTINCT s.kind, c.project_no, c.stream_id
               FROM projects p
              CROSS JOIN LATERAL (
                    SELECT h.project_no, h.stream_id
                      FROM log_claims h
                     WHERE h.project_no = p.project_no AND h.kind = $1
                    OFFSET 0) c
              CROSS JOIN LATERAL (SELECT o.kind FROM log_streams o WHERE o.stream_id = c.stream_id OFFSET 0) s
              WHERE s.kind = ANY ($2)
              ORDER BY c.stream_id",
        )
        .bind(claim_kind::OPEN_JOB)
        .bind(stream_kinds)
        .fetch_all(self.pool())
        .await?)
    }

    /// Deletes stored answers that no resend may get any more; how many there were.
    pub async fn sweep_answers(&self) -> Result<u64, StoreError> {
        let swept =
            sqlx::query!("DELETE FROM log_idempotency WHERE expires_at < clock_timestamp()");
        Ok(swept.execute(self.pool()).await?.rows_affected())
    }

    /// The key of a stream; `None` where the stream does not exist or its key was destroyed.
    pub async fn key_of(&self, stream: Uuid) -> Result<Option<DataKey>, StoreError> {
        Ok(self.keys_of(&[stream]).await?.pop().flatten())
    }

    /// The keys of many streams in the order asked.
    pub async fn keys_of(&self, streams: &[Uuid]) -> Result<Vec<Option<DataKey>>, StoreError> {
        let rows: Vec<(Uuid, Option<i16>, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT s.stream_id, s.key_no, s.key FROM log_streams s WHERE s.stream_id = ANY($1)",
        )
        .bind(streams)
        .fetch_all(self.pool())
        .await?;
        let mut keys = HashMap::new();
        for (stream, key_no, wrapped) in rows {
            if let Some(wrapped) = wrapped {
                keys.insert(
                    stream,
                    self.vault()
                        .open_key(stream, key_no.unwrap_or_default(), &wrapped)?,
                );
            }
        }
        Ok(streams
            .iter()
            .map(|stream| keys.get(stream).cloned())
            .collect())
    }

    /// Seals bytes about a stream that lie outside the log; `None` where the key is gone.
    pub async fn seal_for(
        &self,
        stream: Uuid,
        part: &str,
        plain: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let about = crate::streams::foreign_part(stream, part);
        Ok(self
            .key_of(stream)
            .await?
            .map(|key| key.seal(&about, plain)))
    }

    /// Opens what [`Cell::seal_for`] or [`crate::Loaded::seal`] made; `None` where the key is gone.
    pub async fn open_for(
        &self,
        stream: Uuid,
        part: &str,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let about = crate::streams::foreign_part(stream, part);
        Ok(self
            .key_of(stream)
            .await?
            .map(|key| key.open(&about, sealed))
            .transpose()?)
    }

    /// Opens many sealed parts (stream, part, bytes) with one statement, in the order given.
    pub async fn open_many(
        &self,
        items: &[(Uuid, &str, &[u8])],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut streams: Vec<Uuid> = items.iter().map(|(stream, ..)| *stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let keys: HashMap<Uuid, Option<DataKey>> = streams
            .iter()
            .copied()
            .zip(self.keys_of(&streams).await?)
            .collect();
        items
            .iter()
            .map(|(stream, part, sealed)| {
                let about = crate::streams::foreign_part(*stream, part);
                let key = keys.get(stream).and_then(Option::as_ref);
                Ok(key.map(|key| key.open(&about, sealed)).transpose()?)
            })
            .collect()
    }
}
