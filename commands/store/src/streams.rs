//! Streams as states: from the cache, from the inline snapshot, or folded from events.

use std::any::Any;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use roster_domain::stream::{Claim, Stream};
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::lookups::LookUp;
use crate::sealing::{About, Part};
use crate::vault::{DataKey, Vault, WrappedKey};
use crate::{Cell, Project, StoreError};

/// The largest sealed snapshot that is kept inline, in bytes (design: 2 KiB keeps the row in its page).
const LARGEST_SNAPSHOT: usize = 2048;
/// For so long [`Cell::load`] takes a state that this server wrote or read for the present one: nothing tells it what other
/// servers write.
pub const TRUSTED: Duration = Duration::from_secs(1);

/// A stream at a version.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    /// The stream.
    pub stream: Uuid,
    /// How many events it has; 0 where it does not exist.
    pub version: i32,
    /// The folded state, shared with the cache.
    pub state: Arc<A>,
    /// Whether it came from the cache: another server may have moved the stream since. An append notices, a refusal does not.
    pub from_cache: bool,
    pub(crate) key: StreamKey,
}

/// The data key of a stream.
#[derive(Clone, Debug)]
pub(crate) enum StreamKey {
    /// Minted here, and not stored yet.
    New(DataKey, WrappedKey),
    /// Stored.
    Known(DataKey),
    /// Destroyed.
    Gone,
}

impl StreamKey {
    pub(crate) const fn usable(&self) -> Option<&DataKey> {
        match self {
            Self::New(key, _) | Self::Known(key) => Some(key),
            Self::Gone => None,
        }
    }
}

impl<A: Stream> Loaded<A> {
    /// Whether the stream has no event yet.
    pub const fn is_new(&self) -> bool {
        self.version == 0
    }

    /// The stream after so many more events, as the command left it that wrote them.
    #[must_use]
    pub fn moved(&self, events: usize, state: Arc<A>) -> Self {
        Self {
            stream: self.stream,
            version: self.version + i32::try_from(events).unwrap_or(i32::MAX),
            state,
            from_cache: true,
            key: match &self.key {
                StreamKey::New(key, _) | StreamKey::Known(key) => StreamKey::Known(key.clone()),
                StreamKey::Gone => StreamKey::Gone,
            },
        }
    }

    /// The state as a value of its own.
    pub fn into_state(self) -> A {
        Arc::unwrap_or_clone(self.state)
    }

    /// Seals bytes that belong to this stream but lie elsewhere; `None` where the key was destroyed.
    pub fn seal(&self, part: &str, plain: &[u8]) -> Option<Vec<u8>> {
        self.key
            .usable()
            .map(|key| key.seal(&foreign_part(self.stream, part), plain))
    }

    /// The key of this stream; `None` where it was destroyed.
    pub fn data_key(&self) -> Option<DataKey> {
        self.key.usable().cloned()
    }
}

/// What is authenticated with bytes of a stream that lie outside the log.
pub(crate) fn foreign_part(stream: Uuid, part: &str) -> Vec<u8> {
    [stream.as_bytes().as_slice(), part.as_bytes()].concat()
}

pub(crate) struct Cached {
    pub(crate) version: i32,
    pub(crate) key: Option<DataKey>,
    pub(crate) state: Arc<dyn Any + Send + Sync>,
}

/// The most recently used streams of a cell, and when each was written or read.
pub(crate) struct StreamCache(Mutex<LruCache<Uuid, (Cached, Instant)>>);

impl StreamCache {
    pub(crate) fn new(streams: usize) -> Self {
        Self(Mutex::new(LruCache::new(
            NonZeroUsize::new(streams).unwrap_or(NonZeroUsize::MIN),
        )))
    }

    /// A stream as it was so long ago at most.
    fn get<A: Stream + 'static>(&self, stream: Uuid, within: Duration) -> Option<Loaded<A>> {
        let (version, key, state) = {
            let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (cached, at) = cache.get(&stream)?;
            if at.elapsed() > within {
                return None;
            }
            (
                cached.version,
                cached.key.clone(),
                Arc::clone(&cached.state),
            )
        };
        Some(Loaded {
            stream,
            version,
            state: state.downcast().ok()?,
            from_cache: true,
            key: key.map_or(StreamKey::Gone, StreamKey::Known),
        })
    }

    pub(crate) fn put(&self, stream: Uuid, cached: Cached) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache
            .peek(&stream)
            .is_none_or(|(known, _)| known.version <= cached.version)
        {
            cache.put(stream, (cached, Instant::now()));
        }
    }

    pub(crate) fn forget(&self, streams: impl IntoIterator<Item = Uuid>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams {
            cache.pop(&stream);
        }
    }
}

