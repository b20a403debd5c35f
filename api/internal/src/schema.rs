//! The schema of a project.

pub(crate) mod get;
pub(crate) mod preparation;
pub(crate) mod upsert;

use roster_domain::Timestamp;
use roster_domain::schema::Definition;
use serde::Serialize;
use utoipa::ToSchema;

/// A schema in effect.
#[derive(Serialize, ToSchema)]
#[schema(as = SchemaAnswer)]
pub(crate) struct Answer {
    /// The definition; `schema/upsert` takes it as it is.
    #[schema(value_type = Object)]
    schema: Definition,
    /// 0 for the default schema.
    version: i32,
    /// When it took effect; null for the default schema.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}
