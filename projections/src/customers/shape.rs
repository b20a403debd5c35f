//! A filter as SQL parameters and tests. The statements made of them are in [`super::statements`].

use chrono::{DateTime, Utc};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;

use super::filter::{Filter, Key, Sort};
use crate::bucket::exact;
use crate::search::start;

/// The largest total that is told without being asked for, and the largest set that is sorted in memory.
pub(super) const BOUND: i64 = 10_000;
/// The most rows that are counted where there are more than [`BOUND`]: the count is known to be beyond it for as many events as
/// it is.
pub(super) const MOST: i64 = BOUND + 1_000;

/// The most buckets that the search index looks up, once each.
const INDEXED_BUCKETS: usize = 8;
/// From this share on, narrowing by project or bucket reads more of the index than it saves (2.5 times the time at 1.0).
const LARGE_SHARE: f32 = 0.3;

/// A filter as SQL parameters.
pub(super) struct Shape {
    pub(super) project_no: i32,
    pub(super) buckets: Vec<i64>,
    /// Whether customers of the project are left out by bucket.
    pub(super) restricted: bool,
    pub(super) sort: Sort,
    pub(super) descending: bool,
    pub(super) term: Option<Term>,
    /// `LIKE` patterns that the trigram index is asked for instead of the term.
    pub(super) parts: Option<Vec<String>>,
    pub(super) hashes: Vec<i64>,
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) index: SearchIndex,
}

/// What the search index narrows by, besides what is searched for.
pub(super) struct SearchIndex {
    pub(super) by_project: bool,
    pub(super) by_bucket: bool,
}

/// How many customers there are, for the choice of what an index narrows by.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// In the buckets that pass.
    pub(super) buckets: i64,
    /// In the project.
    pub(super) project: i64,
    /// In all projects, about; -1 where that is not known.
    pub(super) cell: f32,
}

/// What is searched for.
pub(super) enum Term {
    /// One or two characters: id and name start with them.
    Start(String),
    /// Three or more: a `LIKE` pattern, and whether the trigram index can narrow it.
    Within { pattern: String, indexed: bool },
}

impl Shape {
    pub(super) fn new(project_no: i32, filter: &Filter, buckets: Vec<i64>, sizes: Sizes) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "only compared")]
        let (in_buckets, in_project) = (sizes.buckets as f32, sizes.project as f32);
        let is_few = buckets.len() <= INDEXED_BUCKETS;
        Self {
            project_no,
            buckets,
            restricted: filter.restricts_buckets(),
            sort: filter.sort,
            descending: filter.descending,
            term: filter.term().map(|term| {
                if term.chars().count() < 3 {
                    Term::Start(start(project_no, &term))
                } else {
                    let indexed = term.chars().any(char::is_alphanumeric);
                    Term::Within {
                        pattern: format!("%{}%", escape(&term)),
                        indexed,
                    }
                }
            }),
            parts: None,
            hashes: filter
                .fields
                .iter()
                .map(|(field, value)| exact(project_no, field, value))
                .collect(),
            since: filter.updated_since.map(roster_domain::Timestamp::to_utc),
            index: SearchIndex {
                by_project: sizes.cell <= 0.0 || in_project < LARGE_SHARE * sizes.cell,
                by_bucket: filter.restricts_buckets()
                    && is_few
                    && in_buckets < LARGE_SHARE * in_project,
            },
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

    pub(super) const fn direction(&self) -> &'static str {
        if self.descending { "DESC" } else { "ASC" }
    }

    pub(super) const fn beyond(&self) -> &'static str {
        if self.descending { "<" } else { ">" }
    }

    pub(super) const fn time(&self) -> Option<&'static str> {
        match self.sort {
            Sort::CustomerUserId => None,
            Sort::CreatedAt => Some("created_at"),
            Sort::UpdatedAt => Some("updated_at"),
        }
    }

    /// What a search row must fulfil.
    pub(super) fn search_test(&self, row: &str) -> String {
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
        if tests.is_empty() {
            "true".into()
        } else {
            tests.join(" AND ")
        }
    }

    /// The same in a form that the index finds the rows by, if the test has one.
    pub(super) fn indexed_search_test(&self, row: &str) -> String {
        let test = self.search_test(row);
        let parts = self.parts.as_deref().unwrap_or_default();
        if parts.is_empty() {
            return test;
        }
        // A test of a truth value is no condition for the index.
        let mut tests = vec![format!("({test}) IS TRUE")];
        if !self.hashes.is_empty() {
            tests.push(format!("{row}.exact @> $6"));
        }
        for place in 1..=parts.len() {
            tests.push(format!("{row}.haystack LIKE ($13::text[])[{place}]"));
        }
        tests.join(" AND ")
    }

    /// What a row of either table must fulfil besides.
    pub(super) fn plain_test(&self, row: &str) -> String {
        match (self.restricted, self.since.is_some()) {
            (false, false) => "true".into(),
            (true, false) => format!("{row}.bucket = ANY ($2)"),
            (false, true) => format!("{row}.updated_at >= $7"),
            (true, true) => format!("{row}.bucket = ANY ($2) AND {row}.updated_at >= $7"),
        }
    }

    /// The order's time of a row of either table.
    pub(super) fn at(&self, row: &str) -> String {
        self.time().map_or_else(
            || "'epoch'::timestamptz".into(),
            |time| format!("{row}.{time}"),
        )
    }

    /// A look-up by id that decides whether a row `k` passes; the result is `found.hit`.
    pub(super) fn look_up(&self) -> String {
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

    /// Binds $1 to $13.
    pub(super) fn bind<'q, O>(
        &'q self,
        query: QueryAs<'q, Postgres, O, PgArguments>,
        after: Option<&'q Key>,
        limit: i64,
        offset: i64,
        hits: i64,
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
            .bind(hits)
            .bind(self.parts.as_deref().unwrap_or_default())
    }
}

/// The term as `LIKE` takes it literally.
pub(crate) fn escape(term: &str) -> String {
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
