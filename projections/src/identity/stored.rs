//! The look-up in the read tables: one statement, so that everything is of one position.
//!
//! Ids are found by the primary key, values through the search index; who was found is compared with the listed profile.
//! What happened since the search index was written is looked through too, and whom it leaves out, so that it hides nobody; it is
//! waited for where that is too much. A unique value is also found by its claim, which never lags.
//!
//! Nobody is allowed by what the tables say of a stream that the log has more of: it is waited for. Streams that the directory
//! leaves out are not there at all, for what the tables say of them is old.

use std::time::Duration;

use roster_domain::Timestamp;
use roster_domain::access::{
    ConnectorIdentity, Decision, Grants, Hits, Holder, Lookup, Terms, WILDCARD, access,
    find as find_customer,
};
use roster_domain::schema::{CUSTOMER_USER_ID, Schema};
use roster_domain::stream::{Claim, claim_kind};
use roster_domain::value::{Profile, Value, profile_from_json};
use roster_store::Cell;
use serde::Deserialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::wanted::{Wanted, wanted};
use super::{Asked, Found, Names, Person};
use crate::bucket::exact;
use crate::{Projections, QueryError};

/// How long the search index may take to follow what was listed when a look-up began, and the tables to show what the log had then
/// of those who decide.
const PATIENCE: Duration = Duration::from_secs(2);
/// Customers that are compared where a value is looked up in the search index, which also finds some who had it.
const COMPARED: i64 = 16;
/// Events that are looked through beyond the search index.
const BEYOND: i64 = 2_000;

/// $1 project, $2 channel, $3 external user id, $4 the wildcard; by places of wanted values, $5 and $6 claims of kind $7, $8
/// and $9 ids, $10 and $11 hashes of the search index, of which $12 each, and of $13 events beyond it.
const FIND: &str = r"
SELECT h.position,
       h.position - h.searched AS behind,
       w.grants AS wildcard,
       w.ahead AS wildcard_ahead,
       f.place,
       c.*
  FROM (SELECT d.position,
               COALESCE((SELECT s.position FROM log_checkpoints s WHERE s.name = 'search'), 0) AS searched
          FROM log_checkpoints d
         WHERE d.name = 'directory') h
  LEFT JOIN LATERAL (
       SELECT json_build_object('id', g.external_user_id,
                                'agents', g.agents,
                                'enabled', g.enabled,
                                'expires_at', (extract(epoch FROM g.expires_at) * 1000000)::bigint)::text AS grants,
              (SELECT NULLIF(GREATEST(s.last_position, h.position), h.position)
                 FROM log_streams s
                WHERE s.stream_id = g.stream_id) AS ahead
         FROM view_grants g
        WHERE g.project_no = $1
          AND g.channel = $2
          AND g.external_user_id = $4
          AND NOT EXISTS (SELECT FROM view_parked p WHERE p.projection = 'directory' AND p.stream_id = g.stream_id)) w ON true
  LEFT JOIN LATERAL (
       SELECT 0 AS place,
              v.stream_id
         FROM view_identities v
        WHERE v.project_no = $1
          AND v.channel = $2
          AND v.external_user_id = $3
        UNION ALL
       SELECT u.place,
              l.stream_id
         FROM unnest($5::integer[], $6::bytea[]) AS u(place, key)
        CROSS JOIN LATERAL (
              SELECT o.stream_id
                FROM log_claims o
               WHERE o.project_no = $1
                 AND o.kind = $7
                 AND o.key = u.key
              OFFSET 0) l
        UNION ALL
       SELECT u.place,
              l.stream_id
         FROM unnest($8::integer[], $9::text[]) AS u(place, id)
        CROSS JOIN LATERAL (
              SELECT o.stream_id
                FROM view_customers o
               WHERE o.project_no = $1
                 AND o.customer_user_id = u.id
              OFFSET 0) l
        UNION ALL
       SELECT u.place,
              l.stream_id
         FROM unnest($10::integer[], $11::bigint[]) AS u(place, hash)
        CROSS JOIN LATERAL (
              SELECT o.stream_id
                FROM view_customer_search o
               WHERE o.project_no = $1
                 AND o.exact @> ARRAY[u.hash]
               LIMIT $12) l
        UNION ALL
       SELECT u.place,
              l.stream_id
         FROM unnest($10::integer[]) AS u(place)
        CROSS JOIN LATERAL (
              SELECT DISTINCT e.stream_id
                FROM log_events e
               WHERE e.position > h.searched
                 AND e.position <= LEAST(h.position, h.searched + $13)) l
        UNION ALL
       SELECT u.place,
              p.stream_id
         FROM unnest($10::integer[]) AS u(place)
        CROSS JOIN view_parked p
        WHERE p.projection = 'search'
          AND p.project_no = $1) f ON true
  LEFT JOIN LATERAL (
       SELECT v.stream_id,
              v.customer_user_id,
              v.display_name,
              v.profile::text AS profile,
              v.enabled,
              COALESCE((v.connector_enabled->>$2)::boolean, true) AS connector_enabled,
              EXISTS (SELECT
                        FROM view_blocks b
                       WHERE b.project_no = $1
                         AND b.channel = $2
                         AND b.external_user_id = $3
                         AND b.stream_id = v.stream_id) AS is_blocked,
              (SELECT NULLIF(GREATEST(s.last_position, h.position), h.position)
                 FROM log_streams s
                WHERE s.stream_id = v.stream_id) AS ahead,
              (SELECT json_agg(json_build_object('id', g.external_user_id,
                                                 'agents', g.agents,
                                                 'enabled', g.enabled,
                                                 'expires_at', (extract(epoch FROM g.expires_at) * 1000000)::bigint)
                               ORDER BY g.external_user_id)::text
                 FROM view_grants g
                WHERE g.stream_id = v.stream_id
                  AND g.channel = $2) AS grants
         FROM view_customers v
        WHERE v.stream_id = f.stream_id
          AND v.project_no + 0 = $1
          AND NOT EXISTS (SELECT FROM view_parked p WHERE p.projection = 'directory' AND p.stream_id = v.stream_id)
       OFFSET 0) c ON true
 ORDER BY f.place";

