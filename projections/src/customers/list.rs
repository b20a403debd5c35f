//! Lists of customers: the page, its total and the way on.
//!
//! Source and switch filters and every order are index walks with totals from the counts. A search or value filter is
//! *frequent* or *rare*: a walk in the wanted order finds frequent matches at once; where it does not, an index gives the
//! whole set if it has at most 10,000 rows, which are then sorted here; a set that is larger and yet not met is walked to, and
//! is known to be larger for a while ([`Totals`]).
//! Restricted to so few customers, all of them are looked at instead.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::filter::{Cursor, Filter, Key};
use super::shape::{BOUND, MOST, Shape, Sizes, Term};
use super::statements::{Driver, SAMPLE};
use super::totals::Totals;
use super::{CustomerRow, get_many, parts};
use crate::QueryError;
use crate::data_sources;
use crate::directory::Directory;
use crate::runner::Projection as _;
use crate::search::Search;

/// Rows that the first walk looks at, where it reads what it tests (about 0.5 µs each).
const FIRST_WALK: i64 = 1_000;
/// Rows that the first walk looks up one by one (about 3 µs each).
const FIRST_LOOK_UPS: i64 = 300;
/// Rows that the second walk looks at; each further one looks at twice as many.
const NEXT_WALK: i64 = 2_000;
/// The most rows that a walk looks at.
const LONGEST_WALK: i64 = 32_000;
/// From this share of hits on, a walk counts to 10,000 faster than an index does.
const FREQUENT: f64 = 0.3;

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerPage {
    /// In the wanted order.
    pub rows: Vec<CustomerRow>,
    /// How many customers pass the filter, if that is known.
    pub total: Option<i64>,
    /// Where the total is not known: at least so many.
    pub total_at_least: Option<i64>,
    /// Where the list goes on; `None` at its end.
    pub next_cursor: Option<Cursor>,
}

/// A page of a project's customers. `totals` are those of this server.
///
/// # Errors
/// [`QueryError::InvalidCursor`] where the cursor is of another list.
pub async fn list(
    pool: &PgPool,
    totals: &Totals,
    project_no: i32,
    filter: &Filter,
) -> Result<CustomerPage, QueryError> {
    let mut list = List::new(pool, project_no, filter).await?;
    let set = filter.set(project_no);
    list.is_beyond = !filter.count_exact && totals.is_beyond(set, list.position);
    let (keys, known) = list.keys().await?;
    let mut page = list.page(keys).await?;
    if list.is_beyond {
        page.total_at_least = Some(BOUND);
        return Ok(page);
    }
    let total = list.total(known).await?;
    let is_beyond = total > BOUND && list.shape.narrows();
    if is_beyond {
        let position = position(pool, filter).await?;
        totals.keep(set, total, list.position, position);
    }
    if is_beyond && !filter.count_exact {
        page.total_at_least = Some(BOUND);
    } else {
        page.total = Some(total);
    }
    Ok(page)
}

/// A page without its total.
pub(super) async fn rows(
    pool: &PgPool,
    project_no: i32,
    filter: &Filter,
) -> Result<CustomerPage, QueryError> {
    let mut list = List::new(pool, project_no, filter).await?;
    let (keys, _) = list.keys().await?;
    list.page(keys).await
}

/// The projection whose table decides who passes.
fn decides(filter: &Filter) -> &'static str {
    if filter.searches() {
        Search::NAME
    } else {
        Directory::NAME
    }
}

/// Where that projection is now.
async fn position(pool: &PgPool, filter: &Filter) -> Result<i64, QueryError> {
    let position = sqlx::query_scalar("SELECT position FROM log_checkpoints WHERE name = $1")
        .bind(decides(filter))
        .fetch_optional(pool)
        .await?;
    Ok(position.unwrap_or_default())
}

/// What finding the keys told about the total.
#[derive(Clone, Copy)]
pub(super) enum Known {
    /// It is this.
    Total(i64),
    /// It is more than [`BOUND`]: at least this.
    Beyond(i64),
    /// The index finds too many to tell how many of them pass.
    Crowded,
    /// Of so many rows looked at, so many passed.
    Share { walked: i64, hits: i64 },
}

type Row = (DateTime<Utc>, String);

