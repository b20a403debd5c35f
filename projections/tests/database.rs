//! The projections on a real Postgres: rows equal the folded events, lists equal a filter over all rows.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use roster_domain::Timestamp;
use roster_domain::customer::{Customer, CustomerCommand, DataSource, SourceKind, Tagging};
use roster_domain::value::fold::fold;
use roster_domain::value::profile_json;
use roster_projections::customers::{self, CustomerRow, Filter, Sort};
use roster_projections::{QueryError, data_sources};
use roster_store::Project;
use support::{Database, Server, upsert};
use uuid::Uuid;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn source(number: u64) -> DataSource {
    let tag = |kind, provider: Option<&str>, connection: Option<&str>| DataSource {
        kind,
        provider: provider.map(str::to_owned),
        connection_id: connection.map(str::to_owned),
        ..DataSource::manual()
    };
    match number {
        0 => tag(SourceKind::Csv, Some("csv_file"), None),
        1 => tag(SourceKind::DirectorySync, Some("hubspot"), Some("dconn_1")),
        2 => tag(SourceKind::DirectorySync, Some("hubspot"), Some("dconn_2")),
        _ => DataSource::manual(),
    }
}

const NAMES: [&str; 6] = [
    "Ada Lovelace",
    "Élodie O’Neil",
    "Zoë Smith",
    "adam",
    "Bob_B 100%",
    "Ωmega",
];

/// Some hundred commands on one project; what every customer should look like, by id.
async fn populate(server: &Server, project: &Project, seed: u64) -> BTreeMap<String, Uuid> {
    let mut dice = Dice(seed);
    let mut living: BTreeMap<String, Uuid> = BTreeMap::new();
    let mut last = 0;
    for step in 0..400_i64 {
        let number = dice.roll(90);
        let id = format!(
            "{}{number:02}",
            ["u", "U", "é", "x-", "z"][usize::try_from(number % 5).unwrap_or_default()]
        );
        let at = 1_700_000_000_000_000 + step / 3 * 1_000_000;
        if dice.roll(7) == 0 {
            if let Some(stream) = living.remove(&id) {
                last = server
                    .run(
                        project,
                        stream,
                        &CustomerCommand::Erase { at: Timestamp(at) },
                    )
                    .await;
            }
            continue;
        }
        let stream = *living
            .entry(id.clone())
            .or_insert_with(|| Uuid::from_u128(u128::from(seed) << 64 | step as u128));
        let name = NAMES[usize::try_from(dice.roll(6)).unwrap_or_default()];
        let phone = format!("+49 170 {:07}", dice.roll(3) * 1_111_111);
        let enabled =
            [None, Some(true), Some(false)][usize::try_from(dice.roll(3)).unwrap_or_default()];
        let tagging = if dice.roll(2) == 0 {
            Tagging::Keep
        } else {
            Tagging::Set(source(dice.roll(4)))
        };
        let fields = [
            ("full_name", name),
            ("phone", phone.as_str()),
            ("city", ["", "Bonn"][usize::from(step % 4 == 0)]),
        ];
        last = server
            .run(project, stream, &upsert(&id, &fields, enabled, tagging, at))
            .await
            .max(last);
    }
    server.settle(last).await;
    living
}

async fn all_rows(server: &Server, project: &Project) -> Vec<CustomerRow> {
    customers::export(server.cell.pool().clone(), project.no, Filter::default())
        .try_collect()
        .await
        .expect("exported")
}

