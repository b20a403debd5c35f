//! What a page does to the customer index, told without a database.

use std::collections::{BTreeMap, HashMap};

use roster_domain::customer::{CustomerEvent, DataSource, ProfileChange, SourceKind};
use roster_domain::value::{Profile, Value};
use roster_domain::{Personal, Timestamp};
use uuid::Uuid;

use super::fold::{Change, CountChange, Folded, Listed, Needed, fold, needed};

fn stream(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn profile(name: &str) -> Profile {
    [("full_name".to_owned(), Value::Text(name.into()))].into()
}

fn registered(id: &str, name: &str) -> CustomerEvent {
    CustomerEvent::Registered {
        at: Timestamp(10),
        customer_user_id: Personal::new(id.into()),
        profile: Personal::new(profile(name)),
        enabled: true,
        connector_enabled: BTreeMap::new(),
        source: DataSource::manual(),
        claimed: vec![],
    }
}

fn updated(name: &str, enabled: Option<bool>, source: Option<DataSource>) -> CustomerEvent {
    CustomerEvent::Updated {
        at: Timestamp(20),
        fields: vec!["full_name".into()],
        change: Personal::new(ProfileChange {
            set: profile(name),
            cleared: vec![],
        }),
        enabled,
        connector_enabled: BTreeMap::new(),
        source,
        claimed: vec![],
    }
}

fn csv() -> DataSource {
    DataSource {
        kind: SourceKind::Csv,
        provider: Some("csv_file".into()),
        ..DataSource::manual()
    }
}

fn page(events: Vec<(u128, CustomerEvent)>) -> Vec<Change> {
    (1..)
        .zip(events)
        .map(|(position, (number, event))| Change {
            position,
            project_no: 7,
            stream: stream(number),
            event,
        })
        .collect()
}

/// The rows after a page onto nothing.
fn rows(events: Vec<(u128, CustomerEvent)>) -> HashMap<Uuid, Listed> {
    fold(page(events), HashMap::new()).rows().cloned().collect()
}

fn counts(folded: &Folded) -> Vec<(SourceKind, CountChange)> {
    folded
        .counts
        .iter()
        .map(|(key, change)| (key.kind, *change))
        .collect()
}

#[test]
fn many_events_of_one_customer_are_one_row() {
    let folded = fold(
        page(vec![
            (1, registered("ada", "Ada")),
            (1, updated("Ada L", Some(false), None)),
        ]),
        HashMap::new(),
    );
    let [(_, row)] = folded.inserts.as_slice() else {
        panic!("one row")
    };
    assert_eq!(
        (row.position, row.customer.version, row.customer.enabled),
        (2, 2, false)
    );
    assert_eq!(row.customer.display_name(), "Ada L");
    let change = CountChange {
        count: 1,
        enabled: 0,
        upserted_at: Some(Timestamp(20)),
    };
    assert_eq!(counts(&folded), [(SourceKind::Manual, change)]);
    assert_eq!(folded.fields.iter().collect::<Vec<_>>(), [(7, "full_name")]);
}

#[test]
fn a_change_of_source_moves_the_count() {
    let present = rows(vec![(1, registered("ada", "Ada"))]);
    let folded = fold(page(vec![(1, updated("Ada", None, Some(csv())))]), present);
    let came = CountChange {
        count: 1,
        enabled: 1,
        upserted_at: Some(Timestamp(20)),
    };
    let went = CountChange {
        count: -1,
        enabled: -1,
        upserted_at: None,
    };
    assert_eq!(
        counts(&folded),
        [(SourceKind::Manual, went), (SourceKind::Csv, came)]
    );
}

#[test]
fn an_erased_customer_leaves_no_row_and_no_count() {
    let present = rows(vec![(1, registered("ada", "Ada"))]);
    let folded = fold(
        page(vec![(1, CustomerEvent::Erased { at: Timestamp(30) })]),
        present,
    );
    assert!(folded.rows().next().is_none());
    assert_eq!(folded.deletes.len(), 1);
    assert_eq!(
        counts(&folded),
        [(
            SourceKind::Manual,
            CountChange {
                count: -1,
                enabled: -1,
                upserted_at: None
            }
        )]
    );
}

#[test]
fn a_customer_who_comes_and_goes_in_one_page_leaves_nothing() {
    let events = vec![
        (1, registered("ada", "Ada")),
        (1, CustomerEvent::Erased { at: Timestamp(30) }),
    ];
    let folded = fold(page(events), HashMap::new());
    assert!(
        folded.rows().next().is_none() && folded.deletes.is_empty() && folded.counts.is_empty()
    );
}

#[test]
fn a_recreated_customer_replaces_the_row_of_the_erased_one() {
    let present = rows(vec![(1, registered("ada", "Ada"))]);
    let events = vec![
        (1, CustomerEvent::Erased { at: Timestamp(30) }),
        (2, registered("ada", "Ada II")),
    ];
    let folded = fold(page(events), present);
    assert!(folded.deletes.is_empty());
    let [(written, row)] = folded.upserts.as_slice() else {
        panic!("one row")
    };
    assert_eq!((*written, row.customer.version), (stream(2), 1));
    let change = CountChange {
        count: 0,
        enabled: 0,
        upserted_at: Some(Timestamp(10)),
    };
    assert_eq!(counts(&folded), [(SourceKind::Manual, change)]);
}

#[test]
fn events_whose_key_is_destroyed_leave_no_row() {
    let erased = CustomerEvent::Registered {
        at: Timestamp(10),
        customer_user_id: Personal::Erased,
        profile: Personal::Erased,
        enabled: true,
        connector_enabled: BTreeMap::new(),
        source: DataSource::manual(),
        claimed: vec![],
    };
    let folded = fold(
        page(vec![
            (1, erased),
            (1, CustomerEvent::Erased { at: Timestamp(30) }),
        ]),
        HashMap::new(),
    );
    assert_eq!(folded, Folded::default());
}

#[test]
fn a_row_goes_with_the_first_change_that_cannot_be_read() {
    let present = rows(vec![(1, registered("ada", "Ada"))]);
    let unreadable = CustomerEvent::Updated {
        at: Timestamp(20),
        fields: vec!["full_name".into()],
        change: Personal::Erased,
        enabled: None,
        connector_enabled: BTreeMap::new(),
        source: None,
        claimed: vec![],
    };
    let folded = fold(page(vec![(1, unreadable)]), present);
    assert!(folded.rows().next().is_none());
    assert_eq!(folded.deletes.len(), 1);
}

#[test]
fn claims_alone_change_no_row_and_need_none() {
    let changes = page(vec![(
        1,
        CustomerEvent::FieldsClaimed {
            at: Timestamp(9),
            claimed: vec!["email".into()],
        },
    )]);
    assert!(needed(&changes).is_empty());
    assert_eq!(fold(changes, HashMap::new()), Folded::default());
}

#[test]
fn only_streams_that_begin_earlier_are_read() {
    let changes = page(vec![
        (1, registered("ada", "Ada")),
        (1, updated("Ada L", None, None)),
        (2, updated("Bob", None, None)),
        (2, updated("Bob B", None, None)),
        (3, CustomerEvent::Erased { at: Timestamp(30) }),
    ]);
    let gone = Needed {
        with_profile: false,
        ..Needed::row(7, stream(3))
    };
    assert_eq!(needed(&changes), [Needed::row(7, stream(2)), gone]);
}

#[test]
fn who_only_goes_is_read_where_somebody_comes() {
    let goes = (1, CustomerEvent::Erased { at: Timestamp(30) });
    let changes = page(vec![goes.clone(), (2, updated("Bob", None, None))]);
    assert_eq!(needed(&changes), [Needed::row(7, stream(2))]);
    let folded = fold(changes, HashMap::new());
    assert_eq!(folded.unread, [(7, stream(1))]);
    assert!(folded.deletes.is_empty() && folded.counts.is_empty());

    let changes = page(vec![goes, (2, registered("ada", "Ada II"))]);
    let gone = Needed {
        with_profile: false,
        ..Needed::row(7, stream(1))
    };
    assert_eq!(needed(&changes), [gone]);
}

#[test]
fn a_page_cut_anywhere_gives_the_same_rows_and_counts() {
    let events = vec![
        (1, registered("ada", "Ada")),
        (2, registered("bob", "Bob")),
        (1, updated("Ada L", Some(false), Some(csv()))),
        (2, CustomerEvent::Erased { at: Timestamp(30) }),
        (3, registered("bob", "Bob II")),
        (1, updated("Ada M", Some(true), None)),
    ];
    let whole = fold(page(events.clone()), HashMap::new());
    for cut in 1..events.len() {
        let mut first = page(events.clone());
        let second = first.split_off(cut);
        let one = fold(first, HashMap::new());
        let mut present: HashMap<Uuid, Listed> = one.rows().cloned().collect();
        let two = fold(second, present.clone());
        assert_eq!(two.unread, []);
        for gone in &two.deletes {
            present.remove(&gone.stream);
        }
        for (written, row) in two.rows() {
            present.retain(|_, old| old.id() != row.id());
            present.insert(*written, row.clone());
        }
        assert_eq!(present, whole.rows().cloned().collect(), "cut at {cut}");
        let mut sums: BTreeMap<SourceKind, (i64, i64)> = BTreeMap::new();
        for (kind, change) in counts(&one).into_iter().chain(counts(&two)) {
            let sum = sums.entry(kind).or_default();
            *sum = (sum.0 + change.count, sum.1 + change.enabled);
        }
        sums.retain(|_, sum| *sum != (0, 0));
        let expected: BTreeMap<SourceKind, (i64, i64)> = counts(&whole)
            .into_iter()
            .map(|(kind, change)| (kind, (change.count, change.enabled)))
            .filter(|(_, sum)| *sum != (0, 0))
            .collect();
        assert_eq!(sums, expected, "cut at {cut}");
    }
}