pub(super) async fn find(
    cell: &Cell,
    projections: &Projections,
    asked: Asked<'_>,
) -> Result<Found, QueryError> {
    let wanted = wanted(&asked);
    let places = Places::of(cell, &asked, &wanted).await?;
    if places.rests_on_search {
        let listed = projections.position();
        if !projections.wait_for_search(listed, PATIENCE).await {
            return Err(QueryError::Behind);
        }
    }
    let (found, ahead) = read(cell, asked, &wanted, &places).await?;
    let Some(ahead) = ahead.filter(|_| found.allowed) else {
        return Ok(found);
    };
    if !projections.wait_for(ahead, PATIENCE).await {
        return Err(QueryError::Behind);
    }
    // Everything that was acknowledged before the look-up began is shown by now.
    let (found, _) = read(cell, asked, &wanted, &places).await?;
    Ok(found)
}

/// What the tables say, and up to where the log goes on about the customer who was found or about everybody.
async fn read(
    cell: &Cell,
    asked: Asked<'_>,
    wanted: &[Wanted],
    places: &Places<'_>,
) -> Result<(Found, Option<i64>), QueryError> {
    let rows = sqlx::query(FIND)
        .bind(asked.project_no)
        .bind(&asked.identity.channel)
        .bind(&asked.identity.external_user_id)
        .bind(WILDCARD)
        .bind(&places.claims.0)
        .bind(&places.claims.1)
        .bind(claim_kind::UNIQUE_VALUE)
        .bind(&places.ids.0)
        .bind(&places.ids.1)
        .bind(&places.hashes.0)
        .bind(&places.hashes.1)
        .bind(COMPARED)
        .bind(BEYOND)
        .fetch_all(cell.pool())
        .await?;
    let behind: i64 = match rows.first() {
        Some(row) => row.try_get("behind")?,
        None => 0,
    };
    if behind > BEYOND && places.rests_on_search {
        return Err(QueryError::Behind);
    }
    answer(&asked, wanted, &rows)
}

