//! The demo project: readable customers, made through the ordinary commands, and a credential for its account.

mod people;

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use roster_commands::clock::{Clock, SystemClock};
use roster_commands::keys::{Keys, NewKey};
use roster_commands::{Context, DataSourceInput, Directory, SchemaInput, UpsertInput};
use roster_domain::customer::SourceKind;
use roster_domain::schema::{Definition, Field, FieldType};
use roster_domain::stream::claim_kind;
use roster_domain::value::Input;
use roster_domain::{Personal, Scope};
use roster_store::keys::{self, ApiKeyRecord};
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use people::{PEOPLE, Person};

/// The account of the demo.
pub const ACCOUNT: &str = "acc_demo";
/// Its organization.
pub const ORG: &str = "org_demo";
/// Its project.
pub const PROJECT: &str = "prj_demo";

/// What the demo's keys are called.
const KEY_NAME: &str = "roster demo";

/// The whole API key.
pub type Credential = SecretString;

/// What a server needs to know of the demo.
pub struct Demo {
    /// May do everything in every project of the account.
    pub credential: Credential,
    /// The position after which the customers can be read; `None` where they were there already.
    pub position: Option<i64>,
}

/// Makes the project if it has no customers, and gives a credential.
pub async fn ensure(directory: &Directory) -> anyhow::Result<Demo> {
    let scope = Scope {
        account_id: ACCOUNT.into(),
        org_id: ORG.into(),
        project_id: PROJECT.into(),
    };
    let position = if is_empty(directory, &scope).await? {
        fill(directory, scope).await?
    } else {
        None
    };
    Ok(Demo {
        credential: credential(directory).await?,
        position,
    })
}

async fn is_empty(directory: &Directory, scope: &Scope) -> anyhow::Result<bool> {
    let Some(project) = directory.cell().project(scope).await? else {
        return Ok(true);
    };
    Ok(directory
        .cell()
        .count_claims(&project, claim_kind::CUSTOMER_ID, 1)
        .await?
        == 0)
}

async fn fill(directory: &Directory, scope: Scope) -> anyhow::Result<Option<i64>> {
    let ctx = Context::system(scope, "demo");
    // A project that somebody emptied keeps the schema that it has.
    let input = SchemaInput {
        definition: definition(),
        expected_version: Some(0),
    };
    match directory.upsert_schema(&ctx, input).await {
        Ok(_) | Err(roster_commands::CommandError::SchemaConflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let applied = directory
        .upsert_customers(&ctx, PEOPLE.iter().map(input_of).collect())
        .await?;
    for (person, verdict) in PEOPLE.iter().zip(applied.value) {
        verdict.map_err(|error| anyhow!("{}: {error}", person.id))?;
    }
    tracing::info!(
        customers = PEOPLE.len(),
        project = PROJECT,
        "the demo project is filled"
    );
    Ok(applied.position)
}

/// The demo's key: derived from the key-encryption key, so that it stays the same over restarts and servers and is stored
/// nowhere. Where somebody revoked it, each start makes another.
async fn credential(directory: &Directory) -> anyhow::Result<Credential> {
    let (pool, vault) = (directory.cell().pool(), directory.cell().vault());
    let (id, secret) = (
        vault.derive("id of the demo key"),
        vault.derive("secret of the demo key"),
    );
    let key_id = format!("demo{}", &id[..12]);
    if keys::find(pool, &key_id).await?.is_none() {
        let record = ApiKeyRecord {
            key_id: key_id.clone(),
            name: KEY_NAME.into(),
            secret_hash: Sha256::digest(secret.as_bytes()).to_vec(),
            account_id: ACCOUNT.into(),
            org_id: None,
            project_id: None,
            scopes: vec!["*".into()],
            created_at: SystemClock.now().to_utc(),
            expires_at: None,
            revoked_at: None,
        };
        // A server that starts at the same time may have made it.
        if let Err(error) = keys::create(pool, &record).await
            && keys::find(pool, &key_id).await?.is_none()
        {
            return Err(error.into());
        }
    }
    let keys = Keys::new(pool.clone(), Arc::new(SystemClock));
    let derived = format!("rk_{key_id}_{secret}");
    if keys.verify(&derived).await?.is_some() {
        return Ok(derived.into());
    }
    let new = NewKey {
        name: KEY_NAME.into(),
        account_id: ACCOUNT.into(),
        org_id: None,
        project_id: None,
        scopes: vec!["*".into()],
        expires_at: None,
    };
    Ok(keys.create(new).await.context("demo key")?.token.into())
}

fn definition() -> Definition {
    let labelled = |name, field_type, label: &str| Field {
        label: Some(label.into()),
        ..Field::new(name, field_type)
    };
    let allowed = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    Definition {
        fields: vec![
            Field {
                required: true,
                unique: true,
                ..labelled("customer_user_id", FieldType::String, "Customer id")
            },
            Field {
                required: true,
                ..labelled("full_name", FieldType::String, "Name")
            },
            Field {
                unique: true,
                ..labelled("email", FieldType::Email, "E-mail")
            },
            labelled("phone", FieldType::Phone, "Phone"),
            labelled("city", FieldType::String, "City"),
            labelled("country", FieldType::String, "Country"),
            Field {
                allowed_values: allowed(&["free", "team", "business"]),
                ..labelled("plan", FieldType::String, "Plan")
            },
            labelled("seats", FieldType::Number, "Seats"),
            labelled("newsletter", FieldType::Boolean, "Newsletter"),
        ],
        ..Definition::default()
    }
}

fn input_of(person: &Person) -> UpsertInput {
    let text = |name: &str, value: &str| (name.into(), Input::Text(value.into()));
    UpsertInput {
        customer_user_id: Some(person.id.into()),
        profile: vec![
            text("full_name", person.name),
            text("email", person.email),
            text("phone", person.phone),
            text("city", person.city),
            text("country", person.country),
            text("plan", person.plan),
            (
                "seats".into(),
                Input::Number(person.seats.to_string().into()),
            ),
            (
                "newsletter".into(),
                Input::Bool(person.seats.is_multiple_of(2)),
            ),
        ],
        enabled: Some(person.enabled),
        data_source: person.from_file.then(|| DataSourceInput {
            kind: SourceKind::Csv,
            provider: Some("csv_file".into()),
            connection_id: None,
            external_id: Personal::Known(None),
            synced_at: None,
        }),
        ..UpsertInput::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use roster_domain::schema::Schema;

    use super::{PEOPLE, definition, input_of};

    #[test]
    fn every_demo_customer_fits_the_demo_schema() {
        let schema = Schema::compile(definition(), 1).expect("a good schema");
        for person in PEOPLE {
            for (field, value) in input_of(person).profile {
                let read = schema.read_value(&field, &value);
                assert!(matches!(read, Ok(Some(_))), "{} {field}", person.id);
            }
            let domain = person.email.rsplit('@').next();
            assert!(
                matches!(domain, Some("example.org" | "example.com")),
                "{}",
                person.email
            );
        }
        let ids: BTreeSet<_> = PEOPLE
            .iter()
            .flat_map(|person| [person.id, person.email])
            .collect();
        assert_eq!(ids.len(), PEOPLE.len() * 2);
    }
}
