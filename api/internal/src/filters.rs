//! The filters that lists and exports share.

use roster_domain::customer::SourceKind;
use roster_domain::schema::Schema;
use roster_domain::{Problem, Timestamp};
use roster_http::ApiError;
use roster_projections::customers::Filter;

use crate::fields::Values;

/// Characters of a search.
const MAX_SEARCH: usize = 200;

/// What a caller may narrow a list by. Blank is absent.
#[derive(Default)]
pub(crate) struct Filters {
    pub(crate) search: Option<String>,
    pub(crate) enabled_only: Option<bool>,
    pub(crate) disabled_only: Option<bool>,
    pub(crate) data_source_kind: Option<String>,
    pub(crate) data_source_provider: Option<String>,
    pub(crate) data_source_connection_id: Option<String>,
    pub(crate) updated_since: Option<Timestamp>,
    pub(crate) fields: Option<Values>,
}

impl Filters {
    /// The filter of the read side; every problem is named.
    pub(crate) fn into_filter(self, schema: &Schema) -> Result<Filter, ApiError> {
        let mut problems = Vec::new();
        if self
            .search
            .as_ref()
            .is_some_and(|search| search.chars().count() > MAX_SEARCH)
        {
            problems.push(Problem::new(
                ["search"],
                "too_long",
                format!("at most {MAX_SEARCH} characters"),
            ));
        }
        let enabled = match (
            self.enabled_only.unwrap_or(false),
            self.disabled_only.unwrap_or(false),
        ) {
            (true, true) => {
                let message = "enabled_only and disabled_only exclude each other";
                problems.push(Problem::new(["disabled_only"], "contradiction", message));
                None
            }
            (only_enabled, only_disabled) => {
                (only_enabled || only_disabled).then_some(only_enabled)
            }
        };
        let source_kind = self.data_source_kind.and_then(|word| {
            let kind = SourceKind::parse(&word);
            if kind.is_none() {
                let message = "expected one of manual, csv, scim, directory_sync";
                problems.push(Problem::new(["data_source_kind"], "enum", message));
            }
            kind
        });
        let mut fields = Vec::new();
        for (name, input) in self.fields.unwrap_or_default().0 {
            match schema.read_value(&name, &input) {
                Ok(Some(value)) => fields.push((name.to_string(), value.as_text().to_owned())),
                Ok(None) => {}
                Err(problem) => problems.push(Problem {
                    loc: vec!["fields".into(), name.into()],
                    ..problem
                }),
            }
        }
        if !problems.is_empty() {
            return Err(ApiError::bodies(problems));
        }
        Ok(Filter {
            search: self.search,
            enabled,
            source_kind,
            source_provider: self.data_source_provider,
            source_connection: self.data_source_connection_id,
            updated_since: self.updated_since,
            fields,
            ..Filter::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::schema::{Definition, Schema};
    use roster_domain::value::Input;

    use super::Filters;
    use crate::fields::Values;

    fn schema() -> Schema {
        Schema::compile(Definition::default(), 0).expect("the default compiles")
    }

    #[test]
    fn values_are_compared_in_canonical_form() {
        let values = vec![
            ("email".into(), Input::Text(" Ada@Example.org ".into())),
            ("phone".into(), Input::Null),
        ];
        let filters = Filters {
            fields: Some(Values(values)),
            enabled_only: Some(false),
            ..Filters::default()
        };
        let filter = filters.into_filter(&schema()).expect("a filter");
        assert_eq!(
            filter.fields,
            [("email".to_owned(), "ada@example.org".to_owned())]
        );
        assert_eq!(filter.enabled, None);
    }

    #[test]
    fn every_problem_is_named() {
        let filters = Filters {
            search: Some("x".repeat(201)),
            enabled_only: Some(true),
            disabled_only: Some(true),
            data_source_kind: Some("sheet".into()),
            ..Filters::default()
        };
        let error = filters.into_filter(&schema()).expect_err("three problems");
        assert_eq!(error.detail().as_array().map(Vec::len), Some(3));
    }
}
