//! What a look-up needs of a project: its schema, its channels with their wildcards, and which values are looked up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard};

use roster_domain::schema::{Definition, Schema};
use uuid::Uuid;

use super::keys::Named;
use super::terms::Granted;

/// Parts of the list of projects.
const PARTS: usize = 16;

/// A project. Never changed: a change puts another one in its place.
#[derive(Clone)]
pub(super) struct Project {
    pub(super) schema: Arc<Schema>,
    /// The fields that rules name, and some that they named; the place is the number.
    pub(super) fields: Vec<Field>,
    /// Every channel that anybody has something on; its place is its number. They are few.
    channels: Vec<Channel>,
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
    name: Box<str>,
    /// What makes keys of its identities; there from when the project can be looked at.
    keys: Option<Named>,
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
            channels: Vec::new(),
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

    /// The number of a channel.
    pub(super) fn channel(&self, name: &str) -> Option<u16> {
        let mut numbered = (0..).zip(&self.channels);
        let found = numbered.find(|(_, channel)| *channel.name == *name);
        found.map(|(number, _)| number)
    }

    /// What makes keys of the identities of the channel with a number.
    pub(super) fn keys(&self, channel: u16) -> Option<&Named> {
        self.channels.get(usize::from(channel))?.keys.as_ref()
    }

    /// Makes the keys of channels that are new.
    pub(super) fn make_keys(&mut self, keys: impl Fn(&str) -> Named) {
        for channel in &mut self.channels {
            channel.keys.get_or_insert_with(|| keys(&channel.name));
        }
    }

    /// The grant of everybody on the channel with a number.
    pub(super) fn wildcard(&self, channel: u16) -> Option<&Arc<Granted>> {
        let channel = self.channels.get(usize::from(channel))?;
        channel.wildcard.as_ref().map(|(_, granted)| granted)
    }

    /// A channel, which gets a number where it has none.
    pub(super) fn channel_mut(&mut self, name: &str) -> &mut Channel {
        let known = self.channels.iter().position(|known| *known.name == *name);
        let place = known.unwrap_or_else(|| {
            self.channels.push(Channel {
                name: name.into(),
                keys: None,
                wildcard: None,
            });
            self.channels.len() - 1
        });
        &mut self.channels[place]
    }

