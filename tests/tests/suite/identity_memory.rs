//! Memory, read tables and the folded log say the same of who is behind an identity.

#[path = "identity_memory/directory.rs"]
mod directory;
#[path = "identity_memory/naive.rs"]
mod naive;

use std::collections::HashSet;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roster_commands::{AttachInput, CommandError, Grantee, Limits, SchemaInput, UnlinkInput};
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Facts};
use roster_domain::channel::Fact;
use roster_domain::schema::Schema;
use roster_projections::QueryError;
use roster_projections::identity::{Asked, Found, IdentityOptions, Person};
use roster_projections::rebuild::{Target, retry_parked};
use roster_projections::schemas;
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::until::until;
use sqlx::{Connection, Executor};
use uuid::Uuid;

use directory::{CHANNELS, change, definition, random_facts, random_identity, upsert};
use naive::{Naive, Shown};

/// Rounds of a run.
const ROUNDS: usize = 12;
/// Changes of a round.
const CHANGES: usize = 25;
/// Sightings that are looked up after each round.
const SIGHTINGS: usize = 120;

/// The schema of the test's project, as reads show it.
async fn schema(node: &Node, project_no: i32) -> Arc<Schema> {
    let row = schemas::get(node.cell().pool(), project_no)
        .await
        .expect("a row");
    let (definition, version) =
        row.map_or_else(Default::default, |row| (row.definition, row.version));
    Arc::new(Schema::compile(definition, version).expect("a schema"))
}

/// The answer from memory, which is waited for: values of new rules are read in beside the log.
async fn kept(node: &Node, asked: Asked<'_>) -> Found {
    until("memory answers", async || node.identities.find_kept(asked)).await
}

async fn project_no(node: &Node) -> i32 {
    let project = node.cell().project(&Node::context("p").scope).await;
    project.expect("a look-up").expect("the project").no
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_tables_and_the_folded_log_agree_on_random_directories() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let database = Database::create().await.expect("a database");
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        let node = Node::start(&database, name, Limits::default()).await;
        nodes.push(node.expect("a node"));
    }
    let ctx = Node::context("p");
    let input = SchemaInput {
        definition: definition(&mut random),
        expected_version: None,
    };
    let first = &nodes[0].directory;
    first.upsert_schema(&ctx, input).await.expect("a schema");
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..ROUNDS {
        for _ in 0..CHANGES {
            let node = &nodes[random.random_range(0..2)];
            change(&node.directory, &ctx, &mut random).await;
        }
        for node in &nodes {
            node.settle().await.expect("the read side follows");
        }
        let number = project_no(&nodes[0]).await;
        let schema = schema(&nodes[0], number).await;
        let naive = Naive::read(nodes[0].cell()).await;
        for _ in 0..SIGHTINGS {
            let identity = random_identity(&mut random);
            let facts = random_facts(&mut random);
            let asked = Asked {
                project_no: number,
                schema: &schema,
                identity: &identity,
                facts: &facts,
                now: Timestamp([1_000, 2_000_000_000_000_000][random.random_range(0..2)]),
            };
            let (expected, is_ordered) = naive.find(&asked);
            seen.insert(expected.reason.as_str());
            let what = format!(
                "seed {seed} round {round} {asked:?} {:?}",
                identity.external_user_id
            );
            for node in &nodes {
                let stored = node.identities.find_stored(asked).await.expect("an answer");
                assert_eq!(Shown::of(&stored), expected, "tables, {what}");
                let found = node.identities.find(asked).await.expect("an answer");
                assert_eq!(Shown::of(&found), expected, "both, {what}");
                // Which of several grants is first is left to the tables.
                if is_ordered {
                    let kept = kept(node, asked).await;
                    assert_eq!(Shown::of(&kept), expected, "memory, {what}");
                }
            }
        }
    }
    assert!(seen.len() > 5, "the directories were too plain: {seen:?}");
    // One who begins now reads from the tables what the others heard from the log.
    let late = Node::start(&database, "late", Limits::default()).await;
    let late = late.expect("a node");
    late.settle().await.expect("the read side follows");
    let naive = Naive::read(late.cell()).await;
    everyone(&late, &naive, &mut random, &format!("filled, seed {seed}")).await;
    nodes.push(late);
    for node in nodes {
        node.close().await;
    }
}

/// Looks every identity up in memory.
async fn everyone(node: &Node, naive: &Naive, random: &mut StdRng, what: &str) {
    let number = project_no(node).await;
    let schema = schema(node, number).await;
    for channel in CHANNELS {
        for id in 0..directory::IDENTITIES {
            let identity = directory::identity(channel, id);
            let facts = random_facts(random);
            let asked = Asked {
                project_no: number,
                schema: &schema,
                identity: &identity,
                facts: &facts,
                now: Timestamp(1_000),
            };
            let (expected, is_ordered) = naive.find(&asked);
            if is_ordered {
                let kept = kept(node, asked).await;
                assert_eq!(Shown::of(&kept), expected, "{what} {asked:?}");
            }
        }
    }
}

