//! Connections: what every route reads and shows of one. Secrets go in and never come out.

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod preview;
pub(crate) mod sync;
pub(crate) mod test;
pub(crate) mod upsert;

use std::collections::BTreeMap;
use std::sync::Arc;

use roster_commands::sync::next_run_at;
use roster_commands::{CommandError, ConnectionInput, CredentialsInput, MappingInput};
use roster_domain::connection::{
    Connection, DeleteMissing, FieldMapping, Mode, Schedule, Transform,
};
use roster_domain::import::OnConflict;
use roster_domain::{Problem, Timestamp};
use roster_http::{ApiError, App};
use roster_projections::{data_sources, sync_runs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::runs;
use crate::fields;

/// Of a secret at least so long the last characters are shown.
const LONG: usize = 12;

/// One line of a mapping.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FieldMapping)]
pub(crate) struct Line {
    /// A path in the record, such as `email`, `name.given` or `emails.0.value`.
    source: String,
    /// A field of the schema, `customer_user_id` or `enabled`.
    target: String,
    /// `trim`, `lower`, `upper`, `digits`, `phone`, `date`, `boolean` or `join`.
    #[serde(default)]
    transform: Option<String>,
    /// What counts where the record has no value.
    #[serde(default)]
    default: Option<String>,
}

/// When runs start.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SyncSchedule)]
pub(crate) struct Times {
    /// Five fields of cron.
    cron: String,
    /// Such as `Europe/Berlin`; UTC where absent.
    #[serde(default = "utc")]
    time_zone: String,
}

fn utc() -> String {
    "UTC".into()
}

/// A connection as it is wanted. What is absent stays, or has its default where there is nothing yet.
#[expect(clippy::option_option, reason = "null and absent are two things")]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConnectionInput)]
pub(crate) struct Input {
    /// `dconn_…`; absent for a new one.
    #[serde(default, deserialize_with = "fields::text")]
    pub(crate) connection_id: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    name: Option<String>,
    /// Of `providers/list`; not needed where there is a `connection_id`, for it cannot change.
    #[serde(default, deserialize_with = "fields::text")]
    provider: Option<String>,
    /// `type` and the parts of that way to authenticate. They are never shown again; parts that are left out stay.
    #[schema(value_type = Option<Object>)]
    credentials: Option<BTreeMap<String, Value>>,
    /// As `config_schema` of the provider describes.
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    field_mapping: Option<Vec<Line>>,
    /// `incremental` or `full`.
    #[schema(value_type = Option<String>)]
    mode: Option<Mode>,
    /// `none` (the default), `disable` or `delete`; `delete` needs `project_users:delete` too.
    #[schema(value_type = Option<String>)]
    delete_missing: Option<DeleteMissing>,
    /// The share of the rows that one run may take away unconfirmed, in percent; 20 where absent.
    delete_guard_pct: Option<u8>,
    /// `update` (the default) or `skip`: what happens to customers who are there and are not this connection's.
    #[schema(value_type = Option<String>)]
    on_conflict: Option<OnConflict>,
    /// When runs start; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Times>)]
    schedule: Option<Option<Times>>,
    /// When full runs start; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Times>)]
    full_schedule: Option<Option<Times>>,
    /// Whether schedules count.
    #[serde(default, deserialize_with = "fields::flag")]
    enabled: Option<bool>,
    /// The version that the caller saw; 0: there must be none.
    expected_version: Option<i32>,
}

/// Tells null from absent.
#[expect(clippy::option_option, reason = "null and absent are two things")]
fn given<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Times>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Input {
    /// The id, where nothing else is said.
    fn id_alone(&self) -> Option<&str> {
        match self {
            Self {
                connection_id: Some(id),
                name: None,
                provider: None,
                credentials: None,
                config: None,
                field_mapping: None,
                mode: None,
                delete_missing: None,
                delete_guard_pct: None,
                on_conflict: None,
                schedule: None,
                full_schedule: None,
                enabled: None,
                expected_version: None,
            } => Some(id),
            _ => None,
        }
    }

    pub(crate) fn into_command(self) -> Result<ConnectionInput, ApiError> {
        if self.provider.is_none() && self.connection_id.is_none() {
            let message = "a required member is missing";
            return Err(ApiError::body(Problem::new(
                ["provider"],
                "missing",
                message,
            )));
        }
        let times = |times: Option<Option<Times>>| {
            times.map(|times| {
                times.map(|times| Schedule {
                    cron: times.cron,
                    time_zone: times.time_zone,
                })
            })
        };
        let lines = self.field_mapping.map(|lines| {
            let lines = lines.into_iter().map(|line| MappingInput {
                source: line.source,
                target: line.target,
                transform: line.transform,
                default: line.default,
            });
            lines.collect()
        });
        Ok(ConnectionInput {
            connection_id: self.connection_id,
            name: self.name,
            provider: self.provider.unwrap_or_default(),
            credentials: self.credentials.map(credentials).transpose()?,
            config: self.config,
            field_mapping: lines,
            mode: self.mode,
            delete_missing: self.delete_missing,
            delete_guard_pct: self.delete_guard_pct,
            on_conflict: self.on_conflict,
            schedule: times(self.schedule),
            full_schedule: times(self.full_schedule),
            enabled: self.enabled,
            expected_version: self.expected_version,
        })
    }
}

/// The parts of a credential: texts, or a whole JSON object such as a key file. What `connections/get` shows of a part may be
/// sent back and leaves it as it is.
fn credentials(mut members: BTreeMap<String, Value>) -> Result<CredentialsInput, ApiError> {
    let kind = match members.remove("type") {
        Some(Value::String(kind)) => Some(kind),
        _ => None,
    };
    let mut parts = BTreeMap::new();
    for (name, value) in members {
        match value {
            Value::Null => {}
            Value::String(text) => {
                parts.insert(name, text);
            }
            Value::Object(members) if members.contains_key("set") => {}
            whole @ Value::Object(_) => {
                parts.insert(name, whole.to_string());
            }
            _ => {
                let loc = ["credentials".to_owned(), name];
                return Err(ApiError::body(Problem::new(loc, "type", "expected text")));
            }
        }
    }
    Ok(CredentialsInput { kind, parts })
}

/// What is shown of a part of a credential.
#[derive(Serialize, ToSchema)]
#[schema(as = SecretState)]
struct Secret {
    set: bool,
    /// The last four characters of a long one.
    last4: Option<String>,
}

impl Secret {
    fn of(part: &str) -> Self {
        let letters: Vec<char> = part.chars().collect();
        let is_long = letters.len() >= LONG;
        Self {
            set: !letters.is_empty(),
            last4: is_long.then(|| letters[letters.len() - 4..].iter().collect()),
        }
    }
}

/// A connection.
#[derive(Serialize, ToSchema)]
#[schema(as = Connection)]
pub(crate) struct Answer {
    connection_id: String,
    name: String,
    provider: String,
    /// `type`, and of each part whether it is set and its last four characters.
    #[schema(value_type = Object)]
    credentials: BTreeMap<String, Value>,
    #[schema(value_type = Object)]
    config: Map<String, Value>,
    field_mapping: Vec<Line>,
    /// `incremental` or `full`.
    mode: &'static str,
    /// `none`, `disable` or `delete`.
    delete_missing: &'static str,
    delete_guard_pct: u8,
    /// `update` or `skip`.
    on_conflict: &'static str,
    schedule: Option<Times>,
    full_schedule: Option<Times>,
    enabled: bool,
    /// `active`, `running`, `paused` or `disabled`.
    status: &'static str,
    /// Why the schedule pauses: `auth_failed` or `failed_three_times`; saving the connection resumes it.
    paused_reason: Option<String>,
    /// The last run, without findings.
    last_run: Option<runs::Answer>,
    /// When the next run starts by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_run_at: Option<Timestamp>,
    /// Customers with its tag.
    customer_count: i64,
    version: i32,
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

fn shown(schedule: Option<Schedule>) -> Option<Times> {
    schedule.map(|schedule| Times {
        cron: schedule.cron,
        time_zone: schedule.time_zone,
    })
}

fn line(line: FieldMapping) -> Line {
    Line {
        source: line.source,
        target: line.target,
        transform: line.transform.map(Transform::as_str).map(str::to_owned),
        default: line.default,
    }
}

/// Connections with their last runs and how many customers each has.
pub(crate) async fn show(
    app: &App,
    project_no: i32,
    connections: Vec<Connection>,
) -> Result<Vec<Answer>, ApiError> {
    let cell = app.directory().cell();
    let sources = data_sources::list(cell.pool(), project_no).await?;
    let mut answers = Vec::with_capacity(connections.len());
    for connection in connections {
        let last_run = match connection.last_run {
            Some(id) => sync_runs::get(cell.pool(), project_no, id).await?,
            None => None,
        };
        let id = connection.id_text();
        let customer_count = sources
            .iter()
            .filter(|source| source.connection_id.as_ref() == Some(&id))
            .map(|source| source.count)
            .sum();
        answers.push(Answer::of(
            connection,
            last_run.map(runs::Answer::brief),
            customer_count,
        )?);
    }
    Ok(answers)
}

/// The states of connections in the order of their streams; those that went meanwhile are left out.
pub(crate) async fn load(
    app: &App,
    project: &roster_commands::Project,
    streams: &[Uuid],
) -> Result<Vec<Connection>, ApiError> {
    let cell = app.directory().cell();
    let loaded = cell.load_many::<Connection>(project, streams).await;
    let loaded = loaded.map_err(CommandError::from)?.into_iter();
    let states = loaded.map(|loaded| Arc::unwrap_or_clone(loaded.state));
    Ok(states.filter(Connection::is_there).collect())
}

impl Answer {
    fn of(
        connection: Connection,
        last_run: Option<runs::Answer>,
        customer_count: i64,
    ) -> Result<Self, ApiError> {
        let next_run_at = next_run_at(&connection);
        let status = if connection.active_run.is_some() {
            "running"
        } else if connection.paused_reason.is_some() {
            "paused"
        } else if connection.settings.enabled {
            "active"
        } else {
            "disabled"
        };
        let connection_id = connection.id_text();
        let settings = connection.settings;
        let setup = settings.setup.into_known().unwrap_or_default();
        let parts = setup.credentials.parts.iter();
        let mut credentials = parts
            .map(|(name, part)| Ok((name.clone(), serde_json::to_value(Secret::of(part))?)))
            .collect::<Result<BTreeMap<_, _>, serde_json::Error>>()
            .map_err(ApiError::internal)?;
        credentials.insert("type".into(), setup.credentials.kind.into());
        Ok(Self {
            connection_id,
            name: settings.name,
            provider: settings.provider,
            credentials,
            config: serde_json::from_str(&setup.config).unwrap_or_default(),
            field_mapping: setup.mapping.into_iter().map(line).collect(),
            mode: settings.mode.as_str(),
            delete_missing: settings.delete_missing.as_str(),
            delete_guard_pct: settings.delete_guard_pct,
            on_conflict: match settings.on_conflict {
                OnConflict::Update => "update",
                OnConflict::Skip => "skip",
            },
            schedule: shown(settings.schedule),
            full_schedule: shown(settings.full_schedule),
            enabled: settings.enabled,
            status,
            paused_reason: connection.paused_reason,
            last_run,
            next_run_at,
            customer_count,
            version: connection.version,
            created_at: connection.created_at,
            updated_at: connection.updated_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Input, Secret};

    #[test]
    fn a_short_secret_shows_nothing_and_a_long_one_its_end() {
        assert_eq!(Secret::of("hunter2").last4, None);
        assert_eq!(
            Secret::of("pat-eu1-0123456789").last4.as_deref(),
            Some("6789")
        );
        assert!(!Secret::of("").set);
    }

    #[test]
    fn null_takes_a_schedule_away_and_absence_leaves_it() {
        let read = |body: serde_json::Value| {
            let input: Input = serde_json::from_value(body).expect("an input");
            let command = input.into_command().expect("a provider");
            (command.schedule.is_some(), command.full_schedule.is_some())
        };
        assert_eq!(read(json!({"provider": "p"})), (false, false));
        assert_eq!(
            read(
                json!({"provider": "p", "schedule": null, "full_schedule": {"cron": "0 * * * *"}})
            ),
            (true, true)
        );
    }

    #[test]
    fn what_is_shown_of_a_secret_can_be_sent_back() {
        let body = json!({"provider": "p", "credentials": {
            "type": "t", "key": {"set": true, "last4": "6789"}, "file": {"a": 1}, "new": "x",
        }});
        let input: Input = serde_json::from_value(body).expect("an input");
        let command = input.into_command().expect("a provider");
        let parts = command.credentials.expect("credentials").parts;
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["file", "new"]);
    }
}
