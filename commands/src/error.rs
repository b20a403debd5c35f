//! The one error of every use case: transport-neutral, and without a personal value in its text.

use std::fmt;

use roster_domain::Problem;
use roster_store::StoreError;
use uuid::Uuid;

use crate::authority::Denied;

/// Why a use case did not do what was asked.
#[derive(thiserror::Error)]
pub enum CommandError {
    /// The actor may not do this, or not here.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What the request names does not exist.
    #[error("the {0} does not exist")]
    NotFound(NotFound),
    /// The record has another version, or was changed too often while the command was decided.
    #[error("the record is at version {current}")]
    VersionConflict {
        /// The version that it has; 0 where it does not exist.
        current: i32,
    },
    /// Another customer holds the value of a unique field.
    #[error("a value of the unique field {field} is taken")]
    UniqueValueTaken {
        /// The field.
        field: String,
        /// The customer that holds it, unless that one went in the meantime.
        customer_user_id: Option<String>,
    },
    /// Another customer holds a connector identity.
    #[error("the identity is linked to another customer")]
    IdentityLinkedElsewhere {
        /// The customer that holds it, unless that one went in the meantime.
        customer_user_id: Option<String>,
    },
    /// A field that must have a value cannot be cleared.
    #[error("the field {field} cannot be cleared")]
    ProfileFieldRequired {
        /// The field.
        field: String,
    },
    /// The primary-key value and the id disagree.
    #[error("the primary-key value differs from the customer id")]
    PrimaryKeyMismatch,
    /// A project with customers keeps its primary key.
    #[error("the primary key of a project with customers cannot change")]
    PrimaryKeyFixed,
    /// Values that the schema does not allow, or an input that makes no sense.
    #[error("{} problems in the input", .0.len())]
    Invalid(Vec<Problem>),
    /// A schema that makes no sense, or whose unique fields have duplicates.
    #[error("{} problems in the schema", .0.len())]
    SchemaInvalid(Vec<Problem>),
    /// The schema has another version than the caller saw.
    #[error("the schema is at version {current}")]
    SchemaConflict {
        /// The version that it has.
        current: i32,
    },
    /// The change needs a check of every customer, which now runs as a job.
    #[error("the schema change needs a preparation")]
    PreparationRequired {
        /// The job.
        preparation_id: Uuid,
    },
    /// The filter would match everybody.
    #[error("the filter needs a search or a data source")]
    RestrictiveFilterRequired,
    /// The confirmation names another project.
    #[error("confirm_project_id is not the id of the project")]
    ConfirmationRequired,
    /// More customers match than one purge takes.
    #[error("{matched} customers match, and one purge takes {limit}")]
    TooManyMatches {
        /// How many match.
        matched: u64,
        /// How many one purge takes.
        limit: u64,
    },
    /// Another number of customers matches than the caller expects.
    #[error("{matched} customers match now")]
    TotalChanged {
        /// How many match.
        matched: u64,
    },
    /// A connection is being synced already.
    #[error("the connection is being synced")]
    RunInProgress {
        /// The run that goes on.
        run_id: Uuid,
    },
    /// Another connection of the project has the name.
    #[error("another connection has the name")]
    ConnectionNameTaken,
    /// The source cannot be read so.
    #[error("{0}")]
    ModeUnsupported(&'static str),
    /// The file is no usable CSV.
    #[error(transparent)]
    Csv(#[from] CsvProblem),
    /// The body is larger than the configured limit.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The caller's body ended with a failure of the connection.
    #[error("the body could not be read")]
    BodyUnreadable,
    /// The database is away or the server is stopping: the same request may succeed later.
    #[error("the directory is not available")]
    Unavailable,
    /// A failure of Roster. The source is for the log, never for the caller.
    #[error("internal error: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Debug for CommandError {
    // The display text is free of personal values; a derived form would show a customer id.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CommandError({self})")
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            Self::Unavailable
        } else {
            Self::Internal(Box::new(error))
        }
    }
}

impl From<NotFound> for CommandError {
    fn from(what: NotFound) -> Self {
        Self::NotFound(what)
    }
}

impl From<sqlx::Error> for CommandError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl CommandError {
    pub(crate) fn internal(text: &'static str) -> Self {
        Self::Internal(text.into())
    }

    pub(crate) fn invalid(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// A customer.
    Customer,
    /// An import.
    Import,
    /// A purge.
    Purge,
    /// A uniqueness preparation.
    Preparation,
    /// A suppressed id.
    Suppression,
    /// A grant.
    Grant,
    /// A connection that a data source tag names.
    Connection,
    /// A run of a connection.
    Run,
    /// An API key.
    ApiKey,
}

impl fmt::Display for NotFound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Customer => "customer",
            Self::Import => "import",
            Self::Purge => "purge",
            Self::Preparation => "preparation",
            Self::Suppression => "suppression",
            Self::Grant => "grant",
            Self::Connection => "connection",
            Self::Run => "run",
            Self::ApiKey => "API key",
        })
    }
}

/// What is wrong with a CSV file as a whole. Texts name columns of the header, never a cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvProblem {
    /// Nothing but white space.
    #[error("empty CSV")]
    Empty,
    /// The first record names neither the primary key nor any field.
    #[error("CSV missing header row")]
    MissingHeader,
    /// A header row and nothing after it.
    #[error("no data rows found")]
    NoRows,
    /// The header has fields but no primary key.
    #[error("CSV has no column for the primary key '{field}' or 'customer_user_id'")]
    MissingPrimaryKey {
        /// The primary key of the schema.
        field: String,
    },
    /// Two columns feed one field.
    #[error("columns {first} and {second} are both '{field}'")]
    DuplicateColumn {
        /// The field.
        field: String,
        /// The first column, from 1.
        first: usize,
        /// The second column, from 1.
        second: usize,
    },
    /// A column name that is empty, too long or not usable as a field name.
    #[error("column {column} has no usable name")]
    ColumnName {
        /// The column, from 1.
        column: usize,
    },
    /// More columns than a file may have.
    #[error("the header has more than {limit} columns")]
    TooManyColumns {
        /// The limit.
        limit: usize,
    },
    /// More columns outside the schema than a profile may have.
    #[error("the header has more than {limit} columns outside the schema")]
    TooManyUnknownColumns {
        /// The limit.
        limit: usize,
    },
    /// The bytes are not UTF-8, and no byte order mark says UTF-16.
    #[error("the text is not UTF-8 at byte {offset}")]
    NotText {
        /// Where, from 0.
        offset: u64,
    },
    /// A zero byte.
    #[error("the text has a NUL character at byte {offset}")]
    Nul {
        /// Where in the decoded text, from 0.
        offset: u64,
    },
    /// A quote that is opened and not closed for a very long stretch.
    #[error("the record at line {line} is longer than {limit} bytes; is a quote left open?")]
    RecordTooLong {
        /// The line where the record starts, from 1.
        line: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A delimiter that is a quote, a line break or not ASCII.
    #[error("the delimiter is not usable")]
    Delimiter,
}

#[cfg(test)]
mod tests {
    use super::CommandError;

    #[test]
    fn debug_does_not_show_the_holder_of_a_value() {
        let error = CommandError::UniqueValueTaken {
            field: "email".into(),
            customer_user_id: Some("ada@example.org".into()),
        };
        assert!(!format!("{error:?}").contains("ada"));
    }
}
