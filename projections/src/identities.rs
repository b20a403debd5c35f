//! Connector identities and the customers that they are bound to: table `view_identities`.

mod list;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Link, LinkedBy};
use roster_domain::customer::CustomerEvent;
use roster_domain::value::fold::{digits, fold};
use roster_store::{Cell, Recorded, StoreError, unmatched};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

pub use list::{IdentityFilter, IdentityPage, IdentityRow, list};

use crate::QueryError;
use crate::held::{Held, Key};

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

impl Key {
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

/// What a page does to links.
#[derive(Default)]
pub(crate) struct Identities(Held<(LinkedBy, Timestamp)>);

impl Identities {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
            CustomerEvent::Erased { .. } => return self.0.lose(recorded.stream),
            _ => return,
        };
        match id.known() {
            Some(id) => self.0.change(recorded, channel, id, link),
            None => self.0.lose(recorded.stream),
        }
    }

    /// Writes after the customers of the same page, `owners`, who need no look-up: a link of somebody who is not listed is none.
    pub(crate) async fn write(
        &self,
        connection: &mut PgConnection,
        mut owners: HashMap<Uuid, String>,
    ) -> Result<(), sqlx::Error> {
        if self.is_empty() {
            return Ok(());
        }
        let missing: Vec<Uuid> = self
            .0
            .gained()
            .map(|(_, gained)| gained.stream)
            .filter(|stream| !owners.contains_key(stream))
            .collect();
        if !missing.is_empty() {
            owners.extend(stored(connection, &missing).await?);
        }
        self.fill(connection, &owners).await
    }

    /// What somebody got is unmatched no more.
    pub(crate) async fn write_matched(
        &self,
        cell: &Cell,
        connection: &mut PgConnection,
    ) -> Result<(), StoreError> {
        if self.0.gained().next().is_none() || !unmatched::is_any(&mut *connection).await? {
            return Ok(());
        }
        let mut matched = Vec::new();
        for (key, _) in self.0.gained() {
            if let Some(project) = cell.project_by_no(key.project_no).await? {
                let identity = ConnectorIdentity {
                    channel: key.channel.clone(),
                    external_user_id: key.external_user_id.clone(),
                };
                matched.push((key.project_no, project.identity_key(&identity)));
            }
        }
        Ok(unmatched::linked(connection, &matched).await?)
    }

    /// Writes where every customer who is there is on the page.
    pub(crate) async fn fill(
        &self,
        connection: &mut PgConnection,
        owners: &HashMap<Uuid, String>,
    ) -> Result<(), sqlx::Error> {
        self.0.delete(connection, "view_identities").await?;
        self.upsert(connection, owners).await
    }

    async fn upsert(
        &self,
        connection: &mut PgConnection,
        owners: &HashMap<Uuid, String>,
    ) -> Result<(), sqlx::Error> {
        let (mut project, mut channel, mut id, mut stream) = (vec![], vec![], vec![], vec![]);
        let (mut linked_by, mut linked_at) = (vec![], vec![]);
        let (mut position, mut haystack) = (vec![], vec![]);
        for (key, gained) in self.0.gained() {
            let (by, at) = gained.value;
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
