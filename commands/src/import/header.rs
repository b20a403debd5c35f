//! What each column of a file is for.

use std::collections::HashMap;

use roster_domain::schema::{CompiledField, Definition, Schema};

use crate::CsvProblem;

/// More columns than this is no customer file.
pub(crate) const COLUMN_LIMIT: usize = 1_024;

/// Extra fields that a profile may have.
const EXTRA_LIMIT: usize = 64;

/// Characters of a column name, as of a profile field.
const NAME_LIMIT: usize = 128;

/// What the cells of one column are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// The customer id, under its own name rather than the primary key's.
    CustomerId,
    /// A field of the schema.
    Field(String),
    /// The switch of the customer.
    Enabled,
    /// A field outside of the schema.
    Extra(String),
    /// A column without a name: its cells are ignored.
    Unnamed,
}

/// The columns of a file in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) columns: Vec<Column>,
    /// Names outside of the schema, in file order.
    pub(crate) unknown: Vec<String>,
}

/// The names that a header is matched with.
pub(crate) struct Names<'a> {
    primary_key: &'a str,
    fields: Vec<&'a str>,
}

impl<'a> Names<'a> {
    pub(crate) fn of(schema: &'a Schema) -> Self {
        Self {
            primary_key: schema.primary_key(),
            fields: schema.fields().map(CompiledField::name).collect(),
        }
    }

    /// The known name that a header means: the same, else the only one that is the same without case.
    fn known(&self, header: &str) -> Option<&'a str> {
        let mut words = self.fields.clone();
        for word in ["customer_user_id", "enabled"] {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        if let Some(exact) = words.iter().find(|word| **word == header) {
            return Some(exact);
        }
        let folded = header.to_lowercase();
        let mut alike = words
            .into_iter()
            .filter(|word| word.to_lowercase() == folded);
        alike.next().filter(|_| alike.next().is_none())
    }
}

/// The columns of a header that an import keeps as extra fields, as the schema is now.
pub fn unknown_columns(header: &[String], definition: &Definition) -> Vec<String> {
    let fields = definition.fields.iter().map(|field| field.name.as_str());
    let names = Names {
        primary_key: &definition.primary_key,
        fields: fields.collect(),
    };
    header
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty() && names.known(name).is_none())
        .map(str::to_owned)
        .collect()
}