#[tokio::test]
async fn rows_and_counts_equal_the_folded_events() {
    let Some(database) = Database::create("rows").await else {
        return;
    };
    let server = database.server("one").await;
    let project = server.project("p1").await;
    let living = populate(&server, &project, 11).await;
    let rows = all_rows(&server, &project).await;
    assert_eq!(
        rows.iter()
            .map(|row| &row.customer_user_id)
            .collect::<Vec<_>>(),
        living.keys().collect::<Vec<_>>()
    );
    let mut counts: BTreeMap<_, (i64, i64)> = BTreeMap::new();
    for row in &rows {
        let state: Customer = server
            .cell
            .load(&project, row.customer_ref)
            .await
            .expect("loaded")
            .state;
        assert_eq!(living[&row.customer_user_id], row.customer_ref);
        assert_eq!(
            row.profile,
            profile_json(state.profile.known().expect("alive"))
        );
        assert_eq!(row.display_name, state.display_name());
        assert_eq!((row.version, row.enabled), (state.version, state.enabled));
        assert_eq!(
            (row.created_at, row.updated_at),
            (state.created_at, state.updated_at)
        );
        assert_eq!(row.source_connection, state.source.connection_id);
        let count = counts
            .entry((row.source_kind.number(), row.source_connection.clone()))
            .or_default();
        *count = (count.0 + 1, count.1 + i64::from(row.enabled));
    }
    let listed: BTreeMap<_, (i64, i64)> = data_sources::list(server.cell.pool(), project.no)
        .await
        .expect("listed")
        .into_iter()
        .map(|row| {
            (
                (row.kind.number(), row.connection_id),
                (row.count, row.enabled_count),
            )
        })
        .collect();
    assert_eq!(listed, counts);
    let extra = customers::extra_fields(
        server.cell.pool(),
        project.no,
        &["customer_user_id", "full_name", "phone"],
    )
    .await;
    assert_eq!(extra.expect("listed"), ["city"]);
    server.close().await;
}

/// A row with what a filter looks at.
struct Seen {
    row: CustomerRow,
    profile: BTreeMap<String, String>,
    id: String,
    name: String,
    values: Vec<String>,
}

fn seen(rows: Vec<CustomerRow>) -> Vec<Seen> {
    let see = |row: CustomerRow| {
        let profile: BTreeMap<String, String> =
            serde_json::from_str(&row.profile).expect("texts only");
        let digits = |value: &String| {
            value
                .chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
        };
        let phones = profile
            .values()
            .filter(|value| value.starts_with('+'))
            .map(digits);
        let values = profile
            .values()
            .map(|value| fold(value))
            .chain(phones)
            .collect();
        Seen {
            id: fold(&row.customer_user_id),
            name: fold(&row.display_name),
            values,
            profile,
            row,
        }
    };
    rows.into_iter().map(see).collect()
}

/// What a filter should pass, decided row by row.
fn passes(seen: &Seen, filter: &Filter) -> bool {
    let row = &seen.row;
    let asked =
        |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    let found = filter.search.as_deref().map(fold).is_none_or(|term| {
        if term.chars().count() < 3 {
            seen.id.starts_with(&term) || seen.name.starts_with(&term)
        } else {
            seen.id.contains(&term) || seen.values.iter().any(|value| value.contains(&term))
        }
    });
    found
        && filter.enabled.is_none_or(|enabled| enabled == row.enabled)
        && filter
            .source_kind
            .is_none_or(|kind| kind == row.source_kind)
        && asked(&filter.source_provider, &row.source_provider)
        && asked(&filter.source_connection, &row.source_connection)
        && filter
            .updated_since
            .is_none_or(|since| row.updated_at >= since)
        && filter
            .fields
            .iter()
            .all(|(name, value)| seen.profile.get(name) == Some(value))
}

/// The rows that a list should show, in its order.
fn expected<'a>(rows: &'a [Seen], filter: &Filter) -> Vec<&'a CustomerRow> {
    let mut expected: Vec<&CustomerRow> = rows
        .iter()
        .filter(|seen| passes(seen, filter))
        .map(|seen| &seen.row)
        .collect();
    expected.sort_by_key(|row| match filter.sort {
        Sort::CustomerUserId => (Timestamp(0), &row.customer_user_id),
        Sort::CreatedAt => (row.created_at, &row.customer_user_id),
        Sort::UpdatedAt => (row.updated_at, &row.customer_user_id),
    });
    if filter.descending {
        expected.reverse();
    }
    expected
}

