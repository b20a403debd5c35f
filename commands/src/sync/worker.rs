//! One run of a connection: from where it stands to its end, or to the stop of the server.
//!
//! While some pages are written, the next ones are read ([`super::gather`]). What is written together is one append with the
//! record of how far the run is, so a run that is killed anywhere goes on behind the last page that was written.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use roster_domain::Timestamp;
use roster_domain::connection::{self, Connection, ConnectionCommand, DeleteMissing};
use roster_domain::meta::Meta;
use roster_domain::sync_run::{RunStatus, SyncRun, SyncRunCommand, decide};
use roster_store::{ChunkVerdict, Project};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::gather::Gathering;
use super::page::Desk;
use super::part::Written;
use super::reader::{End, NoPage, Reader};
use super::settings::opened;
use super::source::Walk;
use super::sweep::Sweep;
use super::writer::{Taken, Writer};
use super::{SyncOptions, Syncing, Tag, seen};
use crate::jobs::Ran;
use crate::leased::Held;
use crate::{CommandError, Directory, known};

/// How often a run shows that it lives, and looks whether it is to stop.
const BEAT: Duration = Duration::from_secs(5);
/// How often a walk may begin.
const WALKS: u32 = 5;

/// One run.
pub(super) struct Run {
    pub(super) directory: Directory,
    pub(super) project: Arc<Project>,
    pub(super) id: Uuid,
    pub(super) held: Held,
    pub(super) options: SyncOptions,
    pub(super) meta: Meta,
}

/// How a walk went.
enum Walked {
    /// It came to its clean end.
    Whole,
    /// The run ended, or is to stop.
    Over,
    /// It begins anew; with `true` without a cursor.
    Again(bool),
    Ends(End),
    /// The server stops, or another worker has the run.
    Stopped,
}

impl Run {
    /// Goes on to the end of the run or the stop of the server.
    pub(super) async fn go(&mut self, stop: &CancellationToken) -> Result<Ran, CommandError> {
        let cell = self.directory.cell().clone();
        let run = cell.load_fresh::<SyncRun>(&self.project, self.id).await?;
        if run.state.status.is_final() || !run.state.is_queued() {
            return Ok(Ran::Ended);
        }
        let id = run.state.connection_id;
        let connection = cell.load_fresh::<Connection>(&self.project, id).await?;
        let connection = connection.into_state();
        if !connection.is_there() {
            let end = End::failed("connection_gone", "the connection does not exist any more");
            return self.finish(end).await;
        }
        let Some(syncing) = self.directory.syncing().cloned() else {
            return self.finish(no_source()).await;
        };
        let Some(source) = syncing.source(&connection.settings.provider) else {
            return self.finish(no_source()).await;
        };
        if run.state.started_at.is_some() {
            // From then on nothing of an earlier stretch can be written any more.
            self.execute(SyncRunCommand::Interrupt {
                at: self.directory.now(),
            })
            .await?;
            known::forget_unwritten(&cell, id).await?;
        } else if !self.begin(&syncing, &connection).await? {
            return Err(CommandError::Unavailable);
        }
        loop {
            let session = match source.open(opened(&connection.settings)) {
                Ok(session) => session,
                Err(problems) => {
                    let problem = problems.into_iter().next();
                    let message = problem.map_or_else(String::new, |problem| problem.message);
                    return self.finish(End::failed("config_invalid", message)).await;
                }
            };
            let run = cell.load_fresh::<SyncRun>(&self.project, self.id).await?;
            if run.state.status.is_final() {
                return Ok(Ran::Ended);
            }
            if run.state.cancel_requested {
                return self.finish(cancelled()).await;
            }
            let spent = self.spent(run.state.started_at);
            let desk = Arc::new(Desk {
                directory: self.directory.clone(),
                project: Arc::clone(&self.project),
                connection: connection.clone(),
                run,
                meta: self.meta.clone(),
                looks_up_values: AtomicBool::new(false),
            });
            if !desk.run.state.is_walked {
                let settings = connection.settings.clone();
                let mut reader = Reader::new(session, settings, self.options, spent);
                match self.walk(&desk, &mut reader, stop).await? {
                    Walked::Whole => {}
                    Walked::Over => continue,
                    Walked::Again(forgets_cursor) => {
                        if desk.run.state.walks >= WALKS {
                            let message = "the walk through the source began anew too often";
                            return self.finish(End::failed("walk_lost", message)).await;
                        }
                        let at = self.directory.now();
                        self.execute(SyncRunCommand::RestartWalk { at, forgets_cursor })
                            .await?;
                        seen::discard(&cell, self.id).await?;
                        continue;
                    }
                    Walked::Ends(end) => return self.finish(end).await,
                    Walked::Stopped => return Ok(Ran::Stopped),
                }
            }
            let run = &desk.run.state;
            let is_wanted = connection.settings.delete_missing != DeleteMissing::None;
            if is_wanted && run.is_full && !run.is_continued {
                let mut sweep = Sweep::new(Arc::clone(&desk), &syncing);
                if !sweep.go(&mut self.held, stop).await? {
                    if stop.is_cancelled() {
                        return Ok(Ran::Stopped);
                    }
                    continue;
                }
            }
            return self.complete().await;
        }
    }

