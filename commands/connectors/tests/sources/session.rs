//! Opens a source to its fake and walks through it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use roster_commands::sync::source::{
    Credentials, Page, Record, Session, Settings, Source, SourceError, Walk,
};
use roster_connectors::{Outbound, OutboundOptions, all};
use roster_domain::Problem;
use roster_fakes::{Fake, Vendor};
use serde_json::Value;

/// Options under which a fake can be reached, and nothing else.
pub(crate) fn options(fake: &Fake) -> OutboundOptions {
    let mut options = OutboundOptions {
        answer_timeout: Duration::from_secs(20),
        page_bytes: 4 << 20,
        ..OutboundOptions::default()
    };
    if matches!(fake.provider(), "http_json" | "csv_url") {
        options.allow = vec!["127.0.0.1".into()];
        options.allow_http = true;
    } else {
        options.base_urls = BTreeMap::from([(fake.provider().into(), fake.url().into())]);
    }
    options
}

/// The source of a provider.
pub(crate) fn source(options: OutboundOptions, provider: &str) -> Arc<dyn Source> {
    let outbound = Outbound::new(options).expect("the options are good");
    let mut sources = all(outbound).into_iter();
    sources
        .find(|source| source.provider().provider == provider)
        .expect("the provider is there")
}

/// A credential out of JSON.
pub(crate) fn credentials(json: &Value) -> Credentials {
    let mut parts: BTreeMap<String, String> =
        serde_json::from_value(json.clone()).expect("parts are texts");
    let kind = parts.remove("type").unwrap_or_default();
    Credentials {
        kind,
        parts: parts
            .into_iter()
            .map(|(name, part)| (name, part.into()))
            .collect(),
    }
}

/// The settings of a connection to a fake.
pub(crate) fn settings(fake: &Fake) -> Settings {
    let config = fake.config();
    Settings {
        credentials: credentials(&fake.credentials()),
        config: config.as_object().cloned().unwrap_or_default(),
        paths: fake
            .mapping()
            .into_iter()
            .map(|(path, _)| path.into())
            .collect(),
    }
}

/// An open connection to a fake.
pub(crate) fn open(fake: &Fake) -> Box<dyn Session> {
    try_open(fake, settings(fake)).expect("the settings are good")
}

/// A connection to a fake with other settings.
pub(crate) fn try_open(fake: &Fake, settings: Settings) -> Result<Box<dyn Session>, Vec<Problem>> {
    // A client reads the machine's certificates, which takes longer than the walk of a test.
    thread_local! {
        static SOURCES: RefCell<HashMap<String, Arc<dyn Source>>> = RefCell::default();
    }
    let source = SOURCES.with_borrow_mut(|sources| {
        let known = sources.entry(fake.url().to_owned());
        Arc::clone(known.or_insert_with(|| source(options(fake), fake.provider())))
    });
    source.open(settings)
}

/// A fake with so many people.
pub(crate) async fn fake(vendor: Vendor, people: u64) -> Fake {
    let fake = Fake::start(vendor).await;
    fake.fill(people);
    fake
}

/// A fake with fifty people on three pages, and a walk through it.
pub(crate) async fn small(vendor: Vendor) -> (Fake, Walked) {
    let fake = fake(vendor, 50).await;
    fake.world(|world| world.page = Some(20));
    let decides = matches!(fake.provider(), "google_sheets" | "csv_url");
    let walked = Walked {
        limit: decides.then_some(20),
        ..Walked::default()
    };
    (fake, walked)
}

/// How many people make several pages.
pub(crate) fn many(vendor: Vendor) -> u64 {
    match vendor {
        Vendor::GoogleSheets | Vendor::GoogleSheetsByKey | Vendor::Salesforce => 4_100,
        Vendor::CsvUrl | Vendor::Zendesk => 2_100,
        Vendor::Pipedrive | Vendor::GoogleWorkspace => 1_100,
        _ => 320,
    }
}

/// What a walk brought.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) records: Vec<Record>,
    pub(crate) pages: usize,
    pub(crate) cursor: Option<Value>,
    /// Where it stood when it ended.
    pub(crate) place: Option<Value>,
    /// The size of its pages, where the source decides it.
    pub(crate) limit: Option<usize>,
}

impl Walked {
    /// The ids of records that are there.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        let there = self.records.iter().filter(|record| !record.deleted);
        there.map(|record| record.id.clone()).collect()
    }

    /// The ids of records that are gone.
    pub(crate) fn gone(&self) -> BTreeSet<String> {
        let gone = self.records.iter().filter(|record| record.deleted);
        gone.map(|record| record.id.clone()).collect()
    }

    /// The beginning of a walk with pages of its size.
    pub(crate) fn beginning(&self) -> Walk {
        Walk {
            limit: self.limit,
            ..Walk::default()
        }
    }

    fn take(&mut self, page: Page) -> bool {
        self.records.extend(page.records);
        self.pages += 1;
        self.cursor = page.cursor.or(self.cursor.take());
        self.place = page.place;
        self.place.is_some()
    }
}

/// Walks on until the end or the first error.
pub(crate) async fn go_on(
    session: &mut dyn Session,
    since: Option<&Value>,
    walked: &mut Walked,
) -> Result<(), SourceError> {
    loop {
        let walk = Walk {
            since: since.cloned(),
            place: walked.place.clone(),
            limit: walked.limit,
        };
        if !walked.take(session.page(&walk).await?) {
            return Ok(());
        }
    }
}

/// Walks from the beginning to the end.
pub(crate) async fn walk(session: &mut dyn Session, since: Option<&Value>) -> Walked {
    let mut walked = Walked::default();
    let outcome = go_on(session, since, &mut walked).await;
    outcome.expect("the walk ends well");
    walked
}

/// The ids of who is there.
pub(crate) fn present(fake: &Fake) -> BTreeSet<String> {
    fake.world(|world| world.present().map(|person| person.no).collect::<Vec<_>>())
        .into_iter()
        .map(|no| fake.id(no))
        .collect()
}
