//! `relay`: every event of a full log to `JetStream`, against a raw pipelined publish of the same bytes into an equal stream.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use roster_projections::relay::{self, RelayOptions};

use super::Bench;
use super::database::Database;
use super::report::{Report, Target};
use super::stats::rate;

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["relay"];

/// The stream of the limit, and the start of its subjects, as long as the relay's.
const EQUAL: &str = "equals_main_1";
const EQUAL_SUBJECTS: &str = "equals";

/// Messages of the limit that may be on their way, as many as the relay's.
const WINDOW: usize = 4_096;

const OPTIONS: RelayOptions = RelayOptions {
    max_age: Duration::from_hours(168),
    max_bytes: 2 << 30,
    replicas: 1,
};

/// One message of the relay, for the limit to repeat.
struct Sent {
    subject: String,
    headers: HeaderMap,
    body: bytes::Bytes,
}

/// Fills a log once; each run makes both streams anew.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let database = Database::create(&bench.machine, "relay").await?;
    let filled = Arc::new(database.open().await?);
    filled.fill(0..bench.plan.events).await?;
    let client = async_nats::connect(&bench.machine.nats_url).await?;
    let context = ContextBuilder::new()
        .max_ack_inflight(WINDOW)
        .build(client.clone());

    let (mut pairs, mut sent) = (Vec::new(), Vec::new());
    for _ in 0..bench.plan.runs {
        database.quiet().await?;
        let started = Instant::now();
        let (stream, head) = relay::republish(&filled.cell, &client, &OPTIONS, |_| ())
            .await?
            .context("an empty log")?;
        let ours = started.elapsed();
        if sent.is_empty() {
            sent = read_back(&context, &stream, head).await?;
        }
        context.delete_stream(&stream).await?;
        let started = Instant::now();
        publish(&context, &sent).await?;
        let limit = started.elapsed();
        context.delete_stream(EQUAL).await?;
        pairs.push((rate(sent.len(), ours), rate(sent.len(), limit)));
    }
    let bytes: usize = sent.iter().map(|message| message.body.len()).sum();
    filled.close().await;
    database.drop().await?;
    report.add(
        Target::rate("relay", "events/s", "raw publish").reach(0.6, 0.9),
        &pairs,
        Some(format!(
            "{} events, {} bytes each; the log is read and the messages are written in the measured time",
            sent.len(),
            bytes / sent.len().max(1)
        )),
    );
    Ok(())
}

/// Every message of a stream, with headers that are as long and say nothing to the server.
async fn read_back(context: &Context, stream: &str, head: i64) -> anyhow::Result<Vec<Sent>> {
    let stream = context.get_stream(stream).await?;
    let mut sent = Vec::new();
    for sequence in 1..=u64::try_from(head)? {
        let message = stream.get_raw_message(sequence).await?;
        let mut headers = HeaderMap::new();
        for (name, values) in message.headers.iter() {
            for value in values {
                headers.append(name.to_string().replace("Nats-", "Same-"), value.as_str());
            }
        }
        sent.push(Sent {
            subject: message.subject.replacen("roster", EQUAL_SUBJECTS, 1),
            headers,
            body: message.payload,
        });
    }
    Ok(sent)
}

/// As a careful client publishes: each message is acknowledged, many are on their way.
async fn publish(context: &jetstream::Context, messages: &[Sent]) -> anyhow::Result<()> {
    context
        .create_stream(Config {
            name: EQUAL.into(),
            subjects: vec![format!("{EQUAL_SUBJECTS}.>")],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_age: OPTIONS.max_age,
            max_bytes: OPTIONS.max_bytes,
            num_replicas: OPTIONS.replicas,
            ..Config::default()
        })
        .await?;
    let mut pending = VecDeque::with_capacity(WINDOW);
    for Sent {
        subject,
        headers,
        body,
    } in messages
    {
        if pending.len() == WINDOW
            && let Some(ack) = pending.pop_front()
        {
            IntoFuture::into_future(ack).await?;
        }
        let message = PublishMessage::build()
            .headers(headers.clone())
            .payload(body.clone());
        pending.push_back(context.send_publish(subject.clone(), message).await?);
    }
    for ack in pending {
        ack.await?;
    }
    Ok(())
}