    /// Begins: where the walk starts, and how many rows the connection has.
    async fn begin(
        &self,
        syncing: &Syncing,
        connection: &Connection,
    ) -> Result<bool, CommandError> {
        let cell = self.directory.cell();
        if !syncing.rows().reach(cell.head_position().await?).await {
            return Ok(false);
        }
        let tag = Tag {
            project_no: self.project.no,
            provider: connection.settings.provider.clone(),
            connection_id: connection.id_text(),
        };
        let rows_before = syncing.rows().count(&tag).await?;
        let run = cell.load::<SyncRun>(&self.project, self.id).await?.state;
        let cursor = connection.cursor.known().cloned().flatten();
        let start = SyncRunCommand::Start {
            at: self.directory.now(),
            cursor: cursor.filter(|_| !run.is_full),
            rows_before,
        };
        self.execute(start).await?;
        Ok(true)
    }

    /// Walks on from where the run stands.
    async fn walk(
        &mut self,
        desk: &Arc<Desk>,
        reader: &mut Reader,
        stop: &CancellationToken,
    ) -> Result<Walked, CommandError> {
        let run = &desk.run.state;
        let json = |text: Option<&String>| text.and_then(|text| serde_json::from_str(text).ok());
        let since = run.cursor_before.known().and_then(Option::as_ref);
        let (place, written) = Written::of(json(run.place.known().and_then(Option::as_ref)));
        let mut walk = Walk {
            since: json(since.filter(|_| !run.is_full)),
            place: place.clone(),
            limit: None,
        };
        let halt = stop.child_token();
        let (mut writer, gathering) = (Writer::new(desk, place, written), Gathering::default());
        let directory = self.directory.clone();
        let pause = self.options.page_pause;
        let read = async {
            let ended = loop {
                if halt.run_until_cancelled(gathering.room()).await.is_none() {
                    break Err(NoPage::Halted);
                }
                let page = match reader.page(&walk, directory.now(), &halt).await {
                    Ok(page) => page,
                    Err(no_page) => break Err(no_page),
                };
                walk.place.clone_from(&page.place);
                gathering.put(page);
                if walk.place.is_none() {
                    break Ok(());
                }
                if let Some(pause) = pause {
                    halt.run_until_cancelled(sleep(pause)).await;
                }
            };
            gathering.end();
            ended
        };
        let write = async {
            let taken = Box::pin(writer.write(&gathering)).await;
            if !matches!(taken, Ok(Taken::On)) {
                halt.cancel();
            }
            taken
        };
        let (taken, ended) = {
            let both = async { tokio::join!(write, read) };
            tokio::pin!(both);
            loop {
                tokio::select! {
                    both = &mut both => break both,
                    () = sleep(BEAT) => {
                        if !self.beats().await.unwrap_or(false) {
                            halt.cancel();
                        }
                    }
                }
            }
        };
        if taken? == Taken::Over {
            return Ok(Walked::Over);
        }
        match ended {
            Ok(()) => Ok(Walked::Whole),
            Err(NoPage::Halted) => self.halted(stop).await,
            Err(NoPage::Restart(forgets_cursor)) => {
                reader.restart();
                Ok(Walked::Again(forgets_cursor))
            }
            Err(NoPage::Ends(end)) => Ok(Walked::Ends(end)),
        }
    }

