//! Identities that were seen and are nobody's: table `log_unmatched`, a row each.
//!
//! Rows are sealed, so that copies of the database and its statistics show nobody; who is searched for is found by opening
//! the rows of a project, which are bounded. When and how often a sighting is written is decided by whoever saw it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use roster_domain::access::ConnectorIdentity;
use roster_domain::stream::claim_kind;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::{Cell, Project, StoreError};

/// Leads the sealed bytes: the shape behind it is frozen.
const VERSION: u8 = 1;
/// Values of erased people that are looked for with one statement.
const ERASED_AT_ONCE: usize = 1_000;
/// What is authenticated with them.
const ABOUT: &[u8] = b"unmatched";

/// What a channel told of somebody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The normalised external user id.
    pub external_user_id: String,
    /// What the channel calls the person.
    pub display_name: Option<String>,
    /// A telephone number.
    pub phone: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// A handle.
    pub username: Option<String>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Seen(<personal>)")
    }
}

/// The stored shape. Frozen.
#[derive(Serialize, Deserialize)]
struct SeenV1 {
    external_user_id: String,
    display_name: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    username: Option<String>,
}

impl Seen {
    /// Everything that was told about the person.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.display_name
            .as_deref()
            .into_iter()
            .chain(self.naming())
    }

    /// What names this person and hardly anybody else; many are called the same.
    fn naming(&self) -> impl Iterator<Item = &str> {
        let told = [&self.phone, &self.email, &self.username];
        told.into_iter()
            .filter_map(|value| value.as_deref())
            .chain([self.external_user_id.as_str()])
    }

    fn seal(&self, project: &Project, identity_key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let stored = SeenV1 {
            external_user_id: self.external_user_id.clone(),
            display_name: self.display_name.clone(),
            phone: self.phone.clone(),
            email: self.email.clone(),
            username: self.username.clone(),
        };
        let plain = postcard::to_extend(&stored, vec![VERSION])
            .map_err(|_| StoreError::Malformed("sighting"))?;
        Ok(project.key_of_identity(identity_key).seal(ABOUT, &plain))
    }

    fn open(project: &Project, identity_key: &[u8], sealed: &[u8]) -> Result<Self, StoreError> {
        let malformed = || StoreError::Malformed("sighting");
        let plain = project.key_of_identity(identity_key).open(ABOUT, sealed)?;
        let Some((&VERSION, stored)) = plain.split_first() else {
            return Err(malformed());
        };
        let stored: SeenV1 = postcard::from_bytes(stored).map_err(|_| malformed())?;
        Ok(Self {
            external_user_id: stored.external_user_id,
            display_name: stored.display_name,
            phone: stored.phone,
            email: stored.email,
            username: stored.username,
        })
    }
}

/// A sighting as it is written.
#[derive(Clone, Debug)]
pub struct Sighting {
    project_no: i32,
    identity_key: Vec<u8>,
    channel: String,
    first_seen_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    /// How often, at least once.
    count: i64,
    sealed: Vec<u8>,
    value_keys: Vec<Vec<u8>>,
}

impl Sighting {
    /// Seals what was seen between two times.
    pub fn new(
        project: &Project,
        channel: &str,
        identity_key: Vec<u8>,
        seen: &Seen,
        times: (DateTime<Utc>, DateTime<Utc>),
        count: i64,
    ) -> Result<Self, StoreError> {
        let keys: BTreeSet<Vec<u8>> = seen
            .naming()
            .map(|value| project.value_key(value))
            .collect();
        Ok(Self {
            project_no: project.no,
            sealed: seen.seal(project, &identity_key)?,
            identity_key,
            channel: channel.to_owned(),
            first_seen_at: times.0,
            last_seen_at: times.1,
            count,
            value_keys: keys.into_iter().collect(),
        })
    }

    /// The project and the keyed hash of the identity.
    pub fn key(&self) -> (i32, &[u8]) {
        (self.project_no, &self.identity_key)
    }

    /// The same with those of one identity as one, which says what the last of them did. They are ordered by identity, so that
    /// servers that write the same ones do not wait for each other in a circle.
    pub fn merged(sightings: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut merged: BTreeMap<(i32, Vec<u8>), Self> = BTreeMap::new();
        for later in sightings {
            match merged.entry((later.project_no, later.identity_key.clone())) {
                Entry::Vacant(vacant) => {
                    vacant.insert(later);
                }
                Entry::Occupied(mut occupied) => {
                    let before = occupied.get();
                    let both = Self {
                        first_seen_at: before.first_seen_at.min(later.first_seen_at),
                        last_seen_at: before.last_seen_at.max(later.last_seen_at),
                        count: before.count + later.count,
                        ..later
                    };
                    occupied.insert(both);
                }
            }
        }
        merged.into_values().collect()
    }
}