fn filters() -> Vec<Filter> {
    let plain = Filter {
        page_size: 7,
        ..Filter::default()
    };
    let mut filters = vec![plain.clone()];
    for search in [
        "a",
        "u",
        "é",
        "U1",
        "x-",
        "zo",
        "q",
        "ada",
        "O'NEIL",
        "elodie o",
        "100%",
        "b_b",
        "+49 170 11",
        "4917",
        "zzz",
        "ω",
    ] {
        filters.push(Filter {
            search: Some(search.into()),
            ..plain.clone()
        });
    }
    let mut combined = Vec::new();
    for filter in &filters {
        combined.push(Filter {
            enabled: Some(true),
            ..filter.clone()
        });
        combined.push(Filter {
            enabled: Some(false),
            source_kind: Some(SourceKind::Csv),
            ..filter.clone()
        });
        combined.push(Filter {
            source_provider: Some("hubspot".into()),
            ..filter.clone()
        });
        combined.push(Filter {
            source_connection: Some("dconn_2".into()),
            ..filter.clone()
        });
        combined.push(Filter {
            updated_since: Some(Timestamp(1_700_000_100_000_000)),
            ..filter.clone()
        });
        let fields = vec![("city".to_owned(), "Bonn".to_owned())];
        combined.push(Filter {
            fields: fields.clone(),
            ..filter.clone()
        });
        combined.push(Filter {
            fields,
            enabled: Some(true),
            updated_since: Some(Timestamp(1_700_000_050_000_000)),
            ..filter.clone()
        });
    }
    filters.extend(combined);
    filters
}