/// What [`Opened::read`] reads.
pub(crate) const COLUMNS: &str =
    "s.stream_id, s.version, s.flags, s.key_no, s.key, s.state, s.state_fingerprint";

impl Cell {
    /// A stream that does not exist yet, with a fresh key.
    pub fn new_stream<A: Stream>(&self, stream: Uuid) -> Loaded<A> {
        let (key, wrapped) = self.vault().mint(stream);
        Loaded {
            stream,
            version: 0,
            state: Arc::default(),
            from_cache: false,
            key: StreamKey::New(key, wrapped),
        }
    }

    /// The stream's state, of a second ago at most; version 0 and a fresh key where the stream does not exist.
    pub async fn load<A: Stream + 'static>(
        &self,
        project: &Project,
        stream: Uuid,
    ) -> Result<Loaded<A>, StoreError> {
        match self.cache().get(stream, TRUSTED) {
            Some(cached) => Ok(cached),
            None => self.load_fresh(project, stream).await,
        }
    }

    /// The stream's state where it is in the cache, however old.
    pub fn load_cached<A: Stream + 'static>(&self, stream: Uuid) -> Option<Loaded<A>> {
        self.cache().get(stream, Duration::MAX)
    }

    /// The stream's state as the database has it now; what is another project's, or of another kind, does not exist.
    pub async fn load_fresh<A: Stream + 'static>(
        &self,
        project: &Project,
        stream: Uuid,
    ) -> Result<Loaded<A>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM log_streams s WHERE s.stream_id = $1 AND s.project_no = $2 AND s.kind = $3"
        );
        let row = sqlx::query(&sql)
            .bind(stream)
            .bind(project.no)
            .bind(A::KIND)
            .fetch_optional(self.pool())
            .await?;
        let Some(row) = row else {
            return Ok(self.new_stream(stream));
        };
        let loaded = self.loaded(project, &row).await?;
        self.keep(&loaded);
        Ok(loaded)
    }

    /// The states of many streams as the database has them now, in the order asked and with one statement.
    pub async fn load_many<A: Stream + 'static>(
        &self,
        project: &Project,
        streams: &[Uuid],
    ) -> Result<Vec<Loaded<A>>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}
               FROM unnest($1::uuid[]) AS wanted(stream_id)
              CROSS JOIN LATERAL (SELECT * FROM log_streams o WHERE o.stream_id = wanted.stream_id OFFSET 0) s"
        );
        let rows = sqlx::query(&sql)
            .bind(streams)
            .fetch_all(self.pool())
            .await?;
        let mut found: HashMap<Uuid, Loaded<A>> = HashMap::with_capacity(rows.len());
        for row in rows {
            let loaded = self.loaded(project, &row).await?;
            found.insert(loaded.stream, loaded);
        }
        let mut given: HashMap<Uuid, usize> = HashMap::new();
        let mut all: Vec<Loaded<A>> = Vec::with_capacity(streams.len());
        for stream in streams {
            let loaded = match (found.remove(stream), given.get(stream)) {
                (Some(loaded), _) => loaded,
                (None, Some(place)) => all[*place].clone(),
                (None, None) => self.new_stream(*stream),
            };
            given.insert(*stream, all.len());
            all.push(loaded);
        }
        Ok(all)
    }

    /// The stream that holds a claim, with its state as the database has it now. Whoever asks at the same time shares the
    /// statement.
    pub async fn load_holder<A: Stream + 'static>(
        &self,
        project: &Project,
        claim: &Claim,
    ) -> Result<Option<Loaded<A>>, StoreError> {
        let (reply, holder) = oneshot::channel();
        let look_up = LookUp {
            project_no: project.no,
            kind: claim.kind,
            key: project.claim_key(claim),
            reply,
        };
        let asked = self.look_up_queue().send(look_up).await;
        asked.map_err(|_| StoreError::Closed)?;
        match holder.await.map_err(|_| StoreError::Closed)?? {
            Some(row) => {
                let loaded = self.loaded(project, &row).await?;
                self.keep(&loaded);
                Ok(Some(loaded))
            }
            None => Ok(None),
        }
    }

    async fn loaded<A: Stream + 'static>(
        &self,
        project: &Project,
        row: &PgRow,
    ) -> Result<Loaded<A>, StoreError> {
        self.settled(Opened::read(self.vault(), project.no, row)?)
            .await
    }

    /// A stream with its state, which is folded where no snapshot of this shape is there.
    pub(crate) async fn settled<A: Stream>(
        &self,
        opened: Opened<A>,
    ) -> Result<Loaded<A>, StoreError> {
        let (state, version) = match opened.state {
            Some(state) => (state, opened.version),
            None => self.fold(opened.stream).await?,
        };
        Ok(Loaded {
            stream: opened.stream,
            version,
            state: Arc::new(state),
            from_cache: false,
            key: opened.key.map_or(StreamKey::Gone, StreamKey::Known),
        })
    }

    /// Remembers a stream for the next command on it. Those of bulk work would push out what is asked for next.
    fn keep<A: Stream + 'static>(&self, loaded: &Loaded<A>) {
        let key = match &loaded.key {
            StreamKey::Known(key) => Some(key.clone()),
            StreamKey::New(..) | StreamKey::Gone => None,
        };
        let kept = Cached {
            version: loaded.version,
            key,
            state: Arc::clone(&loaded.state) as Arc<dyn Any + Send + Sync>,
        };
        self.cache().put(loaded.stream, kept);
    }

    async fn fold<A: Stream>(&self, stream: Uuid) -> Result<(A, i32), StoreError> {
        let mut state = A::default();
        let mut version = 0;
        for recorded in self.read_stream(stream, 0).await? {
            version = recorded.version;
            state.apply(recorded.decode()?);
        }
        Ok((state, version))
    }
}