/// More sightings of an identity whose row is there.
#[derive(Clone, Debug)]
pub struct SeenAgain {
    /// The project.
    pub project_no: i32,
    /// The keyed hash of the identity.
    pub identity_key: Vec<u8>,
    /// The last time.
    pub last_seen_at: DateTime<Utc>,
    /// How often.
    pub count: i64,
}

/// The place of a row in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmatchedPlace {
    /// When the identity was seen last.
    pub last_seen_at: DateTime<Utc>,
    /// Its keyed hash.
    pub identity_key: Vec<u8>,
}

/// An identity that is nobody's.
#[derive(Clone, Debug)]
pub struct UnmatchedRow {
    /// The keyed hash of the identity.
    pub identity_key: Vec<u8>,
    /// The channel.
    pub channel: String,
    /// The first time.
    pub first_seen_at: DateTime<Utc>,
    /// The last time that was written.
    pub last_seen_at: DateTime<Utc>,
    /// How often, as far as it was written.
    pub seen_count: i64,
    /// What the channel told last.
    pub seen: Seen,
}

impl Project {
    /// The keyed hash of a value about somebody, whatever it is called.
    pub(crate) fn value_key(&self, value: &str) -> Vec<u8> {
        self.hash(&[b"value\0", value.as_bytes()])[..16].to_vec()
    }
}

/// A row of its own for each new identity, unless somebody has it by now or the project has as many as it may; $9 is how many.
const WRITE: &str = "
INSERT INTO log_unmatched AS u (
       project_no,
       identity_key,
       first_seen_at,
       last_seen_at,
       seen_count,
       channel,
       sealed,
       value_keys)