impl Columns {
    /// Reads a header record.
    pub(crate) fn read<'h>(
        headers: impl IntoIterator<Item = &'h str>,
        names: &Names<'_>,
    ) -> Result<Self, CsvProblem> {
        let headers: Vec<&str> = headers.into_iter().collect();
        let is_known = |header: &&str| names.known(header.trim()).is_some();
        // Texts of refusals name columns: a row of values is not to be repeated.
        if headers.len() <= COLUMN_LIMIT && !headers.iter().any(is_known) {
            return Err(CsvProblem::MissingHeader);
        }
        let mut columns = Vec::new();
        let mut unknown = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, header) in headers.into_iter().enumerate() {
            let number = index + 1;
            if number > COLUMN_LIMIT {
                return Err(CsvProblem::TooManyColumns {
                    limit: COLUMN_LIMIT,
                });
            }
            let header = header.trim();
            if header.is_empty() {
                columns.push(Column::Unnamed);
                continue;
            }
            if header.chars().count() > NAME_LIMIT || header.chars().any(char::is_control) {
                return Err(CsvProblem::ColumnName { column: number });
            }
            let known = names.known(header);
            let field = known.unwrap_or(header);
            if let Some(first) = seen.insert(field.to_owned(), number) {
                return Err(CsvProblem::DuplicateColumn {
                    field: field.to_owned(),
                    first,
                    second: number,
                });
            }
            columns.push(match known {
                Some("enabled") => Column::Enabled,
                Some("customer_user_id") if !names.fields.contains(&"customer_user_id") => {
                    Column::CustomerId
                }
                Some(field) => Column::Field(field.to_owned()),
                None => {
                    unknown.push(header.to_owned());
                    Column::Extra(header.to_owned())
                }
            });
        }
        if unknown.len() > EXTRA_LIMIT {
            return Err(CsvProblem::TooManyUnknownColumns { limit: EXTRA_LIMIT });
        }
        let names_a_customer = |column: &Column| match column {
            Column::CustomerId => true,
            Column::Field(name) => name == names.primary_key || name == "customer_user_id",
            _ => false,
        };
        if !columns.iter().any(names_a_customer) {
            return Err(CsvProblem::MissingPrimaryKey {
                field: names.primary_key.to_owned(),
            });
        }
        Ok(Self { columns, unknown })
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::schema::{Definition, Field, FieldType};

    use super::{COLUMN_LIMIT, Column, Columns, Names, unknown_columns};
    use crate::CsvProblem;

    const FIELDS: [&str; 4] = ["member_no", "email", "Nick", "nick"];

    fn read(header: &str) -> Result<Columns, CsvProblem> {
        let names = Names {
            primary_key: "member_no",
            fields: FIELDS.to_vec(),
        };
        Columns::read(header.split(','), &names)
    }

    fn field(name: &str) -> Column {
        Column::Field(name.into())
    }

    #[test]
    fn headers_match_exactly_else_without_case_if_that_is_unique() {
        let columns = read(" Member_No ,EMAIL,nick,Enabled,NICK,City").expect("a good header");
        let expected = [
            field("member_no"),
            field("email"),
            field("nick"),
            Column::Enabled,
            Column::Extra("NICK".into()),
            Column::Extra("City".into()),
        ];
        assert_eq!(columns.columns, expected);
        assert_eq!(columns.unknown, ["NICK", "City"]);
    }

    #[test]
    fn the_customer_id_may_stand_beside_the_primary_key_or_alone() {
        assert_eq!(
            read("customer_user_id").expect("alone").columns,
            [Column::CustomerId]
        );
        let both = read("customer_user_id,member_no").expect("both");
        assert_eq!(both.columns, [Column::CustomerId, field("member_no")]);
        let default = Names {
            primary_key: "customer_user_id",
            fields: vec!["customer_user_id", "email"],
        };
        let columns =
            Columns::read(["customer_user_id", "email"], &default).expect("the default schema");
        assert_eq!(columns.columns, [field("customer_user_id"), field("email")]);
    }

    #[test]
    fn two_columns_for_one_field_are_refused() {
        for (header, name, second) in [
            ("member_no,email,Email", "email", 3),
            ("member_no,x,x", "x", 3),
            ("MEMBER_NO,member_no", "member_no", 2),
        ] {
            let problem = read(header).expect_err(header);
            let CsvProblem::DuplicateColumn {
                field,
                second: found,
                ..
            } = problem
            else {
                panic!("{problem}")
            };
            assert_eq!((field.as_str(), found), (name, second));
        }
    }

    #[test]
    fn a_header_without_a_known_name_is_missing() {
        assert_eq!(read("17,Ada,London"), Err(CsvProblem::MissingHeader));
        assert_eq!(read(",,"), Err(CsvProblem::MissingHeader));
        assert_eq!(
            read("email,city"),
            Err(CsvProblem::MissingPrimaryKey {
                field: "member_no".into()
            })
        );
    }

    #[test]
    fn columns_outside_of_the_schema_are_named_as_they_were() {
        let header = ["Email", " City ", "", "ENABLED", "customer_user_id"].map(str::to_owned);
        assert_eq!(unknown_columns(&header, &Definition::default()), ["City"]);
        let mut definition = Definition::default();
        for name in ["Nick", "nick"] {
            definition.fields.push(Field::new(name, FieldType::String));
        }
        let header = ["nick", "NICK"].map(str::to_owned);
        assert_eq!(unknown_columns(&header, &definition), ["NICK"]);
    }

    #[test]
    fn unnamed_columns_are_ignored() {
        let columns = read("member_no,,email,").expect("gaps are fine");
        assert_eq!(
            columns.columns,
            [
                field("member_no"),
                Column::Unnamed,
                field("email"),
                Column::Unnamed
            ]
        );
    }

    #[test]
    fn a_header_has_limits() {
        let wide = format!("member_no{}", ",x".repeat(10_000));
        let numbered: Vec<String> = (0..10_000).map(|number| format!("c{number}")).collect();
        assert!(matches!(
            read(&wide),
            Err(CsvProblem::DuplicateColumn { .. })
        ));
        assert_eq!(
            read(&numbered.join(",")),
            Err(CsvProblem::TooManyColumns {
                limit: COLUMN_LIMIT
            })
        );
        let many = format!("member_no,{}", numbered[..65].join(","));
        assert_eq!(
            read(&many),
            Err(CsvProblem::TooManyUnknownColumns { limit: 64 })
        );
        assert_eq!(
            read("member_no,a\u{7}b"),
            Err(CsvProblem::ColumnName { column: 2 })
        );
        assert_eq!(
            read(&format!("member_no,{}", "x".repeat(300))),
            Err(CsvProblem::ColumnName { column: 2 })
        );
    }
}
