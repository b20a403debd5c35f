//! What a connection may be settled to: the input of an admin held against its source and the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use roster_domain::connection::{
    Credentials, DeleteMissing, FieldMapping, Mode, Schedule, Settings, Setup, Transform,
};
use roster_domain::import::OnConflict;
use roster_domain::schema::Schema;
use roster_domain::{Personal, Problem};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::meaning::{CUSTOMER_USER_ID, ENABLED};
use super::schedule;
use super::source::{self, AuthKind, Provider, ProviderKind, Source};
use crate::CommandError;

/// The longest name, in characters.
const NAME_LIMIT: usize = 128;
/// The most lines of a mapping.
const LINES: usize = 500;
/// The share of rows that one run may take away where nothing else is said, in percent.
const GUARD_PCT: u8 = 20;

/// A connection as an admin wants it. What is absent stays, or has its default where there is nothing yet.
#[derive(Clone, Debug, Default)]
pub struct ConnectionInput {
    /// The public id; a new connection where it is absent.
    pub connection_id: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// The source; where it is empty, that of the connection that is named.
    pub provider: String,
    /// Who reads.
    pub credentials: Option<CredentialsInput>,
    /// What the source asks for.
    pub config: Option<Map<String, Value>>,
    /// Which part of a record goes where.
    pub field_mapping: Option<Vec<MappingInput>>,
    /// What a run asks for.
    pub mode: Option<Mode>,
    /// What happens to rows whose record is gone.
    pub delete_missing: Option<DeleteMissing>,
    /// The share of the rows that one run may take away unconfirmed, in percent.
    pub delete_guard_pct: Option<u8>,
    /// What happens to customers who are there already.
    pub on_conflict: Option<OnConflict>,
    /// When runs start; `Some(None)` takes the schedule away.
    pub schedule: Option<Option<Schedule>>,
    /// When full runs start; `Some(None)` takes the schedule away.
    pub full_schedule: Option<Option<Schedule>>,
    /// Whether schedules count.
    pub enabled: Option<bool>,
    /// The version that the caller saw; 0 means "must not exist".
    pub expected_version: Option<i32>,
}

/// A credential as an admin gives it. Parts that are left out stay.
#[derive(Clone, Default)]
pub struct CredentialsInput {
    /// The way to authenticate; the only one where it is absent.
    pub kind: Option<String>,
    /// Its parts by name.
    pub parts: BTreeMap<String, String>,
}

impl fmt::Debug for CredentialsInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

/// One line of a mapping.
#[derive(Clone, Debug, Default)]
pub struct MappingInput {
    /// A path in the record.
    pub source: String,
    /// A field of the schema, `customer_user_id` or `enabled`.
    pub target: String,
    /// The word of a transform.
    pub transform: Option<String>,
    /// What counts where the record has no value.
    pub default: Option<String>,
}

/// The settings that an input leads to.
///
/// # Errors
/// [`CommandError::Invalid`] with every finding, [`CommandError::ModeUnsupported`].
pub(super) fn settle(
    input: &ConnectionInput,
    before: Option<&Settings>,
    source: &dyn Source,
    schema: &Schema,
) -> Result<Settings, CommandError> {
    let provider = source.provider();
    let start = Settings {
        provider: provider.provider.to_owned(),
        delete_guard_pct: GUARD_PCT,
        enabled: true,
        mode: if provider.incremental {
            Mode::Incremental
        } else {
            Mode::Full
        },
        setup: Personal::new(Setup {
            config: "{}".into(),
            ..Setup::default()
        }),
        ..Settings::default()
    };
    let before = before.unwrap_or(&start);
    let setup = before.setup.known().cloned().unwrap_or_default();
    let mut problems = Vec::new();
    let mut found = |result: Result<(), Vec<Problem>>| {
        problems.extend(result.err().unwrap_or_default());
    };
    let name = input.name.clone().unwrap_or_else(|| before.name.clone());
    found(check_name(&name));
    // Whoever does not know a secret must not have it sent elsewhere.
    let is_elsewhere =
        before.provider != provider.provider || leads_elsewhere(provider, input, &setup);
    let known = match input.credentials {
        None if is_elsewhere && !setup.credentials.parts.is_empty() => {
            let message = "must be given again, since the connection leads elsewhere";
            found(Err(vec![Problem::new(["credentials"], "missing", message)]));
            &setup.credentials
        }
        Some(_) if is_elsewhere => &Credentials::default(),
        _ => &setup.credentials,
    };
    let credentials = match credentials(provider, input.credentials.as_ref(), known) {
        Ok(credentials) => credentials,
        Err(findings) => {
            found(Err(findings));
            Credentials::default()
        }
    };
    let config = match &input.config {
        Some(config) => serde_json::to_string(config).unwrap_or_default(),
        None => setup.config,
    };
    let mapping = match &input.field_mapping {
        Some(lines) => read_mapping(lines).unwrap_or_else(|findings| {
            found(Err(findings));
            Vec::new()
        }),
        None if setup.mapping.is_empty() => default_mapping(provider, schema),
        None => setup.mapping,
    };
    found(check_mapping(&mapping, schema));
    let schedules = [
        ("schedule", &input.schedule, &before.schedule),
        ("full_schedule", &input.full_schedule, &before.full_schedule),
    ];
    let [schedule, full_schedule] = schedules.map(|(member, wanted, before)| {
        let wanted = wanted.clone().unwrap_or_else(|| before.clone());
        let checked = wanted
            .as_ref()
            .map_or(Ok(()), |wanted| schedule::check(wanted, member));
        found(checked.map_err(|problem| vec![problem]));
        wanted
    });
    let delete_guard_pct = input.delete_guard_pct.unwrap_or(before.delete_guard_pct);
    if delete_guard_pct > 100 {
        let problem = Problem::new(["delete_guard_pct"], "range", "must be 0 to 100");
        found(Err(vec![problem]));
    }
    let settings = Settings {
        name: name.trim().to_owned(),
        provider: provider.provider.to_owned(),
        setup: Personal::new(Setup {
            credentials,
            config,
            mapping,
        }),
        mode: input.mode.unwrap_or(before.mode),
        delete_missing: input.delete_missing.unwrap_or(before.delete_missing),
        delete_guard_pct,
        on_conflict: input.on_conflict.unwrap_or(before.on_conflict),
        schedule,
        full_schedule,
        enabled: input.enabled.unwrap_or(before.enabled),
    };
    if problems.is_empty() {
        problems.extend(source.open(opened(&settings)).err().unwrap_or_default());
    }
    if !problems.is_empty() {
        return Err(CommandError::Invalid(problems));
    }
    check_mode(&settings, provider)?;
    Ok(settings)
}