SELECT w.project_no,
       w.identity_key,
       w.first_seen_at,
       w.last_seen_at,
       w.seen_count,
       w.channel,
       w.sealed,
       ARRAY(SELECT decode(part, 'hex') FROM unnest(string_to_array(w.value_keys, ',')) AS part)
  FROM unnest($1::integer[], $2::bytea[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::text[], $7::bytea[],
              $8::text[])
       AS w(project_no, identity_key, first_seen_at, last_seen_at, seen_count, channel, sealed, value_keys)
 WHERE NOT EXISTS (
       SELECT
         FROM log_claims c
        WHERE c.project_no = w.project_no
          AND c.kind = $10
          AND c.key = w.identity_key
       OFFSET 0)
   AND (EXISTS (
       SELECT
         FROM log_unmatched known
        WHERE known.project_no = w.project_no
          AND known.identity_key = w.identity_key
       OFFSET 0)
    OR (SELECT count(*) FROM (SELECT FROM log_unmatched b WHERE b.project_no = w.project_no LIMIT $9) AS bounded) < $9)
    ON CONFLICT (project_no, identity_key) DO UPDATE
   SET last_seen_at = GREATEST(u.last_seen_at, EXCLUDED.last_seen_at),
       seen_count = u.seen_count + EXCLUDED.seen_count,
       sealed = EXCLUDED.sealed,
       value_keys = EXCLUDED.value_keys";

/// The rows of $1 project, on $2 channel, of identities that nobody has.
const LISTED: &str = "u.project_no = $1
       AND ($2::text IS NULL OR u.channel = $2)
       AND NOT EXISTS (
           SELECT
             FROM log_claims c
            WHERE c.project_no = u.project_no
              AND c.kind = $3
              AND c.key = u.identity_key
           OFFSET 0)";

impl Cell {
    /// Writes sightings, no two of one identity; how many rows were made or moved on. The rest is of identities that somebody
    /// has by now, or of a project that has `most` rows.
    pub async fn write_unmatched(
        &self,
        sightings: &[Sighting],
        most: i64,
    ) -> Result<u64, StoreError> {
        let each = || sightings.iter();
        // Arrays of arrays must be rectangular, so the keys of one row come as one text.
        let value_keys: Vec<String> = each()
            .map(|one| {
                let keys: Vec<String> = one
                    .value_keys
                    .iter()
                    .map(|key| crate::vault::to_hex(key))
                    .collect();
                keys.join(",")
            })
            .collect();
        let written = sqlx::query(WRITE)
            .bind(each().map(|one| one.project_no).collect::<Vec<_>>())
            .bind(
                each()
                    .map(|one| one.identity_key.as_slice())
                    .collect::<Vec<_>>(),
            )
            .bind(each().map(|one| one.first_seen_at).collect::<Vec<_>>())
            .bind(each().map(|one| one.last_seen_at).collect::<Vec<_>>())
            .bind(each().map(|one| one.count).collect::<Vec<_>>())
            .bind(each().map(|one| one.channel.as_str()).collect::<Vec<_>>())
            .bind(each().map(|one| one.sealed.as_slice()).collect::<Vec<_>>())
            .bind(value_keys)
            .bind(most)
            .bind(claim_kind::CONNECTOR_IDENTITY)
            .execute(self.pool())
            .await?;
        Ok(written.rows_affected())
    }

    /// Moves rows on that are there; the identities whose row went, by project and keyed hash.
    pub async fn move_unmatched(
        &self,
        again: &[SeenAgain],
    ) -> Result<Vec<(i32, Vec<u8>)>, StoreError> {
        let moved: Vec<(i32, Vec<u8>)> = sqlx::query_as(
            "UPDATE log_unmatched u
                SET last_seen_at = GREATEST(u.last_seen_at, w.last_seen_at),
                    seen_count = u.seen_count + w.seen_count
               FROM unnest($1::integer[], $2::bytea[], $3::timestamptz[], $4::bigint[])
                    AS w(project_no, identity_key, last_seen_at, seen_count)
              CROSS JOIN LATERAL (
                    SELECT o.ctid
                      FROM log_unmatched o
                     WHERE o.project_no = w.project_no
                       AND o.identity_key = w.identity_key
                    OFFSET 0) found
              WHERE u.ctid = found.ctid
          RETURNING u.project_no, u.identity_key",
        )
        .bind(again.iter().map(|one| one.project_no).collect::<Vec<_>>())
        .bind(
            again
                .iter()
                .map(|one| one.identity_key.as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(again.iter().map(|one| one.last_seen_at).collect::<Vec<_>>())
        .bind(again.iter().map(|one| one.count).collect::<Vec<_>>())
        .fetch_all(self.pool())
        .await?;
        let moved: HashSet<(i32, Vec<u8>)> = moved.into_iter().collect();
        Ok(again
            .iter()
            .map(|one| (one.project_no, one.identity_key.clone()))
            .filter(|key| !moved.contains(key))
            .collect())
    }

    /// The identities of a project that are nobody's, the newest first: at most so many, behind an offset or a place.
    pub async fn unmatched(
        &self,
        project: &Project,
        channel: Option<&str>,
        before: Option<&UnmatchedPlace>,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<UnmatchedRow>, StoreError> {
        let sql = format!(
            "SELECT u.identity_key,
                    u.channel,
                    u.first_seen_at,
                    u.last_seen_at,
                    u.seen_count,
                    u.sealed
               FROM log_unmatched u
              WHERE {LISTED}
                AND (u.last_seen_at, u.identity_key) < (COALESCE($4, 'infinity'::timestamptz), COALESCE($5, ''::bytea))
              ORDER BY u.last_seen_at DESC,
                       u.identity_key DESC
              LIMIT $6
             OFFSET $7"
        );
        let rows = sqlx::query(&sql)
            .bind(project.no)
            .bind(channel)
            .bind(claim_kind::CONNECTOR_IDENTITY)
            .bind(before.map(|place| place.last_seen_at))
            .bind(before.map(|place| place.identity_key.as_slice()))
            .bind(limit)
            .bind(offset)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(|row| read(project, row)).collect()
    }

    /// How many there are, counted to a bound.
    pub async fn count_unmatched(
        &self,
        project: &Project,
        channel: Option<&str>,
        bound: i64,
    ) -> Result<i64, StoreError> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT FROM log_unmatched u WHERE {LISTED} LIMIT $4) AS bounded"
        );
        Ok(sqlx::query_scalar(&sql)
            .bind(project.no)
            .bind(channel)
            .bind(claim_kind::CONNECTOR_IDENTITY)
            .bind(bound)
            .fetch_one(self.pool())
            .await?)
    }

    /// Takes the row of an identity away; whether there was one.
    pub async fn dismiss_unmatched(
        &self,
        project: &Project,
        identity: &ConnectorIdentity,
    ) -> Result<bool, StoreError> {
        let gone =
            sqlx::query("DELETE FROM log_unmatched WHERE project_no = $1 AND identity_key = $2")
                .bind(project.no)
                .bind(project.identity_key(identity))
                .execute(self.pool())
                .await?;
        Ok(gone.rows_affected() > 0)
    }

    /// Takes away what concerns somebody who is erased: rows of unmatched identities that one of these is, or that have one of these
    /// values, and the sealed parts of dispatches that found nobody behind one of these identities.
    pub async fn forget_unmatched(
        &self,
        project: &Project,
        identities: &[ConnectorIdentity],
        values: &[&str],
    ) -> Result<(), StoreError> {
        let keys: Vec<Vec<u8>> = identities
            .iter()
            .map(|identity| project.identity_key(identity))
            .collect();
        let ids = identities
            .iter()
            .map(|identity| identity.external_user_id.as_str());
        let values: BTreeSet<&str> = values.iter().copied().chain(ids).collect();
        let values: Vec<Vec<u8>> = values
            .into_iter()
            .map(|value| project.value_key(value))
            .collect();
        for some in values.chunks(ERASED_AT_ONCE) {
            let sql = "DELETE FROM log_unmatched WHERE value_keys && $2 AND project_no + 0 = $1";
            sqlx::query(sql)
                .bind(project.no)
                .bind(some)
                .execute(self.pool())
                .await?;
        }
        sqlx::query("SELECT log_journal_forget($1, $2)")
            .bind(project.no)
            .bind(keys)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Whether anything at all is kept about people of a project whom nobody knew. Most often there is nothing to forget.
    pub async fn knows_strangers(&self, project: &Project) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM log_unmatched WHERE project_no = $1)
                 OR EXISTS (SELECT FROM log_journal WHERE customer_ref IS NULL)",
        )
        .bind(project.no)
        .fetch_one(self.pool())
        .await?)
    }

    /// Deletes rows that were last seen before a time; how many there were.
    pub async fn sweep_unmatched(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let swept = sqlx::query(
            "DELETE FROM log_unmatched u
              WHERE u.ctid = ANY (ARRAY(
                    SELECT found.ctid
                      FROM projects p
                     CROSS JOIN LATERAL (
                           SELECT o.ctid
                             FROM log_unmatched o
                            WHERE o.project_no = p.project_no
                              AND o.last_seen_at < $1
                           OFFSET 0) found))",
        )
        .bind(before)
        .execute(self.pool())
        .await?;
        Ok(swept.rows_affected())
    }
}

