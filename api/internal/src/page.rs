//! How lists are asked for and answered.

use roster_domain::Problem;
use roster_http::{ApiError, Code};
use roster_projections::paging::Paging;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The largest page. A larger one is refused, not clamped: an SDK that sees a short page stops early.
const MAX_PAGE_SIZE: u32 = 200;
const DEFAULT_PAGE_SIZE: u32 = 25;

/// One page of a list.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the members of the wire")]
pub(crate) struct Page<T> {
    /// The rows.
    pub(crate) items: Vec<T>,
    /// How many there are on all pages; null beyond what is counted.
    pub(crate) total: Option<i64>,
    /// At least so many, where `total` is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_at_least: Option<i64>,
    /// The page as it was asked for, from 1.
    pub(crate) page: u32,
    /// The most rows of a page.
    pub(crate) page_size: u32,
    /// What to send as `cursor` for the next page; null on the last.
    pub(crate) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page of a project without rows.
    pub(crate) const fn empty(page: u32, page_size: u32) -> Self {
        Self {
            items: Vec::new(),
            total: Some(0),
            total_at_least: None,
            page,
            page_size,
            next_cursor: None,
        }
    }
}

/// Which page is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// From 1.
    pub(crate) page: u32,
    /// 1 to 200.
    pub(crate) page_size: u32,
}

impl Wanted {
    /// Checks both numbers: 422 names each that is out of range.
    pub(crate) fn new(page: Option<u64>, page_size: Option<u64>) -> Result<Self, ApiError> {
        let page = page.map_or(Some(1), |page| {
            u32::try_from(page).ok().filter(|page| *page > 0)
        });
        let page_size = page_size.map_or(Some(DEFAULT_PAGE_SIZE), |size| {
            u32::try_from(size)
                .ok()
                .filter(|size| (1..=MAX_PAGE_SIZE).contains(size))
        });
        if let (Some(page), Some(page_size)) = (page, page_size) {
            return Ok(Self { page, page_size });
        }
        let size = format!("must be 1 to {MAX_PAGE_SIZE}");
        let problems = [
            page.is_none()
                .then(|| Problem::new(["page"], "range", "must be at least 1")),
            page_size
                .is_none()
                .then(|| Problem::new(["page_size"], "range", size)),
        ];
        Err(ApiError::bodies(problems.into_iter().flatten().collect()))
    }
}

/// The longest search, in characters.
const LONGEST_SEARCH: usize = 200;

/// A search for identities, which is 422 where it is too long.
pub(crate) fn search(text: Option<String>) -> Result<Option<String>, ApiError> {
    let is_long = |text: &String| text.chars().count() > LONGEST_SEARCH;
    if text.as_ref().is_some_and(is_long) {
        let message = "a search has at most 200 characters";
        return Err(ApiError::body(Problem::new(
            ["search"],
            "text_too_long",
            message,
        )));
    }
    Ok(text)
}

/// The place that a cursor of this server names.
pub(crate) fn cursor(text: Option<&str>) -> Result<Option<Uuid>, ApiError> {
    text.map(|text| Uuid::try_parse(text).map_err(|_| invalid_cursor()))
        .transpose()
}

/// The page of a list by number or cursor.
pub(crate) fn paging(page: u32, page_size: u32, cursor: Option<&str>) -> Result<Paging, ApiError> {
    let cursor = cursor.map(str::parse).transpose()?;
    Ok(Paging {
        page,
        page_size,
        cursor,
    })
}

/// The refusal of any other cursor.
pub(crate) fn invalid_cursor() -> ApiError {
    ApiError::new(
        Code::InvalidCursor,
        "the cursor does not belong to this list",
    )
}

/// The id of a job or preparation: any text that is none names nothing that exists.
pub(crate) fn id_or(text: &str, missing: impl Into<ApiError>) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text.trim()).map_err(|_| missing.into())
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn pages_have_25_rows_unless_asked_otherwise() {
        assert_eq!(
            Wanted::new(None, None).ok(),
            Some(Wanted {
                page: 1,
                page_size: 25
            })
        );
        assert_eq!(
            Wanted::new(Some(3), Some(200)).ok(),
            Some(Wanted {
                page: 3,
                page_size: 200
            })
        );
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (page, size) in [(0, 25), (1, 0), (1, 201), (1, 1_000_000_000), (u64::MAX, 1)] {
            assert!(
                Wanted::new(Some(page), Some(size)).is_err(),
                "{page} {size}"
            );
        }
        let error = Wanted::new(Some(0), Some(201)).expect_err("both are wrong");
        assert_eq!(error.detail().as_array().map(Vec::len), Some(2));
    }
}
