//! Connector identities and the customers that they are bound to: table `view_identities`.

mod list;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Link, LinkedBy};
use roster_domain::customer::CustomerEvent;
use roster_domain::value::fold::{digits, fold};
use roster_store::Recorded;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

pub use list::{IdentityFilter, IdentityPage, IdentityRow, list};

use crate::QueryError;
use crate::customers::fold::Folded;

/// The links of a customer, in the order of their identities.
pub async fn of_customer(pool: &PgPool, customer_ref: Uuid) -> Result<Vec<Link>, QueryError> {
    let rows = sqlx::query(
        "SELECT channel,
                external_user_id,
                linked_by,
                linked_at
           FROM view_identities
          WHERE stream_id = $1
          ORDER BY channel,
                   external_user_id",
    )
    .bind(customer_ref)
    .fetch_all(pool)
    .await?;
    rows.iter().map(link).collect()
}

fn link(row: &PgRow) -> Result<Link, QueryError> {
    Ok(Link {
        identity: ConnectorIdentity {
            channel: row.try_get("channel")?,
            external_user_id: row.try_get("external_user_id")?,
        },
        linked_by: LinkedBy::from_number(row.try_get("linked_by")?).ok_or(QueryError::Malformed)?,
        linked_at: row.try_get::<DateTime<Utc>, _>("linked_at")?.into(),
    })
}

/// An identity of a project.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) project_no: i32,
    pub(crate) channel: String,
    pub(crate) external_user_id: String,
}

impl Key {
    pub(crate) fn new(project_no: i32, channel: &str, external_user_id: &str) -> Self {
        Self {
            project_no,
            channel: channel.to_owned(),
            external_user_id: external_user_id.to_owned(),
        }
    }

    /// What a search looks at, less the customer's id: the folded identity, and a number's digits.
    fn haystack(&self) -> String {
        let mut haystack = fold(&self.external_user_id);
        if self.external_user_id.starts_with('+') {
            haystack.push('\n');
            haystack.push_str(&digits(&self.external_user_id));
        }
        haystack
    }
}

/// What becomes of one identity. People of one chunk may exchange identities, so that one's loss comes after another's
/// gain: a loss only ever concerns the stream that it is of.
#[derive(Default)]
struct Change {
    lost_by: Vec<Uuid>,
    gained: Option<Gained>,
}

impl Change {
    fn is_before(&self, position: i64) -> bool {
        let gained = self.gained.as_ref();
        gained.is_none_or(|gained| gained.position < position)
    }
}

struct Gained {
    stream: Uuid,
    position: i64,
    link: (LinkedBy, Timestamp),
}

/// What a page does to links: one change per identity, after the rows of people who were erased went.
#[derive(Default)]
pub(crate) struct Identities {
    changes: BTreeMap<Key, Change>,
    gone: BTreeSet<Uuid>,
}

impl Identities {
    pub(crate) fn clear(&mut self) {
        self.changes.clear();
        self.gone.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.gone.is_empty()
    }

    /// An event of a customer. One whose identity was erased takes every row of the person away.
    pub(crate) fn collect(&mut self, recorded: &Recorded, event: &CustomerEvent) {
        let (channel, id, link) = match event {
            CustomerEvent::IdentityLinked {
                at,
                channel,
                external_user_id,
                linked_by,
            } => (channel, external_user_id, Some((*linked_by, *at))),
            CustomerEvent::IdentityUnlinked {
                channel,
                external_user_id,
                ..
            } => (channel, external_user_id, None),
            CustomerEvent::Erased { .. } => return self.lose(recorded.stream),
            _ => return,
        };
        let Some(id) = id.known() else {
            return self.lose(recorded.stream);
        };
        let (stream, position) = (recorded.stream, recorded.position);
        let key = Key::new(recorded.project_no, channel, id);
        let change = self.changes.entry(key).or_default();
        match link {
            // A rebuild reads stream by stream, so an earlier owner can come later.
            Some(link) if change.is_before(position) => {
                change.gained = Some(Gained {
                    stream,
                    position,
                    link,
                });
            }
            Some(_) => {}
            None => {
                change.lost_by.push(stream);
                change.gained.take_if(|gained| gained.stream == stream);
            }
        }
    }

    fn lose(&mut self, stream: Uuid) {
        for change in self.changes.values_mut() {
            change.gained.take_if(|gained| gained.stream == stream);
        }
        self.gone.insert(stream);
    }

    /// Writes after the customers of the same page, who need no look-up: a link of somebody who is not listed is none.
    pub(crate) async fn write(
        &self,
        connection: &mut PgConnection,
        page: &Folded,
    ) -> Result<(), sqlx::Error> {
        if self.is_empty() {
            return Ok(());
        }
        let mut owners = known(page);
        let missing: Vec<Uuid> = self
            .changes
            .values()
            .filter_map(|change| Some(change.gained.as_ref()?.stream))
            .filter(|stream| !owners.contains_key(stream))
            .collect();
        if !missing.is_empty() {
            owners.extend(stored(connection, &missing).await?);
        }
        self.write_of(connection, &owners).await
    }

