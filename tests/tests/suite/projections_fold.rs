//! Many writers on few customers, with schema changes meanwhile: the read models are a fold of the log, and nobody is
//! without the claims that the schema asks for. Also with two servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use roster_commands::{
    AttachInput, CommandError, Context, DataSourceInput, Directory, Grantee, Limits, LinkInput,
    NotFound, SchemaInput, UnlinkInput, UpsertInput,
};
use roster_domain::customer::SourceKind;
use roster_domain::schema::{ConnectorBinding, Definition, Field, FieldType};
use roster_domain::stream::kind;
use roster_domain::value::Input;
use roster_domain::{Personal, Timestamp};
use roster_projections::rebuild::{Target, rebuild};
use roster_tests::database::Database;
use roster_tests::fold;
use roster_tests::node::Node;
use roster_tests::scale::asked;
use roster_tests::until::until;
use sqlx::Executor;

const WRITERS: usize = 64;
/// How much longer the writers go on where the machine is so busy that not everything has happened yet.
const PATIENCE: Duration = Duration::from_mins(2);
const CUSTOMERS: u32 = 1_000;
/// So few identities that links are fought for even where the machine is busy.
const IDENTITIES: u32 = 20;
/// Fewer addresses than customers, so that claims are fought for and change hands.
const ADDRESSES: u32 = 700;
/// So many badges that a schema that makes them unique is sometimes kept out by a duplicate, and sometimes not.
const BADGES: u32 = 400_000;