/// What is looked up for each wanted value, by its place from 1.
#[derive(Default)]
struct Places<'a> {
    claims: (Vec<i32>, Vec<Vec<u8>>),
    ids: (Vec<i32>, Vec<&'a str>),
    hashes: (Vec<i32>, Vec<i64>),
    /// Whether there is a value that only the search index finds.
    rests_on_search: bool,
}

impl<'a> Places<'a> {
    async fn of(cell: &Cell, asked: &Asked<'_>, wanted: &'a [Wanted]) -> Result<Self, QueryError> {
        let mut places = Self::default();
        if wanted.is_empty() {
            return Ok(places);
        }
        let project = cell.project_by_no(asked.project_no).await?;
        let schema: &Schema = asked.schema;
        for (place, Wanted { field, value }) in (1..).zip(wanted) {
            if field == schema.primary_key() || field == CUSTOMER_USER_ID {
                places.ids.0.push(place);
                places.ids.1.push(value);
                continue;
            }
            places.hashes.0.push(place);
            places.hashes.1.push(exact(asked.project_no, field, value));
            let is_unique = schema.unique_fields().any(|unique| unique == field);
            match project.as_ref().filter(|_| is_unique) {
                Some(project) => {
                    places.claims.0.push(place);
                    let claim = Claim::unique_value(field, value);
                    places.claims.1.push(project.claim_key(&claim));
                }
                None => places.rests_on_search = true,
            }
        }
        Ok(places)
    }
}

/// A customer who may be meant.
struct Candidate {
    stream: Uuid,
    customer_user_id: String,
    display_name: String,
    profile: Profile,
    enabled: bool,
    connector_enabled: bool,
    is_blocked: bool,
    /// The last event of the stream, where the tables do not show it.
    ahead: Option<i64>,
    grants: Vec<StoredGrant>,
}

#[derive(Deserialize)]
struct StoredGrant {
    id: String,
    agents: Vec<String>,
    enabled: bool,
    expires_at: Option<i64>,
}

/// A grant of one identity.
struct Grant {
    external_user_id: String,
    terms: Terms,
}

impl From<StoredGrant> for Grant {
    fn from(stored: StoredGrant) -> Self {
        Self {
            external_user_id: stored.id,
            terms: Terms {
                agents: stored.agents,
                enabled: stored.enabled,
                expires_at: stored.expires_at.map(Timestamp),
            },
        }
    }
}

/// The customers of the statement, by the places of wanted values; the one who is linked is at place 0.
struct Candidates<'a> {
    wanted: &'a [Wanted],
    found: Vec<(i32, Candidate)>,
}

impl Lookup for Candidates<'_> {
    type Customer = usize;

    fn linked(&self, _: &ConnectorIdentity) -> Option<usize> {
        self.found.iter().position(|(place, _)| *place == 0)
    }

    fn holders(&self, field: &str, value: &str) -> Hits<usize> {
        let place = (1..)
            .zip(self.wanted)
            .find(|(_, wanted)| wanted.field == field && wanted.value == value)
            .map(|(place, _)| place);
        let mut holders = self
            .found
            .iter()
            .enumerate()
            .filter(|(_, (of, candidate))| {
                Some(*of) == place
                    && candidate.profile.get(field).map(Value::as_text) == Some(value)
            });
        let Some((one, (_, first))) = holders.next() else {
            return Hits::None;
        };
        // One customer may be found in several ways.
        if holders.any(|(_, (_, other))| other.stream != first.stream) {
            Hits::Several
        } else {
            Hits::One(one)
        }
    }

    fn is_blocked(&self, _: &ConnectorIdentity, customer: usize) -> bool {
        self.found[customer].1.is_blocked
    }
}

