//! The SQL of customer lists.
//!
//! Each shape is a text of its own with every value bound, always under the same number ([`Shape::bind`]), so that there are
//! few texts and none of them depends on statistics (personal columns have none): walks are index scans behind a `LIMIT`,
//! look-ups sit in `LATERAL` sub-queries with `OFFSET 0`, which the planner must take row by row.

use super::filter::Sort;
use super::shape::{BOUND, MOST, Shape};

/// The index that candidates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// All search rows of small buckets.
    Buckets,
    /// The GIN index of trigrams and hashes.
    Index,
    /// The ranges of first characters.
    Starts,
    /// The order of `updated_at`.
    Since,
}

impl Shape {
    /// At most $10 keys in the wanted order after the cursor ($8, $9), $11 left out, without looking at search rows.
    pub(super) fn keys(&self, goes_on: bool) -> String {
        let (direction, beyond) = (self.direction(), self.beyond());
        let after = |columns: &str, values: &str| {
            if goes_on {
                format!("AND {columns} {beyond} {values}")
            } else {
                String::new()
            }
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
                if self.since.is_some() && self.sort == Sort::UpdatedAt {
                    "AND c.updated_at >= $7"
                } else {
                    ""
                }
            ),
        }
    }

    /// Looks at the next $10 rows in the wanted order: how many there were and passed, the first $12 of those that pass, and
    /// the last row as one that does not.
    pub(super) fn walk(&self, goes_on: bool) -> String {
        let direction = self.direction();
        let tested = if self.is_direct() {
            let (table, test) = if self.searches() {
                (
                    "view_customer_search",
                    format!("{} AND {}", self.search_test("k"), self.plain_test("k")),
                )
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
                if goes_on {
                    format!("AND r.customer_user_id {} $9", self.beyond())
                } else {
                    String::new()
                }
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
            format!(
                "SELECT k.at, k.customer_user_id, true AS hit FROM ({}) k",
                self.keys(goes_on)
            )
        };
        let order = |direction: &str| format!("t.at {direction}, t.customer_user_id {direction}");
        format!(
            "WITH tested AS MATERIALIZED ({tested})
             SELECT (SELECT count(*) FROM tested) AS walked,
                    (SELECT count(*) FROM tested WHERE hit) AS hits,
                    t.at,
                    t.customer_user_id,
                    t.hit
               FROM ((SELECT t.at, t.customer_user_id, true AS hit
                        FROM tested t
                       WHERE t.hit
                       ORDER BY {0}
                       LIMIT $12)
                      UNION ALL
                     (SELECT t.at, t.customer_user_id, false AS hit
                        FROM tested t
                       ORDER BY {1}
                       LIMIT 1)) t
              ORDER BY t.hit DESC, {0}",
            order(direction),
            order(if self.descending { "ASC" } else { "DESC" })
        )
    }

    /// What an index finds, at most [`MOST`] rows: how many it found, and the keys of those that pass. Where it found more
    /// than [`BOUND`] there is one row only, for the number.
    ///
    /// The set is materialised without a limit, so the planner counts with all of it and takes the index; the executor
    /// stops at the limit all the same.
    pub(super) fn candidates(&self, driver: Driver) -> String {
        let limit = MOST;
        let found = match driver {
            Driver::Buckets => format!(
                "SELECT {} AS at, s.customer_user_id, {} AND {} AS hit
                   FROM view_customer_search s
                  WHERE s.bucket = ANY ($2)",
                self.at("s"),
                self.search_test("s"),
                self.plain_test("s")
            ),
            Driver::Index => format!(
                "SELECT {} AS at, s.customer_user_id, {} AS hit {}",
                self.at("s"),
                self.plain_test("s"),
                self.found_by_index()
            ),
            Driver::Starts => {
                let range = |column: &str| {
                    format!(
                        "(SELECT {} AS at, s.customer_user_id, {} AS hit
                            FROM view_customer_search s
                           WHERE s.{column} >= $4
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

    /// The larger of how many ids and how many names start with the term, each to [`MOST`]; names are not looked at where the
    /// ids are enough.
    pub(super) fn count_starts() -> String {
        let range = |column: &str| {
            format!(
                "(SELECT count(*)
                    FROM (SELECT s.customer_user_id
                            FROM view_customer_search s
                           WHERE s.{column} >= $4
                             AND s.{column} < $5
                           ORDER BY s.{column}
                           LIMIT {MOST}) r)"
            )
        };
        format!(
            "SELECT CASE WHEN ids.count > {BOUND} THEN ids.count ELSE GREATEST(ids.count, {}) END
               FROM {} AS ids",
            range("name_start"),
            range("id_start")
        )
    }

    /// The next $10 ids after the cursor, $11 left out, whose id or name starts with the term, in their order: a merge of one
    /// index range for each pair of first characters that occurs.
    pub(super) fn starts(&self, goes_on: bool) -> String {
        let direction = self.direction();
        let after = if goes_on {
            format!("AND s.customer_user_id {} $9", self.beyond())
        } else {
            String::new()
        };
        let ranges = |column: &str| {
            format!(
                "{column}s(start) AS (
                    (SELECT s.{column}
                       FROM view_customer_search s
                      WHERE s.{column} >= $4
                        AND s.{column} < $5
                      ORDER BY s.{column}
                      LIMIT 1)
                     UNION ALL
                    SELECT (SELECT s.{column}
                              FROM view_customer_search s
                             WHERE s.{column} > r.start
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
                         WHERE s.{column} = r.start {after}
                         ORDER BY s.customer_user_id {direction}
                         LIMIT $10 + $11) k
                  WHERE r.start IS NOT NULL"
            )
        };
        format!(
            "WITH RECURSIVE {}, {}
             SELECT 'epoch'::timestamptz AS at, u.customer_user_id
               FROM ({} UNION {}) u
              ORDER BY u.customer_user_id {direction}
              LIMIT $10
             OFFSET $11",
            ranges("id_start"),
            ranges("name_start"),
            rows("id_start"),
            rows("name_start")
        )
    }

    /// Counts hits among the first $10 rows in some order, to [`MOST`].
    pub(super) fn count_walk(&self) -> String {
        format!(
            "SELECT count(*)
               FROM (SELECT
                       FROM (SELECT *
                               FROM view_customer_search s
                              WHERE {}
                              LIMIT $10) k
                      WHERE {} AND {}
                      LIMIT {MOST}) hits",
            // A range of places reads page after page, but of all projects.
            if self.index.by_project {
                "s.project_no = $1 ORDER BY s.customer_user_id"
            } else {
                "s.project_no + 0 = $1 AND s.ctid >= '(0,0)'"
            },
            self.search_test("k"),
            self.plain_test("k"),
        )
    }

    /// The streams of those of the ids in $14 that pass, in the order of the ids.
    pub(super) fn streams(&self) -> String {
        let table = if self.searches() {
            "view_customer_search"
        } else {
            "view_customers"
        };
        format!(
            "SELECT r.stream_id, r.customer_user_id
               FROM unnest($14::text[]) WITH ORDINALITY AS wanted(customer_user_id, place)
              CROSS JOIN LATERAL (
                    SELECT *
                      FROM {table} v
                     WHERE v.project_no = $1
                       AND v.customer_user_id = wanted.customer_user_id
                    OFFSET 0) r
              WHERE {} AND {}
              ORDER BY wanted.place",
            self.search_test("r"),
            self.plain_test("r")
        )
    }

    /// The streams of the first $10 customers of the buckets, where nothing else narrows, in the order of the ids.
    pub(super) fn first_streams(&self) -> &'static str {
        if !self.restricted {
            return "SELECT c.stream_id, c.customer_user_id
               FROM view_customers c
              WHERE c.project_no = $1
              ORDER BY c.customer_user_id
              LIMIT $10";
        }
        "SELECT k.stream_id, k.customer_user_id
           FROM unnest($2::bigint[]) AS b(bucket)
          CROSS JOIN LATERAL (
                SELECT c.stream_id, c.customer_user_id
                  FROM view_customers c
                 WHERE c.bucket = b.bucket
                 ORDER BY c.customer_user_id
                 LIMIT $10) k
          ORDER BY k.customer_user_id
          LIMIT $10"
    }

    /// The search rows that the index of trigrams and hashes finds.
    fn found_by_index(&self) -> String {
        format!(
            "FROM view_customer_search s
            WHERE {}
              AND {}
              AND {}",
            // An expression is no condition for the index.
            if self.index.by_project {
                "s.project_no = $1"
            } else {
                "s.project_no + 0 = $1"
            },
            self.indexed_search_test("s"),
            if self.index.by_bucket {
                "s.bucket = ANY ($2)"
            } else {
                "true"
            }
        )
    }

    /// Counts everything that passes, to $10.
    pub(super) fn count(&self, driver: Option<Driver>) -> String {
        let rows = if driver == Some(Driver::Index) {
            format!("{} AND {}", self.found_by_index(), self.plain_test("s"))
        } else {
            let table = if self.searches() {
                "view_customer_search"
            } else {
                "view_customers"
            };
            format!(
                "FROM {table} s WHERE s.project_no = $1 AND {} AND {}",
                self.search_test("s"),
                self.plain_test("s")
            )
        };
        format!("SELECT count(*) FROM (SELECT {rows} LIMIT $10) hits")
    }
}

/// Some 250 search rows from all over the table, of all projects, as the index has them.
pub(super) const SAMPLE: &str = "
SELECT found.haystack
  FROM (SELECT pg_relation_size(to_regclass('view_customer_search')) / current_setting('block_size')::bigint) AS size(pages)
 CROSS JOIN generate_series(0, 255) AS n(number)
 CROSS JOIN LATERAL (
       SELECT s.haystack
         FROM view_customer_search s
        WHERE s.ctid = format('(%s,%s)', size.pages * n.number / 256, 1 + n.number % 8)::tid
       OFFSET 0) found";
