//! Small customers for tests of the log: what they need of schema and commands, and no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use roster_domain::customer::{CustomerCommand, Tagging, Upsert};
use roster_domain::schema::{Definition, Schema};
use roster_domain::value::{SmolStr, Value};
use roster_domain::{Scope, Timestamp};

/// The tenant of every test.
pub fn scope(project_id: &str) -> Scope {
    Scope {
        account_id: "acc_test".into(),
        org_id: "org_test".into(),
        project_id: project_id.into(),
    }
}

/// The default schema with a unique e-mail address.
pub fn schema_with_unique_email() -> Arc<Schema> {
    let mut definition = Definition::default();
    for field in &mut definition.fields {
        field.unique = field.name == "email";
    }
    Arc::new(Schema::compile(definition, 1).expect("the schema is valid"))
}

/// An upsert that sets some text fields.
pub fn upsert(schema: &Arc<Schema>, id: &str, fields: &[(&str, &str)], at: i64) -> CustomerCommand {
    let changes: BTreeMap<SmolStr, Option<Value>> = fields
        .iter()
        .map(|(name, text)| {
            (
                (*name).into(),
                (!text.is_empty()).then(|| Value::Text((*text).into())),
            )
        })
        .collect();
    CustomerCommand::Upsert(Upsert {
        schema: Arc::clone(schema),
        pending_unique: Arc::from(Vec::new()),
        at: Timestamp(at),
        customer_user_id: id.to_owned(),
        changes,
        replace: false,
        enabled: None,
        connector_enabled: BTreeMap::new(),
        tagging: Tagging::Keep,
        expected_version: None,
        skip_existing: false,
    })
}
