//! What a page does to rows that each belong to one connector identity and to the stream that holds it: links and grants.
//!
//! One change per identity, after the rows of streams that lose all theirs went.

use std::collections::{BTreeMap, BTreeSet};

use roster_store::Recorded;
use sqlx::PgConnection;
use uuid::Uuid;

/// An identity of a project.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) project_no: i32,
    pub(crate) channel: String,
    pub(crate) external_user_id: String,
}

/// What becomes of one identity. People of one chunk may exchange identities, so that one's loss comes after another's
/// gain: a loss only ever concerns the stream that it is of.
struct Change<T> {
    lost_by: Vec<Uuid>,
    gained: Option<Gained<T>>,
}

impl<T> Default for Change<T> {
    fn default() -> Self {
        Self {
            lost_by: Vec::new(),
            gained: None,
        }
    }
}

/// The row that an identity gets.
pub(crate) struct Gained<T> {
    pub(crate) stream: Uuid,
    pub(crate) position: i64,
    pub(crate) value: T,
}

/// The changes of a page to one table.
pub(crate) struct Held<T> {
    changes: BTreeMap<Key, Change<T>>,
    gone: BTreeSet<Uuid>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            changes: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }
}

impl<T> Held<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.gone.is_empty()
    }

    /// The stream of an event gets the row of an identity, or with `None` loses it.
    pub(crate) fn change(
        &mut self,
        recorded: &Recorded,
        channel: &str,
        external_user_id: &str,
        value: Option<T>,
    ) {
        let (stream, position) = (recorded.stream, recorded.position);
        let key = Key {
            project_no: recorded.project_no,
            channel: channel.to_owned(),
            external_user_id: external_user_id.to_owned(),
        };
        let change = self.changes.entry(key).or_default();
        let Some(value) = value else {
            change.lost_by.push(stream);
            change.gained.take_if(|gained| gained.stream == stream);
            return;
        };
        // A rebuild reads stream by stream, so an earlier owner can come later.
        let known = change.gained.as_ref();
        if known.is_none_or(|known| known.position < position) {
            change.gained = Some(Gained {
                stream,
                position,
                value,
            });
        }
    }

    /// A stream loses all its rows.
    pub(crate) fn lose(&mut self, stream: Uuid) {
        for change in self.changes.values_mut() {
            change.gained.take_if(|gained| gained.stream == stream);
        }
        self.gone.insert(stream);
    }

    /// The rows that are there after the page.
    pub(crate) fn gained(&self) -> impl Iterator<Item = (&Key, &Gained<T>)> {
        self.changes
            .iter()
            .filter_map(|(key, change)| Some((key, change.gained.as_ref()?)))
    }

    /// Deletes what was lost from a table.
    pub(crate) async fn delete(
        &self,
        connection: &mut PgConnection,
        table: &str,
    ) -> Result<(), sqlx::Error> {
        if !self.gone.is_empty() {
            let gone: Vec<Uuid> = self.gone.iter().copied().collect();
            sqlx::query(&format!("DELETE FROM {table} WHERE stream_id = ANY ($1)"))
                .bind(gone)
                .execute(&mut *connection)
                .await?;
        }
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
        let sql = format!(
            "DELETE FROM {table} v
              USING unnest($1::integer[], $2::text[], $3::text[], $4::uuid[])
                    AS r(project_no, channel, external_user_id, stream_id)
              WHERE v.project_no = r.project_no
                AND v.channel = r.channel
                AND v.external_user_id = r.external_user_id
                AND v.stream_id = r.stream_id"
        );
        sqlx::query(&sql)
            .bind(project)
            .bind(channel)
            .bind(id)
            .bind(stream)
            .execute(connection)
            .await?;
        Ok(())
    }
}
