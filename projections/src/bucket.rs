//! The 64-bit keys that stand for longer ones in indexes.

use roster_domain::customer::SourceKind;
use sha2::{Digest, Sha256};

/// What `view_customers.bucket` stands for: project, data source and switch. The lowest bit is the switch.
///
/// The other 63 bits are of SHA-256, so two buckets of one cell agree with a chance of about n² / 2⁶⁴; every query still
/// compares the project, so a clash could never show another tenant's row.
pub(crate) fn bucket(
    project_no: i32,
    kind: SourceKind,
    provider: &str,
    connection: &str,
    enabled: bool,
) -> i64 {
    let mut hash = Sha256::new();
    hash.update(project_no.to_be_bytes());
    hash.update(kind.number().to_be_bytes());
    hash.update(provider.as_bytes());
    hash.update([0]);
    hash.update(connection.as_bytes());
    (first_eight(hash) & !1) | i64::from(enabled)
}

/// What `view_customer_search.exact` holds for one value of one field.
pub(crate) fn exact(project_no: i32, field: &str, value: &str) -> i64 {
    let mut hash = Sha256::new();
    hash.update(project_no.to_be_bytes());
    hash.update(field.as_bytes());
    hash.update([0]);
    hash.update(value.as_bytes());
    first_eight(hash)
}

/// What `view_audit_events` holds for an actor or a type of event in a project.
pub(crate) fn in_project(project_no: i32, word: &[u8]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(project_no.to_be_bytes());
    hash.update(word);
    first_eight(hash)
}

/// What the cursors of one list of a project carry, for what its rows pass.
pub(crate) fn fingerprint(list: &str, project_no: i32, filters: &[Option<&str>]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(list);
    hash.update(project_no.to_be_bytes());
    for filter in filters {
        let length = filter.map_or(u64::MAX, |text| text.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(filter.unwrap_or_default());
    }
    first_eight(hash)
}

/// The first eight bytes of a hash as a number.
pub(crate) fn first_eight(hash: Sha256) -> i64 {
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use roster_domain::customer::SourceKind;

    use super::{bucket, exact};

    #[test]
    fn buckets_of_one_source_differ_in_the_lowest_bit() {
        let on = bucket(1, SourceKind::Csv, "csv_file", "", true);
        let off = bucket(1, SourceKind::Csv, "csv_file", "", false);
        assert_eq!(on ^ off, 1);
        assert_ne!(on, bucket(2, SourceKind::Csv, "csv_file", "", true));
        assert_ne!(on, bucket(1, SourceKind::Csv, "csv", "_file", true));
    }

    #[test]
    fn a_value_of_another_field_has_another_hash() {
        assert_ne!(exact(1, "email", "a"), exact(1, "name", "a"));
    }
}