    /// Why reading was halted.
    async fn halted(&self, stop: &CancellationToken) -> Result<Walked, CommandError> {
        if stop.is_cancelled() {
            return Ok(Walked::Stopped);
        }
        let cell = self.directory.cell();
        let run = cell.load_fresh::<SyncRun>(&self.project, self.id).await?;
        if run.state.cancel_requested || run.state.status.is_final() {
            Ok(Walked::Over)
        } else {
            Ok(Walked::Stopped)
        }
    }

    /// Keeps the lease; `false` where another worker has the run, or it is to stop.
    async fn beats(&mut self) -> Result<bool, CommandError> {
        let cell = self.directory.cell();
        if !self.held.keep(cell).await? {
            return Ok(false);
        }
        let run = cell.load_fresh::<SyncRun>(&self.project, self.id).await?;
        Ok(!run.state.cancel_requested && !run.state.status.is_final())
    }

    fn spent(&self, started_at: Option<Timestamp>) -> Duration {
        let micros = started_at.map_or(0, |at| self.directory.now().0 - at.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    async fn execute(&self, command: SyncRunCommand) -> Result<(), CommandError> {
        let decide = |state: &SyncRun| Ok(decide(state, &command)?);
        self.directory
            .execute(&self.project, self.id, &self.meta, decide)
            .await?;
        Ok(())
    }

    async fn complete(&self) -> Result<Ran, CommandError> {
        let cell = self.directory.cell();
        let run = cell.load_fresh::<SyncRun>(&self.project, self.id).await?;
        let end = End {
            status: run.state.completed_status(),
            code: "",
            message: String::new(),
            retry_at: None,
        };
        self.finish(end).await
    }

    /// Ends the run, unless it ended, and tells its connection in the same append.
    pub(super) async fn finish(&self, end: End) -> Result<Ran, CommandError> {
        let (directory, cell) = (&self.directory, self.directory.cell());
        loop {
            let run = cell.load_fresh::<SyncRun>(&self.project, self.id).await?;
            if run.state.status.is_final() || !run.state.is_queued() {
                return Ok(Ran::Ended);
            }
            let at = directory.now();
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let finish = SyncRunCommand::Finish {
                at,
                status: end.status,
                code: text(end.code),
                message: text(&end.message),
                retry_at: end.retry_at,
            };
            let mut commands = vec![cell.prepare(
                &self.project,
                &run,
                decide(&run.state, &finish)?,
                &self.meta,
            )?];
            let id = run.state.connection_id;
            let connection = cell.load_fresh::<Connection>(&self.project, id).await?;
            if connection.state.is_there() {
                let note = ConnectionCommand::NoteFinished {
                    at,
                    run_id: self.id,
                    status: end.status,
                    code: text(end.code),
                    retry_at: end.retry_at,
                    // What was held back is told once; a full walk finds it again.
                    clears_cursor: !run.state.is_full && run.state.removals.held_back > 0,
                };
                let events = connection::decide(&connection.state, &note)?;
                if !events.is_empty() {
                    commands.push(cell.prepare(&self.project, &connection, events, &self.meta)?);
                }
            }
            if let ChunkVerdict::Accepted { .. } = cell.append_all(commands).await? {
                let provider = connection.into_state().settings.provider;
                let status = end.status.as_str();
                metrics::counter!("roster_sync_runs_total", "provider" => provider, "status" => status)
                    .increment(1);
                let counts = run.state.counts;
                tracing::info!(
                    run = %self.id,
                    status,
                    code = end.code,
                    records = counts.total(),
                    failed = counts.failed,
                    "a sync ended"
                );
                return Ok(Ran::Ended);
            }
        }
    }
}

pub(super) fn cancelled() -> End {
    End {
        status: RunStatus::Cancelled,
        code: "",
        message: String::new(),
        retry_at: None,
    }
}

fn no_source() -> End {
    End::failed("provider_unknown", "this server has no such source")
}
