//! What the cells of a row ask for, by the columns of the file and the schema.

use std::collections::BTreeMap;

use csv::StringRecord;
use roster_domain::Problem;
use roster_domain::import::EmptyCells;
use roster_domain::schema::Schema;
use roster_domain::value::{Input, SmolStr, Value, boolean};

use super::header::{Column, Columns};
use super::rows::{Row, Trouble};

/// What a row is.
pub(crate) enum Meaning {
    /// Every cell is empty: nothing is asked for.
    Blank,
    /// A customer as the row has it.
    Customer(Wanted),
    /// The row cannot be applied.
    Refused(Refusal),
}

/// A customer as a row has it.
pub(crate) struct Wanted {
    pub(crate) customer_user_id: String,
    pub(crate) changes: BTreeMap<SmolStr, Option<Value>>,
    pub(crate) enabled: Option<bool>,
    /// The source's id of the record, in a sync.
    pub(crate) record_id: Option<String>,
    /// Optional values that were not readable, and are cleared.
    pub(crate) warnings: Vec<Refusal>,
}

/// Why a row, or one value of it, is not applied. Texts never repeat a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) field: Option<String>,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(field: Option<&str>, code: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.map(str::to_owned),
            code: code.into(),
            message: message.into(),
        }
    }

    pub(crate) fn of(field: &str, problem: Problem) -> Self {
        Self {
            field: Some(field.to_owned()),
            code: problem.kind,
            message: problem.message,
        }
    }

    /// All findings of a schema as one: the first one's field and code, everybody's message.
    pub(crate) fn of_all(problems: &[Problem]) -> Self {
        let field = |problem: &Problem| problem.loc.last().cloned();
        let messages: Vec<String> = problems
            .iter()
            .map(|problem| match field(problem) {
                Some(name) if problems.len() > 1 => format!("{name}: {}", problem.message),
                _ => problem.message.clone(),
            })
            .collect();
        Self {
            field: problems.first().and_then(field),
            code: problems
                .first()
                .map_or_else(|| "invalid".into(), |problem| problem.kind.clone()),
            message: messages.join("; "),
        }
    }

    fn of_form(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Ragged {
                line,
                cells,
                columns,
            } => {
                let message = format!("line {line} has {cells} cells, the header has {columns}");
                Self::new(None, "ragged_row", message)
            }
            Trouble::OpenQuote { line } => Self::new(
                None,
                "open_quote",
                format!("a quote of the record at line {line} is never closed"),
            ),
        }
    }
}

/// The cell that names the customer, as it stands in the row.
pub(crate) fn given_id<'r>(
    columns: &Columns,
    primary_key: &str,
    cells: &'r StringRecord,
) -> Option<&'r str> {
    let mut by_key = None;
    for (column, cell) in columns.columns.iter().zip(cells) {
        match column {
            Column::CustomerId if !cell.trim().is_empty() => return Some(cell.trim()),
            Column::Field(name) if name == primary_key && !cell.trim().is_empty() => {
                by_key = Some(cell.trim());
            }
            Column::Field(name)
                if name == "customer_user_id" && by_key.is_none() && !cell.trim().is_empty() =>
            {
                by_key = Some(cell.trim());
            }
            _ => {}
        }
    }
    by_key
}

/// Reads one row.
pub(crate) fn read(
    columns: &Columns,
    schema: &Schema,
    empty_cells: EmptyCells,
    row: &Row,
) -> Meaning {
    if let Some(trouble) = row.trouble {
        return Meaning::Refused(Refusal::of_form(trouble));
    }
    if row.cells.iter().all(|cell| cell.trim().is_empty()) {
        return Meaning::Blank;
    }
    match read_customer(columns, schema, empty_cells, &row.cells) {
        Ok(wanted) => Meaning::Customer(wanted),
        Err(refusal) => Meaning::Refused(refusal),
    }
}

fn read_customer(
    columns: &Columns,
    schema: &Schema,
    empty_cells: EmptyCells,
    cells: &StringRecord,
) -> Result<Wanted, Refusal> {
    let primary_key = schema.primary_key();
    let id = given_id(columns, primary_key, cells).ok_or_else(|| {
        Refusal::new(
            Some(primary_key),
            "value_required",
            "the row names no customer",
        )
    })?;
    let customer_user_id = schema
        .canonical_id(id)
        .map_err(|problem| Refusal::of(primary_key, problem))?;
    let mut wanted = Wanted {
        customer_user_id,
        changes: BTreeMap::new(),
        enabled: None,
        record_id: None,
        warnings: Vec::new(),
    };
    for (column, cell) in columns.columns.iter().zip(cells) {
        let (name, must_be_valid) = match column {
            Column::CustomerId | Column::Unnamed => continue,
            Column::Enabled => {
                wanted.enabled = read_enabled(cell)?;
                continue;
            }
            Column::Field(name) => {
                let is_required = schema
                    .field(name)
                    .is_some_and(|field| field.definition().required);
                (name, is_required || name == primary_key)
            }
            Column::Extra(name) => (name, false),
        };
        if cell.trim().is_empty() {
            if empty_cells == EmptyCells::Clear && name != primary_key {
                wanted.changes.insert(name.into(), None);
            }
            continue;
        }
        match schema.read_value(name, &Input::Text(cell.into())) {
            Ok(value) => {
                wanted.changes.insert(name.into(), value);
            }
            Err(problem) if must_be_valid => return Err(Refusal::of(name, problem)),
            Err(problem) => {
                wanted.changes.insert(name.into(), None);
                wanted.warnings.push(Refusal::of(name, problem));
            }
        }
    }
    Ok(wanted)
}

fn read_enabled(cell: &str) -> Result<Option<bool>, Refusal> {
    match cell.trim() {
        "" => Ok(None),
        text => boolean::canonical(text).map(Some).ok_or_else(|| {
            Refusal::new(Some("enabled"), "boolean_invalid", "must be true or false")
        }),
    }
}

#[cfg(test)]
#[path = "meaning_tests.rs"]
mod tests;