/// Whether there is any row at all.
pub async fn is_any(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM log_unmatched)")
        .fetch_one(connection)
        .await
}

/// Takes away the rows of identities that somebody has by now, in the transaction of whoever noticed.
pub async fn linked(
    connection: &mut PgConnection,
    identities: &[(i32, Vec<u8>)],
) -> Result<(), sqlx::Error> {
    let (projects, keys): (Vec<i32>, Vec<&[u8]>) = identities
        .iter()
        .map(|(project_no, key)| (*project_no, key.as_slice()))
        .unzip();
    sqlx::query(
        "DELETE FROM log_unmatched u
          WHERE u.ctid = ANY (ARRAY(
                SELECT found.ctid
                  FROM unnest($1::integer[], $2::bytea[]) AS w(project_no, identity_key)
                 CROSS JOIN LATERAL (
                       SELECT o.ctid
                         FROM log_unmatched o
                        WHERE o.project_no = w.project_no
                          AND o.identity_key = w.identity_key
                          AND EXISTS (
                              SELECT
                                FROM log_claims c
                               WHERE c.project_no = w.project_no
                                 AND c.kind = $3
                                 AND c.key = w.identity_key
                              OFFSET 0)
                       OFFSET 0) found))",
    )
    .bind(projects)
    .bind(keys)
    .bind(claim_kind::CONNECTOR_IDENTITY)
    .execute(connection)
    .await?;
    Ok(())
}

fn read(project: &Project, row: &PgRow) -> Result<UnmatchedRow, StoreError> {
    let identity_key: Vec<u8> = row.try_get("identity_key")?;
    let sealed: &[u8] = row.try_get("sealed")?;
    Ok(UnmatchedRow {
        seen: Seen::open(project, &identity_key, sealed)?,
        identity_key,
        channel: row.try_get("channel")?,
        first_seen_at: row.try_get("first_seen_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
        seen_count: row.try_get("seen_count")?,
    })
}
