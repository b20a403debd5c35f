//! What a look-up needs of a project: its schema, its channels with their wildcards, and which values are looked up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use roster_domain::schema::{Definition, Schema};
use uuid::Uuid;

use super::slots::Granted;

/// Parts of the list of projects.
const PARTS: usize = 16;

/// A project. Never changed: a change puts another one in its place.
#[derive(Clone)]
pub(super) struct Project {
    pub(super) schema: Arc<Schema>,
    /// Every field that rules ever named; its place is its number.
    pub(super) fields: Vec<Field>,
    pub(super) channels: HashMap<Box<str>, Channel>,
    /// Whether it was left out of the memory, because there are too many customers.
    pub(super) is_out: bool,
    /// Odd while something changes that is more than one customer's.
    pub(super) gate: Arc<AtomicU64>,
}

#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    /// Whether rules name it.
    pub(super) is_wanted: bool,
    /// Whether the values of all customers are known.
    pub(super) is_filled: bool,
}

#[derive(Clone)]
pub(super) struct Channel {
    pub(super) number: u16,
    /// The stream of the wildcard, and its grant.
    pub(super) wildcard: Option<(Uuid, Arc<Granted>)>,
}

static DEFAULT: LazyLock<Option<Arc<Schema>>> =
    LazyLock::new(|| Schema::compile(Definition::default(), 0).ok().map(Arc::new));

static UNKNOWN: LazyLock<Option<Arc<Project>>> = LazyLock::new(|| Project::new().map(Arc::new));

impl Project {
    /// A project without a schema of its own; `None` only if the default one were no schema.
    pub(super) fn new() -> Option<Self> {
        Some(Self {
            schema: DEFAULT.clone()?,
            fields: Vec::new(),
            channels: HashMap::new(),
            is_out: false,
            gate: Arc::new(AtomicU64::new(0)),
        })
    }

    /// Whether look-ups by a schema may be answered.
    pub(super) fn answers(&self, schema: &Schema) -> bool {
        !self.is_out && self.schema.version() == schema.version() && self.is_filled()
    }

    /// Whether every value that rules look up is known.
    pub(super) fn is_filled(&self) -> bool {
        self.fields
            .iter()
            .all(|field| field.is_filled || !field.is_wanted)
    }

    /// The number of a field that rules name.
    pub(super) fn field(&self, name: &str) -> Option<u16> {
        (0..)
            .zip(&self.fields)
            .find(|(_, field)| field.is_wanted && *field.name == *name)
            .map(|(number, _)| number)
    }

    /// The wanted fields with their numbers.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (u16, &str)> {
        (0..)
            .zip(&self.fields)
            .filter(|(_, field)| field.is_wanted)
            .map(|(number, field)| (number, &*field.name))
    }

    /// The number of a channel, which it gets where it has none.
    pub(super) fn channel(&mut self, name: &str) -> u16 {
        let number = u16::try_from(self.channels.len()).unwrap_or(u16::MAX);
        let channel = self.channels.entry(name.into());
        let new = Channel {
            number,
            wildcard: None,
        };
        channel.or_insert(new).number
    }

    /// Another schema takes effect; the numbers of fields that rules no longer name. Fields that they did not name before
    /// are not filled.
    pub(super) fn replace_schema(&mut self, schema: Arc<Schema>) -> Vec<u16> {
        let rules = &schema.definition().match_rules;
        let mut dropped = Vec::new();
        for (number, field) in (0..).zip(&mut self.fields) {
            let is_wanted = rules.iter().any(|rule| *rule.field == *field.name);
            if field.is_wanted && !is_wanted {
                dropped.push(number);
                field.is_filled = false;
            }
            field.is_wanted = is_wanted;
        }
        for rule in rules {
            if !self.fields.iter().any(|field| *field.name == *rule.field) {
                self.fields.push(Field {
                    name: rule.field.as_str().into(),
                    is_wanted: true,
                    is_filled: false,
                });
            }
        }
        self.schema = schema;
        dropped
    }

    /// Opens or shuts the gate: while it is shut, look-ups go elsewhere.
    pub(super) fn turn(&self) {
        self.gate.fetch_add(1, Ordering::SeqCst);
    }
}

/// The projects by number.
pub(super) struct Projects([RwLock<HashMap<i32, Arc<Project>>>; PARTS]);

impl Projects {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }

    /// A project; one that nothing is known of has nobody.
    pub(super) fn get(&self, number: i32) -> Option<Arc<Project>> {
        self.known(number).or_else(|| UNKNOWN.clone())
    }

    /// A project of which something is known.
    pub(super) fn known(&self, number: i32) -> Option<Arc<Project>> {
        let part = self.part(number).read();
        let part = part.unwrap_or_else(PoisonError::into_inner);
        part.get(&number).cloned()
    }

    /// The projects that are left out.
    pub(super) fn count_out(&self) -> usize {
        let out = |part: &RwLock<HashMap<i32, Arc<Project>>>| {
            let part = part.read().unwrap_or_else(PoisonError::into_inner);
            part.values().filter(|project| project.is_out).count()
        };
        self.0.iter().map(out).sum()
    }

    /// Whether a project is still the same.
    pub(super) fn is(&self, number: i32, project: &Arc<Project>) -> bool {
        let part = self.part(number).read();
        let part = part.unwrap_or_else(PoisonError::into_inner);
        let known = part.get(&number).or(UNKNOWN.as_ref());
        known.is_some_and(|known| Arc::ptr_eq(known, project))
    }

    pub(super) fn put(&self, number: i32, project: Project) {
        let part = self.part(number).write();
        let mut part = part.unwrap_or_else(PoisonError::into_inner);
        part.insert(number, Arc::new(project));
    }

    pub(super) fn clear(&self) {
        for part in &self.0 {
            part.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn part(&self, number: i32) -> &RwLock<HashMap<i32, Arc<Project>>> {
        &self.0[number.unsigned_abs() as usize % PARTS]
    }
}
