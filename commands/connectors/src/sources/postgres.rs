//! A query on a Postgres database: read-only, page by page by key rather than by offset.

use async_trait::async_trait;
use roster_commands::sync::source::{Page, Provider, ProviderKind, Record, SourceError, Walk};
use roster_domain::Problem;
use serde_json::{Map, Value, json};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, Row};

use crate::engine::database::{Database, Target, certificates, meaning};
use crate::engine::describe::{auth, open, secret};
use crate::engine::{Api, Auth, Opening, Vendor, word};

/// Rows of a page.
const ROWS: usize = 1_000;

/// A database.
pub(crate) struct Postgres {
    target: Target,
    query: String,
    id: String,
    cursor: Option<String>,
    look_back: u64,
    timeout: u64,
    open: Option<Database>,
}

#[async_trait]
impl Vendor for Postgres {
    fn provider() -> Provider {
        Provider {
            provider: "postgres",
            name: "PostgreSQL",
            kind: ProviderKind::Sql,
            auth: vec![auth(
                "password",
                [open("user", "User"), secret("password", "Password")],
            )],
            config_schema: json!({
                "type": "object",
                "required": ["host", "database", "query", "id_column"],
                "properties": {
                    "host": {"type": "string", "pattern": "^[A-Za-z0-9:][A-Za-z0-9._:-]*$"},
                    "port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 5432},
                    "database": {"type": "string", "minLength": 1},
                    "query": {"type": "string", "minLength": 1},
                    "id_column": {"type": "string", "minLength": 1},
                    "cursor_column": {"type": "string", "default": ""},
                    "look_back_seconds": {"type": "integer", "minimum": 0, "maximum": 604_800, "default": 60},
                    "statement_timeout_seconds": {"type": "integer", "minimum": 1, "maximum": 55, "default": 30},
                    "ca_certificate": {"type": "string", "default": ""},
                },
            }),
            incremental: true,
            detects_deletes: false,
            default_mapping: vec![
                ("id", "customer_user_id"),
                ("email", "email"),
                ("name", "name"),
            ],
            docs: "A role with SELECT on what the query reads. The query is one SELECT without parameters; `id_column` and `cursor_column` are \
                   columns of it, indexed if the table is large. Rows without an id are left out; removed rows are found by full runs.",
        }
    }

    fn open(opening: &Opening<'_>) -> Result<(Self, Api), Vec<Problem>> {
        let pem = opening.text("ca_certificate");
        let authority = certificates(pem);
        if !pem.is_empty() && authority.is_none() {
            return Err(Opening::problem(
                "ca_certificate",
                "holds no certificate in PEM",
            ));
        }
        let mut login = Config::new();
        login
            .user(opening.secret("user"))
            .password(opening.secret("password"))
            .dbname(opening.text("database"))
            .application_name("roster");
        let (host, port) = (opening.text("host"), opening.number("port"));
        let source = Self {
            target: Target {
                host: host.into(),
                port: u16::try_from(port).unwrap_or(5432),
                login,
                authority,
            },
            query: opening.text("query").trim_end_matches(';').into(),
            id: identifier(opening.text("id_column")),
            cursor: Some(opening.text("cursor_column"))
                .filter(|name| !name.is_empty())
                .map(identifier),
            look_back: opening.number("look_back_seconds"),
            timeout: opening.number("statement_timeout_seconds"),
            open: None,
        };
        // The client is there for its guard; nothing is asked under its base.
        Ok((
            source,
            opening.api::<Self>("postgres://database", Auth::Nobody)?,
        ))
    }

    /// A place is `{id, cursor, latest}`: the key of the last row, and in a full walk the largest cursor when it began.
    async fn page(&mut self, api: &mut Api, walk: &Walk) -> Result<Page, SourceError> {
        let limit = api.outbound().options().answer_timeout;
        let read = tokio::time::timeout(limit, self.read(api, walk)).await;
        let page = read.unwrap_or_else(|_| {
            Err(SourceError::Transient(
                "the database does not answer".into(),
            ))
        });
        let Err(error) = page else { return page };
        // What is left of a transaction or of an answer goes with its connection.
        let spent = self.open.take().is_some_and(|open| open.is_spent());
        Err(if spent {
            SourceError::Refused("a page of rows is larger than its limit of bytes".into())
        } else {
            error
        })
    }
}

