//! Connector identities and the customers that they are bound to: table `view_identities`.

mod list;

use std::collections::{BTreeMap, BTreeSet};

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

struct Change {
    stream: Uuid,
    position: i64,
    /// Who bound it and when; `None` where the link goes.
    link: Option<(LinkedBy, Timestamp)>,
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
        self.changes.insert(
            Key::new(recorded.project_no, channel, id),
            Change {
                stream: recorded.stream,
                position: recorded.position,
                link,
            },
        );
    }

    fn lose(&mut self, stream: Uuid) {
        self.changes.retain(|_, change| change.stream != stream);
        self.gone.insert(stream);
    }

    /// Writes after the customers of the same page: a link of somebody who is not listed is none.
    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.gone.is_empty() {
            let gone: Vec<Uuid> = self.gone.iter().copied().collect();
            sqlx::query("DELETE FROM view_identities WHERE stream_id = ANY ($1)")
                .bind(gone)
                .execute(&mut *connection)
                .await?;
        }
        self.remove(connection).await?;
        self.upsert(connection).await
    }

    async fn remove(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (mut project, mut channel, mut id, mut stream) = (vec![], vec![], vec![], vec![]);
        for (key, change) in &self.changes {
            if change.link.is_none() {
                project.push(key.project_no);
                channel.push(key.channel.as_str());
                id.push(key.external_user_id.as_str());
                stream.push(change.stream);
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

    async fn upsert(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (mut project, mut channel, mut id, mut stream) = (vec![], vec![], vec![], vec![]);
        let (mut linked_by, mut linked_at) = (vec![], vec![]);
        let (mut position, mut haystack) = (vec![], vec![]);
        for (key, change) in &self.changes {
            let Some((by, at)) = change.link else {
                continue;
            };
            project.push(key.project_no);
            channel.push(key.channel.as_str());
            id.push(key.external_user_id.as_str());
            stream.push(change.stream);
            linked_by.push(by.number());
            linked_at.push(at.to_utc());
            position.push(change.position);
            haystack.push(key.haystack());
        }
        if project.is_empty() {
            return Ok(());
        }
        let owners = self.owners(connection, &stream).await?;
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

    /// The ids of the customers who are listed.
    async fn owners(
        &self,
        connection: &mut PgConnection,
        streams: &[Uuid],
    ) -> Result<BTreeMap<Uuid, String>, sqlx::Error> {
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
}
