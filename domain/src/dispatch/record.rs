//! What is recorded of a dispatch about a person, as the journal seals it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Filled;
use crate::value::value_json;

/// Leads the sealed bytes: the shape behind it is frozen.
const VERSION: u8 = 1;

/// The personal part of one dispatch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The caller's name for the run.
    pub run_id: String,
    /// The normalised external user id.
    pub external_user_id: String,
    /// Values of the person as JSON text, by input.
    pub injected: BTreeMap<String, String>,
    /// What the model filled as JSON text, by input.
    pub kept: BTreeMap<String, String>,
    /// What it may not fill.
    pub dropped: Vec<String>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Record(<personal>)")
    }
}

/// The stored shape. Frozen.
#[derive(Serialize, Deserialize)]
struct RecordV1 {
    run_id: String,
    external_user_id: String,
    injected: BTreeMap<String, String>,
    kept: BTreeMap<String, String>,
    dropped: Vec<String>,
}

impl Record {
    /// The record of a call whose inputs are filled.
    pub fn new(run_id: String, external_user_id: String, filled: Filled) -> Self {
        let injected = filled.injected.iter();
        Self {
            run_id,
            external_user_id,
            injected: injected
                .map(|(input, value)| (input.clone(), value_json(value)))
                .collect(),
            kept: filled.kept,
            dropped: filled.dropped,
        }
    }

    /// Every input with its value as JSON text.
    pub fn fields(&self) -> impl Iterator<Item = (&String, &String)> {
        self.injected.iter().chain(&self.kept)
    }

    /// The bytes to seal.
    ///
    /// # Panics
    /// Never: texts always have a form in postcard.
    pub fn encode(self) -> Vec<u8> {
        let stored = RecordV1 {
            run_id: self.run_id,
            external_user_id: self.external_user_id,
            injected: self.injected,
            kept: self.kept,
            dropped: self.dropped,
        };
        postcard::to_extend(&stored, vec![VERSION]).expect("texts can be encoded")
    }

    /// Reads what [`Record::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, stored) = bytes.split_first()? else {
            return None;
        };
        let stored: RecordV1 = postcard::from_bytes(stored).ok()?;
        Some(Self {
            run_id: stored.run_id,
            external_user_id: stored.external_user_id,
            injected: stored.injected,
            kept: stored.kept,
            dropped: stored.dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Record;
    use crate::dispatch::Inputs;
    use crate::value::Value;

    #[test]
    fn a_record_comes_back_as_it_was_and_its_stored_form_stands() {
        let pair = |one: &str, other: &str| [(one.to_owned(), other.to_owned())];
        let llm = [pair("city", "\"Ulm\""), pair("user_id", "2")].concat();
        let inputs = Inputs::read(pair("user_id", "id"), llm).expect("good names");
        let filled = inputs.fill(&[("id".into(), Value::Text("u1".into()))].into());
        let record = Record::new("r".into(), "+491".into(), filled);
        let fields: Vec<_> = record.fields().collect();
        assert_eq!(
            fields,
            [
                (&"user_id".to_owned(), &"\"u1\"".to_owned()),
                (&"city".to_owned(), &"\"Ulm\"".to_owned())
            ]
        );
        let bytes = record.clone().encode();
        let expected =
            b"\x01\x01r\x04+491\x01\x07user_id\x04\"u1\"\x01\x04city\x05\"Ulm\"\x01\x07user_id";
        assert_eq!(bytes, expected);
        assert_eq!(Record::decode(&bytes), Some(record));
        assert_eq!(Record::decode(&[2]), None);
        assert_eq!(Record::decode(&[]), None);
    }
}