impl Postgres {
    async fn read(&mut self, api: &Api, walk: &Walk) -> Result<Page, SourceError> {
        if self.open.is_none() {
            self.open = Some(Database::open(api.outbound(), &self.target).await?);
        }
        let Some(database) = &self.open else {
            return Err(SourceError::Transient("the database is gone".into()));
        };
        database.refill(api.outbound().options().page_bytes);
        let client = &database.client;
        let timeout = self.timeout;
        let begin = format!(
            "START TRANSACTION READ ONLY;
             SET LOCAL statement_timeout = '{timeout}s';
             SET LOCAL lock_timeout = '5s';
             SET LOCAL idle_in_transaction_session_timeout = '60s';
             SET LOCAL timezone = 'UTC';
             SET LOCAL datestyle = 'ISO, YMD'"
        );
        client
            .batch_execute(&begin)
            .await
            .map_err(|error| meaning(&error))?;
        let (query, id) = (&self.query, &self.id);
        let cursor = self.cursor.as_ref();
        // With its table: a bare name in ORDER BY would mean the text that is selected.
        let cursor = cursor.map_or("NULL::text".to_owned(), |name| format!("q.{name}"));
        // Prepared, so that it is one statement whatever it says; the line end closes a comment.
        let shape = format!("SELECT q.{id}, {cursor} FROM (\n{query}\n) q");
        let shape = client
            .prepare(&shape)
            .await
            .map_err(|error| meaning(&error))?;
        let [id_type, cursor_type] = [0, 1].map(|column| shape.columns()[column].type_().clone());
        let place = |name: &str| walk.place.as_ref().and_then(|place| word(place, name));
        let since = walk
            .since
            .as_ref()
            .filter(|_| self.cursor.is_some())
            .and_then(Value::as_str);
        let latest = match (&walk.place, &self.cursor, since) {
            (None, Some(_), None) => {
                let largest = format!("SELECT max({cursor})::text FROM (\n{query}\n) q");
                let row = client
                    .query_one(&largest, &[])
                    .await
                    .map_err(|error| meaning(&error))?;
                row.try_get::<_, Option<String>>(0)
                    .map_err(|error| meaning(&error))?
            }
            _ => place("latest"),
        };
        let most = walk.limit.unwrap_or(ROWS).clamp(1, ROWS);
        let (id_cast, cursor_cast) = (cast(&id_type), cast(&cursor_type));
        let (last_id, last_cursor) = (place("id"), place("cursor"));
        let mut values: Vec<&(dyn ToSql + Sync)> = Vec::new();
        let mut conditions = vec![format!("q.{id} IS NOT NULL")];
        let order = if let Some(since) = &since {
            values.push(since);
            let back = if is_time(&cursor_type) {
                format!(" - interval '{} s'", self.look_back)
            } else {
                String::new()
            };
            conditions.push(format!("{cursor} >= $1::text::{cursor_cast}{back}"));
            if let (Some(last_id), Some(last_cursor)) = (&last_id, &last_cursor) {
                values.extend([last_cursor as &(dyn ToSql + Sync), last_id]);
                conditions.push(format!(
                    "({cursor}, q.{id}) > ($2::text::{cursor_cast}, $3::text::{id_cast})"
                ));
            }
            format!("{cursor}, q.{id}")
        } else {
            if let Some(last_id) = &last_id {
                values.push(last_id);
                conditions.push(format!("q.{id} > $1::text::{id_cast}"));
            }
            format!("q.{id}")
        };
        let page = format!(
            "SELECT to_jsonb(q)::text, q.{id}::text, {cursor}::text FROM (\n{query}\n) q WHERE {} ORDER BY {order} LIMIT {most}",
            conditions.join(" AND "),
        );
        let rows = client
            .query(&page, &values)
            .await
            .map_err(|error| meaning(&error))?;
        let last = rows.last().map(|row| (text(row, 1), text(row, 2)));
        let whole = rows.len() < most;
        let seen = last.as_ref().and_then(|(_, cursor)| cursor.as_deref());
        let end = match (since, seen.or(last_cursor.as_deref())) {
            (None, _) => latest.clone(),
            (Some(since), None) => Some(since.to_owned()),
            (Some(since), Some(seen)) if whole => {
                // The look-back may end before the cursor, which never goes back.
                let later = format!(
                    "SELECT greatest($1::text::{cursor_cast}, $2::text::{cursor_cast})::text"
                );
                let row = client
                    .query_one(&later, &[&since, &seen])
                    .await
                    .map_err(|error| meaning(&error))?;
                text(&row, 0)
            }
            _ => None,
        };
        client
            .batch_execute("COMMIT")
            .await
            .map_err(|error| meaning(&error))?;
        let records = rows
            .iter()
            .map(record)
            .collect::<Result<Vec<Record>, SourceError>>()?;
        Ok(Page {
            records,
            place: last
                .filter(|_| !whole)
                .map(|(id, cursor)| json!({"id": id, "cursor": cursor, "latest": latest})),
            cursor: end.filter(|_| whole).map(Value::String),
        })
    }
}

/// A name as SQL has it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of a type, for a cast.
fn cast(kind: &Type) -> String {
    format!("{}.{}", identifier(kind.schema()), identifier(kind.name()))
}

fn is_time(kind: &Type) -> bool {
    [Type::TIMESTAMPTZ, Type::TIMESTAMP].contains(kind)
}

fn text(row: &Row, column: usize) -> Option<String> {
    row.try_get(column).ok().flatten()
}

fn record(row: &Row) -> Result<Record, SourceError> {
    let fields =
        text(row, 0).and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).ok());
    Ok(Record {
        id: text(row, 1).unwrap_or_default(),
        fields: fields.ok_or_else(|| SourceError::Answer("a row is no object".into()))?,
        ..Record::default()
    })
}