fn seconds() -> u64 {
    asked("ROSTER_HAMMER_SECONDS", 4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_read_models_are_a_fold_of_the_log() {
    hammer(1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_read_models_are_a_fold_of_the_log_after_rebuilds_under_load() {
    hammer(2, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_read_models_of_two_servers_are_a_fold_of_the_log() {
    hammer(2, false).await;
}

/// How often what happened.
#[derive(Debug, Default)]
struct Tally {
    written: AtomicU64,
    taken: AtomicU64,
    linked: AtomicU64,
    linked_elsewhere: AtomicU64,
    erased: AtomicU64,
    purged: AtomicU64,
    asked_schemas: AtomicU64,
    schemas: AtomicU64,
    refused_schemas: AtomicU64,
}

impl Tally {
    /// Whether each kind of thing happened at least once.
    fn is_varied(&self) -> bool {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let happened = [
            count(&self.written),
            count(&self.taken),
            count(&self.linked),
            count(&self.linked_elsewhere),
            count(&self.erased),
            count(&self.purged),
            count(&self.schemas) + count(&self.refused_schemas),
        ];
        happened.iter().all(|count| *count > 0)
    }
}

async fn hammer(servers: usize, rebuilt: bool) {
    let database = Database::create().await.expect("a database");
    let mut nodes = Vec::new();
    for number in 0..servers {
        let node = Node::start(&database, &format!("node-{number}"), Limits::default()).await;
        let node = node.expect("a node");
        node.start_jobs();
        nodes.push(node);
    }
    let first = nodes[0].directory.clone();
    let ctx = Node::context("p");
    let input = SchemaInput {
        definition: definition(false, None),
        expected_version: None,
    };
    first.upsert_schema(&ctx, input).await.expect("a schema");
    let till = Instant::now() + Duration::from_secs(seconds());
    let at_last = till + PATIENCE;
    let tally = Arc::new(Tally::default());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let directory = nodes[writer % servers].directory.clone();
        let tally = Arc::clone(&tally);
        tasks.spawn(async move {
            for turn in 0_u32.. {
                let now = Instant::now();
                if now >= at_last || (now >= till && tally.is_varied()) {
                    break;
                }
                // One writer of each server changes the schema too.
                if writer < servers && turn % 8 == 3 {
                    change_schema(&directory, &tally).await;
                }
                write_once(&directory, &tally).await;
            }
        });
    }
    if rebuilt {
        let place = database.place().expect("a place");
        for target in [Target::Directory, Target::Search, Target::Audit] {
            let done = rebuild(&place, target, &|_| {}).await;
            done.expect("it is rebuilt while commands run");
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no writer fails");
    }
    for job in [kind::PURGE, kind::PREPARATION] {
        until("the jobs end", async || {
            let open = nodes[0].cell().open_jobs(&[job]).await;
            open.expect("jobs").is_empty().then_some(())
        })
        .await;
    }
    let mut head = 0;
    for node in &nodes {
        head = node.settle().await.expect("the projections catch up");
        for status in node.projections.status() {
            assert_eq!(
                (status.parked_streams, status.error),
                (0, None),
                "{}",
                status.name
            );
        }
    }
    fold::check(&database, &ctx.scope, head).await;
    eprintln!("{tally:?}");
    assert!(tally.is_varied(), "{tally:?}: the test did not hammer");
    for node in nodes {
        node.close().await;
    }
    follow_from_the_beginning(&database, head).await;
}

/// The read tables once more, in large pages of which one is folded while another is written.
async fn follow_from_the_beginning(database: &Database, head: i64) {
    let mut connection = database.superuser().await.expect("a connection");
    // Names of fields that only erased people had are nowhere else.
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text
           FROM pg_tables
          WHERE schemaname = current_schema()
            AND tablename LIKE 'view\\_%'
            AND tablename <> 'view_profile_fields'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    let empty = format!(
        "TRUNCATE {}; DELETE FROM log_checkpoints",
        tables.join(", ")
    );
    connection.execute(empty.as_str()).await.expect("no rows");
    let node = Node::start(database, "later", Limits::default())
        .await
        .expect("a node");
    assert_eq!(node.settle().await.expect("it catches up"), head);
    fold::check(database, &Node::context("p").scope, head).await;
    node.close().await;
}

/// A unique and fought-for address, a badge that is sometimes unique, a number whose region changes.
fn definition(unique_badge: bool, region: Option<&str>) -> Definition {
    let unique = |name: &str, field_type, unique| Field {
        unique,
        ..Field::new(name, field_type)
    };
    let mut definition = Definition::default();
    definition
        .fields
        .retain(|field| !["email", "phone"].contains(&field.name.as_str()));
    definition.fields.extend([
        unique("email", FieldType::Email, true),
        unique("badge", FieldType::String, unique_badge),
        Field {
            default_region: region.map(str::to_owned),
            ..unique("phone", FieldType::Phone, true)
        },
        Field::new("score", FieldType::Number),
        Field::new("vip", FieldType::Boolean),
    ]);
    definition.connector_bindings = ["sms", "whatsapp"]
        .map(|channel| ConnectorBinding {
            channel: channel.into(),
            profile_field: "phone".into(),
            source: None,
            required: false,
            label: None,
        })
        .into();
    definition
}

async fn change_schema(directory: &Directory, tally: &Tally) {
    // The first differs from the schema of the start, and each from the one before.
    let turn = tally.asked_schemas.fetch_add(1, Ordering::Relaxed);
    let badge = turn.is_multiple_of(2);
    let region = [Some("DE"), Some("US"), None][usize::try_from(turn % 3).unwrap_or_default()];
    let input = SchemaInput {
        definition: definition(badge, region),
        expected_version: None,
    };
    match directory.upsert_schema(&Node::context("p"), input).await {
        Ok(applied) => tally
            .schemas
            .fetch_add(u64::from(applied.position.is_some()), Ordering::Relaxed),
        Err(
            CommandError::SchemaInvalid(_)
            | CommandError::SchemaConflict { .. }
            | CommandError::PreparationRequired { .. },
        ) => tally.refused_schemas.fetch_add(1, Ordering::Relaxed),
        Err(error) => panic!("a schema change failed: {error}"),
    };
}

/// One random command as a request would give it.
async fn write_once(directory: &Directory, tally: &Tally) {
    let ctx = Node::context("p");
    let (id, dice) = {
        let mut random = rand::rng();
        (
            format!("Customer-{}", random.random_range(0..CUSTOMERS)),
            random.random_range(0..300),
        )
    };
    let ended = match dice {
        0..12 => directory
            .erase_customer(&ctx, &id, dice < 3)
            .await
            .map(|_| &tally.erased),
        12..15 => directory
            .remove_suppression(&ctx, &id)
            .await
            .map(|_| &tally.written),
        15 => {
            let ids: Vec<String> = (0..20).map(|_| random_id()).collect();
            directory
                .purge_customers(&ctx, &ids)
                .await
                .map(|_| &tally.purged)
        }
        16..24 => {
            let inputs = (0..5).map(|_| random_input(None)).collect();
            let verdicts = directory
                .upsert_customers(&ctx, inputs)
                .await
                .expect("a verdict each")
                .value;
            for verdict in verdicts {
                note(verdict.map(|_| &tally.written), tally);
            }
            return;
        }
        24..54 => change_access(directory, &ctx, id, dice)
            .await
            .map(|()| &tally.linked),
        _ => directory
            .upsert_customer(&ctx, random_input(Some(id)))
            .await
            .map(|_| &tally.written),
    };
    note(ended, tally);
}

fn random_id() -> String {
    format!("Customer-{}", rand::rng().random_range(0..CUSTOMERS))
}

/// One random command on links and grants.
async fn change_access(
    directory: &Directory,
    ctx: &Context,
    id: String,
    dice: u32,
) -> Result<(), CommandError> {
    let (identity, agent, flag, channel) = {
        let mut random = rand::rng();
        (
            format!("U{}", random.random_range(0..IDENTITIES)),
            format!("agent \"{}\"", random.random_range(0..3)),
            random.random(),
            ["line", "telegram", "sms"][random.random_range(0..3)].to_owned(),
        )
    };
    let line = || String::from("line");
    match dice {
        24..32 => {
            let input = LinkInput {
                channel: line(),
                external_user_id: identity,
                customer_user_id: id,
            };
            directory.link_identity(ctx, input).await.map(|_| ())
        }
        32..36 => {
            let input = UnlinkInput {
                channel: line(),
                external_user_id: Some(identity),
                customer_user_id: None,
                clear_profile_field: flag,
            };
            directory.unlink_identity(ctx, input).await.map(|_| ())
        }
        36..39 => {
            let input = UnlinkInput {
                channel,
                external_user_id: None,
                customer_user_id: Some(id),
                clear_profile_field: flag,
            };
            directory.unlink_identity(ctx, input).await.map(|_| ())
        }
        39..48 => {
            // Most have a number that is bound to sms, and some of them do not.
            let external_user_id = (channel != "sms").then_some(identity);
            let grantee = if dice < 41 {
                Grantee::Everybody
            } else {
                Grantee::Customer {
                    customer_user_id: id,
                    external_user_id,
                }
            };
            let input = AttachInput {
                grantee,
                channel,
                agents: vec![agent, "*".to_owned()].split_off(usize::from(flag)),
                enabled: flag,
                expires_at: flag.then_some(Timestamp(1_767_225_600_000_000)),
            };
            match directory.attach_channel_grant(ctx, input).await {
                Err(CommandError::Invalid(problems)) if problems[0].kind == "missing" => Ok(()),
                ended => ended.map(|_| ()),
            }
        }
        48..51 => {
            let grantee = if flag {
                Grantee::Everybody
            } else {
                Grantee::Customer {
                    customer_user_id: id,
                    external_user_id: None,
                }
            };
            let revoked = directory.revoke_channel_grant(ctx, &grantee, &channel);
            revoked.await.map(|_| ())
        }
        _ => {
            let switched = directory.set_connector_enabled(ctx, &id, &channel, flag);
            switched.await.map(|_| ())
        }
    }
}

fn note(ended: Result<&AtomicU64, CommandError>, tally: &Tally) {
    match ended {
        Ok(counter) => counter.fetch_add(1, Ordering::Relaxed),
        Err(CommandError::UniqueValueTaken { .. }) => tally.taken.fetch_add(1, Ordering::Relaxed),
        Err(CommandError::IdentityLinkedElsewhere { .. }) => {
            tally.linked_elsewhere.fetch_add(1, Ordering::Relaxed)
        }
        Err(
            CommandError::VersionConflict { .. }
            | CommandError::NotFound(NotFound::Customer | NotFound::Suppression | NotFound::Grant),
        ) => 0,
        Err(error) => panic!("a command failed: {error}"),
    };
}

fn random_input(id: Option<String>) -> UpsertInput {
    let mut random = rand::rng();
    let number = random.random_range(0..CUSTOMERS);
    let id = id.unwrap_or_else(|| format!("Customer-{number}"));
    let own: u32 = id
        .trim_start_matches("Customer-")
        .parse()
        .unwrap_or_default();
    let text = |text: String| Input::Text(text);
    let candidates = [
        (
            "email",
            text(format!("{}@Example.org", random.random_range(0..ADDRESSES))),
        ),
        (
            "badge",
            text(format!("badge {}", random.random_range(0..BADGES))),
        ),
        (
            "phone",
            text(format!("0171 {:07}", own * 10 + random.random_range(0..10))),
        ),
        (
            "score",
            Input::Number(random.random_range(-50..50).to_string()),
        ),
        ("vip", Input::Bool(random.random())),
        (
            "full_name",
            text(format!("Žofie Ó’Brien {}", random.random_range(0..9))),
        ),
        ("note", text(format!("extra {}", random.random_range(0..9)))),
    ];
    let mut profile = Vec::new();
    for (name, input) in candidates {
        match random.random_range(0..24) {
            0..8 => {}
            8..10 => profile.push((name.to_owned(), Input::Null)),
            _ => profile.push((name.to_owned(), input)),
        }
    }
    let data_source = (random.random_range(0..6) == 0).then(|| DataSourceInput {
        kind: [SourceKind::Manual, SourceKind::Csv, SourceKind::Scim][random.random_range(0..3)],
        provider: [None, Some("erp".to_owned())][random.random_range(0..2)].clone(),
        connection_id: None,
        external_id: Personal::new(Some(format!("external-{own}"))),
        synced_at: Some(Timestamp(1_767_225_600_000_000)),
    });
    UpsertInput {
        customer_user_id: Some(id),
        profile,
        enabled: [None, Some(true), Some(false)][random.random_range(0..3)],
        connector_enabled: if random.random_range(0..5) == 0 {
            BTreeMap::from([("sms".to_owned(), random.random())])
        } else {
            BTreeMap::new()
        },
        data_source,
        replace: random.random_range(0..10) == 0,
        expected_version: None,
    }
}
