//! A NATS server of one test, which can be killed, and a subscriber as `deploy/subscribers.md` describes one.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::{ConnectOptions, HeaderMap};
use futures::StreamExt;
use roster_dev::stack::{Stack, StackOptions};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::cluster::cluster;
use crate::scale::patience;

/// How long a subscription may be silent before it is made anew.
const SILENCE: Duration = Duration::from_secs(2);
/// How often a subscriber looks for a stream.
const LOOK: Duration = Duration::from_millis(50);

/// A NATS server of its own, on one port through all of its lives.
#[derive(Debug)]
pub struct Nats(Stack);

impl Nats {
    /// Starts it.
    pub fn start() -> anyhow::Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("roster-nats-{:032x}", rand::random::<u128>()));
        let mut options = StackOptions::throwaway(folder);
        options.runtime_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/devstack").into();
        options.environment.database_url = Some(cluster().database_url.clone());
        options.environment.nats_url = None;
        Ok(Self(Stack::start(options)?))
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        self.0.nats_url()
    }

    /// Kills it without warning (SIGKILL).
    pub fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.0.kill_nats()?)
    }

    /// Removes everything that it has; it must not be running.
    pub fn wipe(&self) -> anyhow::Result<()> {
        Ok(fs::remove_dir_all(self.data()?)?)
    }

    /// Starts it again after a kill.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        Ok(self.0.restart_nats()?)
    }

    /// The content of every file of its streams, as far as it is text.
    pub fn files(&self) -> anyhow::Result<String> {
        let (mut folders, mut text) = (vec![self.data()?], String::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    text.push_str(&String::from_utf8_lossy(&fs::read(path)?));
                }
            }
        }
        Ok(text)
    }

    fn data(&self) -> anyhow::Result<PathBuf> {
        self.0.nats_dir().context("it was not started")
    }
}

/// A way to a NATS server that can be cut. Dropping it cuts it.
#[derive(Debug)]
pub struct Way {
    url: String,
    _forwarding: JoinSet<()>,
}

impl Way {
    /// Forwards a port of its own to the server.
    pub async fn to(nats: &Nats) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let target = nats.url().trim_start_matches("nats://").to_owned();
        let mut forwarding = JoinSet::new();
        forwarding.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let target = target.clone();
                open.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(target).await {
                        // Either side may end it.
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Ok(Self {
            url,
            _forwarding: forwarding,
        })
    }

    /// The URL of this way.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// One message as a subscriber has it.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// The `CloudEvent`.
    pub body: Value,
}

/// Follows the stream of the cell `main` from sequence 1, and keeps what it hears.
#[derive(Debug)]
pub struct Subscriber {
    client: async_nats::Client,
    /// The stream that it follows, once there is one.
    pub stream: Option<String>,
    /// What it heard, in order: the first message is that of position 1.
    pub heard: Vec<Heard>,
}

impl Subscriber {
    /// Connects, also to a server that comes later.
    pub async fn connect(nats: &Nats) -> anyhow::Result<Self> {
        Self::connect_to(nats.url()).await
    }

    /// The same by the URL of a server.
    pub async fn connect_to(url: &str) -> anyhow::Result<Self> {
        let client = ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(url)
            .await?;
        Ok(Self {
            client,
            stream: None,
            heard: Vec::new(),
        })
    }

    /// Listens until it has heard a position, over any break.
    ///
    /// # Panics
    /// Where a message is not the one that follows, or nothing comes in time.
    pub async fn hear(&mut self, position: i64) {
        let all = usize::try_from(position).expect("a position");
        let heard = timeout(patience(), async {
            let mut looks = interval(LOOK);
            while self.heard.len() < all {
                looks.tick().await;
                // A break is no failure: what comes next is the sequence after the last one.
                let _ = self.listen(all).await;
            }
        });
        let in_time = heard.await;
        assert!(
            in_time.is_ok(),
            "{} of {all} events were heard",
            self.heard.len()
        );
    }

    /// Listens over any break, for as long as it is let.
    ///
    /// # Panics
    /// Where a message is not the one that follows.
    pub async fn follow(&mut self) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let _ = self.listen(usize::MAX).await;
        }
    }

    /// The digests that it heard, in order.
    pub fn digests(&self) -> Vec<String> {
        self.heard
            .iter()
            .map(|heard| heard.body["digest"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    async fn listen(&mut self, all: usize) -> Result<(), async_nats::Error> {
        let context = jetstream::new(self.client.clone());
        let name = context.stream_by_subject("roster.main.>").await?;
        if self.stream.as_ref().is_some_and(|known| *known != name) {
            // Another stream is another log: what was heard before is told anew.
            self.heard.clear();
        }
        let stream = context.get_stream(&name).await?;
        let start_sequence = u64::try_from(self.heard.len())? + 1;
        let consumer = stream
            .create_consumer(OrderedConfig {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
                ..OrderedConfig::default()
            })
            .await?;
        self.stream = Some(name);
        let mut messages = consumer.messages().await?;
        while self.heard.len() < all {
            let Some(message) = timeout(SILENCE, messages.next()).await? else {
                break;
            };
            let message = message?;
            let sequence = message.info()?.stream_sequence;
            let expected = u64::try_from(self.heard.len())? + 1;
            assert_eq!(sequence, expected, "the next message has this sequence");
            let body: Value = serde_json::from_slice(&message.payload)?;
            assert_eq!(body["sequence"], sequence.to_string(), "{body}");
            self.heard.push(Heard {
                subject: message.subject.to_string(),
                headers: message.headers.clone().unwrap_or_default(),
                body,
            });
        }
        Ok(())
    }
}
