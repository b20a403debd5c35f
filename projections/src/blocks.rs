//! Pairs of identity and customer that match rules leave apart: table `view_blocks`.
//!
//! What a customer's own events say is enough: whatever blocks or unblocks a pair on the stream of the identity is in the
//! same append as the customer's event.

use std::collections::{BTreeMap, BTreeSet};

use roster_domain::access::ConnectorIdentity;
use roster_domain::customer::CustomerEvent;
use roster_store::Recorded;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::QueryError;
use crate::held::Key;

/// The identities that match rules leave apart from a customer, by channel and id.
pub async fn of_customer(
    pool: &PgPool,
    customer_ref: Uuid,
) -> Result<Vec<ConnectorIdentity>, QueryError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT channel,
                external_user_id
           FROM view_blocks
          WHERE stream_id = $1
          ORDER BY channel,
                   external_user_id",
    )
    .bind(customer_ref)
    .fetch_all(pool)
    .await?;
    let identity = |(channel, external_user_id)| ConnectorIdentity {
        channel,
        external_user_id,
    };
    Ok(rows.into_iter().map(identity).collect())
}

/// What a page does to blocks.
#[derive(Default)]
pub(crate) struct Blocks {
    /// The position of the block, or nothing where it ended.
    changes: BTreeMap<(Key, Uuid), Option<i64>>,
    gone: BTreeSet<Uuid>,
}

impl Blocks {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.gone.is_empty()
    }

    /// An event of a customer. One whose identity was erased takes every row of the person away.
    pub(crate) fn collect(&mut self, recorded: &Recorded, event: &CustomerEvent) {
        let (channel, id, blocks) = match event {
            CustomerEvent::IdentityUnlinked {
                channel,
                external_user_id,
                blocks: true,
                ..
            } => (channel, external_user_id, true),
            CustomerEvent::IdentityLinked {
                channel,
                external_user_id,
                ..
            } => (channel, external_user_id, false),
            CustomerEvent::Erased { .. } => return self.lose(recorded.stream),
            _ => return,
        };
        let Some(id) = id.known() else {
            return self.lose(recorded.stream);
        };
        let key = Key {
            project_no: recorded.project_no,
            channel: channel.clone(),
            external_user_id: id.clone(),
        };
        let position = blocks.then_some(recorded.position);
        self.changes.insert((key, recorded.stream), position);
    }

    fn lose(&mut self, stream: Uuid) {
        self.changes.retain(|(_, of), _| *of != stream);
        self.gone.insert(stream);
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.gone.is_empty() {
            let gone: Vec<Uuid> = self.gone.iter().copied().collect();
            sqlx::query("DELETE FROM view_blocks WHERE stream_id = ANY ($1)")
                .bind(gone)
                .execute(&mut *connection)
                .await?;
        }
        let (mut project, mut channel, mut id, mut stream) = (vec![], vec![], vec![], vec![]);
        let mut position = vec![];
        for ((key, of), blocked_at) in &self.changes {
            project.push(key.project_no);
            channel.push(key.channel.as_str());
            id.push(key.external_user_id.as_str());
            stream.push(*of);
            position.push(*blocked_at);
        }
        if project.is_empty() {
            return Ok(());
        }
        if position.iter().any(Option::is_none) {
            sqlx::query(
                "DELETE FROM view_blocks v
                  USING unnest($1::integer[], $2::text[], $3::text[], $4::uuid[], $5::bigint[])
                        AS r(project_no, channel, external_user_id, stream_id, position)
                  WHERE r.position IS NULL
                    AND v.project_no = r.project_no
                    AND v.channel = r.channel
                    AND v.external_user_id = r.external_user_id
                    AND v.stream_id = r.stream_id",
            )
            .bind(&project)
            .bind(&channel)
            .bind(&id)
            .bind(&stream)
            .bind(&position)
            .execute(&mut *connection)
            .await?;
        }
        if position.iter().any(Option::is_some) {
            sqlx::query(
                "INSERT INTO view_blocks AS v (project_no, channel, external_user_id, stream_id, position)
                 SELECT u.*
                   FROM unnest($1::integer[], $2::text[], $3::text[], $4::uuid[], $5::bigint[])
                        AS u(project_no, channel, external_user_id, stream_id, position)
                  WHERE u.position IS NOT NULL
                     ON CONFLICT (project_no, channel, external_user_id, stream_id) DO UPDATE
                    SET position = EXCLUDED.position
                  WHERE v.position <= EXCLUDED.position",
            )
            .bind(project)
            .bind(channel)
            .bind(id)
            .bind(stream)
            .bind(position)
            .execute(connection)
            .await?;
        }
        Ok(())
    }
}