fn answer(
    asked: &Asked<'_>,
    wanted: &[Wanted],
    rows: &[PgRow],
) -> Result<(Found, Option<i64>), QueryError> {
    let mut candidates = Candidates {
        wanted,
        found: Vec::new(),
    };
    let mut position = 0;
    let mut wildcard = None;
    let mut wildcard_ahead: Option<i64> = None;
    for row in rows {
        wildcard_ahead = row.try_get("wildcard_ahead")?;
        position = row.try_get("position")?;
        wildcard = row
            .try_get::<Option<&str>, _>("wildcard")?
            .map(serde_json::from_str::<StoredGrant>)
            .transpose()
            .map_err(|_| QueryError::Malformed)?;
        if let Some(stream) = row.try_get::<Option<Uuid>, _>("stream_id")? {
            let candidate = candidate(row, stream)?;
            candidates.found.push((row.try_get("place")?, candidate));
        }
    }
    let outcome = find_customer(asked.schema, &candidates, asked.sighting());
    let Some(matched) = outcome.found else {
        return Ok((Found::nobody(&outcome, position), None));
    };
    let (_, customer) = candidates.found.swap_remove(matched.customer);
    let grants: Vec<Grant> = customer.grants.into_iter().map(Grant::from).collect();
    let wildcard = wildcard.map(Grant::from);
    let person = Decided {
        profile: &customer.profile,
        holder: Holder {
            enabled: customer.enabled,
            connector_enabled: customer.connector_enabled,
        },
        grants: &grants,
        wildcard: wildcard.as_ref(),
    };
    let decision = person.decide(asked);
    let agents = decision.allowed.then(|| decision.agents.into());
    let person = Person {
        stream: customer.stream,
        enabled: customer.enabled,
        names: Names::shown(&customer.customer_user_id, &customer.display_name),
    };
    let found = Found::somebody(&outcome, person, &decision, agents, position);
    Ok((found, customer.ahead.max(wildcard_ahead)))
}

fn candidate(row: &PgRow, stream: Uuid) -> Result<Candidate, QueryError> {
    let grants: Option<&str> = row.try_get("grants")?;
    Ok(Candidate {
        stream,
        customer_user_id: row.try_get("customer_user_id")?,
        display_name: row.try_get("display_name")?,
        profile: profile_from_json(row.try_get("profile")?).unwrap_or_default(),
        enabled: row.try_get("enabled")?,
        connector_enabled: row.try_get("connector_enabled")?,
        is_blocked: row.try_get("is_blocked")?,
        ahead: row.try_get("ahead")?,
        grants: serde_json::from_str(grants.unwrap_or("[]")).map_err(|_| QueryError::Malformed)?,
    })
}

/// A customer whose access on a channel is asked for.
struct Decided<'a> {
    profile: &'a Profile,
    holder: Holder,
    grants: &'a [Grant],
    wildcard: Option<&'a Grant>,
}

impl<'a> Decided<'a> {
    fn decide(&self, asked: &Asked<'_>) -> Decision<'a> {
        let identity = asked.identity;
        let bound = self
            .profile
            .get(asked.schema.bound_field(&identity.channel).as_str());
        let bound =
            bound.and_then(|value| ConnectorIdentity::read(&identity.channel, value.as_text()));
        let is = |grant: &Grant, identity: &ConnectorIdentity| {
            grant.external_user_id == identity.external_user_id
        };
        let others = self.grants.iter().filter(|grant| !is(grant, identity));
        let is_bound = |grant: &&Grant| bound.as_ref().is_some_and(|bound| is(grant, bound));
        let (first, rest): (Vec<&Grant>, Vec<&Grant>) = others.partition(is_bound);
        access(
            Some(self.holder),
            Grants {
                specific: self
                    .grants
                    .iter()
                    .find(|grant| is(grant, identity))
                    .map(|grant| &grant.terms),
                bound: first.into_iter().chain(rest).map(|grant| &grant.terms),
                wildcard: self.wildcard.map(|grant| &grant.terms),
            },
            asked.now,
        )
    }
}
