//! `roster serve`: starts everything in order, says when it answers, and ends it in the reverse order.

mod anchors;
mod announce;
mod cell;
mod signals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client;
use crate::config::{Demo, Settings};
use crate::demo::{self, Credential};
use crate::managed::Managed;
use crate::ready::Ready;
use crate::serve::cell::Served;
use crate::serve::signals::Signals;
use crate::{ready, telemetry};

/// How long requests may take to end after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(20);
/// How long jobs and projections may take to end after that.
const WIND_UP: Duration = Duration::from_secs(8);
/// How often started servers are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the own port may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Serves until a signal asks to stop, or something under it ends.
pub(crate) async fn run(mut settings: Settings) -> anyhow::Result<()> {
    let traces = telemetry::start_logs(&settings.log, &settings.telemetry, &settings.cell)?;
    let signals = Signals::listen()?;
    let is_managed = settings.is_managed();
    let has_demo = settings.demo == Demo::On || (settings.demo == Demo::Auto && is_managed);
    let ready_file = if is_managed {
        Some(settings.ready_path())
    } else {
        settings.ready_file.clone()
    };
    if let Some(path) = &ready_file {
        ready::remove_stale(path);
    }
    let mut managed = if is_managed {
        Some(Managed::start(&mut settings).await?)
    } else {
        None
    };
    let mut server = Server::new(settings, signals, ready_file);
    let outcome = server.serve(managed.as_mut(), has_demo).await;
    server.stop().await;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    if let Some(managed) = managed {
        managed.stop().await?;
    }
    outcome
}

/// Everything that runs in this process.
struct Server {
    settings: Settings,
    signals: Signals,
    tracker: TaskTracker,
    /// Ends jobs, projections and the log; HTTP ends before.
    stop: CancellationToken,
    served: Option<Served>,
    ready_file: Option<PathBuf>,
    /// What the ready file says, once it says so.
    ready: Option<Ready>,
    http: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    fn new(settings: Settings, signals: Signals, ready_file: Option<PathBuf>) -> Self {
        Self {
            settings,
            signals,
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            served: None,
            ready_file,
            ready: None,
            http: None,
        }
    }

    async fn serve(&mut self, managed: Option<&mut Managed>, has_demo: bool) -> anyhow::Result<()> {
        let closing = self.signals.closing();
        let Some(started) = closing.run_until_cancelled(self.start(has_demo)).await else {
            return Ok(());
        };
        let (address, credential) = started?;
        let served = self.served.as_ref().context("nothing is served")?;
        let ready = announce::ready(&self.settings, served, address, credential.as_ref());
        if let Some(path) = &self.ready_file {
            ready::write(path, &ready)?;
        }
        announce::print(&ready)?;
        self.ready = Some(ready);
        tracing::info!(%address, cell = self.settings.cell, "serving");
        let http = self.http.as_mut().context("nothing is served")?;
        tokio::select! {
            () = closing.cancelled() => Ok(()),
            ended = http => ended?.context("HTTP ended"),
            failed = watch_over(managed) => Err(failed),
        }
    }

    /// Starts everything; gives the address of HTTP and the credential of the demo.
    async fn start(&mut self, has_demo: bool) -> anyhow::Result<(SocketAddr, Option<Credential>)> {
        // A taken port is the commonest reason to end, so it is found before anything is started.
        let listen = &self.settings.listen;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("setting listen: {listen}"))?;
        let address = listener.local_addr()?;
        if let Some(path) = &self.ready_file {
            ready::remove(path);
        }
        let served = Served::start(&self.settings, &self.tracker, &self.stop).await?;
        let demo = if has_demo {
            Some(
                demo::ensure(&served.directory)
                    .await
                    .context("demo project")?,
            )
        } else {
            None
        };
        if let Some(position) = demo.as_ref().and_then(|demo| demo.position) {
            served.projections.wait_for(position, ANSWER).await;
        }
        let listener = listener.tap_io(|stream| {
            // Without it small answers wait for an acknowledgement; a failure only costs that time.
            let _ = stream.set_nodelay(true);
        });
        let closing = self.signals.closing();
        let http = axum::serve(listener, served.router())
            .with_graceful_shutdown(closing.cancelled_owned());
        self.http = Some(
            self.tracker
                .spawn(std::future::IntoFuture::into_future(http)),
        );
        self.served = Some(served);
        let url = format!("{}/healthz", announce::url(address));
        client::http(&url)?
            .get(url)
            .timeout(ANSWER)
            .send()
            .await?
            .error_for_status()
            .context("the own port")?;
        Ok((address, demo.map(|demo| demo.credential)))
    }

    /// Lets requests end, then jobs and projections, then closes the connections.
    async fn stop(&mut self) {
        self.signals.close();
        if let (Some(path), Some(ready)) = (&self.ready_file, &self.ready) {
            ready::remove_own(path, ready);
        }
        if let Some(http) = self.http.take_if(|http| !http.is_finished()) {
            tracing::info!("stopping: open requests may end");
            let abort = http.abort_handle();
            let drained = tokio::time::timeout(DRAIN, http);
            if !matches!(
                self.signals.hurry().run_until_cancelled(drained).await,
                Some(Ok(_))
            ) {
                tracing::warn!("requests that did not end in time were cut off");
                abort.abort();
            }
        }
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(WIND_UP, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                tasks = self.tracker.len(),
                "tasks that did not end in time were cut off"
            );
        }
        if let Some(served) = self.served.take() {
            // A connection that is still used by a cut-off request is closed with the process.
            let _ = tokio::time::timeout(LOOK, served.directory.cell().pool().close()).await;
            tracing::info!("stopped");
        }
    }
}

/// Ends with the reason once a started server has ended by itself.
async fn watch_over(managed: Option<&mut Managed>) -> anyhow::Error {
    let Some(managed) = managed else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = managed.check() {
            return error;
        }
    }
}
