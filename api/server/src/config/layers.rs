//! Where values come from: the embedded defaults, a file, the environment, flags; later ones win.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::config::{Config, File, FileFormat, Map, Source, Value, ValueKind};

use super::{ConfigError, Settings, redact};

/// The defaults, which are the reference too.
const DEFAULTS: &str = include_str!("../../../../deploy/roster.defaults.toml");

/// Variables that are settings under another name than `ROSTER_<NAME>`.
const SHORT_NAMES: [(&str, &str); 5] = [
    ("DATABASE_URL", "database.url"),
    ("DATABASE_URL_FILE", "database.url_file"),
    ("NATS_URL", "nats.url"),
    ("ROSTER_KEK_FILE", "keys.kek_file"),
    ("ROSTER_ANCHOR_KEY_FILE", "anchors.key_file"),
];

/// Settings of which the later source wins over the earlier one's other.
const ALTERNATIVES: [(&str, &str); 5] = [
    ("database.url", "database.url_file"),
    ("database.service_url", "database.service_url_file"),
    ("keys.kek", "keys.kek_file"),
    ("anchors.key", "anchors.key_file"),
    ("auth.jwt_secret", "auth.jwt_secret_file"),
];

/// What the caller gives.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file of `--config` or `ROSTER_CONFIG`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Setting, value and the flag that gave it.
    pub flags: Vec<(String, String, String)>,
}

/// The settings in effect.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The settings.
    pub settings: Settings,
    values: Vec<(String, String, String)>,
}

/// The variables of this process; the only place that reads them.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Configuration {
    /// Puts the sources together and checks the outcome.
    pub fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let layers = [
            flat(&File::from_str(DEFAULTS, FileFormat::Toml), "the defaults")?,
            file(inputs)?,
            variables(&inputs.environment),
            Layer::of(
                inputs
                    .flags
                    .iter()
                    .map(|(key, value, flag)| (key.clone(), value.clone(), flag.clone())),
            ),
        ];
        let known: Vec<String> = layers[0].0.keys().cloned().collect();
        let mut merged = Layer::default();
        for layer in layers {
            layer.refuse_unknown(&known)?;
            merged.take(layer)?;
        }
        let origin_of = |key: &str| {
            merged
                .0
                .get(key)
                .and_then(|value| value.origin().map(str::to_owned))
        };
        let config = Config::builder()
            .add_source(merged.clone())
            .build()
            .map_err(|error| ConfigError::of(&error, origin_of))?;
        let mut settings: Settings = config
            .try_deserialize()
            .map_err(|error| ConfigError::of(&error, origin_of))?;
        let wrong = |(key, problem): (&str, String)| ConfigError::Value {
            key: key.to_owned(),
            problem,
            origin: origin_of(key).unwrap_or_else(|| "several sources".into()),
        };
        settings.read_files().map_err(wrong)?;
        if let Some(problem) = settings.problem() {
            return Err(wrong(problem));
        }
        let values = merged.0.into_iter().map(|(key, value)| {
            let origin = value.origin().unwrap_or_default().to_owned();
            let text = redact::shown(&key, &value.clone().into_string().unwrap_or_default());
            let is_bare = matches!(
                value.kind,
                ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::U64(_)
            );
            (
                key,
                if is_bare { text } else { format!("{text:?}") },
                origin,
            )
        });
        Ok(Self {
            settings,
            values: values.collect(),
        })
    }

    /// Every setting as TOML with its source, without secrets.
    pub fn lines(&self) -> Vec<String> {
        let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (key, value, origin) in &self.values {
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            let setting = format!("{name} = {value}");
            let line = if origin == "the defaults" {
                setting
            } else {
                format!("{setting:<48} # {origin}")
            };
            sections.entry(section).or_default().push(line);
        }
        let mut lines = Vec::new();
        for (section, settings) in sections {
            if !section.is_empty() {
                lines.extend([String::new(), format!("[{section}]")]);
            }
            lines.extend(settings);
        }
        lines
    }
}

/// Values by setting; each knows its origin.
#[derive(Clone, Debug, Default)]
struct Layer(BTreeMap<String, Value>);

impl Layer {
    fn of(values: impl IntoIterator<Item = (String, String, String)>) -> Self {
        let value = |(key, value, origin): (String, String, String)| {
            (key, Value::new(Some(&origin), value))
        };
        Self(values.into_iter().map(value).collect())
    }