/// A row of `log_streams`, opened.
pub(crate) struct Opened<A> {
    stream: Uuid,
    version: i32,
    key: Option<DataKey>,
    /// `None` where the row has no snapshot of this shape.
    state: Option<A>,
}

impl<A: Stream> Opened<A> {
    /// Unwraps the key and opens the snapshot of a row with [`COLUMNS`]; nothing in it waits.
    pub(crate) fn read(vault: &Vault, project_no: i32, row: &PgRow) -> Result<Self, StoreError> {
        let stream: Uuid = row.try_get("stream_id")?;
        let version: i32 = row.try_get("version")?;
        let wrapped: Option<&[u8]> = row.try_get("key")?;
        let key = match wrapped {
            Some(wrapped) => {
                let key_no: Option<i16> = row.try_get("key_no")?;
                Some(vault.open_key(stream, key_no.unwrap_or_default(), wrapped)?)
            }
            None => None,
        };
        let fingerprint: i32 = row.try_get("state_fingerprint")?;
        let snapshot: Option<&[u8]> = row.try_get("state")?;
        let state = match (snapshot, &key) {
            (Some(sealed), Some(key)) if fingerprint == fingerprint_of::<A>() => {
                let plain = state_about::<A>(project_no, stream, version).open(key, sealed)?;
                postcard::from_bytes(&plain).ok()
            }
            _ => None,
        };
        Ok(Self {
            stream,
            version,
            key,
            state,
        })
    }
}

/// The mark of a snapshot's shape.
pub(crate) const fn fingerprint_of<A: Stream>() -> i32 {
    (A::KIND as i32) * 10_000 + A::STATE_VERSION
}

fn state_about<A: Stream>(project_no: i32, stream: Uuid, version: i32) -> About {
    About {
        project_no,
        stream,
        version,
        type_no: A::KIND,
        type_version: 0,
        part: Part::State,
    }
}

/// The sealed snapshot of a state, unless it is too large to be kept inline.
pub(crate) fn snapshot<A: Stream>(
    project_no: i32,
    stream: Uuid,
    version: i32,
    key: &DataKey,
    state: &A,
) -> Option<Vec<u8>> {
    let plain = postcard::to_stdvec(state)
        .ok()
        .filter(|plain| plain.len() <= LARGEST_SNAPSHOT)?;
    Some(state_about::<A>(project_no, stream, version).seal(key, &plain))
}
