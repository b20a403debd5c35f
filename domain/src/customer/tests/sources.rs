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

fn synced(connection: &str, external_id: &str) -> DataSource {
    DataSource {
        connection_id: Some(connection.into()),
        external_id: Personal::Known(Some(external_id.into())),
        ..source(SourceKind::DirectorySync, "hubspot")
    }
}

fn sync(connection: &str, external_id: &str) -> Tagging {
    Tagging::Sync {
        source: synced(connection, external_id),
        takes_over: false,
    }
}

#[test]
fn a_run_adopts_manual_and_csv_rows_and_leaves_the_tag_of_other_sources() {
    let tag = sync("dconn_1", "7");
    for (before, adopts) in [
        (source(SourceKind::Manual, "console"), true),
        (source(SourceKind::Csv, "csv_file"), true),
        (source(SourceKind::Scim, "okta"), false),
        (synced("dconn_2", "7"), false),
    ] {
        let customer = tagged(before.clone());
        let (now, _) = after(&customer, tag.clone());
        let expected = if adopts {
            synced("dconn_1", "7")
        } else {
            before
        };
        assert_eq!(now, expected);
    }
    let orphan = tagged(synced("dconn_2", "9"));
    let takes_over = Tagging::Sync {
        source: synced("dconn_1", "7"),
        takes_over: true,
    };
    assert_eq!(after(&orphan, takes_over).0, synced("dconn_1", "7"));
}

#[test]
fn a_row_that_a_run_made_is_not_adopted_by_its_later_changes() {
    let mut own = tagged(synced("dconn_1", "7"));
    for event in decide(
        &own,
        &Upsert {
            tagging: sync("dconn_1", "8"),
            ..upsert(&[])
        }
        .into(),
    )
    .expect("allowed")
    {
        own.fold(event);
    }
    assert!(!own.is_adopted);
    let mut found = tagged(source(SourceKind::Csv, "csv_file"));
    let adopt = Upsert {
        tagging: sync("dconn_1", "7"),
        ..upsert(&[])
    };
    for event in decide(&found, &adopt.into()).expect("allowed") {
        found.fold(event);
    }
    assert!(found.is_adopted);
}

#[test]
fn a_record_that_comes_back_is_switched_on_only_where_its_connection_switched_it_off() {
    let step = |customer: &mut Customer, command: crate::customer::CustomerCommand| {
        let events = decide(customer, &command).expect("allowed");
        let written = events.len();
        for event in events {
            customer.fold(event);
        }
        written
    };
    let gone = || crate::customer::CustomerCommand::DisableAtSource {
        at: AT,
        connection_id: "dconn_1".into(),
    };
    let back = || Upsert {
        tagging: sync("dconn_1", "7"),
        ..upsert(&[])
    };
    let off = || Upsert {
        enabled: Some(false),
        ..upsert(&[])
    };
    let mut customer = tagged(synced("dconn_1", "7"));
    assert_eq!(step(&mut customer, gone()), 1);
    assert!(!customer.enabled);
    assert_eq!(step(&mut customer, gone()), 0, "once is enough");
    step(&mut customer, back().into());
    assert!(customer.enabled);

    step(&mut customer, gone());
    step(&mut customer, off().into());
    step(&mut customer, back().into());
    assert!(!customer.enabled, "a person took the switch over");

    let mut foreign = tagged(synced("dconn_2", "7"));
    assert_eq!(step(&mut foreign, gone()), 0);
}
