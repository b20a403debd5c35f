//! The connection to NATS and what is known of it. Commands never wait for it: while it is away the log is the truth.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, jetstream};
use backon::{BackoffBuilder, ExponentialBuilder};
use roster_dev::version::{OLDEST_NATS, Version};
use roster_http::Bus;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Where the bus is.
#[derive(Clone, Debug)]
pub struct BusAddress {
    /// One URL, or several with commas.
    pub url: SecretString,
    /// A `.creds` file.
    pub credentials_file: Option<PathBuf>,
}

/// Why a bus can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It does not answer, or refuses the credentials. It may come back.
    #[error("NATS is not reachable: {0}")]
    Unreachable(String),
    /// It is too old.
    #[error(
        "NATS {found} is too old: {OLDEST_NATS} or newer is needed, as older ones deliver wrong messages to consumers with several filters"
    )]
    TooOld {
        /// Its version.
        found: String,
    },
    /// It runs without `JetStream`, or the account may not use it.
    #[error(
        "NATS answers without JetStream ({0}): start it with `-js`, or enable it for the account"
    )]
    NoJetStream(String),
}

impl BusAddress {
    /// Connects and checks version and `JetStream`; gives the version too.
    pub async fn connect(&self) -> Result<(Client, Version), BusError> {
        let client = tokio::time::timeout(PATIENCE, self.open())
            .await
            .unwrap_or_else(|_| Err(BusError::Unreachable("no answer".into())))?;
        let info = client.server_info();
        let version = Version::parse(&info.version).filter(|version| *version >= OLDEST_NATS);
        let version = version.ok_or(BusError::TooOld {
            found: info.version,
        })?;
        let context = jetstream::new(client.clone());
        match tokio::time::timeout(PATIENCE, context.query_account()).await {
            Ok(Ok(_)) => Ok((client, version)),
            Ok(Err(error)) => Err(BusError::NoJetStream(error.to_string())),
            Err(_) => Err(BusError::NoJetStream("no answer".into())),
        }
    }

    async fn open(&self) -> Result<Client, BusError> {
        let unreachable = |error: &dyn std::error::Error| BusError::Unreachable(error.to_string());
        let mut options = ConnectOptions::new()
            .name("roster")
            .connection_timeout(PATIENCE);
        if let Some(path) = &self.credentials_file {
            options = options
                .credentials_file(path)
                .await
                .map_err(|error| unreachable(&error))?;
        }
        let servers: Vec<&str> = self.url.expose_secret().split(',').map(str::trim).collect();
        options
            .connect(servers)
            .await
            .map_err(|error| unreachable(&error))
    }
}

/// Follows the bus. A server that can't be used is an error at once, one that is away is looked for again.
pub async fn follow(
    address: Option<BusAddress>,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Result<watch::Receiver<Bus>, BusError> {
    let Some(address) = address else {
        return Ok(watch::Sender::new(Bus::Off).subscribe());
    };
    let client = match address.connect().await {
        Ok((client, version)) => {
            tracing::info!(%version, "NATS answers");
            Some(client)
        }
        Err(BusError::Unreachable(reason)) => {
            tracing::warn!(reason, "NATS is away: events wait in the log");
            None
        }
        Err(error) => return Err(error),
    };
    let state = watch::Sender::new(if client.is_some() {
        Bus::Ok
    } else {
        Bus::Degraded
    });
    let receiver = state.subscribe();
    tracker.spawn(async move {
        stop.run_until_cancelled(watch_over(address, client, state))
            .await
    });
    Ok(receiver)
}

async fn watch_over(address: BusAddress, mut client: Option<Client>, state: watch::Sender<Bus>) {
    loop {
        let connected = match client.take() {
            Some(client) => client,
            None => search(&address).await,
        };
        set(&state, Bus::Ok);
        // The client reconnects by itself; after that the server may be another one, so it is checked anew.
        while connected.connection_state() == State::Connected {
            tokio::time::sleep(LOOK).await;
        }
        set(&state, Bus::Degraded);
    }
}

/// Tries until a usable server answers.
async fn search(address: &BusAddress) -> Client {
    let mut waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(10))
        .with_jitter()
        .without_max_times()
        .build();
    let mut told = None;
    loop {
        match address.connect().await {
            Ok((client, _)) => return client,
            Err(error) => {
                let reason = error.to_string();
                if told.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "the bus is not usable yet");
                    told = Some(reason);
                }
            }
        }
        tokio::time::sleep(waits.next().unwrap_or(LOOK)).await;
    }
}

fn set(state: &watch::Sender<Bus>, bus: Bus) {
    let changed = state.send_if_modified(|known| std::mem::replace(known, bus) != bus);
    match (changed, bus) {
        (true, Bus::Ok) => tracing::info!("NATS is back"),
        (true, _) => tracing::warn!("NATS is away: events wait in the log"),
        (false, _) => {}
    }
}