pub(super) struct List<'a> {
    pool: &'a PgPool,
    filter: &'a Filter,
    pub(super) shape: Shape,
    fingerprint: i64,
    after: Option<Key>,
    /// Customers in the project.
    project: i64,
    /// Customers in the buckets that pass.
    pub(super) bucketed: i64,
    /// Where the projection was that decides who passes.
    position: i64,
    /// Whether more than [`BOUND`] pass for sure.
    is_beyond: bool,
    offset: i64,
    /// One more than the page has, to see whether the list goes on.
    wanted: i64,
}

impl<'a> List<'a> {
    pub(super) async fn new(
        pool: &'a PgPool,
        project_no: i32,
        filter: &'a Filter,
    ) -> Result<Self, QueryError> {
        let fingerprint = filter.fingerprint(project_no);
        let after = filter
            .cursor
            .as_ref()
            .map(|cursor| cursor.key(fingerprint).cloned())
            .transpose()?;
        let known = data_sources::overview(pool, project_no, decides(filter)).await?;
        let (buckets, counts): (Vec<i64>, Vec<i64>) = filter
            .buckets(project_no, &known.sources)
            .into_iter()
            .unzip();
        let project = known.sources.iter().map(|source| source.count).sum();
        let bucketed = counts.iter().sum();
        let sizes = Sizes {
            buckets: bucketed,
            project,
            cell: known.cell,
        };
        let page = if after.is_some() {
            1
        } else {
            filter.page.max(1)
        };
        Ok(Self {
            pool,
            filter,
            shape: Shape::new(project_no, filter, buckets, sizes),
            fingerprint,
            after,
            project,
            bucketed,
            position: known.position,
            is_beyond: false,
            offset: i64::from(page - 1) * i64::from(filter.page_size),
            wanted: i64::from(filter.page_size) + 1,
        })
    }

    async fn page(&self, mut keys: Vec<Key>) -> Result<CustomerPage, QueryError> {
        let size = usize::try_from(self.filter.page_size).unwrap_or(usize::MAX);
        let more = keys.len() > size;
        keys.truncate(size);
        let next_cursor = keys
            .last()
            .filter(|_| more)
            .map(|key| Cursor::new(self.fingerprint, key.clone()));
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        let rows = get_many(self.pool, self.shape.project_no, &ids).await?;
        Ok(CustomerPage {
            rows,
            total: None,
            total_at_least: None,
            next_cursor,
        })
    }

    /// The keys of the page and of one more, and what that told about the total.
    pub(super) async fn keys(&mut self) -> Result<(Vec<Key>, Known), QueryError> {
        if self.bucketed == 0 {
            return Ok((Vec::new(), Known::Total(0)));
        }
        if !self.shape.narrows() {
            let sql = self.shape.keys(self.after.is_some());
            return Ok((
                self.read(&sql, self.after.as_ref(), self.wanted, self.offset)
                    .await?,
                Known::Total(self.bucketed),
            ));
        }
        if self.shape.searches()
            && self.shape.restricted
            && self.bucketed <= BOUND
            && let Candidates::All(matched) = self.candidates(Driver::Buckets).await?
        {
            return Ok(self.slice(matched));
        }
        let mut walk = Walk {
            found: Vec::new(),
            skipped: 0,
            walked: 0,
            hits: 0,
            from: self.after.clone(),
            ended: false,
        };
        let first = if self.shape.is_direct() {
            FIRST_WALK
        } else {
            FIRST_LOOK_UPS
        };
        self.step(
            &mut walk,
            first.max(2 * (self.offset + self.wanted)).min(LONGEST_WALK),
        )
        .await?;
        if walk.ended && self.after.is_none() {
            return Ok((walk.found, Known::Total(walk.hits)));
        }
        let mut known = Known::Share {
            walked: walk.walked,
            hits: walk.hits,
        };
        if self.is_filled(&walk) {
            return Ok((walk.found, known));
        }
        if let Some(driver) = self.driver().filter(|_| !self.is_beyond) {
            match self.candidates(driver).await? {
                Candidates::All(matched) => return Ok(self.slice(matched)),
                Candidates::Many(found) if self.driver_is_all(driver) => {
                    known = Known::Beyond(found);
                }
                Candidates::Many(_) => known = Known::Crowded,
            }
        }
        if self.shape.walks_starts() {
            let sql = self.shape.starts(self.after.is_some());
            let keys = self
                .read(&sql, self.after.as_ref(), self.wanted, self.offset)
                .await?;
            return Ok((keys, known));
        }
        let mut next = NEXT_WALK;
        while !self.is_filled(&walk) {
            self.step(&mut walk, next).await?;
            next = (next * 2).min(LONGEST_WALK);
        }
        Ok((walk.found, known))
    }

