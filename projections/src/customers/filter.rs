//! What a list of customers is narrowed and ordered by, and the cursor that walks it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roster_domain::Timestamp;
use roster_domain::customer::SourceKind;
use roster_domain::value::fold::fold;
use sha2::{Digest, Sha256};

use crate::QueryError;
use crate::bucket::first_eight;
use crate::data_sources::DataSourceRow;

/// What orders a list; the id breaks every tie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The id in byte order.
    #[default]
    CustomerUserId,
    /// When the customer was registered.
    CreatedAt,
    /// When the record last moved.
    UpdatedAt,
}

/// Which customers, in which order, and which part of them. The default is the first 25 by id.
#[derive(Clone)]
pub struct Filter {
    /// A substring of id or values without regard to case and accents; under 3 characters, a prefix of id or name.
    pub search: Option<String>,
    /// Only enabled or only disabled ones.
    pub enabled: Option<bool>,
    /// Only those from this kind of source.
    pub source_kind: Option<SourceKind>,
    /// Only those from this provider.
    pub source_provider: Option<String>,
    /// Only those from this connection.
    pub source_connection: Option<String>,
    /// Only those whose record moved at this time or later.
    pub updated_since: Option<Timestamp>,
    /// Only those with exactly these canonical values, by field.
    pub fields: Vec<(String, String)>,
    /// The order.
    pub sort: Sort,
    /// Whether the order is turned round.
    pub descending: bool,
    /// The page, from 1; of no effect with a cursor.
    pub page: u32,
    /// Rows a page, at most 200.
    pub page_size: u32,
    /// Where to go on.
    pub cursor: Option<Cursor>,
    /// Whether to count past 10,000.
    pub count_exact: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            search: None,
            enabled: None,
            source_kind: None,
            source_provider: None,
            source_connection: None,
            updated_since: None,
            fields: Vec::new(),
            sort: Sort::CustomerUserId,
            descending: false,
            page: 1,
            page_size: 25,
            cursor: None,
            count_exact: false,
        }
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Filter")
            .field("sort", &self.sort)
            .field("descending", &self.descending)
            .field("page", &self.page)
            .field("page_size", &self.page_size)
            .finish_non_exhaustive()
    }
}

impl Filter {
    /// The folded search term; `None` where there is nothing to look for.
    pub(crate) fn term(&self) -> Option<String> {
        let folded = fold(self.search.as_deref()?.trim());
        let term = folded.trim();
        (!term.is_empty()).then(|| term.to_owned())
    }

    /// Whether the filter leaves out some data sources or one position of the switch.
    pub(crate) fn restricts_buckets(&self) -> bool {
        self.enabled.is_some()
            || self.source_kind.is_some()
            || self.source_provider.is_some()
            || self.source_connection.is_some()
    }

    /// The index prefixes of the customers that pass, with how many there are.
    pub(crate) fn buckets(&self, project_no: i32, sources: &[DataSourceRow]) -> Vec<(i64, i64)> {
        let asked =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        sources
            .iter()
            .filter(|source| self.source_kind.is_none_or(|kind| kind == source.kind))
            .filter(|source| asked(&self.source_provider, &source.provider))
            .filter(|source| asked(&self.source_connection, &source.connection_id))
            .flat_map(|source| {
                [
                    (true, source.enabled_count),
                    (false, source.count - source.enabled_count),
                ]
                .map(|(enabled, count)| (enabled, source.bucket(project_no, enabled), count))
            })
            .filter(|(enabled, _, count)| {
                *count > 0 && self.enabled.is_none_or(|wanted| wanted == *enabled)
            })
            .map(|(_, bucket, count)| (bucket, count))
            .collect()
    }

    /// Whether search rows decide who passes.
    pub(crate) fn searches(&self) -> bool {
        self.term().is_some() || !self.fields.is_empty()
    }

    /// What stands for those who pass, in whatever order.
    pub(crate) fn set(&self, project_no: i32) -> i64 {
        let set = Self {
            sort: Sort::default(),
            descending: false,
            ..self.clone()
        };
        set.fingerprint(project_no)
    }

    /// What a cursor must have been made for.
    pub(crate) fn fingerprint(&self, project_no: i32) -> i64 {
        let mut hash = Sha256::new();
        hash.update(project_no.to_be_bytes());
        let mut part = |text: Option<&str>| {
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            hash.update(length.to_be_bytes());
            hash.update(text.unwrap_or_default());
        };
        part(self.term().as_deref());
        part(
            self.enabled
                .map(|enabled| if enabled { "on" } else { "off" }),
        );
        part(self.source_kind.map(SourceKind::as_str));
        part(self.source_provider.as_deref());
        part(self.source_connection.as_deref());
        part(self.updated_since.map(|at| at.0.to_string()).as_deref());
        part(Some(match self.sort {
            Sort::CustomerUserId => "id",
            Sort::CreatedAt => "created",
            Sort::UpdatedAt => "updated",
        }));
        part(self.descending.then_some("descending"));
        for (name, value) in &self.fields {
            part(Some(name));
            part(Some(value));
        }
        first_eight(hash)
    }
}

