//! Findings about rows as they are kept: what they tell about a person is sealed.

use roster_domain::customer::Customer;
use roster_domain::import::{IssueDetail, Severity, StoredIssue};
use roster_domain::stream::Stream;
use roster_store::Loaded;

use super::decide::Finding;

/// The name under which details of findings are sealed.
const ISSUE: &str = "issue";
/// The longest cell of a failed row that is kept, in bytes.
const KEPT_CELL: usize = 4 << 10;

/// Seals what a finding tells about a person, under the person's key where there is one.
pub(crate) fn issue<'r, A: Stream>(
    job: &Loaded<A>,
    finding: &Finding,
    number: u64,
    cells: impl Iterator<Item = &'r str>,
    id: Option<&str>,
    person: Option<&Loaded<Customer>>,
) -> StoredIssue {
    let cells = match finding.severity {
        Severity::Failed => cells.map(kept).collect(),
        Severity::Warning => Vec::new(),
    };
    let detail = IssueDetail {
        customer_user_id: id.map(str::to_owned),
        cells,
    }
    .encode();
    let sealed = person.and_then(|person| Some((person.stream, person.seal(ISSUE, &detail)?)));
    let (about, detail) = match sealed {
        Some((stream, sealed)) => (Some(stream), sealed),
        None => (None, job.seal(ISSUE, &detail).unwrap_or_default()),
    };
    StoredIssue {
        row: number,
        severity: finding.severity,
        field: finding.refusal.field.clone(),
        code: finding.refusal.code.clone(),
        message: finding.refusal.message.clone(),
        about,
        detail,
    }
}

/// A cell as it is kept with a failed row.
fn kept(cell: &str) -> String {
    let mut end = cell.len().min(KEPT_CELL);
    while !cell.is_char_boundary(end) {
        end -= 1;
    }
    cell[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::{KEPT_CELL, kept};

    #[test]
    fn a_long_cell_is_cut_between_characters() {
        assert_eq!(kept("Zoë"), "Zoë");
        let cut = kept(&"ë".repeat(KEPT_CELL));
        assert_eq!(cut.len(), KEPT_CELL);
        assert_eq!(
            kept(&format!("x{}", "ë".repeat(KEPT_CELL))).len(),
            KEPT_CELL - 1
        );
    }
}