/// What a source is opened with.
pub(super) fn opened(settings: &Settings) -> source::Settings {
    let setup = settings.setup.known().cloned().unwrap_or_default();
    let paths: BTreeSet<String> = setup.mapping.into_iter().map(|line| line.source).collect();
    let parts = setup.credentials.parts.into_iter();
    source::Settings {
        credentials: source::Credentials {
            kind: setup.credentials.kind,
            parts: parts
                .map(|(name, part)| (name, SecretString::from(part)))
                .collect(),
        },
        config: serde_json::from_str(&setup.config).unwrap_or_default(),
        paths: paths.into_iter().collect(),
    }
}

/// A text of a source without any part of the credential that it was read with.
pub(super) fn redacted(settings: &Settings, text: &str) -> String {
    let parts = settings.setup.known().into_iter();
    let parts = parts.flat_map(|setup| setup.credentials.parts.values());
    parts
        .filter(|part| part.len() >= 4)
        .fold(text.to_owned(), |text, part| text.replace(part, "***"))
}

/// Refuses a mode that the source has not.
pub(super) fn check_mode(settings: &Settings, provider: &Provider) -> Result<(), CommandError> {
    if settings.mode == Mode::Full {
        return Ok(());
    }
    if !provider.incremental {
        return Err(CommandError::ModeUnsupported(
            "the source cannot be asked for changes only: use mode full",
        ));
    }
    let is_told = provider.detects_deletes || settings.full_schedule.is_some();
    if settings.delete_missing != DeleteMissing::None && !is_told {
        return Err(CommandError::ModeUnsupported(
            "the source does not tell of deleted records: delete_missing needs mode full or a full_schedule",
        ));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Vec<Problem>> {
    let length = name.trim().chars().count();
    if length == 0 || length > NAME_LIMIT || name.chars().any(char::is_control) {
        let message = format!("must have 1 to {NAME_LIMIT} characters and no controls");
        return Err(vec![Problem::new(["name"], "name_invalid", message)]);
    }
    Ok(())
}

/// Whether an input points a source that goes where it is told somewhere else.
fn leads_elsewhere(provider: &Provider, input: &ConnectionInput, before: &Setup) -> bool {
    let is_led = matches!(
        provider.kind,
        ProviderKind::Http | ProviderKind::File | ProviderKind::Sql
    );
    let known = serde_json::from_str::<Map<String, Value>>(&before.config).ok();
    is_led && input.config.is_some() && input.config != known
}

fn credentials(
    provider: &Provider,
    input: Option<&CredentialsInput>,
    before: &Credentials,
) -> Result<Credentials, Vec<Problem>> {
    let given = input.and_then(|input| input.kind.as_deref());
    let known = Some(before.kind.as_str()).filter(|kind| !kind.is_empty());
    let only = match provider.auth.as_slice() {
        [only] => Some(only.kind),
        _ => None,
    };
    let free = provider.auth.iter().find(|kind| kind.fields.is_empty());
    let free = free.filter(|_| input.is_none()).map(|kind| kind.kind);
    let Some(wanted) = given.or(known).or(only).or(free) else {
        let message = "says how to authenticate";
        return Err(vec![Problem::new(
            ["credentials", "type"],
            "missing",
            message,
        )]);
    };
    let Some(kind) = provider.auth.iter().find(|kind| kind.kind == wanted) else {
        let message = "the source has no such way to authenticate";
        return Err(vec![Problem::new(
            ["credentials", "type"],
            "unknown",
            message,
        )]);
    };
    let mut parts = if before.kind == wanted {
        before.parts.clone()
    } else {
        BTreeMap::new()
    };
    parts.extend(input.map(|input| input.parts.clone()).unwrap_or_default());
    let problems = check_parts(kind, &parts);
    if problems.is_empty() {
        Ok(Credentials {
            kind: wanted.to_owned(),
            parts,
        })
    } else {
        Err(problems)
    }
}

fn check_parts(kind: &AuthKind, parts: &BTreeMap<String, String>) -> Vec<Problem> {
    let at = |name: &str, word, message| Problem::new(["credentials", name], word, message);
    let missing = kind.fields.iter().filter(|field| {
        let has = parts.get(field.name);
        field.required && has.is_none_or(|part| part.trim().is_empty())
    });
    let missing = missing.map(|field| at(field.name, "missing", "a required member is missing"));
    let unknown = parts
        .keys()
        .filter(|name| kind.fields.iter().all(|field| field.name != name.as_str()));
    let unknown = unknown.map(|name| at(name, "unknown", "no part of the credential"));
    missing.chain(unknown).collect()
}

fn read_mapping(lines: &[MappingInput]) -> Result<Vec<FieldMapping>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut mapping = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let at = |member: &str, word: &str, message: &str| {
            let loc = [
                "field_mapping".to_owned(),
                index.to_string(),
                member.to_owned(),
            ];
            Problem::new(loc, word, message)
        };
        if line.source.trim().is_empty() && line.default.is_none() {
            problems.push(at("source", "value_required", "a path is required"));
        }
        let transform = match line.transform.as_deref().filter(|word| !word.is_empty()) {
            None => None,
            Some(word) => {
                let known = Transform::parse(word);
                if known.is_none() {
                    let all = Transform::ALL.map(Transform::as_str).join(", ");
                    let message = format!("must be one of {all}");
                    problems.push(at("transform", "transform_unknown", &message));
                }
                known
            }
        };
        mapping.push(FieldMapping {
            source: line.source.trim().to_owned(),
            target: line.target.trim().to_owned(),
            transform,
            default: line.default.clone(),
        });
    }
    if problems.is_empty() {
        Ok(mapping)
    } else {
        Err(problems)
    }
}