/// The place of a customer in a list.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The time that orders the list; the epoch where the id does.
    pub(crate) at: Timestamp,
    pub(crate) id: String,
}

/// Where a list goes on; good for the same filters and order only.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor {
    fingerprint: i64,
    key: Key,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cursor(<personal>)")
    }
}

/// The years 1 to 9999 in microseconds: Postgres has no timestamp for each that a number can tell.
const TIMES: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

impl std::fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = self.fingerprint.to_be_bytes().to_vec();
        bytes.extend(self.key.at.0.to_be_bytes());
        bytes.extend(self.key.id.as_bytes());
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl std::str::FromStr for Cursor {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| QueryError::InvalidCursor)?;
        let (fingerprint, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or(QueryError::InvalidCursor)?;
        let (at, id) = rest
            .split_first_chunk::<8>()
            .ok_or(QueryError::InvalidCursor)?;
        let id = String::from_utf8(id.to_vec()).map_err(|_| QueryError::InvalidCursor)?;
        let at = i64::from_be_bytes(*at);
        if id.contains('\0') || !TIMES.contains(&at) {
            return Err(QueryError::InvalidCursor);
        }
        let key = Key {
            at: Timestamp(at),
            id,
        };
        Ok(Self {
            fingerprint: i64::from_be_bytes(*fingerprint),
            key,
        })
    }
}

impl Cursor {
    pub(crate) const fn new(fingerprint: i64, key: Key) -> Self {
        Self { fingerprint, key }
    }

    /// The place to go on from, if the cursor was made for the same list.
    pub(crate) fn key(&self, fingerprint: i64) -> Result<&Key, QueryError> {
        if self.fingerprint == fingerprint {
            Ok(&self.key)
        } else {
            Err(QueryError::InvalidCursor)
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use roster_domain::Timestamp;
    use roster_domain::customer::SourceKind;

    use super::{Cursor, Filter, Key};
    use crate::data_sources::DataSourceRow;

    #[test]
    fn a_cursor_is_good_for_its_own_list_only() {
        let filter = Filter {
            search: Some("Ada".into()),
            ..Filter::default()
        };
        let key = Key {
            at: Timestamp(-5),
            id: "ada@example.org".into(),
        };
        let text = Cursor::new(filter.fingerprint(1), key.clone()).to_string();
        let cursor: Cursor = text.parse().expect("it was just written");
        assert!(
            cursor
                .key(
                    Filter {
                        search: Some("ADA ".into()),
                        ..Filter::default()
                    }
                    .fingerprint(1)
                )
                .ok()
                == Some(&key)
        );
        assert!(cursor.key(filter.fingerprint(2)).is_err());
        assert!(
            cursor
                .key(
                    Filter {
                        descending: true,
                        ..filter
                    }
                    .fingerprint(1)
                )
                .is_err()
        );
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "AAAA", "***", "AAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
        // A time that Postgres has not.
        let key = |at| Key {
            at: Timestamp(at),
            id: String::new(),
        };
        for (at, is_good) in [(0, true), (super::TIMES.end, false), (i64::MIN, false)] {
            let text = Cursor::new(1, key(at)).to_string();
            assert_eq!(text.parse::<Cursor>().is_ok(), is_good, "{at}");
        }
    }

    #[test]
    fn only_buckets_with_customers_that_pass_are_walked() {
        let source = |kind, provider: &str, count, enabled_count| DataSourceRow {
            kind,
            provider: Some(provider.to_owned()).filter(|provider| !provider.is_empty()),
            connection_id: None,
            count,
            enabled_count,
            last_upserted_at: Timestamp(0),
        };
        let sources = [
            source(SourceKind::Manual, "", 5, 5),
            source(SourceKind::Csv, "csv_file", 7, 3),
        ];
        let counts = |filter: Filter| {
            filter
                .buckets(1, &sources)
                .into_iter()
                .map(|(_, count)| count)
                .collect::<Vec<_>>()
        };
        assert_eq!(counts(Filter::default()), [5, 3, 4]);
        assert_eq!(
            counts(Filter {
                enabled: Some(false),
                ..Filter::default()
            }),
            [4]
        );
        assert_eq!(
            counts(Filter {
                source_provider: Some("csv_file".into()),
                ..Filter::default()
            }),
            [3, 4]
        );
        assert_eq!(
            counts(Filter {
                source_kind: Some(SourceKind::Scim),
                ..Filter::default()
            }),
            [0_i64; 0]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_cursor_or_none(
            text in "[A-Za-z0-9_-]{0,60}|\\PC{0,40}",
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..48),
        ) {
            let encoded = URL_SAFE_NO_PAD.encode(bytes);
            for given in [text, encoded] {
                if let Ok(cursor) = given.parse::<Cursor>() {
                    proptest::prop_assert_eq!(cursor.to_string(), given);
                }
            }
        }
    }
}