    fn refuse_unknown(&self, known: &[String]) -> Result<(), ConfigError> {
        let Some((key, value)) = self.0.iter().find(|(key, _)| !known.contains(key)) else {
            return Ok(());
        };
        let nearest = known.iter().map(|name| (distance(name, key), name)).min();
        Err(ConfigError::Unknown {
            key: key.clone(),
            origin: value.origin().unwrap_or_default().to_owned(),
            suggestion: nearest
                .filter(|(edits, _)| *edits <= 3)
                .map(|(_, name)| name.clone()),
        })
    }

    /// Puts a later source over this one.
    fn take(&mut self, later: Self) -> Result<(), ConfigError> {
        for (direct, file) in ALTERNATIVES {
            let given = |key| later.0.get(key).filter(|value| !is_blank(value));
            match (given(direct), given(file)) {
                (Some(value), Some(_)) => {
                    let origin = value.origin().unwrap_or_default().to_owned();
                    return Err(ConfigError::Both(direct.into(), file.into(), origin));
                }
                (Some(value), None) => self.clear(file, value),
                (None, Some(value)) => self.clear(direct, value),
                (None, None) => {}
            }
        }
        self.0.extend(later.0);
        Ok(())
    }

    fn clear(&mut self, key: &str, because: &Value) {
        if self.0.get(key).is_none_or(is_blank) {
            return;
        }
        let origin = because.origin().map(str::to_owned);
        self.0
            .insert(key.to_owned(), Value::new(origin.as_ref(), ""));
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self
            .0
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

fn file(inputs: &Inputs) -> Result<Layer, ConfigError> {
    let named = || {
        let variable = inputs
            .environment
            .iter()
            .find(|(name, value)| name == "ROSTER_CONFIG" && !value.is_empty())?;
        Some(PathBuf::from(&variable.1))
    };
    let Some(path) = inputs.file.clone().or_else(named) else {
        return Ok(Layer::default());
    };
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| ConfigError::File(format!("{shown}: {error}")))?;
    flat(&File::from_str(&text, FileFormat::Toml), &shown).map_err(|error| match error {
        ConfigError::File(problem) => ConfigError::File(format!("{shown}{problem}")),
        other => other,
    })
}

fn flat(source: &impl Source, origin: &str) -> Result<Layer, ConfigError> {
    let values = source
        .collect()
        .map_err(|error| ConfigError::of(&error, |_| Some(origin.into())))?;
    let mut layer = Layer::default();
    flatten("", values, origin, &mut layer);
    Ok(layer)
}

fn flatten(prefix: &str, values: Map<String, Value>, origin: &str, layer: &mut Layer) {
    for (name, value) in values {
        let key = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        match value.kind {
            ValueKind::Table(inner) => flatten(&key, inner, origin, layer),
            kind => {
                layer
                    .0
                    .insert(key, Value::new(Some(&origin.to_owned()), kind));
            }
        }
    }
}

/// The variables that are settings. A name with two underscores must be one; other `ROSTER_` names may be anybody's.
fn variables(environment: &[(String, String)]) -> Layer {
    const PLAIN: [&str; 6] = [
        "listen",
        "cell",
        "migrate",
        "demo",
        "data_dir",
        "ready_file",
    ];
    let setting = |name: &str| {
        if let Some((_, key)) = SHORT_NAMES.iter().find(|(short, _)| *short == name) {
            return Some((*key).to_owned());
        }
        let rest = name.strip_prefix("ROSTER_")?.to_ascii_lowercase();
        (rest.contains("__") || PLAIN.contains(&rest.as_str())).then(|| rest.replace("__", "."))
    };
    let values = environment
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| {
            Some((
                setting(name)?,
                value.clone(),
                format!("the variable {name}"),
            ))
        });
    Layer::of(values)
}

fn is_blank(value: &Value) -> bool {
    matches!(&value.kind, ValueKind::Nil)
        || matches!(&value.kind, ValueKind::String(text) if text.trim().is_empty())
}

/// Edits between two names (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, left) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (place, right) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[place + 1];
            row[place + 1] = substituted.min(row[place] + 1).min(row[place + 1] + 1);
        }
    }
    row[other.len()]
}
