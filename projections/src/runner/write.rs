//! Writes a page; takes a failing one apart to the event that fails, and parks its stream.

use uuid::Uuid;

use super::{Ended, IDLE, Item, LONGEST_BACKOFF, Leading, Projection, Runner};
use crate::page::PageError;
use crate::parked;
use crate::rebuild::scrub::scrub;

impl<P: Projection> Runner<P> {
    /// Folds parked streams anew where that is asked.
    pub(super) async fn unpark(&mut self, leading: &mut Leading) -> Result<(), Ended> {
        let asked = match parked::asked(self.cell.pool(), P::NAME).await {
            Ok(asked) => asked,
            Err(error) => {
                self.shared.fail("parked", &error.into());
                return Ok(());
            }
        };
        for (project_no, stream) in asked {
            let step = Self::step(leading, leading.position);
            match self.projection.refold(project_no, stream, step).await {
                Ok(()) => {
                    let epoch = leading.lease.epoch;
                    if let Err(error) =
                        parked::remove(self.cell.pool(), P::NAME, stream, epoch).await
                    {
                        self.shared.fail("parked", &error.into());
                        return Err(Ended::Failed(IDLE));
                    }
                    leading.parked.remove(&stream);
                    // What was made ready for the next page did not know of it.
                    self.projection.forget();
                    self.shared.parked(leading.parked.len());
                }
                Err(PageError::Fenced) => return Err(Ended::Fenced),
                // It says nothing about the stream, which goes on being asked for.
                Err(error) if error.is_transient() || matches!(error, PageError::Behind) => {
                    self.projection.forget();
                    self.shared.fail_page(&error);
                    return Err(Ended::Failed(IDLE));
                }
                Err(error) => {
                    tracing::warn!(projection = P::NAME, %stream, code = error.code(), "a parked stream fails again");
                    self.projection.forget();
                    if let Err(error) =
                        parked::keep(self.cell.pool(), P::NAME, stream, &error.code()).await
                    {
                        self.shared.fail("parked", &error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Applies a page; where that fails for good, halves it until the one event is found and parks its stream.
    pub(super) async fn write(
        &mut self,
        leading: &mut Leading,
        page: &[P::Item],
    ) -> Result<(), Ended> {
        let mut parts = vec![page];
        while let Some(part) = parts.pop() {
            let (Some(first), Some(last)) = (part.first(), part.last()) else {
                continue;
            };
            let kept: Vec<&P::Item> = part
                .iter()
                .filter(|item| !leading.parked.contains(&item.stream()) || item.scrubs())
                .collect();
            let erased: Vec<Uuid> = kept
                .iter()
                .filter(|item| item.scrubs())
                .map(|item| item.stream())
                .collect();
            if !erased.is_empty()
                && let Err(error) = scrub::<P>(self.cell.pool(), &erased).await
            {
                self.shared.fail("scrub", &error.into());
                return Err(Ended::Failed(IDLE));
            }
            let step = Self::step(leading, last.position());
            let Err(error) = self.projection.apply(&kept, step).await else {
                leading.position = last.position();
                self.reach(leading.position);
                continue;
            };
            self.projection.forget();
            match error {
                PageError::Fenced => return Err(Ended::Fenced),
                PageError::Behind => {
                    self.shared.fail_page(&error);
                    return Err(Ended::Failed(IDLE));
                }
                PageError::Unknown { .. } | PageError::Ledger(_) => {
                    self.shared.fail_page(&error);
                    return Err(Ended::Failed(LONGEST_BACKOFF));
                }
                error if error.is_transient() => {
                    // Whether it was written is unknown: taking the lease anew reads the checkpoint.
                    self.shared.fail_page(&error);
                    return Err(Ended::Failed(IDLE));
                }
                PageError::Poison {
                    stream,
                    position,
                    code,
                } => {
                    let project_no = part
                        .iter()
                        .find(|item| item.stream() == stream)
                        .map_or(0, P::Item::project_no);
                    self.park(leading, stream, project_no, position, code)
                        .await?;
                    parts.push(part);
                }
                error if part.len() == 1 => {
                    self.park(
                        leading,
                        first.stream(),
                        first.project_no(),
                        first.position(),
                        &error.code(),
                    )
                    .await?;
                    parts.push(part);
                }
                PageError::Store(_) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.push(right);
                    parts.push(left);
                }
            }
        }
        Ok(())
    }

    async fn park(
        &self,
        leading: &mut Leading,
        stream: Uuid,
        project_no: i32,
        position: i64,
        code: &str,
    ) -> Result<(), Ended> {
        if !leading.parked.insert(stream) {
            // It fails although it is left out: nothing can be done event by event.
            tracing::error!(
                projection = P::NAME,
                position,
                code,
                "a page fails without its parked stream"
            );
            return Err(Ended::Failed(LONGEST_BACKOFF));
        }
        tracing::error!(projection = P::NAME, %stream, position, code, "an event fails; its stream is parked");
        match parked::insert(
            self.cell.pool(),
            P::NAME,
            stream,
            project_no,
            position,
            code,
        )
        .await
        {
            Ok(()) => {
                self.shared.parked(leading.parked.len());
                Ok(())
            }
            Err(error) => {
                self.shared.fail("parked", &error.into());
                Err(Ended::Failed(IDLE))
            }
        }
    }
}