    /// Takes the wildcard that a stream gave.
    pub(super) fn revoke(&mut self, stream: Uuid) {
        for channel in &mut self.channels {
            channel.wildcard.take_if(|(of, _)| *of == stream);
        }
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
            if self.fields.iter().any(|field| *field.name == *rule.field) {
                continue;
            }
            let field = Field {
                name: rule.field.as_str().into(),
                is_wanted: true,
                is_filled: false,
            };
            // Of a field that was not wanted before either no customer has a value any more.
            let mut numbered = (0..).zip(&self.fields);
            let free =
                numbered.position(|(number, old)| !old.is_wanted && !dropped.contains(&number));
            match free {
                Some(place) => self.fields[place] = field,
                None => self.fields.push(field),
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

/// A project that is looked at, as it was when that began.
pub(super) struct Held<'a> {
    part: &'a Part,
    kept: Kept,
}

/// A project with its number, and the stamp that its part had.
#[derive(Default)]
struct Kept {
    stamp: u64,
    number: i32,
    project: Option<Arc<Project>>,
}

thread_local! {
    /// What this thread looked at last. Who looks again writes to nothing that other threads read.
    static LAST: Cell<Kept> = const { Cell::new(Kept { stamp: NEVER, number: 0, project: None }) };
}

impl Held<'_> {
    /// The project; one that nothing is known of has nobody.
    pub(super) fn project(&self) -> Option<&Project> {
        self.kept.project.as_deref().or_else(|| UNKNOWN.as_deref())
    }

    /// Whether no other one was put in its place since.
    pub(super) fn is_current(&self) -> bool {
        self.part.stamp.load(Ordering::Acquire) == self.kept.stamp
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        // A thread that ends has nowhere to keep it.
        let _ = LAST.try_with(|last| last.set(kept));
    }
}

/// The projects by number, which are counted from 1: a part has every sixteenth.
pub(super) struct Projects([Part; PARTS]);

/// Some projects. Never twice with the same stamp, in no list of this process.
struct Part {
    stamp: AtomicU64,
    projects: RwLock<List>,
}

type List = Vec<Option<Arc<Project>>>;

/// The stamp that no part has.
const NEVER: u64 = 0;
static STAMPS: AtomicU64 = AtomicU64::new(NEVER);

impl Part {
    fn new() -> Self {
        Self {
            stamp: AtomicU64::new(stamp()),
            projects: RwLock::default(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, List> {
        self.projects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut List)) {
        let mut list = self
            .projects
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut list);
        self.stamp.store(stamp(), Ordering::Release);
    }
}

/// A stamp that nothing has yet.
fn stamp() -> u64 {
    STAMPS.fetch_add(1, Ordering::Relaxed) + 1
}

impl Projects {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Part::new()))
    }

    /// A project; one that nothing is known of has nobody.
    pub(super) fn get(&self, number: i32) -> Option<Arc<Project>> {
        self.known(number).or_else(|| UNKNOWN.clone())
    }

    /// A project of which something is known.
    pub(super) fn known(&self, number: i32) -> Option<Arc<Project>> {
        let (part, place) = self.place(number);
        part.read().get(place)?.clone()
    }

    /// The projects that are left out.
    pub(super) fn count_out(&self) -> usize {
        let out = |part: &Part| {
            let list = part.read();
            let known = list.iter().flatten();
            known.filter(|project| project.is_out).count()
        };
        self.0.iter().map(out).sum()
    }

    /// A project to look at.
    pub(super) fn hold(&self, number: i32) -> Held<'_> {
        let (part, place) = self.place(number);
        let last = LAST.try_with(Cell::take).unwrap_or_default();
        if last.stamp == part.stamp.load(Ordering::Acquire) && last.number == number {
            return Held { part, kept: last };
        }
        let list = part.read();
        let kept = Kept {
            // It changes only behind the lock.
            stamp: part.stamp.load(Ordering::Acquire),
            number,
            project: list.get(place).cloned().flatten(),
        };
        Held { part, kept }
    }

    pub(super) fn put(&self, number: i32, project: Project) {
        let (part, place) = self.place(number);
        part.change(|list| {
            if list.len() <= place {
                list.resize(place + 1, None);
            }
            list[place] = Some(Arc::new(project));
        });
    }

    pub(super) fn clear(&self) {
        for part in &self.0 {
            part.change(List::clear);
        }
    }

    fn place(&self, number: i32) -> (&Part, usize) {
        let number = number.unsigned_abs() as usize;
        (&self.0[number % PARTS], number / PARTS)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roster_domain::channel::Fact;
    use roster_domain::schema::{Definition, Field, FieldType, MatchRule, Schema};

    use super::{Project, Projects};

    /// A schema whose rules name these fields.
    fn naming(fields: &[&str]) -> Arc<Schema> {
        let mut definition = Definition::default();
        for name in fields {
            definition.fields.push(Field::new(name, FieldType::String));
            definition.match_rules.push(MatchRule {
                channel: "line".into(),
                field: (*name).into(),
                source: Some(Fact::Username),
                fallback: false,
            });
        }
        Arc::new(Schema::compile(definition, 1).expect("a schema"))
    }

    #[test]
    fn numbers_of_fields_are_used_again_once_nobody_has_values_of_them() {
        let mut project = Project::new().expect("the default schema");
        let mut numbers = |fields: &[&str]| {
            let dropped = project.replace_schema(naming(fields));
            let wanted: Vec<(u16, String)> = project
                .wanted()
                .map(|(number, name)| (number, name.to_owned()))
                .collect();
            (dropped, wanted)
        };
        let named = |number: u16, name: &str| (number, name.to_owned());
        assert_eq!(numbers(&["a"]), (vec![], vec![named(0, "a")]));
        // The values of `a` are there until the change is through.
        assert_eq!(numbers(&["b"]), (vec![0], vec![named(1, "b")]));
        assert_eq!(
            numbers(&["b", "c", "d"]),
            (vec![], vec![named(0, "c"), named(1, "b"), named(2, "d")])
        );
        assert_eq!(numbers(&["d"]), (vec![0, 1], vec![named(2, "d")]));
        assert_eq!(
            numbers(&["d", "b"]),
            (vec![], vec![named(1, "b"), named(2, "d")])
        );
    }

    #[test]
    fn a_thread_never_takes_an_old_project_for_the_present_one() {
        let project = |is_out| Project {
            is_out,
            ..Project::new().expect("the default schema")
        };
        let (projects, others) = (Projects::new(), Projects::new());
        let is_out = |projects: &Projects, number| {
            let held = projects.hold(number);
            assert!(held.is_current());
            held.project().is_some_and(|project| project.is_out)
        };
        assert!(!is_out(&projects, 3));
        let before = projects.hold(3);
        projects.put(3, project(true));
        assert!(!before.is_current() && before.project().is_some_and(|project| !project.is_out));
        drop(before);
        assert!(is_out(&projects, 3) && is_out(&projects, 3));
        // Another number of the same part, and the same number of another memory.
        assert!(!is_out(&projects, 19) && is_out(&projects, 3) && !is_out(&others, 3));
        let (first, second) = (projects.hold(3), projects.hold(19));
        assert!(first.is_current() && second.is_current());
        drop((first, second));
        projects.clear();
        assert!(!is_out(&projects, 3));
    }
}
