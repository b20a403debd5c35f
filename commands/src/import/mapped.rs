//! Columns that a caller names: which of them is which field. The others are ignored.

use std::collections::BTreeMap;

use roster_domain::Problem;
use roster_domain::schema::Schema;

use crate::CommandError;

/// Which column is which field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMapping {
    /// Fields by the column's name in the header, or by its number from 1 where there is no header.
    pub fields: BTreeMap<String, String>,
    /// Whether the first record names the columns.
    pub has_header: bool,
}

impl ColumnMapping {
    /// Refuses a field that the schema does not have.
    pub(super) fn check(&self, schema: &Schema) -> Result<(), CommandError> {
        let is_known = |field: &str| {
            matches!(field, "customer_user_id" | "enabled") || schema.field(field).is_some()
        };
        let unknown = self.fields.iter().filter(|(_, field)| !is_known(field));
        let problems: Vec<Problem> = unknown
            .map(|(column, field)| {
                let message = format!("the schema has no field '{field}'");
                Problem::new(["mapping", column.as_str()], "field_unknown", message)
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(CommandError::Invalid(problems))
        }
    }

    /// The fields of columns by their names; nothing for those that are ignored.
    pub(super) fn named(&self, header: &[String]) -> Vec<String> {
        header
            .iter()
            .map(|name| self.fields.get(name).cloned().unwrap_or_default())
            .collect()
    }

    /// The fields of so many columns by their numbers.
    pub(super) fn numbered(&self, columns: usize) -> Vec<String> {
        (1..=columns)
            .map(|number| self.fields.get(&number.to_string()).cloned())
            .map(Option::unwrap_or_default)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::schema::{Definition, Schema};

    use super::ColumnMapping;

    fn mapping(fields: &[(&str, &str)]) -> ColumnMapping {
        ColumnMapping {
            fields: fields
                .iter()
                .map(|(column, field)| ((*column).to_owned(), (*field).to_owned()))
                .collect(),
            has_header: true,
        }
    }

    #[test]
    fn columns_have_the_field_that_they_are_given_and_others_none() {
        let named = mapping(&[("E-Mail", "email")]);
        assert_eq!(
            named.named(&["Id", "E-Mail"].map(str::to_owned)),
            ["", "email"]
        );
        let numbered = mapping(&[("2", "email"), ("9", "phone")]);
        assert_eq!(numbered.numbered(3), ["", "email", ""]);
    }

    #[test]
    fn a_field_that_the_schema_does_not_have_is_refused() {
        let schema = Schema::compile(Definition::default(), 1).expect("a schema");
        assert!(
            mapping(&[("a", "email"), ("b", "enabled")])
                .check(&schema)
                .is_ok()
        );
        assert!(mapping(&[("a", "emial")]).check(&schema).is_err());
    }
}
