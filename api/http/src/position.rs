//! Read-your-writes over HTTP: what `Roster-Position` says and how `Roster-Min-Position` is kept.
//!
//! The text is `<epoch>:<position>`: positions of another epoch belong to another history of the log.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use roster_domain::Problem;

use crate::{ApiError, App, Code};

/// Says up to which position of the log an answer is complete.
pub const POSITION: HeaderName = HeaderName::from_static("roster-position");
/// Asks a read to be complete up to a position.
pub const MIN_POSITION: HeaderName = HeaderName::from_static("roster-min-position");
/// `false`: the write is safe, and reads will show it a little later.
pub const PROJECTED: HeaderName = HeaderName::from_static("roster-projected");

/// How long an answer may wait for the read side.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// The header's text.
pub(crate) fn header_value(epoch: i32, position: i64) -> HeaderValue {
    HeaderValue::try_from(format!("{epoch}:{position}")).unwrap_or(HeaderValue::from_static("1:0"))
}

/// Where a minimum points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Minimum {
    epoch: i32,
    position: i64,
}

fn minimum(headers: &HeaderMap) -> Result<Option<Minimum>, ApiError> {
    let Some(value) = headers.get(MIN_POSITION) else {
        return Ok(None);
    };
    let parse = || {
        let (epoch, position) = value.to_str().ok()?.split_once(':')?;
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let all_digits = digits(epoch) && digits(position);
        let minimum = Minimum {
            epoch: epoch.parse().ok()?,
            position: position.parse().ok()?,
        };
        all_digits.then_some(minimum)
    };
    parse().map(Some).ok_or_else(|| {
        let problem = Problem::new(
            ["header", "Roster-Min-Position"],
            "position",
            "expected <epoch>:<position>",
        );
        ApiError::Invalid(vec![problem])
    })
}

/// How long a request may wait that acts on what it reads.
const CAUTION: Duration = Duration::from_secs(15);

impl App {
    /// Returns once reads of this node show everything that any server wrote so far, for a request that acts on what it
    /// reads: the caller's own writes count.
    ///
    /// # Errors
    /// 503 where the read side is behind for longer than a request can wait.
    pub async fn caught_up(&self, with_search: bool) -> Result<(), ApiError> {
        let position = self.head_in_log().await?;
        reached(self, position, with_search, false, CAUTION).await
    }
}

async fn reached(
    app: &App,
    position: i64,
    with_search: bool,
    with_audit: bool,
    patience: Duration,
) -> Result<(), ApiError> {
    let projections = app.projections();
    let passed = projections.wait_for(position, patience).await
        && (!with_search || projections.wait_for_search(position, patience).await)
        && (!with_audit || projections.wait_for_audit(position, patience).await);
    if passed {
        Ok(())
    } else {
        Err(ApiError::new(
            Code::ProjectionBehind,
            "reads have not reached that position yet",
        )
        .retry_after(1))
    }
}

/// Returns once reads of this node show everything up to the caller's minimum.
pub(crate) async fn wait(
    app: &App,
    headers: &HeaderMap,
    with_search: bool,
    with_audit: bool,
) -> Result<(), ApiError> {
    let Some(minimum) = minimum(headers)? else {
        return Ok(());
    };
    let ahead = || ApiError::new(Code::PositionAhead, "the log has not reached that position");
    if minimum.epoch != app.epoch() {
        let message = format!(
            "the log was restored: it is in epoch {}, and the position is of another one",
            app.epoch()
        );
        return Err(ApiError::new(Code::EpochChanged, message));
    }
    if minimum.position > app.head() && minimum.position > app.head_in_log().await? {
        return Err(ahead());
    }
    reached(app, minimum.position, with_search, with_audit, WAIT).await
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{MIN_POSITION, Minimum, header_value, minimum};

    fn parsed(text: &'static str) -> Option<Minimum> {
        let headers = HeaderMap::from_iter([(MIN_POSITION, HeaderValue::from_static(text))]);
        minimum(&headers).unwrap_or(None)
    }

    #[test]
    fn a_position_comes_back_as_it_was_sent() {
        assert_eq!(header_value(1, 42), "1:42");
        assert_eq!(header_value(3, 7), "3:7");
        assert_eq!(
            parsed("1:42"),
            Some(Minimum {
                epoch: 1,
                position: 42
            })
        );
        assert!(minimum(&HeaderMap::new()).is_ok_and(|minimum| minimum.is_none()));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "42",
            "1:",
            ":1",
            "1:-1",
            "+1:1",
            "1:+1",
            "1:2:3",
            "1:99999999999999999999",
            "x",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        let headers = HeaderMap::from_iter([(MIN_POSITION, HeaderValue::from_static("x"))]);
        assert!(minimum(&headers).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_minimum_is_a_position_or_a_finding(
            value in "[0-9:+ -]{0,40}|[0-9]{1,12}:[0-9]{1,22}|\\PC{0,40}",
        ) {
            let Ok(given) = HeaderValue::from_bytes(value.as_bytes()) else {
                return Ok(());
            };
            let headers = HeaderMap::from_iter([(MIN_POSITION, given)]);
            if let Ok(Some(found)) = minimum(&headers) {
                proptest::prop_assert!(found.position >= 0 && found.epoch >= 0);
                proptest::prop_assert!(value.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'));
            }
        }
    }
}
