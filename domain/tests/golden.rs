//! The stored shapes never change: every sample has the bytes of its golden file, and the file still decodes.
//!
//! A new shape gets its file from `ROSTER_BLESS=1 cargo test -p roster-domain --test golden`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use roster_domain::channel_access::ChannelAccessEvent;
use roster_domain::connection::ConnectionEvent;
use roster_domain::customer::CustomerEvent;
use roster_domain::event::{DecodeError, Encoded, StoredEvent};
use roster_domain::identity::IdentityEvent;
use roster_domain::import::ImportEvent;
use roster_domain::preparation::PreparationEvent;
use roster_domain::purge::PurgeEvent;
use roster_domain::registry;
use roster_domain::schema::SchemaEvent;
use roster_domain::suppression::SuppressionEvent;
use roster_domain::sync_run::SyncRunEvent;

/// Whether missing files are written.
const BLESS: bool = option_env!("ROSTER_BLESS").is_some();

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit");
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).expect("two digits make a byte")
        })
        .collect()
}

/// The file of an encoded event: its open part on the first line, its personal part, if any, on the second.
fn text_of(encoded: &Encoded) -> String {
    let mut text = hex(&encoded.open) + "\n";
    if let Some(personal) = &encoded.personal {
        text += &(hex(personal) + "\n");
    }
    text
}

fn read(text: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut lines = text.lines();
    (
        unhex(lines.next().unwrap_or_default()),
        lines.next().map(unhex),
    )
}

/// Compares the newest samples with their files, and decodes every known version.
fn check<E: StoredEvent>(files: &mut BTreeSet<String>) {
    let samples: BTreeMap<(i16, i16), E> = E::samples()
        .into_iter()
        .map(|sample| {
            let encoded = sample.encode();
            ((encoded.type_no, encoded.type_version), sample)
        })
        .collect();
    for known in E::TYPES {
        let file = format!("{}.v{}.hex", known.name, known.type_version);
        let path = folder().join(&file);
        let sample = samples.get(&(known.type_no, known.type_version));
        if let Some(sample) = sample
            && BLESS
            && !path.exists()
        {
            fs::write(&path, text_of(&sample.encode())).expect("the golden folder can be written");
        }
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|_| panic!("{file} is missing: run with ROSTER_BLESS=1"));
        let (open, personal) = read(&text);
        let decoded = E::decode(
            known.type_no,
            known.type_version,
            &open,
            personal.as_deref(),
        );
        let decoded = decoded.unwrap_or_else(|error| panic!("{file}: {error}"));
        if let Some(sample) = sample {
            assert_eq!(
                text_of(&sample.encode()),
                text,
                "{file}: a stored shape is never edited, add a version"
            );
            assert_eq!(&decoded, sample, "{file}");
            assert_eq!(decoded.event_type(), known.name, "{file}");
        }
        files.insert(file);
    }
}

#[test]
fn every_stored_shape_has_the_bytes_of_its_golden_file() {
    let mut files = BTreeSet::new();
    check::<CustomerEvent>(&mut files);
    check::<SchemaEvent>(&mut files);
    check::<PreparationEvent>(&mut files);
    check::<ImportEvent>(&mut files);
    check::<SuppressionEvent>(&mut files);
    check::<PurgeEvent>(&mut files);
    check::<ChannelAccessEvent>(&mut files);
    check::<IdentityEvent>(&mut files);
    check::<ConnectionEvent>(&mut files);
    check::<SyncRunEvent>(&mut files);
    let present: BTreeSet<String> = fs::read_dir(folder())
        .expect("the golden folder is there")
        .map(|entry| {
            entry
                .expect("a readable entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(present, files, "files of shapes that nobody knows");
    assert_eq!(
        registry::all().len(),
        files.len(),
        "every shape is registered"
    );
}

#[test]
fn type_numbers_and_names_are_unique() {
    let types = registry::all();
    let numbers: BTreeSet<_> = types
        .iter()
        .map(|t| (t.event_type.type_no, t.event_type.type_version))
        .collect();
    let names: BTreeSet<_> = types
        .iter()
        .map(|t| (t.event_type.name, t.event_type.type_version))
        .collect();
    assert_eq!(numbers.len(), types.len());
    assert_eq!(names.len(), types.len());
    for known in types {
        let event_type = known.event_type;
        assert_eq!(
            registry::name_of(event_type.type_no, event_type.type_version),
            Some(event_type.name)
        );
    }
    assert_eq!(registry::name_of(-1, 1), None);
}

/// Truncated and foreign bytes are refused, never a panic, and erased parts decode.
fn check_bytes<E: StoredEvent>() {
    for sample in E::samples() {
        let Encoded {
            type_no,
            type_version,
            open,
            personal,
        } = sample.encode();
        for length in 0..open.len() {
            let cut = E::decode(type_no, type_version, &open[..length], personal.as_deref());
            assert_eq!(
                cut,
                Err(DecodeError::Malformed {
                    type_no,
                    type_version
                })
            );
        }
        let longer: Vec<u8> = open.iter().copied().chain([0]).collect();
        assert!(E::decode(type_no, type_version, &longer, personal.as_deref()).is_err());
        assert!(E::decode(type_no, type_version, &open, None).is_ok());
        let unknown = DecodeError::UnknownType {
            type_no,
            type_version: 99,
        };
        assert_eq!(E::decode(type_no, 99, &open, None), Err(unknown));
    }
}

#[test]
fn damaged_bytes_are_refused_and_erased_parts_decode() {
    check_bytes::<CustomerEvent>();
    check_bytes::<SchemaEvent>();
    check_bytes::<PreparationEvent>();
    check_bytes::<ImportEvent>();
    check_bytes::<SuppressionEvent>();
    check_bytes::<PurgeEvent>();
    check_bytes::<ChannelAccessEvent>();
    check_bytes::<IdentityEvent>();
}