/// The proposal of a source, as far as the schema has its fields.
fn default_mapping(provider: &Provider, schema: &Schema) -> Vec<FieldMapping> {
    let lines = provider.default_mapping.iter();
    let mut mapping: Vec<FieldMapping> = lines
        .filter(|(_, target)| is_target(schema, target))
        .map(|(source, target)| FieldMapping {
            source: (*source).to_owned(),
            target: (*target).to_owned(),
            ..FieldMapping::default()
        })
        .collect();
    let reaches = mapping.iter().any(|line| is_key(schema, &line.target));
    // A record's e-mail address is who it is where nothing else is said.
    let mail = mapping.iter().find(|line| line.target == "email");
    if let (false, Some(mail)) = (reaches, mail.cloned()) {
        mapping.push(FieldMapping {
            target: CUSTOMER_USER_ID.to_owned(),
            ..mail
        });
    }
    mapping
}

fn is_key(schema: &Schema, target: &str) -> bool {
    target == CUSTOMER_USER_ID || target == schema.primary_key()
}

fn is_target(schema: &Schema, target: &str) -> bool {
    target == ENABLED || is_key(schema, target) || schema.field(target).is_some()
}

/// Refuses a mapping with an unknown target, or without the primary key.
pub(super) fn check_mapping(mapping: &[FieldMapping], schema: &Schema) -> Result<(), Vec<Problem>> {
    if mapping.len() > LINES {
        let message = format!("has at most {LINES} lines");
        return Err(vec![Problem::new(["field_mapping"], "length", message)]);
    }
    let unknown = mapping.iter().enumerate();
    let unknown = unknown.filter(|(_, line)| !is_target(schema, &line.target));
    let mut problems: Vec<Problem> = unknown
        .map(|(index, _)| {
            let loc = [
                "field_mapping".to_owned(),
                index.to_string(),
                "target".to_owned(),
            ];
            Problem::new(loc, "field_unknown", "the schema has no such field")
        })
        .collect();
    if !mapping.iter().any(|line| is_key(schema, &line.target)) {
        let message = format!("must reach the primary key '{}'", schema.primary_key());
        problems.push(Problem::new(
            ["field_mapping"],
            "primary_key_required",
            message,
        ));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}