    /// The index that could give the whole set.
    fn driver(&self) -> Option<Driver> {
        match &self.shape.term {
            _ if !self.shape.hashes.is_empty() => Some(Driver::Index),
            Some(Term::Within { indexed: true, .. }) => Some(Driver::Index),
            Some(Term::Start(_)) => Some(Driver::Starts),
            None if self.shape.since.is_some() => Some(Driver::Since),
            _ => None,
        }
    }

    /// Whether all that the index finds passes.
    const fn driver_is_all(&self, driver: Driver) -> bool {
        match driver {
            Driver::Index => {
                self.shape.since.is_none() && (!self.shape.restricted || self.shape.index.by_bucket)
            }
            Driver::Starts => !self.shape.restricted && self.shape.since.is_none(),
            Driver::Since => true,
            Driver::Buckets => false,
        }
    }

    /// Chooses what the trigram index is asked for.
    async fn choose_parts(&mut self) -> Result<(), QueryError> {
        let term = match self.shape.term {
            Some(Term::Within { indexed: true, .. }) if self.shape.parts.is_none() => {
                self.filter.term().unwrap_or_default()
            }
            _ => return Ok(()),
        };
        let sample: Vec<String> = if parts::has_any(&term) {
            sqlx::query_scalar(SAMPLE).fetch_all(self.pool).await?
        } else {
            Vec::new()
        };
        let parts = parts::rare(&term, &sample).into_iter();
        self.shape.parts = Some(parts.map(|part| format!("%{part}%")).collect());
        Ok(())
    }

    /// What passes of the rows that an index finds.
    async fn candidates(&mut self, driver: Driver) -> Result<Candidates, QueryError> {
        if driver == Driver::Index {
            self.choose_parts().await?;
        }
        let sql = self.shape.candidates(driver);
        let query = sqlx::query_as::<_, (i64, DateTime<Utc>, String)>(&sql);
        let found = self
            .shape
            .bind(query, None, 0, 0, 0)
            .fetch_all(self.pool)
            .await?;
        if let Some((found, ..)) = found.first()
            && *found > BOUND
        {
            return Ok(Candidates::Many(*found));
        }
        let keys = found.into_iter();
        Ok(Candidates::All(
            keys.map(|(_, at, id)| Key { at: at.into(), id }).collect(),
        ))
    }

    /// The part of a whole set that the page shows.
    fn slice(&self, mut matched: Vec<Key>) -> (Vec<Key>, Known) {
        let total = i64::try_from(matched.len()).unwrap_or(i64::MAX);
        let order = |left: &Key, right: &Key| {
            (left.at, left.id.as_str()).cmp(&(right.at, right.id.as_str()))
        };
        matched.sort_unstable_by(|left, right| {
            if self.shape.descending {
                order(right, left)
            } else {
                order(left, right)
            }
        });
        if let Some(after) = &self.after {
            matched.retain(|key| {
                let place = order(key, after);
                if self.shape.descending {
                    place.is_lt()
                } else {
                    place.is_gt()
                }
            });
        }
        (self.cut(matched), Known::Total(total))
    }

