//! Schemas that several tests work with, as bodies of `schema/upsert`.

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Server;

/// A schema with every type of field.
pub fn every_type() -> Value {
    json!({"primary_key": "customer_user_id", "fields": [
        {"name": "customer_user_id", "required": true, "unique": true},
        {"name": "full_name", "required": true},
        {"name": "email", "type": "email", "unique": true},
        {"name": "phone", "type": "phone", "default_region": "DE", "unique": true},
        {"name": "mobile", "type": "phone"},
        {"name": "amount", "type": "number"},
        {"name": "age", "type": "number", "min_value": 0, "max_value": 150},
        {"name": "vip", "type": "boolean"},
        {"name": "plan", "allowed_values": ["Basic", "Premium"]},
        {"name": "code", "pattern": "[A-Z]{2}-[0-9]+"},
    ]})
}

/// A client of a project whose schema has every type of field.
pub async fn typed_project(server: &Server, project_id: &str) -> Client {
    let client = Client::of_project(server, project_id)
        .await
        .expect("a client");
    client.ok("schema/upsert", every_type()).await;
    client
}

/// A schema with the id and these fields.
pub fn with(fields: &[Value]) -> Value {
    let id = json!({"name": "customer_user_id", "required": true, "unique": true});
    let fields: Vec<Value> = [id].into_iter().chain(fields.iter().cloned()).collect();
    json!({"primary_key": "customer_user_id", "fields": fields})
}

/// A field with its name and these members.
pub fn field(name: &str, more: &Value) -> Value {
    let mut field = json!({"name": name});
    for (member, value) in more.as_object().expect("members are an object") {
        field[member] = value.clone();
    }
    field
}