#[tokio::test]
async fn every_list_equals_a_filter_over_all_rows() {
    let Some(database) = Database::create("lists").await else {
        return;
    };
    let server = database.server("one").await;
    let project = server.project("p1").await;
    let neighbour = server.project("p2").await;
    populate(&server, &neighbour, 5).await;
    populate(&server, &project, 23).await;
    let rows = seen(all_rows(&server, &project).await);
    let pool = server.cell.pool();
    for filter in filters() {
        for (sort, descending) in [Sort::CustomerUserId, Sort::CreatedAt, Sort::UpdatedAt]
            .into_iter()
            .flat_map(|sort| [(sort, false), (sort, true)])
        {
            let filter = Filter {
                sort,
                descending,
                ..filter.clone()
            };
            let expected = expected(&rows, &filter);
            let about = format!(
                "{:?} {:?} {sort:?} {descending}",
                filter.search, filter.fields
            );
            let mut found = Vec::new();
            let mut cursor = None;
            loop {
                let page = customers::list(
                    pool,
                    project.no,
                    &Filter {
                        cursor,
                        ..filter.clone()
                    },
                )
                .await
                .expect("listed");
                assert_eq!(page.total, i64::try_from(expected.len()).ok(), "{about}");
                found.extend(page.rows);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{about}");
        }
        let exported: Vec<CustomerRow> =
            customers::export(pool.clone(), project.no, filter.clone())
                .try_collect()
                .await
                .expect("exported");
        assert_eq!(
            exported.iter().collect::<Vec<_>>(),
            expected(&rows, &filter)
        );
    }
    server.close().await;
}

/// Enough customers that no walk sees all of them and that frequent matches are more than are counted.
#[tokio::test]
async fn every_list_of_a_large_project_equals_a_filter_over_all_rows() {
    let Some(database) = Database::create("large").await else {
        return;
    };
    let server = database.server("one").await;
    let project = server.project("p1").await;
    let mut dice = Dice(99);
    let commands = (0..13_000_i64).map(|number| {
        // Rare names and sources come in clusters, which walks meet late.
        let name = match number {
            500..900 => "Élodie O’Neil".to_owned(),
            9_000..9_003 => "Quentin 100%".to_owned(),
            _ => format!(
                "{} number {}",
                NAMES[usize::try_from(dice.roll(3)).unwrap_or_default()],
                number % 10
            ),
        };
        let id = format!(
            "{}{:05}",
            if number % 1_300 == 7 { "z" } else { "u" },
            number * 7_919 % 13_001
        );
        let phone = format!("+49 170 {:07}", dice.roll(5_000));
        let tagging = Tagging::Set(source(if number < 200 {
            2
        } else if number < 11_000 {
            0
        } else {
            3
        }));
        let city = if number % 900 == 0 { "Bonn" } else { "Köln" };
        let fields = [
            ("full_name", name.as_str()),
            ("phone", phone.as_str()),
            ("city", city),
        ];
        let at = 1_700_000_000_000_000 + number / 50 * 1_000_000;
        (
            Uuid::from_u128(u128::try_from(number).unwrap_or_default() + 1),
            upsert(&id, &fields, Some(number % 60 != 0), tagging, at),
        )
    });
    let last = server.register(&project, commands.collect()).await;
    server.settle(last).await;
    let rows = seen(all_rows(&server, &project).await);
    assert_eq!(rows.len(), 13_000);
    let plain = Filter {
        page_size: 20,
        ..Filter::default()
    };
    let mut filters = vec![plain.clone()];
    let city = |city: &str| vec![("city".to_owned(), city.to_owned())];
    for search in [
        "u", "z", "zo", "e", "q", "u0", "quentin", "o'neil", "number", "number 3", "u0123",
        "4917000", "...", "nobody",
    ] {
        filters.push(Filter {
            search: Some(search.into()),
            ..plain.clone()
        });
    }
    for (name, value) in [("city", "Bonn"), ("city", "Köln"), ("city", "Mars")] {
        filters.push(Filter {
            fields: vec![(name.into(), value.into())],
            ..plain.clone()
        });
    }
    for minute in [0, 100, 258, 400] {
        let since = Some(Timestamp(1_700_000_000_000_000 + minute * 1_000_000));
        filters.push(Filter {
            updated_since: since,
            ..plain.clone()
        });
    }
    let since = Some(Timestamp(1_700_000_000_000_000 + 200 * 1_000_000));
    let combined: Vec<Filter> = filters
        .iter()
        .enumerate()
        .flat_map(|(number, filter)| {
            let variants = [
                Filter {
                    enabled: Some(false),
                    ..filter.clone()
                },
                Filter {
                    updated_since: since,
                    ..filter.clone()
                },
                Filter {
                    source_kind: Some(SourceKind::Csv),
                    enabled: Some(true),
                    ..filter.clone()
                },
                Filter {
                    source_connection: Some("dconn_2".into()),
                    ..filter.clone()
                },
                Filter {
                    fields: city("Köln"),
                    ..filter.clone()
                },
                Filter {
                    source_kind: Some(SourceKind::Manual),
                    ..filter.clone()
                },
            ];
            let first = number % 2;
            variants.into_iter().skip(first).step_by(2)
        })
        .collect();
    filters.extend(combined);
    let orders = [
        (Sort::CustomerUserId, false),
        (Sort::CreatedAt, true),
        (Sort::CustomerUserId, true),
        (Sort::UpdatedAt, false),
    ];
    for (number, filter) in filters.into_iter().enumerate() {
        let (sort, descending) = orders[number % 4];
        check(
            &server,
            &project,
            &rows,
            &Filter {
                sort,
                descending,
                ..filter
            },
        )
        .await;
    }
    server.close().await;
}

/// The first two pages, the page after a deep row and the total are those of a filter over all rows.
async fn check(server: &Server, project: &Project, rows: &[Seen], filter: &Filter) {
    let pool = server.cell.pool();
    let expected = expected(rows, filter);
    let about = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {}",
        filter.search,
        filter.fields,
        filter.enabled,
        filter.source_kind,
        filter.updated_since,
        filter.sort,
        filter.descending
    );
    let found = i64::try_from(expected.len()).unwrap_or_default();
    let narrows =
        filter.search.is_some() || !filter.fields.is_empty() || filter.updated_since.is_some();
    let totals = if narrows && found > 10_000 {
        (None, Some(10_000))
    } else {
        (Some(found), None)
    };
    let one = customers::list(pool, project.no, filter)
        .await
        .expect("listed");
    assert_eq!((one.total, one.total_at_least), totals, "{about}");
    assert_eq!(
        one.rows.iter().collect::<Vec<_>>(),
        expected.iter().copied().take(20).collect::<Vec<_>>(),
        "{about}"
    );
    assert_eq!(one.next_cursor.is_some(), expected.len() > 20, "{about}");
    if let Some(cursor) = one.next_cursor {
        let two = customers::list(
            pool,
            project.no,
            &Filter {
                cursor: Some(cursor),
                ..filter.clone()
            },
        )
        .await
        .expect("listed");
        assert_eq!(
            two.rows.iter().collect::<Vec<_>>(),
            expected
                .iter()
                .copied()
                .skip(20)
                .take(20)
                .collect::<Vec<_>>(),
            "{about}"
        );
        assert_eq!((two.total, two.total_at_least), totals, "{about}");
    }
    let deep = u32::try_from(expected.len() / 20).unwrap_or_default();
    let page = customers::list(
        pool,
        project.no,
        &Filter {
            page: deep.max(1),
            ..filter.clone()
        },
    )
    .await
    .expect("listed");
    let skipped = usize::try_from(deep.max(1) - 1).unwrap_or_default() * 20;
    assert_eq!(
        page.rows.iter().collect::<Vec<_>>(),
        expected
            .iter()
            .copied()
            .skip(skipped)
            .take(20)
            .collect::<Vec<_>>(),
        "{about}"
    );
    let exact = customers::list(
        pool,
        project.no,
        &Filter {
            count_exact: true,
            ..filter.clone()
        },
    )
    .await
    .expect("listed");
    assert_eq!(exact.total, Some(found), "{about}");
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let Some(database) = Database::create("cursor").await else {
        return;
    };
    let server = database.server("one").await;
    let project = server.project("p1").await;
    populate(&server, &project, 3).await;
    let pool = server.cell.pool();
    let page = customers::list(
        pool,
        project.no,
        &Filter {
            page_size: 5,
            ..Filter::default()
        },
    )
    .await
    .expect("listed");
    let filter = Filter {
        cursor: page.next_cursor,
        enabled: Some(true),
        ..Filter::default()
    };
    assert!(matches!(
        customers::list(pool, project.no, &filter).await,
        Err(QueryError::InvalidCursor)
    ));
    server.close().await;
}