    fn cut(&self, keys: Vec<Key>) -> Vec<Key> {
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX);
        keys.into_iter()
            .skip(skipped)
            .take(usize::try_from(self.wanted).unwrap_or(usize::MAX))
            .collect()
    }

    fn is_filled(&self, walk: &Walk) -> bool {
        walk.ended || self.missing(walk) <= 0
    }

    /// How many a walk has to find still, those before the page included.
    fn missing(&self, walk: &Walk) -> i64 {
        let found = i64::try_from(walk.found.len()).unwrap_or(i64::MAX);
        self.offset + self.wanted - walk.skipped - found
    }

    /// Walks on by so many rows.
    async fn step(&self, walk: &mut Walk, rows: i64) -> Result<(), QueryError> {
        let sql = self.shape.walk(walk.from.is_some());
        let missing = self.missing(walk);
        let query = sqlx::query_as::<_, (i64, i64, DateTime<Utc>, String, bool)>(&sql);
        let found = self
            .shape
            .bind(query, walk.from.as_ref(), rows, 0, missing)
            .fetch_all(self.pool)
            .await?;
        let (walked, hits) = found
            .first()
            .map_or((0, 0), |(walked, hits, ..)| (*walked, *hits));
        walk.walked += walked;
        walk.hits += hits;
        walk.ended = walked < rows;
        for (.., at, id, hit) in found {
            let key = Key { at: at.into(), id };
            if hit && walk.skipped < self.offset {
                walk.skipped += 1;
            } else if hit {
                walk.found.push(key);
            } else {
                walk.from = Some(key);
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        sql: &str,
        after: Option<&Key>,
        limit: i64,
        offset: i64,
    ) -> Result<Vec<Key>, QueryError> {
        let rows = self
            .shape
            .bind(sqlx::query_as::<_, Row>(sql), after, limit, offset, 0)
            .fetch_all(self.pool)
            .await?;
        Ok(rows
            .into_iter()
            .map(|(at, id)| Key { at: at.into(), id })
            .collect())
    }

    /// How many pass: exact, or at least so many where they are more than [`BOUND`] and nobody asked for all.
    pub(super) async fn total(&mut self, known: Known) -> Result<i64, QueryError> {
        let share = match known {
            Known::Total(total) => return Ok(total),
            _ if self.filter.count_exact => return self.count_all(i64::MAX).await,
            Known::Beyond(found) => return Ok(found),
            Known::Crowded => return self.count_all(MOST).await,
            // The walk was through those in the buckets.
            Known::Share { walked, hits } => {
                as_share(hits, walked) * as_share(self.bucketed, self.project)
            }
        };
        if self.shape.is_start() {
            let counted = self.count(&Shape::count_starts(), 0).await?;
            if counted > BOUND {
                return Ok(counted);
            }
        } else if self.shape.searches() && share >= FREQUENT {
            // Half as many again as should do.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "at most 50,000"
            )]
            let rows = (BOUND as f64 / share * 1.5) as i64 + 1;
            let counted = self.count(&self.shape.count_walk(), rows).await?;
            if counted > BOUND {
                return Ok(counted);
            }
        }
        if let Some(driver) = self.driver()
            && driver != Driver::Index
        {
            match self.candidates(driver).await? {
                Candidates::All(matched) => {
                    return Ok(i64::try_from(matched.len()).unwrap_or(i64::MAX));
                }
                Candidates::Many(found) if self.driver_is_all(driver) => return Ok(found),
                Candidates::Many(_) => {}
            }
        }
        self.count_all(MOST).await
    }

    async fn count_all(&mut self, limit: i64) -> Result<i64, QueryError> {
        let driver = self.driver();
        if driver == Some(Driver::Index) {
            self.choose_parts().await?;
        }
        self.count(&self.shape.count(driver), limit).await
    }

    async fn count(&self, sql: &str, limit: i64) -> Result<i64, QueryError> {
        let query = sqlx::query_as::<_, (i64,)>(sql);
        Ok(self
            .shape
            .bind(query, None, limit, 0, 0)
            .fetch_one(self.pool)
            .await?
            .0)
    }
}

/// What an index finds.
enum Candidates {
    /// The keys of those that pass, where it finds at most [`BOUND`] rows.
    All(Vec<Key>),
    /// It finds at least so many, which are more.
    Many(i64),
}

/// A walk in the wanted order.
struct Walk {
    /// The first of those that pass, from the page on.
    found: Vec<Key>,
    /// How many of those that pass come before it: as many as somebody who asks for a page far behind wants.
    skipped: i64,
    walked: i64,
    hits: i64,
    from: Option<Key>,
    ended: bool,
}

#[expect(clippy::cast_precision_loss, reason = "only compared")]
fn as_share(some: i64, all: i64) -> f64 {
    if all == 0 {
        0.0
    } else {
        some as f64 / all as f64
    }
}
