//! temporary measurement
mod support;
use roster_domain::Timestamp;
use roster_domain::customer::{DataSource, SourceKind, Tagging};
use roster_projections::customers::{self, Filter, Sort};
use std::time::Instant;
use support::{Database, Server, upsert};
use uuid::Uuid;

const FN: [&str; 32] = [
    "Ada", "Alan", "Grace", "Linus", "Barbara", "Edsger", "Donald", "Margaret", "Tim", "Vint",
    "Radia", "Ken", "Dennis", "Bjarne", "James", "Guido", "Yukihiro", "Anders", "Brendan", "Larry",
    "Zoe", "Xavier", "Quentin", "Olga", "Pavel", "Ivan", "Jose", "Maria", "Svetlana", "Uma",
    "Wanda", "Hedy",
];
const LN: [&str; 40] = [
    "Lovelace",
    "Turing",
    "Hopper",
    "Torvalds",
    "Liskov",
    "Dijkstra",
    "Knuth",
    "Hamilton",
    "Berners",
    "Cerf",
    "Perlman",
    "Thompson",
    "Ritchie",
    "Stroustrup",
    "Gosling",
    "Rossum",
    "Matsumoto",
    "Hejlsberg",
    "Eich",
    "Wall",
    "Smith",
    "Jones",
    "Garcia",
    "Miller",
    "Davis",
    "Rodriguez",
    "Martinez",
    "Hernandez",
    "Lopez",
    "Gonzalez",
    "Wilson",
    "Anderson",
    "Thomas",
    "Taylor",
    "Moore",
    "Jackson",
    "Martin",
    "Lee",
    "Perez",
    "White",
];
const HOST: [&str; 4] = ["gmail.com", "example.org", "acme.io", "corp.example.com"];

fn mix(n: u64) -> u64 {
    let mut z = n
        .wrapping_add(0x9E37_79B9_7F4A_7C15)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^= z >> 29;
    z = z.wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 32)
}

