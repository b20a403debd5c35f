//! What an admin settles about a connection.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::FieldMapping;
use crate::Personal;
use crate::import::OnConflict;

/// What a run asks the source for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// What changed since the last run; everything where nothing is known of it.
    Incremental,
    /// Everything.
    #[default]
    Full,
}

impl Mode {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Full => "full",
        }
    }
}

/// What happens to a row whose record is gone at the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteMissing {
    /// Nothing.
    #[default]
    None,
    /// The customer is switched off.
    Disable,
    /// The customer is erased.
    Delete,
}

impl DeleteMissing {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Disable => "disable",
            Self::Delete => "delete",
        }
    }
}

/// When runs start by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five fields of cron.
    pub cron: String,
    /// The name of a time zone, such as `Europe/Berlin`.
    pub time_zone: String,
}

/// A credential. JSON shows its kind and which parts there are; only the stored form has the values.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Credentials {
    /// The way to authenticate.
    pub kind: String,
    /// Its parts by name.
    pub parts: BTreeMap<String, String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

impl Serialize for Credentials {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_shown = serializer.is_human_readable();
        let mut shape = serializer.serialize_struct("Credentials", 2)?;
        shape.serialize_field("kind", &self.kind)?;
        if is_shown {
            let names: BTreeMap<&String, &str> =
                self.parts.keys().map(|name| (name, "<secret>")).collect();
            shape.serialize_field("parts", &names)?;
        } else {
            shape.serialize_field("parts", &self.parts)?;
        }
        shape.end()
    }
}

/// How the source is reached and read: all of it sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Who reads.
    pub credentials: Credentials,
    /// A JSON object, as its source describes it.
    pub config: String,
    /// Which part of a record goes where.
    pub mapping: Vec<FieldMapping>,
}

/// Everything that is settled about a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// For people; no two connections of a project share one.
    pub name: String,
    /// The source.
    pub provider: String,
    /// How it is reached and read; erased with the connection.
    pub setup: Personal<Setup>,
    /// What a run asks for.
    pub mode: Mode,
    /// What happens to rows whose record is gone.
    pub delete_missing: DeleteMissing,
    /// The largest share of the rows that one run may take away unconfirmed, in percent.
    pub delete_guard_pct: u8,
    /// What happens to customers who are there already and are not this connection's.
    pub on_conflict: OnConflict,
    /// When runs start.
    pub schedule: Option<Schedule>,
    /// When full runs start.
    pub full_schedule: Option<Schedule>,
    /// Whether schedules count.
    pub enabled: bool,
}

impl Settings {
    /// Whether runs start by themselves.
    pub const fn is_scheduled(&self) -> bool {
        self.enabled && (self.schedule.is_some() || self.full_schedule.is_some())
    }
}
