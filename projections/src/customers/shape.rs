//! The SQL of customer lists.
//!
//! Each shape is a text of its own with every value bound, always under the same number, so that there are few texts and
//! none of them depends on statistics (personal columns have none): walks are index scans behind a `LIMIT`, look-ups sit in
//! `LATERAL` sub-queries with `OFFSET 0`, which the planner must take row by row.

use chrono::{DateTime, Utc};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;

use super::filter::{Filter, Key, Sort};
use crate::bucket::exact;
use crate::search::start;

/// The most rows that are counted and the largest set that is sorted in memory.
pub(super) const BOUND: i64 = 10_000;

/// A filter as SQL parameters.
pub(super) struct Shape {
    pub(super) project_no: i32,
    pub(super) buckets: Vec<i64>,
    /// Whether customers of the project are left out by bucket.
    pub(super) restricted: bool,
    pub(super) sort: Sort,
    pub(super) descending: bool,
    pub(super) term: Option<Term>,
    pub(super) hashes: Vec<i64>,
    pub(super) since: Option<DateTime<Utc>>,
}

/// What is searched for.
pub(super) enum Term {
    /// One or two characters: id and name start with them.
    Start(String),
    /// Three or more: a `LIKE` pattern, and whether the trigram index can narrow it.
    Within { pattern: String, indexed: bool },
}

impl Shape {
    pub(super) fn new(project_no: i32, filter: &Filter, buckets: Vec<i64>) -> Self {
        Self {
            project_no,
            buckets,
            restricted: filter.restricts_buckets(),
            sort: filter.sort,
            descending: filter.descending,
            term: filter.term().map(|term| {
                if term.chars().count() < 3 {
                    Term::Start(start(&term))
                } else {
                    let indexed = term.chars().any(char::is_alphanumeric);
                    Term::Within { pattern: format!("%{}%", escape(&term)), indexed }
                }
            }),
            hashes: filter.fields.iter().map(|(field, value)| exact(project_no, field, value)).collect(),
            since: filter.updated_since.map(roster_domain::Timestamp::to_utc),
        }
    }

    /// Whether the search row decides.
    pub(super) fn searches(&self) -> bool {
        self.term.is_some() || !self.hashes.is_empty()
    }

    /// Whether anything but bucket and order narrows the list.
    pub(super) fn narrows(&self) -> bool {
        self.searches() || self.since.is_some()
    }

    /// Whether every search row of the project that has the term passes.
    const fn is_term_only(&self) -> bool {
        !self.restricted && self.since.is_none() && self.hashes.is_empty()
    }

    /// Whether a walk reads what it tests; otherwise it looks each row up.
    pub(super) const fn is_direct(&self) -> bool {
        !self.restricted && matches!(self.sort, Sort::CustomerUserId)
    }

    /// Whether the term is short and nothing else narrows: then index ranges count it.
    pub(super) const fn is_start(&self) -> bool {
        matches!(self.term, Some(Term::Start(_))) && self.is_term_only()
    }

    /// Whether such a term can be walked in the order of the ids, range by range.
    pub(super) const fn walks_starts(&self) -> bool {
        self.is_start() && matches!(self.sort, Sort::CustomerUserId)
    }

