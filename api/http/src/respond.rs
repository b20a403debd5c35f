//! Answers. One to a write is sent once reads show it, so that a client may always read what it wrote.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roster_commands::Applied;
use serde::Serialize;
use tracing::Instrument;

use crate::{ApiError, App, position, trace};

/// Says that the answer is the first one of an earlier, identical request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut response = Response::new(bytes.into());
            *response.status_mut() = status;
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            response
        }
        Err(error) => ApiError::internal(error).into_response(),
    }
}

/// A JSON answer with status 200.
pub fn ok<T: Serialize>(body: &T) -> Response {
    json(StatusCode::OK, body)
}

/// The outcome of a write, ready to be answered.
pub struct Settled<T> {
    /// The outcome.
    pub value: T,
    position: i64,
    projected: bool,
    replayed: bool,
    epoch: i32,
}

impl App {
    /// Waits until reads show the outcome, within bounds.
    ///
    /// An outcome without events still rests on what was in the log, so it waits for that.
    pub async fn settle<T>(&self, applied: Applied<T>) -> Settled<T> {
        let position = match applied.position {
            Some(position) => position,
            // Another server may have written what it rests on.
            None => self.head_in_log().await.unwrap_or_else(|_| self.head()),
        };
        self.settle_at(position, applied.value, applied.replayed)
            .await
    }

    /// Waits until reads show everything that any server wrote so far, for outcomes that a job brought about.
    pub async fn settle_all<T>(&self, value: T, replayed: bool) -> Result<Settled<T>, ApiError> {
        let position = self.head_in_log().await?;
        Ok(self.settle_at(position, value, replayed).await)
    }

    async fn settle_at<T>(&self, position: i64, value: T, replayed: bool) -> Settled<T> {
        let wait = self.projections().wait_for(position, position::WAIT);
        let projected = wait.instrument(trace::projection()).await;
        Settled {
            value,
            position,
            projected,
            replayed,
            epoch: self.epoch(),
        }
    }

    /// An answer that shows the log up to a position: what it was read from may be behind the directory, whose position an
    /// answer has otherwise.
    pub fn complete_to(&self, position: i64, mut response: Response) -> Response {
        let position = position::header_value(self.epoch(), position.max(0));
        response.headers_mut().insert(position::POSITION, position);
        response
    }
}

impl<T> Settled<T> {
    /// The answer.
    pub fn answer<R: Serialize>(self, status: StatusCode, body: impl FnOnce(T) -> R) -> Response {
        let mut response = json(status, &body(self.value));
        let headers = response.headers_mut();
        headers.insert(
            position::POSITION,
            position::header_value(self.epoch, self.position),
        );
        if !self.projected {
            headers.insert(position::PROJECTED, HeaderValue::from_static("false"));
        }
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