async fn fill(server: &Server, project: &roster_store::Project, from: u64, to: u64) -> i64 {
    let mut last = 0;
    let mut at = from;
    while at < to {
        let end = (at + 20_000).min(to);
        let commands = (at..end)
            .map(|g| {
                let r = mix(g);
                let (f, l) = (FN[(r % 32) as usize], LN[((r >> 8) % 40) as usize]);
                let id = format!("u{:07}", g * 7919 % 1_000_003);
                let email = format!(
                    "{}.{}{}@{}",
                    f.to_lowercase(),
                    l.to_lowercase(),
                    g % 9973,
                    HOST[((r >> 16) % 4) as usize]
                );
                let phone = format!("+1{}", 2_000_000_000 + (r >> 20) % 7_999_999_999);
                let name = format!("{f} {l}");
                let s = match r % 1000 {
                    0 => DataSource {
                        kind: SourceKind::Scim,
                        ..DataSource::manual()
                    },
                    1..100 => DataSource::manual(),
                    _ => DataSource {
                        kind: SourceKind::Csv,
                        provider: Some("csv_file".into()),
                        ..DataSource::manual()
                    },
                };
                (
                    Uuid::from_u128(
                        ((1_700_000_000_000 + g as u128) << 80)
                            | (7 << 76)
                            | (2 << 62)
                            | u128::from(r >> 4),
                    ),
                    upsert(
                        &id,
                        &[("email", &email), ("full_name", &name), ("phone", &phone)],
                        Some(r % 50 != 0),
                        Tagging::Set(s),
                        1_700_000_000_000_000 + g as i64 * 1000,
                    ),
                )
            })
            .collect();
        last = server.register(project, commands).await;
        at = end;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure() {
    let rows: u64 = std::env::var("ROWS")
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(1_000_000);
    let keep = std::env::var("KEEP").is_ok();
    let database = if keep {
        Database::existing("measure")
    } else {
        Database::create("measure").await.unwrap()
    };
    let server = database.server("one").await;
    let project = server.project("p1").await;
    if !keep {
        let t = Instant::now();
        let last = fill(&server, &project, 0, rows).await;
        println!("appended {last} in {:?}", t.elapsed());
        server
            .projections
            .wait_for(last, std::time::Duration::from_secs(600))
            .await;
        println!("listed {last} in {:?}", t.elapsed());
        server
            .projections
            .wait_for_search(last, std::time::Duration::from_secs(900))
            .await;
        println!("searchable {last} in {:?}", t.elapsed());
    }
    if std::env::var("VACUUM").is_ok() {
        let t = Instant::now();
        database
            .sql("VACUUM ANALYZE roster_main.view_customers, roster_main.view_customer_search")
            .await;
        println!("vacuum {:?}", t.elapsed());
    }
    let pool = server.cell.pool();
    let f = Filter::default();
    let s = |t: &str| Filter {
        search: Some(t.into()),
        ..Filter::default()
    };
    let mut cases: Vec<(String, Filter)> = vec![("none".into(), f.clone())];
    for sort in [Sort::CreatedAt, Sort::UpdatedAt] {
        cases.push((
            format!("{sort:?} desc"),
            Filter {
                sort,
                descending: true,
                ..f.clone()
            },
        ));
    }
    cases.push((
        "page 100".into(),
        Filter {
            page: 100,
            ..f.clone()
        },
    ));
    cases.push((
        "enabled".into(),
        Filter {
            enabled: Some(true),
            ..f.clone()
        },
    ));
    cases.push((
        "disabled".into(),
        Filter {
            enabled: Some(false),
            ..f.clone()
        },
    ));
    cases.push((
        "csv".into(),
        Filter {
            source_kind: Some(SourceKind::Csv),
            ..f.clone()
        },
    ));
    cases.push((
        "scim rare".into(),
        Filter {
            source_kind: Some(SourceKind::Scim),
            ..f.clone()
        },
    ));
    cases.push((
        "scim updated desc".into(),
        Filter {
            source_kind: Some(SourceKind::Scim),
            sort: Sort::UpdatedAt,
            descending: true,
            ..f.clone()
        },
    ));
    cases.push((
        "since few".into(),
        Filter {
            updated_since: Some(Timestamp(
                1_700_000_000_000_000 + (rows as i64 - 500) * 1000,
            )),
            ..f.clone()
        },
    ));
    cases.push((
        "since half".into(),
        Filter {
            updated_since: Some(Timestamp(1_700_000_000_000_000 + (rows as i64 / 2) * 1000)),
            ..f.clone()
        },
    ));
    cases.push((
        "since half, by updated".into(),
        Filter {
            sort: Sort::UpdatedAt,
            updated_since: Some(Timestamp(1_700_000_000_000_000 + (rows as i64 / 2) * 1000)),
            ..f.clone()
        },
    ));
    cases.push((
        "field one".into(),
        Filter {
            fields: vec![("customer_user_id".into(), "u0007919".into())],
            ..f.clone()
        },
    ));
    cases.push((
        "field 0.08%".into(),
        Filter {
            fields: vec![("full_name".into(), "Ada Lovelace".into())],
            ..f.clone()
        },
    ));
    for t in [
        "u",
        "z",
        "9",
        "u0",
        "ad",
        "q9",
        "u12",
        "ada",
        "qqq",
        "467",
        "@gma",
        "gmail.com",
        "uentin lovel",
        "corp.example",
        "xxxxxxxxxxxx",
        "u0007919",
        "lovelace12@g",
        "+1415",
        "4155550",
        "quentin",
        "mario",
        "ada lovelace",
    ] {
        cases.push((format!("search {t}"), s(t)));
    }
    cases.push((
        "search ada, updated desc".into(),
        Filter {
            sort: Sort::UpdatedAt,
            descending: true,
            ..s("ada")
        },
    ));
    cases.push((
        "search u0007919 updated desc".into(),
        Filter {
            sort: Sort::UpdatedAt,
            descending: true,
            ..s("u0007919")
        },
    ));
    cases.push((
        "search ada disabled".into(),
        Filter {
            enabled: Some(false),
            ..s("ada")
        },
    ));
    cases.push((
        "search lovelace scim".into(),
        Filter {
            source_kind: Some(SourceKind::Scim),
            ..s("lovelace")
        },
    ));
    let only = std::env::var("CASE").ok();
    for (name, filter) in cases {
        if only
            .as_ref()
            .is_some_and(|only| !only.split(',').any(|part| name.contains(part)))
        {
            continue;
        }
        let mut line = String::new();
        for deep in [false, true] {
            let mut filter = filter.clone();
            if deep {
                // a cursor about two thirds in
                let page = customers::list(
                    pool,
                    project.no,
                    &Filter {
                        page: 1
                            + (if filter.search.is_some() || !filter.fields.is_empty() {
                                3_000
                            } else {
                                rows as u32
                            }) * 2
                                / 3
                                / 25,
                        ..filter.clone()
                    },
                )
                .await
                .unwrap();
                let page = if page.next_cursor.is_some() {
                    page
                } else {
                    customers::list(pool, project.no, &filter).await.unwrap()
                };
                if page.next_cursor.is_none() {
                    continue;
                }
                filter.cursor = page.next_cursor;
            }
            let mut times = Vec::new();
            let mut total = (None, None);
            for _ in 0..7 {
                let t = Instant::now();
                let page = customers::list(pool, project.no, &filter).await.unwrap();
                times.push(t.elapsed().as_secs_f64() * 1000.0);
                total = (page.total, page.total_at_least);
            }
            times.sort_by(f64::total_cmp);
            line += &format!(
                "  {} p50 {:6.2} p95 {:6.2}",
                if deep { "deep" } else { "first" },
                times[0],
                times[3]
            );
            if !deep {
                line += &format!(" total {:?}", total.0.or(total.1.map(|t| -t)));
            }
        }
        println!("{name:32}{line}");
    }
    server.close().await;
}