    const fn direction(&self) -> &'static str {
        if self.descending { "DESC" } else { "ASC" }
    }

    const fn beyond(&self) -> &'static str {
        if self.descending { "<" } else { ">" }
    }

    const fn time(&self) -> Option<&'static str> {
        match self.sort {
            Sort::CustomerUserId => None,
            Sort::CreatedAt => Some("created_at"),
            Sort::UpdatedAt => Some("updated_at"),
        }
    }

    /// What a search row must fulfil.
    fn search_test(&self, row: &str) -> String {
        let mut tests = Vec::new();
        match &self.term {
            Some(Term::Start(_)) => tests.push(format!(
                "(({row}.id_start >= $4 AND {row}.id_start < $5) OR ({row}.name_start >= $4 AND {row}.name_start < $5))"
            )),
            Some(Term::Within { .. }) => tests.push(format!("{row}.haystack LIKE $3")),
            None => {}
        }
        if !self.hashes.is_empty() {
            tests.push(format!("{row}.exact @> $6"));
        }
        if tests.is_empty() { "true".into() } else { tests.join(" AND ") }
    }

    /// What a row of either table must fulfil besides.
    fn plain_test(&self, row: &str) -> String {
        match (self.restricted, self.since.is_some()) {
            (false, false) => "true".into(),
            (true, false) => format!("{row}.bucket = ANY ($2)"),
            (false, true) => format!("{row}.updated_at >= $7"),
            (true, true) => format!("{row}.bucket = ANY ($2) AND {row}.updated_at >= $7"),
        }
    }

    /// The order's time of a row of either table.
    fn at(&self, row: &str) -> String {
        self.time().map_or_else(|| "'epoch'::timestamptz".into(), |time| format!("{row}.{time}"))
    }

    /// A look-up by id that decides whether a row `k` passes; the result is `found.hit`.
    fn look_up(&self) -> String {
        if self.searches() {
            format!(
                "LEFT JOIN LATERAL (
                    SELECT {} AND {} AS hit
                      FROM view_customer_search s
                     WHERE s.project_no = $1
                       AND s.customer_user_id = k.customer_user_id
                    OFFSET 0) found ON true",
                self.search_test("s"),
                self.plain_test("s")
            )
        } else {
            format!(
                "LEFT JOIN LATERAL (
                    SELECT {} AS hit
                      FROM view_customers c
                     WHERE c.project_no = $1
                       AND c.customer_user_id = k.customer_user_id
                    OFFSET 0) found ON true",
                self.plain_test("c")
            )
        }
    }

    /// At most $10 keys in the wanted order after the cursor ($8, $9), $11 left out, without looking at search rows.
    pub(super) fn keys(&self, goes_on: bool) -> String {
        let (direction, beyond) = (self.direction(), self.beyond());
        let after = |columns: &str, values: &str| {
            if goes_on { format!("AND {columns} {beyond} {values}") } else { String::new() }
        };
        match self.time() {
            None if !self.restricted => format!(
                "SELECT 'epoch'::timestamptz AS at, c.customer_user_id
                   FROM view_customers c
                  WHERE c.project_no = $1 {}
                  ORDER BY c.customer_user_id {direction}
                  LIMIT $10
                 OFFSET $11",
                after("c.customer_user_id", "$9")
            ),
            None => format!(
                "SELECT 'epoch'::timestamptz AS at, k.customer_user_id
                   FROM unnest($2::bigint[]) AS b(bucket)
                  CROSS JOIN LATERAL (
                        SELECT c.customer_user_id
                          FROM view_customers c
                         WHERE c.bucket = b.bucket {}
                         ORDER BY c.customer_user_id {direction}
                         LIMIT $10 + $11) k
                  ORDER BY k.customer_user_id {direction}
                  LIMIT $10
                 OFFSET $11",
                after("c.customer_user_id", "$9")
            ),
            Some(time) => format!(
                "SELECT k.at, k.customer_user_id
                   FROM unnest($2::bigint[]) AS b(bucket)
                  CROSS JOIN LATERAL (
                        SELECT c.{time} AS at, c.customer_user_id
                          FROM view_customers c
                         WHERE c.bucket = b.bucket {} {}
                         ORDER BY c.{time} {direction}, c.customer_user_id {direction}
                         LIMIT $10 + $11) k
                  ORDER BY k.at {direction}, k.customer_user_id {direction}
                  LIMIT $10
                 OFFSET $11",
                after(&format!("(c.{time}, c.customer_user_id)"), "($8, $9)"),
                if self.since.is_some() && self.sort == Sort::UpdatedAt { "AND c.updated_at >= $7" } else { "" }
            ),
        }
    }

    /// Looks at the next $10 rows in the wanted order: how many there were, the last of them, and those that pass.
    pub(super) fn walk(&self, goes_on: bool) -> String {
        let direction = self.direction();
        let tested = if self.is_direct() {
            let (table, test) = if self.searches() {
                ("view_customer_search", format!("{} AND {}", self.search_test("k"), self.plain_test("k")))
            } else {
                ("view_customers", self.plain_test("k"))
            };
            format!(
                "SELECT 'epoch'::timestamptz AS at, k.customer_user_id, {test} AS hit
                   FROM (SELECT r.*
                           FROM {table} r
                          WHERE r.project_no = $1 {}
                          ORDER BY r.customer_user_id {direction}
                          LIMIT $10) k",
                if goes_on { format!("AND r.customer_user_id {} $9", self.beyond()) } else { String::new() }
            )
        } else if self.searches() || self.sort != Sort::UpdatedAt {
            format!(
                "WITH walked AS MATERIALIZED ({})
                 SELECT k.at, k.customer_user_id, COALESCE(found.hit, false) AS hit
                   FROM walked k {}",
                self.keys(goes_on),
                self.look_up()
            )
        } else {
            format!("SELECT k.at, k.customer_user_id, true AS hit FROM ({}) k", self.keys(goes_on))
        };
        format!(
            "WITH tested AS MATERIALIZED ({tested})
             SELECT (SELECT count(*) FROM tested) AS walked,
                    t.at,
                    t.customer_user_id,
                    t.hit
               FROM tested t
              WHERE t.hit
                 OR (t.at, t.customer_user_id) = (
                    SELECT l.at, l.customer_user_id
                      FROM tested l
                     ORDER BY l.at {0}, l.customer_user_id {0}
                     LIMIT 1)
              ORDER BY t.at {direction}, t.customer_user_id {direction}",
            if self.descending { "ASC" } else { "DESC" }
        )
    }

    /// What an index finds, at most 10,001 rows: how many it found, and the keys of those that pass. Where it found more
    /// than 10,000 there is one row only, for the number.
    ///
    /// The set is materialised without a limit, so the planner counts with all of it and takes the index; the executor
    /// stops at the limit all the same.
    pub(super) fn candidates(&self, driver: Driver) -> String {
        let limit = BOUND + 1;
        let found = match driver {
            Driver::Buckets => format!(
                "SELECT k.at, k.customer_user_id, COALESCE(found.hit, false) AS hit
                   FROM (SELECT {} AS at, c.customer_user_id
                           FROM view_customers c
                          WHERE c.bucket = ANY ($2)
                         OFFSET 0) k {}",
                self.at("c"),
                self.look_up()
            ),
            Driver::Index => format!(
                "SELECT {} AS at, s.customer_user_id, {} AS hit
                   FROM view_customer_search s
                  WHERE s.project_no = $1
                    AND {}",
                self.at("s"),
                self.plain_test("s"),
                self.search_test("s")
            ),
            Driver::Starts => {
                let range = |column: &str| {
                    format!(
                        "(SELECT {} AS at, s.customer_user_id, {} AS hit
                            FROM view_customer_search s
                           WHERE s.project_no = $1
                             AND s.{column} >= $4
                             AND s.{column} < $5
                           LIMIT {limit})",
                        self.at("s"),
                        self.plain_test("s")
                    )
                };
                format!("{} UNION {}", range("id_start"), range("name_start"))
            }
            Driver::Since => format!(
                "SELECT k.at, k.customer_user_id, true AS hit
                   FROM unnest($2::bigint[]) AS b(bucket)
                  CROSS JOIN LATERAL (
                        SELECT {} AS at, c.customer_user_id
                          FROM view_customers c
                         WHERE c.bucket = b.bucket
                           AND c.updated_at >= $7
                         ORDER BY c.updated_at
                         LIMIT {limit}) k",
                self.at("c")
            ),
        };
        format!(
            "WITH candidates AS MATERIALIZED ({found}),
                  bounded AS MATERIALIZED (SELECT * FROM candidates LIMIT {limit}),
                  size AS MATERIALIZED (SELECT count(*) AS found FROM bounded)
             SELECT size.found, k.at, k.customer_user_id
               FROM bounded k
              CROSS JOIN size
              WHERE k.hit
                 OR size.found > {BOUND}
              LIMIT (SELECT CASE WHEN found > {BOUND} THEN 1 END FROM size)"
        )
    }

    /// The larger of how many ids and how many names start with the term, each to 10,001.
    pub(super) fn count_starts() -> String {
        let range = |column: &str| {
            format!(
                "(SELECT count(*)
                    FROM (SELECT s.customer_user_id
                            FROM view_customer_search s
                           WHERE s.project_no = $1
                             AND s.{column} >= $4
                             AND s.{column} < $5
                           ORDER BY s.{column}
                           LIMIT {}) r)",
                BOUND + 1
            )
        };
        format!("SELECT GREATEST({}, {})", range("id_start"), range("name_start"))
    }

    /// The next $10 ids after the cursor whose id or name starts with the term, in the order of the ids: a merge of one
    /// index range for each pair of first characters that occurs.
    pub(super) fn starts(&self, goes_on: bool) -> String {
        let direction = self.direction();
        let after = if goes_on { format!("AND s.customer_user_id {} $9", self.beyond()) } else { String::new() };
        let ranges = |column: &str| {
            format!(
                "{column}s(start) AS (
                    (SELECT s.{column}
                       FROM view_customer_search s
                      WHERE s.project_no = $1
                        AND s.{column} >= $4
                        AND s.{column} < $5
                      ORDER BY s.{column}
                      LIMIT 1)
                     UNION ALL
                    SELECT (SELECT s.{column}
                              FROM view_customer_search s
                             WHERE s.project_no = $1
                               AND s.{column} > r.start
                               AND s.{column} < $5
                             ORDER BY s.{column}
                             LIMIT 1)
                      FROM {column}s r
                     WHERE r.start IS NOT NULL)"
            )
        };
        let rows = |column: &str| {
            format!(
                "SELECT k.customer_user_id
                   FROM {column}s r
                  CROSS JOIN LATERAL (
                        SELECT s.customer_user_id
                          FROM view_customer_search s
                         WHERE s.project_no = $1
                           AND s.{column} = r.start {after}
                         ORDER BY s.customer_user_id {direction}
                         LIMIT $10) k
                  WHERE r.start IS NOT NULL"
            )
        };
        format!(
            "WITH RECURSIVE {}, {}
             SELECT 'epoch'::timestamptz AS at, u.customer_user_id
               FROM ({} UNION {}) u
              ORDER BY u.customer_user_id {direction}
              LIMIT $10",
            ranges("id_start"),
            ranges("name_start"),
            rows("id_start"),
            rows("name_start")
        )
    }

    /// Counts hits among the first $10 rows in the order in which they were registered, to 10,001.
    pub(super) fn count_walk(&self) -> String {
        format!(
            "SELECT count(*)
               FROM (SELECT
                       FROM (SELECT *
                               FROM view_customer_search s
                              WHERE s.project_no = $1
                              ORDER BY s.stream_id
                              LIMIT $10) k
                      WHERE {} AND {}
                      LIMIT {}) hits",
            self.search_test("k"),
            self.plain_test("k"),
            BOUND + 1
        )
    }

    /// Counts everything that passes, to $10.
    pub(super) fn count(&self) -> String {
        let table = if self.searches() { "view_customer_search" } else { "view_customers" };
        format!(
            "SELECT count(*)
               FROM (SELECT
                       FROM {table} r
                      WHERE r.project_no = $1
                        AND {}
                        AND {}
                      LIMIT $10) hits",
            self.search_test("r"),
            self.plain_test("r")
        )
    }

    /// Binds $1 to $11.
    pub(super) fn bind<'q, O>(
        &'q self,
        query: QueryAs<'q, Postgres, O, PgArguments>,
        after: Option<&'q Key>,
        limit: i64,
        offset: i64,
    ) -> QueryAs<'q, Postgres, O, PgArguments> {
        let (pattern, low, high) = match &self.term {
            Some(Term::Within { pattern, .. }) => (pattern.as_str(), "", String::new()),
            // No character sorts after the last code point.
            Some(Term::Start(start)) => ("", start.as_str(), format!("{start}\u{10ffff}")),
            None => ("", "", String::new()),
        };
        query
            .bind(self.project_no)
            .bind(&self.buckets)
            .bind(pattern)
            .bind(low)
            .bind(high)
            .bind(&self.hashes)
            .bind(self.since)
            .bind(after.map(|key| key.at.to_utc()))
            .bind(after.map(|key| key.id.as_str()))
            .bind(limit)
            .bind(offset)
    }
}

/// The index that candidates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// All customers of few, small buckets.
    Buckets,
    /// The GIN index of trigrams and hashes.
    Index,
    /// The ranges of first characters.
    Starts,
    /// The order of `updated_at`.
    Since,
}

/// The term as `LIKE` takes it literally.
fn escape(term: &str) -> String {
    let mut escaped = String::with_capacity(term.len());
    for letter in term.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped.replace('\0', " ")
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn wildcards_of_a_term_are_letters() {
        assert_eq!(escape(r"50%_\x"), r"50\%\_\\x");
    }
}
