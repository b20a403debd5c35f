//! A customer as every route shows it.

use std::collections::BTreeMap;

use roster_commands::{NotFound, Upserted};
use roster_domain::Timestamp;
use roster_domain::customer::DataSource;
use roster_domain::schema::Schema;
use roster_domain::value::{profile_from_json, profile_json};
use roster_http::ApiError;
use roster_projections::customers::CustomerRow;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

/// A customer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Record {
    /// The id within the project.
    customer_user_id: String,
    /// An opaque id that never changes; events on the bus and the audit log use it.
    customer_ref: Uuid,
    /// Profile `full_name`, `name`, first and last name, e-mail, else the id.
    display_name: String,
    /// Values by field; numbers with their exact digits.
    #[schema(value_type = Object)]
    profile: Box<RawValue>,
    /// Whether the active schema would accept the profile as it is.
    profile_valid: bool,
    /// Whether the customer may use anything.
    enabled: bool,
    /// Channels with a switch; an absent channel is on.
    connector_enabled: BTreeMap<String, bool>,
    /// Where the row came from.
    data_source: Source,
    /// Moves with profile, switches and data source.
    version: i32,
    /// When the customer was registered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the record last moved.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// Where a row came from.
#[derive(Serialize, ToSchema)]
#[schema(as = DataSource)]
pub(crate) struct Source {
    /// `manual`, `csv`, `scim` or `directory_sync`.
    kind: &'static str,
    /// Such as `csv_file` or `hubspot`.
    provider: Option<String>,
    /// The saved connection of `directory_sync`.
    connection_id: Option<String>,
    /// The row's id at the source.
    external_id: Option<String>,
    /// When the source last confirmed the row.
    #[schema(value_type = Option<String>, format = DateTime)]
    synced_at: Option<Timestamp>,
}

impl From<DataSource> for Source {
    fn from(source: DataSource) -> Self {
        Self {
            kind: source.kind.as_str(),
            provider: source.provider,
            connection_id: source.connection_id,
            external_id: source.external_id.into_known().flatten(),
            synced_at: source.synced_at,
        }
    }
}

impl Record {
    /// A customer as the read side has it.
    pub(crate) fn of_row(row: CustomerRow, schema: &Schema) -> Result<Self, ApiError> {
        let profile = profile_from_json(&row.profile);
        Ok(Self {
            profile_valid: profile.is_some_and(|profile| schema.profile_valid(&profile)),
            customer_user_id: row.customer_user_id,
            customer_ref: row.customer_ref,
            display_name: row.display_name,
            profile: RawValue::from_string(row.profile).map_err(ApiError::internal)?,
            enabled: row.enabled,
            connector_enabled: row.connector_enabled,
            data_source: Source {
                kind: row.source_kind.as_str(),
                provider: row.source_provider,
                connection_id: row.source_connection,
                external_id: row.source_external_id,
                synced_at: row.source_synced_at,
            },
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }

    /// A customer as a command left it.
    pub(crate) fn of_upserted(upserted: Upserted) -> Result<Self, ApiError> {
        let customer = upserted.customer;
        let gone = || ApiError::from(NotFound::Customer);
        let profile = customer.profile.known().ok_or_else(gone)?;
        Ok(Self {
            customer_user_id: customer.customer_user_id.known().ok_or_else(gone)?.clone(),
            customer_ref: upserted.stream,
            display_name: customer.display_name(),
            profile: RawValue::from_string(profile_json(profile)).map_err(ApiError::internal)?,
            profile_valid: upserted.schema.profile_valid(profile),
            enabled: customer.enabled,
            connector_enabled: customer.connector_enabled.clone(),
            data_source: customer.source.clone().into(),
            version: customer.version,
            created_at: customer.created_at,
            updated_at: customer.updated_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use roster_domain::Timestamp;
    use roster_domain::customer::SourceKind;
    use roster_domain::schema::{Definition, Schema};
    use roster_projections::customers::CustomerRow;
    use uuid::Uuid;

    use super::Record;

    #[test]
    fn a_record_keeps_the_digits_of_its_numbers() {
        let row = CustomerRow {
            customer_user_id: "c1".into(),
            customer_ref: Uuid::from_u128(7),
            display_name: "Ada".into(),
            profile: r#"{"customer_user_id":"c1","score":12345678901234567890.5}"#.into(),
            enabled: true,
            connector_enabled: BTreeMap::from([("sms".to_owned(), false)]),
            source_kind: SourceKind::Csv,
            source_provider: Some("csv_file".into()),
            source_connection: None,
            source_external_id: None,
            source_synced_at: None,
            version: 3,
            created_at: Timestamp(0),
            updated_at: Timestamp(1_000_000),
            position: 9,
        };
        let schema = Schema::compile(Definition::default(), 0).expect("the default compiles");
        let record = Record::of_row(row, &schema).expect("a record");
        insta::assert_snapshot!(serde_json::to_string(&record).expect("JSON"), @r#"{"customer_user_id":"c1","customer_ref":"00000000-0000-0000-0000-000000000007","display_name":"Ada","profile":{"customer_user_id":"c1","score":12345678901234567890.5},"profile_valid":true,"enabled":true,"connector_enabled":{"sms":false},"data_source":{"kind":"csv","provider":"csv_file","connection_id":null,"external_id":null,"synced_at":null},"version":3,"created_at":"1970-01-01T00:00:00.000000Z","updated_at":"1970-01-01T00:00:01.000000Z"}"#);
    }
}