/// What keeps some customers, and some grants of everybody, out of the read tables from then on.
const POISON: &str = "
ALTER TABLE view_customers ADD CONSTRAINT poison CHECK (display_name NOT IN ('Ada 3', 'Ada 5')) NOT VALID;
ALTER TABLE view_grants ADD CONSTRAINT poison CHECK (external_user_id <> '*' OR agents <> '{agent 1}') NOT VALID";
const CURE: &str = "
ALTER TABLE view_customers DROP CONSTRAINT poison;
ALTER TABLE view_grants DROP CONSTRAINT poison";

/// The streams that the directory leaves out.
async fn left_out(node: &Node) -> HashSet<Uuid> {
    let sql = "SELECT stream_id FROM view_parked WHERE projection = 'directory'";
    let streams: Vec<Uuid> = sqlx::query_scalar(sql)
        .fetch_all(node.cell().pool())
        .await
        .expect("the list");
    streams.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_directory_leaves_out_is_known_from_the_log_and_the_tables_allow_them_nothing() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let database = Database::create().await.expect("a database");
    let first = Node::start(&database, "first", Limits::default()).await;
    let first = first.expect("a node");
    let ctx = Node::context("p");
    let replace = async |random: &mut StdRng| {
        let input = SchemaInput {
            definition: definition(random),
            expected_version: None,
        };
        let replaced = first.directory.upsert_schema(&ctx, input).await;
        let is_refused = matches!(replaced, Err(CommandError::SchemaInvalid(_)));
        assert!(is_refused || replaced.is_ok());
    };
    replace(&mut random).await;
    for _ in 0..60 {
        change(&first.directory, &ctx, &mut random).await;
    }
    first.settle().await.expect("the read side follows");
    let mut superuser = database.superuser().await.expect("a connection");
    superuser.execute(POISON).await.expect("it may");
    let mut most = 0;
    for round in 0..5 {
        for _ in 0..60 {
            change(&first.directory, &ctx, &mut random).await;
        }
        first.settle().await.expect("the read side follows");
        let late = Node::start(&database, "late", Limits::default()).await;
        let late = late.expect("a node");
        // Values of the fields that it names are read by both, by one into a memory that heard everything.
        for what in ["filled", "refilled"] {
            late.settle().await.expect("the read side follows");
            let naive = Naive::read(first.cell()).await;
            for (name, node) in [("first", &first), ("late", &late)] {
                let what = format!("seed {seed} round {round} {what} {name}");
                everyone(node, &naive, &mut random, &what).await;
            }
            let out = left_out(&first).await;
            most = most.max(out.len());
            let number = project_no(&first).await;
            let schema = schema(&first, number).await;
            for _ in 0..SIGHTINGS {
                let (identity, facts) = (random_identity(&mut random), random_facts(&mut random));
                let asked = Asked {
                    project_no: number,
                    schema: &schema,
                    identity: &identity,
                    facts: &facts,
                    now: Timestamp(1_000),
                };
                let stored = late.identities.find_stored(asked).await.expect("an answer");
                if let Some(person) = stored.customer {
                    assert!(!out.contains(&person.stream), "seed {seed} {asked:?}");
                }
            }
            replace(&mut random).await;
        }
        late.close().await;
    }
    assert!(most > 1, "nobody was left out, seed {seed}");
    superuser.execute(CURE).await.expect("they are there");
    let place = database.place().expect("a place");
    let asked = retry_parked(&place, Target::Directory).await;
    asked.expect("a database");
    until("everybody is listed", async || {
        left_out(&first).await.is_empty().then_some(())
    })
    .await;
    // Whom the search index does not have yet is found all the same.
    first.settle().await.expect("the read side follows");
    let number = project_no(&first).await;
    let schema = schema(&first, number).await;
    let naive = Naive::read(first.cell()).await;
    for _ in 0..SIGHTINGS {
        let (identity, facts) = (random_identity(&mut random), random_facts(&mut random));
        let asked = Asked {
            project_no: number,
            schema: &schema,
            identity: &identity,
            facts: &facts,
            now: Timestamp(1_000),
        };
        let (expected, _) = naive.find(&asked);
        let stored = first.identities.find_stored(asked).await;
        let stored = stored.expect("an answer");
        assert_eq!(
            Shown::of(&stored),
            expected,
            "tables, seed {seed} {asked:?}"
        );
    }
    first.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_behind_allow_nobody_about_whom_the_log_says_more() {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "only", Limits::default()).await;
    let node = node.expect("a node");
    let (ctx, directory) = (Node::context("p"), &node.directory);
    let phones = [("ada", "+4917000001"), ("bob", "+4917000002")];
    for (id, phone) in phones {
        let added = directory.upsert_customer(&ctx, upsert(id, &[])).await;
        added.expect("a customer");
        let linked = directory::link(directory, &ctx, id, "sms", phone).await;
        linked.expect("a link");
    }
    let input = AttachInput {
        grantee: Grantee::Everybody,
        channel: "sms".into(),
        agents: vec!["*".into()],
        enabled: true,
        expires_at: None,
    };
    let attached = directory.attach_channel_grant(&ctx, input).await;
    attached.expect("a grant");
    node.settle().await.expect("the read side follows");
    let number = project_no(&node).await;
    let schema = schema(&node, number).await;
    let facts = Facts::default();
    let is_allowed = async |phone: &str| {
        let identity = ConnectorIdentity::read("sms", phone).expect("a number");
        let asked = Asked {
            project_no: number,
            schema: &schema,
            identity: &identity,
            facts: &facts,
            now: Timestamp(1),
        };
        match node.identities.find_stored(asked).await {
            Ok(found) => Some(found.allowed),
            Err(QueryError::Behind) => None,
            Err(error) => panic!("a look-up failed: {error}"),
        }
    };
    let [ada, bob] = phones.map(|(_, phone)| phone);
    assert_eq!(
        (is_allowed(ada).await, is_allowed(bob).await),
        (Some(true), Some(true))
    );
    let mut superuser = database.superuser().await.expect("a connection");
    let mut held = superuser.begin().await.expect("a transaction");
    held.execute("SELECT FROM log_checkpoints WHERE name = 'directory' FOR UPDATE")
        .await
        .expect("a lock");
    let input = UnlinkInput {
        channel: "sms".into(),
        external_user_id: Some(ada.into()),
        ..UnlinkInput::default()
    };
    let unlinked = directory.unlink_identity(&ctx, input).await;
    unlinked.expect("the log takes it");
    assert_eq!(
        (is_allowed(ada).await, is_allowed(bob).await),
        (None, Some(true))
    );
    let revoked = directory.revoke_channel_grant(&ctx, &Grantee::Everybody, "sms");
    revoked.await.expect("the log takes it");
    assert_eq!((is_allowed(ada).await, is_allowed(bob).await), (None, None));
    held.rollback().await.expect("it is let go");
    node.settle().await.expect("the read side follows");
    assert_eq!(
        (is_allowed(ada).await, is_allowed(bob).await),
        (Some(false), Some(false))
    );
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_kept_while_connections_end_and_goes_on_with_the_log_that_it_knows() {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "only", Limits::default()).await;
    let node = node.expect("a node");
    let ctx = Node::context("p");
    let write = async |number: u32| {
        let id = format!("c{number}");
        until("a customer is written", async || {
            let written = node.directory.upsert_customer(&ctx, upsert(&id, &[]));
            written.await.ok()
        })
        .await;
        let phone = format!("+49170000{number:04}");
        until("a link is written", async || {
            let linked = directory::link(&node.directory, &ctx, &id, "sms", &phone);
            linked.await.ok()
        })
        .await;
        phone
    };
    write(0).await;
    node.settle().await.expect("the read side follows");
    let number = project_no(&node).await;
    let schema = schema(&node, number).await;
    let facts = Facts::default();
    let is_known = async |phone: &str| {
        let identity = ConnectorIdentity::read("sms", phone).expect("a number");
        let asked = Asked {
            project_no: number,
            schema: &schema,
            identity: &identity,
            facts: &facts,
            now: Timestamp(1),
        };
        kept(&node, asked).await.customer.is_some()
    };
    let mut superuser = database.superuser().await.expect("a connection");
    for round in 1..6 {
        superuser
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await
            .expect("it may");
        let phone = write(round).await;
        until("memory goes on", async || {
            let is_whole = is_known(&phone).await && is_known("+491700000000").await;
            is_whole.then_some(())
        })
        .await;
        assert_eq!(node.identities.losses(), 0, "memory was lost");
    }
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_beyond_the_bound_is_looked_up_in_the_tables_and_others_are_not() {
    let database = Database::create().await.expect("a database");
    let options = IdentityOptions { most: 30 };
    let writer = Node::start(&database, "writer", Limits::default()).await;
    let writer = writer.expect("a node");
    let facts = Facts::default();
    let identity = |id: &str| ConnectorIdentity::read("sms", id).expect("a number");
    for (project, customers) in [("small", 5), ("large", 40)] {
        let ctx = Node::context(project);
        for number in 0..customers {
            let id = format!("c{number}");
            writer
                .directory
                .upsert_customer(&ctx, upsert(&id, &[]))
                .await
                .expect("a customer");
            directory::link(
                &writer.directory,
                &ctx,
                &id,
                "sms",
                &format!("+4917000{number:03}"),
            )
            .await
            .expect("a link");
        }
    }
    writer.settle().await.expect("the read side follows");
    let reader = Node::start_with(&database, "reader", Limits::default(), options).await;
    let reader = reader.expect("a node");
    reader.settle().await.expect("the read side follows");
    let default = Arc::new(
        Schema::compile(roster_domain::schema::Definition::default(), 0).expect("a schema"),
    );
    let identity = identity("+4917000003");
    let asked = async |node: &Node, project: &str| {
        let project = node.cell().project(&Node::context(project).scope).await;
        project.expect("a look-up").expect("the project").no
    };
    let (small, large) = (asked(&reader, "small").await, asked(&reader, "large").await);
    let of = |project_no| Asked {
        project_no,
        schema: &default,
        identity: &identity,
        facts: &facts,
        now: Timestamp(1),
    };
    let found = kept(&reader, of(small)).await;
    assert_eq!(
        found
            .customer
            .map(|person| person.customer_user_id().to_owned()),
        Some("c3".into())
    );
    // Memory is fresh, as the small project shows at the same time, and knows nothing of the large one.
    until("memory answers for one and not for the other", async || {
        let without = reader.identities.find_kept(of(large)).is_none();
        (reader.identities.find_kept(of(small)).is_some() && without).then_some(())
    })
    .await;
    let found = reader.identities.find(of(large)).await.expect("an answer");
    assert_eq!(
        found
            .customer
            .map(|person| person.customer_user_id().to_owned()),
        Some("c3".into())
    );
    reader.close().await;
    writer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_nothing_finds_takes_no_room_until_something_does() {
    let database = Database::create().await.expect("a database");
    let options = IdentityOptions { most: 10 };
    let follower = Node::start_with(&database, "follower", Limits::default(), options).await;
    let follower = follower.expect("a node");
    let directory = &follower.directory;
    let ctx = Node::context("p");
    let id = |number: u32| format!("c{number}");
    let phone = |number: u32| format!("+4917000{number:03}");
    for number in 0..50 {
        let customer = upsert(&id(number), &[]);
        let added = directory.upsert_customer(&ctx, customer).await;
        added.expect("a customer");
    }
    follower.settle().await.expect("the read side follows");
    for number in [7, 8] {
        directory::link(directory, &ctx, &id(number), "sms", &phone(number))
            .await
            .expect("a link");
    }
    follower.settle().await.expect("the read side follows");
    let reader = Node::start_with(&database, "reader", Limits::default(), options).await;
    let reader = reader.expect("a node");
    reader.settle().await.expect("the read side follows");
    let number = project_no(&follower).await;
    let schema = schema(&follower, number).await;
    let facts = Facts::default();
    // One heard of everybody from the log, the other read the tables.
    for node in [&follower, &reader] {
        for (known, expected) in [(7, Some("c7")), (8, Some("c8")), (9, None)] {
            let identity = ConnectorIdentity::read("sms", &phone(known)).expect("a number");
            let asked = Asked {
                project_no: number,
                schema: &schema,
                identity: &identity,
                facts: &facts,
                now: Timestamp(1),
            };
            let found = kept(node, asked).await.customer;
            let found = found.as_ref().map(Person::customer_user_id);
            assert_eq!(found, expected);
        }
    }
    reader.close().await;
    follower.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_proves_nothing_and_the_tables_answer_until_the_log_does() {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "only", Limits::default()).await;
    let node = node.expect("a node");
    let ctx = Node::context("p");
    node.directory
        .upsert_customer(&ctx, upsert("ada", &[]))
        .await
        .expect("a customer");
    directory::link(&node.directory, &ctx, "ada", "sms", "+4917000001")
        .await
        .expect("a link");
    node.settle().await.expect("the read side follows");
    let number = project_no(&node).await;
    let schema = schema(&node, number).await;
    let identity = ConnectorIdentity::read("sms", "+4917000001").expect("a number");
    let facts = Facts {
        verified: vec![Fact::Phone],
        ..Facts::default()
    };
    let asked = Asked {
        project_no: number,
        schema: &schema,
        identity: &identity,
        facts: &facts,
        now: Timestamp(1),
    };
    assert!(kept(&node, asked).await.customer.is_some());
    let mut superuser = database.superuser().await.expect("a connection");
    let mut cut = superuser.begin().await.expect("a transaction");
    cut.execute("LOCK TABLE log_batches IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("a lock");
    until("memory is not believed", async || {
        node.identities.find_kept(asked).is_none().then_some(())
    })
    .await;
    let found = node
        .identities
        .find(asked)
        .await
        .expect("the tables answer");
    assert!(found.customer.is_some());
    cut.rollback().await.expect("the lock ends");
    assert!(kept(&node, asked).await.customer.is_some());
    node.close().await;
}