    /// Writes where every customer who is there is on the page.
    pub(crate) async fn fill(
        &self,
        connection: &mut PgConnection,
        page: &Folded,
    ) -> Result<(), sqlx::Error> {
        self.write_of(connection, &known(page)).await
    }

    async fn write_of(
        &self,
        connection: &mut PgConnection,
        owners: &HashMap<Uuid, String>,
    ) -> Result<(), sqlx::Error> {
        if !self.gone.is_empty() {
            let gone: Vec<Uuid> = self.gone.iter().copied().collect();
            sqlx::query("DELETE FROM view_identities WHERE stream_id = ANY ($1)")
                .bind(gone)
                .execute(&mut *connection)
                .await?;
        }
        self.remove(connection).await?;
        self.upsert(connection, owners).await
    }

    async fn remove(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (mut project, mut channel, mut id, mut stream) = (vec![], vec![], vec![], vec![]);
        for (key, change) in &self.changes {
            for loser in &change.lost_by {
                project.push(key.project_no);
                channel.push(key.channel.as_str());
                id.push(key.external_user_id.as_str());
                stream.push(*loser);
            }
        }
        if project.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "DELETE FROM view_identities v
              USING unnest($1::integer[], $2::text[], $3::text[], $4::uuid[])
                    AS r(project_no, channel, external_user_id, stream_id)
              WHERE v.project_no = r.project_no
                AND v.channel = r.channel
                AND v.external_user_id = r.external_user_id
                AND v.stream_id = r.stream_id",
        )
        .bind(project)
        .bind(channel)
        .bind(id)
        .bind(stream)
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn upsert(
        &self,
        connection: &mut PgConnection,
        owners: &HashMap<Uuid, String>,
    ) -> Result<(), sqlx::Error> {
        let (mut project, mut channel, mut id, mut stream) = (vec![], vec![], vec![], vec![]);
        let (mut linked_by, mut linked_at) = (vec![], vec![]);
        let (mut position, mut haystack) = (vec![], vec![]);
        for (key, change) in &self.changes {
            let Some(gained) = &change.gained else {
                continue;
            };
            let (by, at) = gained.link;
            project.push(key.project_no);
            channel.push(key.channel.as_str());
            id.push(key.external_user_id.as_str());
            stream.push(gained.stream);
            linked_by.push(by.number());
            linked_at.push(at.to_utc());
            position.push(gained.position);
            haystack.push(key.haystack());
        }
        if project.is_empty() {
            return Ok(());
        }
        let (customer, haystack): (Vec<Option<&str>>, Vec<String>) = stream
            .iter()
            .zip(haystack)
            .map(|(stream, haystack)| match owners.get(stream) {
                Some(owner) => (Some(owner.as_str()), format!("{haystack}\n{}", fold(owner))),
                None => (None, haystack),
            })
            .unzip();
        sqlx::query(
            "INSERT INTO view_identities AS v (
                    project_no,
                    channel,
                    external_user_id,
                    stream_id,
                    customer_user_id,
                    linked_by,
                    linked_at,
                    position,
                    haystack)
             SELECT u.*
               FROM unnest($1::integer[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::smallint[],
                           $7::timestamptz[], $8::bigint[], $9::text[])
                    AS u(project_no, channel, external_user_id, stream_id, customer_user_id, linked_by, linked_at,
                         position, haystack)
              WHERE u.customer_user_id IS NOT NULL
                 ON CONFLICT (project_no, channel, external_user_id) DO UPDATE
                SET stream_id = EXCLUDED.stream_id,
                    customer_user_id = EXCLUDED.customer_user_id,
                    linked_by = EXCLUDED.linked_by,
                    linked_at = EXCLUDED.linked_at,
                    position = EXCLUDED.position,
                    haystack = EXCLUDED.haystack
              WHERE v.position <= EXCLUDED.position",
        )
        .bind(project)
        .bind(channel)
        .bind(id)
        .bind(stream)
        .bind(customer)
        .bind(linked_by)
        .bind(linked_at)
        .bind(position)
        .bind(haystack)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// The ids of the customers whom a page writes.
fn known(page: &Folded) -> HashMap<Uuid, String> {
    let rows = page.upserts.iter();
    rows.map(|(stream, row)| (*stream, row.id().to_owned()))
        .collect()
}

/// The ids of the customers who are listed.
async fn stored(
    connection: &mut PgConnection,
    streams: &[Uuid],
) -> Result<HashMap<Uuid, String>, sqlx::Error> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT c.stream_id,
                c.customer_user_id
           FROM unnest($1::uuid[]) AS wanted(stream_id)
          CROSS JOIN LATERAL (
                SELECT v.stream_id,
                       v.customer_user_id
                  FROM view_customers v
                 WHERE v.stream_id = wanted.stream_id
                OFFSET 0) c",
    )
    .bind(streams)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}
