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

use crate::config::Settings;
use crate::ready;

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

/// What is known of the bus at any time.
#[derive(Clone, Debug)]
pub struct Followed {
    /// How it does.
    pub state: watch::Receiver<Bus>,
    /// The connection to use, if there is one. After a break it is another one.
    pub client: watch::Receiver<Option<Client>>,
}

impl BusAddress {
    /// The address in the settings; for a command also that of the NATS which `roster serve` started.
    pub fn of(settings: &Settings) -> Option<Self> {
        let started = || {
            let ready = ready::read(&settings.ready_path())
                .ok()
                .filter(|_| settings.is_managed())?;
            ready.nats_url.map(Into::into)
        };
        Some(Self {
            url: settings.nats.url.clone().or_else(started)?,
            credentials_file: settings.nats.credentials_file.clone(),
        })
    }

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
) -> Result<Followed, BusError> {
    let Some(address) = address else {
        return Ok(Followed {
            state: watch::Sender::new(Bus::Off).subscribe(),
            client: watch::Sender::new(None).subscribe(),
        });
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
    let clients = watch::Sender::new(client);
    let followed = Followed {
        state: state.subscribe(),
        client: clients.subscribe(),
    };
    tracker.spawn(async move {
        stop.run_until_cancelled(watch_over(address, clients, state))
            .await
    });
    Ok(followed)
}

/// The bus is as good as the relay that uses it: degraded while that one does not get on.
pub fn with_relay(
    bus: watch::Receiver<Bus>,
    relay: watch::Receiver<bool>,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> watch::Receiver<Bus> {
    let (mut bus, mut relay) = (bus, relay);
    let seen = move |bus: &mut watch::Receiver<Bus>, relay: &mut watch::Receiver<bool>| {
        let (bus, is_well) = (*bus.borrow_and_update(), *relay.borrow_and_update());
        if is_well { bus } else { Bus::Degraded }
    };
    let both = watch::Sender::new(seen(&mut bus, &mut relay));
    let receiver = both.subscribe();
    tracker.spawn(async move {
        let follow = async {
            loop {
                both.send_replace(seen(&mut bus, &mut relay));
                let changed = tokio::select! {
                    changed = bus.changed() => changed,
                    changed = relay.changed() => changed,
                };
                if changed.is_err() {
                    break;
                }
            }
        };
        stop.run_until_cancelled(follow).await
    });
    receiver
}

async fn watch_over(
    address: BusAddress,
    clients: watch::Sender<Option<Client>>,
    state: watch::Sender<Bus>,
) {
    loop {
        let known = clients.borrow().clone();
        let connected = match known {
            Some(client) => client,
            None => search(&address).await,
        };
        clients.send_if_modified(|known| known.replace(connected.clone()).is_none());
        set(&state, Bus::Ok);
        // The client reconnects by itself; after that the server may be another one, so it is checked anew.
        while connected.connection_state() == State::Connected {
            tokio::time::sleep(LOOK).await;
        }
        set(&state, Bus::Degraded);
        clients.send_replace(None);
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
