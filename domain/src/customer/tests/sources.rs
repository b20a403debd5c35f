//! Who tags a row, and who keeps a tag.

use super::given::{AT, folded, registered, upsert};
use crate::Personal;
use crate::customer::{Customer, CustomerEvent, DataSource, SourceKind, Tagging, Upsert, decide};

fn source(kind: SourceKind, provider: &str) -> DataSource {
    DataSource {
        kind,
        provider: Some(provider.into()),
        synced_at: Some(AT),
        ..DataSource::manual()
    }
}

fn after(customer: &Customer, tagging: Tagging) -> (DataSource, usize) {
    let events = decide(
        customer,
        &Upsert {
            tagging,
            ..upsert(&[])
        }
        .into(),
    )
    .expect("allowed");
    let written = events.len();
    let mut customer = customer.clone();
    for event in events {
        customer.fold(event);
    }
    (customer.source, written)
}

fn tagged(source: DataSource) -> Customer {
    let CustomerEvent::Registered {
        at,
        customer_user_id,
        profile,
        enabled,
        connector_enabled,
        claimed,
        ..
    } = registered(&[])
    else {
        panic!("a registration");
    };
    folded([CustomerEvent::Registered {
        at,
        customer_user_id,
        profile,
        enabled,
        connector_enabled,
        source,
        claimed,
    }])
}

#[test]
fn a_new_row_without_a_tag_is_manual() {
    assert_eq!(
        after(&Customer::default(), Tagging::Keep),
        (DataSource::manual(), 1)
    );
}

#[test]
fn a_new_row_takes_the_tag_it_comes_with() {
    let csv = source(SourceKind::Csv, "csv_file");
    assert_eq!(
        after(&Customer::default(), Tagging::Set(csv.clone())).0,
        csv
    );
    assert_eq!(
        after(&Customer::default(), Tagging::Adopt(csv.clone())).0,
        csv
    );
}

#[test]
fn keeping_never_retags() {
    let csv = source(SourceKind::Csv, "csv_file");
    assert_eq!(after(&tagged(csv.clone()), Tagging::Keep), (csv, 0));
}

#[test]
fn an_import_adopts_manual_rows_only() {
    let csv = source(SourceKind::Csv, "csv_file");
    let crm = source(SourceKind::DirectorySync, "hubspot");
    assert_eq!(
        after(&tagged(DataSource::manual()), Tagging::Adopt(csv.clone())),
        (csv.clone(), 1)
    );
    assert_eq!(after(&tagged(crm.clone()), Tagging::Adopt(csv)), (crm, 0));
}

#[test]
fn setting_retags_unless_the_source_is_the_same() {
    let csv = source(SourceKind::Csv, "csv_file");
    let crm = source(SourceKind::DirectorySync, "hubspot");
    assert_eq!(
        after(&tagged(csv), Tagging::Set(crm.clone())),
        (crm.clone(), 1)
    );
    let later = DataSource {
        synced_at: Some(AT.plus_seconds(60)),
        ..crm.clone()
    };
    assert_eq!(
        after(&tagged(crm.clone()), Tagging::Set(later)),
        (crm.clone(), 0)
    );
    let other_row = DataSource {
        external_id: Personal::new(Some("9".into())),
        ..crm.clone()
    };
    assert_eq!(
        after(&tagged(crm), Tagging::Set(other_row.clone())),
        (other_row, 1)
    );
}

#[test]
fn the_words_and_numbers_of_kinds_are_stable() {
    for kind in SourceKind::ALL {
        assert_eq!(SourceKind::parse(kind.as_str()), Some(kind));
        assert_eq!(SourceKind::from_number(kind.number()), Some(kind));
    }
    assert_eq!(
        (SourceKind::parse("CSV"), SourceKind::from_number(4)),
        (None, None)
    );
}
