//! The bytes of a body: their declared type, and no more of them than the limit.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};

use crate::{ApiError, Code};

/// A body that is too large is read and dropped up to this size, so that a client that writes before it reads sees the
/// answer instead of a reset connection (what web servers call a lingering close).
pub(crate) const MAX_DRAINED: usize = 256 << 20;

/// Whether the body is of the media type.
pub fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let Some(value) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(wanted)
}

/// Refuses bodies that are not plain JSON: 415.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let encoded = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| value != "identity");
    if encoded || !has_type(headers, "application/json") {
        let message = "the body must be application/json without a content encoding";
        return Err(ApiError::new(Code::UnsupportedMediaType, message));
    }
    Ok(())
}

/// The whole body, if it is within the limit: else 413, after no more than `drained` bytes were read.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    drained: usize,
) -> Result<Bytes, ApiError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok())
        .unwrap_or(0);
    if announced > limit && headers.contains_key(header::EXPECT) {
        // The client has not sent the body yet and will not.
        return Err(too_large(limit));
    }
    let mut stream = body.into_data_stream();
    let mut next = async || match stream.next().await {
        None => Ok(None),
        Some(Ok(chunk)) => Ok(Some(chunk)),
        Some(Err(_)) => Err(ApiError::new(
            Code::BadRequest,
            "the body could not be read",
        )),
    };
    let first = next().await?.unwrap_or_default();
    let mut size = first.len();
    let mut whole = BytesMut::new();
    while let Some(chunk) = next().await? {
        if whole.is_empty() {
            whole.reserve(announced.min(limit));
            whole.extend_from_slice(&first);
        }
        size = size.saturating_add(chunk.len());
        if size <= limit {
            whole.extend_from_slice(&chunk);
        } else if size > drained {
            break;
        }
    }
    match size {
        size if size > limit => Err(too_large(limit)),
        _ if whole.is_empty() => Ok(first),
        _ => Ok(whole.freeze()),
    }
}

/// Reads and drops what is left of the body of a request that is refused, within the same bounds. A body that breaks off
/// has nobody behind it who could see an answer.
pub async fn drain<E>(mut rest: impl Stream<Item = Result<Bytes, E>> + Unpin) {
    let mut size = 0_usize;
    while let Some(Ok(chunk)) = rest.next().await {
        size = size.saturating_add(chunk.len());
        if size > MAX_DRAINED {
            break;
        }
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        Code::PayloadTooLarge,
        format!("the body is larger than {limit} bytes"),
    )
    .with("limit", limit)
}
