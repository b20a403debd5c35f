//! Who may use which agents: table `view_grants`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Grant, Terms, WILDCARD};
use roster_domain::channel_access::ChannelAccessEvent;
use roster_domain::customer::CustomerEvent;
use roster_store::Recorded;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::QueryError;
use crate::held::Held;

/// The grants of a customer, in the order of their identities.
pub async fn of_customer(pool: &PgPool, customer_ref: Uuid) -> Result<Vec<Grant>, QueryError> {
    let rows = sqlx::query(
        "SELECT channel,
                external_user_id,
                agents,
                enabled,
                expires_at,
                granted_at
           FROM view_grants
          WHERE stream_id = $1
          ORDER BY channel,
                   external_user_id",
    )
    .bind(customer_ref)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Grant {
                identity: ConnectorIdentity {
                    channel: row.try_get("channel")?,
                    external_user_id: row.try_get("external_user_id")?,
                },
                terms: terms(row)?,
                granted_at: row.try_get::<DateTime<Utc>, _>("granted_at")?.into(),
            })
        })
        .collect()
}

/// The wildcard grants of channels of a project.
pub async fn wildcards(
    pool: &PgPool,
    project_no: i32,
    channels: &[&str],
) -> Result<BTreeMap<String, Terms>, QueryError> {
    if channels.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(
        "SELECT g.*
           FROM unnest($2::text[]) AS wanted(channel)
          CROSS JOIN LATERAL (
                SELECT v.channel,
                       v.agents,
                       v.enabled,
                       v.expires_at
                  FROM view_grants v
                 WHERE v.project_no = $1
                   AND v.channel = wanted.channel
                   AND v.external_user_id = $3
                OFFSET 0) g",
    )
    .bind(project_no)
    .bind(channels)
    .bind(WILDCARD)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("channel")?, terms(row)?)))
        .collect()
}

fn terms(row: &PgRow) -> Result<Terms, QueryError> {
    let expires_at: Option<DateTime<Utc>> = row.try_get("expires_at")?;
    Ok(Terms {
        agents: row.try_get("agents")?,
        enabled: row.try_get("enabled")?,
        expires_at: expires_at.map(Timestamp::from),
    })
}

/// What a page does to grants.
#[derive(Default)]
pub(crate) struct Grants(Held<(Terms, Timestamp)>);

impl Grants {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An event of a customer. One whose identity was erased takes every row of the person away.
    pub(crate) fn collect(&mut self, recorded: &Recorded, event: &CustomerEvent) {
        let (channel, id, grant) = match event {
            CustomerEvent::GrantSet {
                at,
                channel,
                external_user_id,
                terms,
            } => (channel, external_user_id, Some((terms.clone(), *at))),
            CustomerEvent::GrantRevoked {
                channel,
                external_user_id,
                ..
            }
            | CustomerEvent::IdentityUnlinked {
                channel,
                external_user_id,
                ..
            } => (channel, external_user_id, None),
            CustomerEvent::Erased { .. } => return self.0.lose(recorded.stream),
            _ => return,
        };
        match id.known() {
            Some(id) => self.0.change(recorded, channel, id, grant),
            None => self.0.lose(recorded.stream),
        }
    }

    /// An event of the wildcard of a channel.
    pub(crate) fn collect_wildcard(&mut self, recorded: &Recorded, event: ChannelAccessEvent) {
        match event {
            ChannelAccessEvent::Granted { at, channel, terms } => {
                self.0
                    .change(recorded, &channel, WILDCARD, Some((terms, at)));
            }
            ChannelAccessEvent::Revoked { at: _ } => self.0.lose(recorded.stream),
        }
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.0.delete(connection, "view_grants").await?;
        self.upsert(connection).await
    }

    async fn upsert(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (mut project, mut channel, mut id, mut stream) = (vec![], vec![], vec![], vec![]);
        let (mut agents, mut enabled) = (vec![], vec![]);
        let (mut expires_at, mut granted_at, mut position) = (vec![], vec![], vec![]);
        for (key, gained) in self.0.gained() {
            let (terms, at) = &gained.value;
            project.push(key.project_no);
            channel.push(key.channel.as_str());
            id.push(key.external_user_id.as_str());
            stream.push(gained.stream);
            agents.push(serde_json::Value::from(terms.agents.as_slice()).to_string());
            enabled.push(terms.enabled);
            expires_at.push(terms.expires_at.map(Timestamp::to_utc));
            granted_at.push(at.to_utc());
            position.push(gained.position);
        }
        if project.is_empty() {
            return Ok(());
        }
        // Arrays of arrays do not exist in SQL, so each list comes as JSON.
        sqlx::query(
            "INSERT INTO view_grants AS v (
                    project_no,
                    channel,
                    external_user_id,
                    stream_id,
                    agents,
                    enabled,
                    expires_at,
                    granted_at,
                    position)
             SELECT u.project_no,
                    u.channel,
                    u.external_user_id,
                    u.stream_id,
                    ARRAY(SELECT json_array_elements_text(u.agents::json)),
                    u.enabled,
                    u.expires_at,
                    u.granted_at,
                    u.position
               FROM unnest($1::integer[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::boolean[],
                           $7::timestamptz[], $8::timestamptz[], $9::bigint[])
                    AS u(project_no, channel, external_user_id, stream_id, agents, enabled, expires_at, granted_at,
                         position)
              WHERE true
                 ON CONFLICT (project_no, channel, external_user_id) DO UPDATE
                SET stream_id = EXCLUDED.stream_id,
                    agents = EXCLUDED.agents,
                    enabled = EXCLUDED.enabled,
                    expires_at = EXCLUDED.expires_at,
                    granted_at = EXCLUDED.granted_at,
                    position = EXCLUDED.position
              WHERE v.position <= EXCLUDED.position",
        )
        .bind(project)
        .bind(channel)
        .bind(id)
        .bind(stream)
        .bind(agents)
        .bind(enabled)
        .bind(expires_at)
        .bind(granted_at)
        .bind(position)
        .execute(connection)
        .await?;
        Ok(())
    }
}
