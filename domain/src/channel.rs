//! The catalogue of channels, and the fact about a person that each one brings along.

use serde::{Deserialize, Serialize};

/// What a connector knows about the person behind an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fact {
    /// A telephone number.
    #[serde(rename = "connector.phone")]
    Phone,
    /// An e-mail address.
    #[serde(rename = "connector.email")]
    Email,
    /// The channel's own id of the person.
    #[serde(rename = "connector.external_user_id")]
    ExternalUserId,
    /// A handle that the person chose.
    #[serde(rename = "connector.username")]
    Username,
}

impl Fact {
    /// Every fact.
    pub const ALL: [Self; 4] = [
        Self::Phone,
        Self::Email,
        Self::ExternalUserId,
        Self::Username,
    ];

    /// The public word, as bindings and rules name it in `source`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "connector.phone",
            Self::Email => "connector.email",
            Self::ExternalUserId => "connector.external_user_id",
            Self::Username => "connector.username",
        }
    }

    /// The fact of a public word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fact| fact.as_str() == word)
    }
}

/// A channel that every project knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The lower-case name.
    pub name: &'static str,
    /// The fact that identifies a person there.
    pub fact: Fact,
}

/// Every channel that needs no mention in a schema.
pub const CATALOGUE: [Channel; 13] = [
    Channel {
        name: "whatsapp",
        fact: Fact::Phone,
    },
    Channel {
        name: "sms",
        fact: Fact::Phone,
    },
    Channel {
        name: "slack",
        fact: Fact::Email,
    },
    Channel {
        name: "teams",
        fact: Fact::Email,
    },
    Channel {
        name: "email",
        fact: Fact::Email,
    },
    Channel {
        name: "web_widget",
        fact: Fact::Email,
    },
    Channel {
        name: "telegram",
        fact: Fact::ExternalUserId,
    },
    Channel {
        name: "instagram",
        fact: Fact::ExternalUserId,
    },
    Channel {
        name: "messenger",
        fact: Fact::ExternalUserId,
    },
    Channel {
        name: "discord",
        fact: Fact::ExternalUserId,
    },
    Channel {
        name: "line",
        fact: Fact::ExternalUserId,
    },
    Channel {
        name: "viber",
        fact: Fact::ExternalUserId,
    },
    Channel {
        name: "google_chat",
        fact: Fact::ExternalUserId,
    },
];

impl Channel {
    /// The channel of the catalogue with this name, whatever its case and the blanks around it.
    pub fn find(name: &str) -> Option<&'static Self> {
        let name = name.trim();
        CATALOGUE
            .iter()
            .find(|channel| channel.name.eq_ignore_ascii_case(name))
    }
}

/// The canonical spelling of a channel's name: trimmed and lower-cased. Whether it exists is the schema's business.
pub fn canonical_name(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{CATALOGUE, Channel, Fact, canonical_name};

    #[test]
    fn channels_are_found_without_regard_to_case() {
        assert_eq!(
            Channel::find(" WhatsApp ").map(|channel| channel.fact),
            Some(Fact::Phone)
        );
        assert_eq!(Channel::find("fax"), None);
    }

    #[test]
    fn the_names_of_the_catalogue_are_canonical_and_unique() {
        for (place, channel) in CATALOGUE.iter().enumerate() {
            assert_eq!(canonical_name(channel.name), channel.name);
            assert!(
                CATALOGUE[..place]
                    .iter()
                    .all(|earlier| earlier.name != channel.name)
            );
        }
    }

    #[test]
    fn the_words_of_facts_are_the_stored_ones() {
        for fact in Fact::ALL {
            assert_eq!(serde_json::to_value(fact).expect("a word"), fact.as_str());
            assert_eq!(Fact::parse(fact.as_str()), Some(fact));
        }
    }
}