#[tokio::test]
async fn another_server_takes_over_and_both_see_every_write() {
    let Some(database) = Database::create("takeover").await else {
        return;
    };
    let one = database.server("one").await;
    let two = database.server("two").await;
    let project = one.project("p1").await;
    let position = one
        .run(
            &project,
            Uuid::from_u128(1),
            &upsert("ada", &[], None, Tagging::Keep, 1),
        )
        .await;
    one.settle(position).await;
    two.settle(position).await;
    let (closing, staying) = {
        let owner = one.projections.status()[0].owner.clone();
        if owner.as_deref() == Some("one") {
            (one, two)
        } else {
            (two, one)
        }
    };
    closing.close().await;
    let position = staying
        .run(
            &project,
            Uuid::from_u128(2),
            &upsert("bob", &[], None, Tagging::Keep, 2),
        )
        .await;
    staying.settle(position).await;
    assert_eq!(all_rows(&staying, &project).await.len(), 2);
    staying.close().await;
}

#[tokio::test]
async fn a_poison_event_parks_its_stream_only() {
    let Some(database) = Database::create("poison").await else {
        return;
    };
    let server = database.server("one").await;
    let project = server.project("p1").await;
    // Postgres texts have no NUL, and this one reached the log.
    let bad = DataSource {
        provider: Some("a\0b".into()),
        ..source(0)
    };
    let mut last = 0;
    for number in 0..20_u128 {
        let tagging = if number == 7 {
            Tagging::Set(bad.clone())
        } else {
            Tagging::Keep
        };
        last = server
            .run(
                &project,
                Uuid::from_u128(number + 1),
                &upsert(&format!("u{number:02}"), &[], None, tagging, 1),
            )
            .await;
    }
    server.settle(last).await;
    let ids: BTreeSet<String> = all_rows(&server, &project)
        .await
        .into_iter()
        .map(|row| row.customer_user_id)
        .collect();
    assert_eq!(ids.len(), 19);
    assert!(!ids.contains("u07"));
    let status = server.projections.status();
    assert_eq!((status[0].parked_streams, status[0].stale), (1, true));

    // A change that heals the row is skipped until someone asks for the stream.
    let heal = upsert(
        "u07",
        &[("full_name", "Seven")],
        None,
        Tagging::Set(source(1)),
        2,
    );
    last = server.run(&project, Uuid::from_u128(8), &heal).await;
    server.settle(last).await;
    assert!(
        customers::get(server.cell.pool(), project.no, "u07")
            .await
            .expect("read")
            .is_none()
    );
    assert_eq!(
        server
            .projections
            .unpark("directory", None)
            .await
            .expect("asked"),
        1
    );
    while server.projections.status()[0].stale {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let row = customers::get(server.cell.pool(), project.no, "u07")
        .await
        .expect("read")
        .expect("it is back");
    assert_eq!((row.version, row.display_name.as_str()), (2, "Seven"));
    let counted: i64 = data_sources::list(server.cell.pool(), project.no)
        .await
        .expect("listed")
        .iter()
        .map(|row| row.count)
        .sum();
    assert_eq!(counted, 20);
    server.close().await;
}
