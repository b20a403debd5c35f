//! External user ids: one normaliser for links, grants and rules.
//!
//! Identities arrive at run time and are international: no default region is ever applied to them.

use super::phone::Region;
use super::{phone, text};
use crate::channel::{Channel, Fact};

/// The longest identity, in characters.
const LONGEST: usize = 256;

/// The canonical external user id on a channel; `None` where the text is none.
///
/// whatsapp and sms: `+digits`. email, `web_widget` and teams: lower case. slack: lower case if it has `@`. telegram:
/// lower case if it starts with `@`. Everything else, also channels outside the catalogue: as it is. All are trimmed,
/// have 1 to 256 characters and no controls. The wildcard `*` is the caller's business.
pub fn canonical(channel: &str, external_user_id: &str) -> Option<String> {
    let channel = Channel::find(channel);
    if channel.is_some_and(|channel| channel.fact == Fact::Phone) {
        return phone::international(external_user_id);
    }
    let id = text::canonical(external_user_id)?;
    if id.is_empty() || id.chars().count() > LONGEST || id.chars().any(char::is_control) {
        return None;
    }
    let folds = match channel.map(|channel| channel.name) {
        Some("email" | "web_widget" | "teams") => true,
        Some("slack") => id.contains('@'),
        Some("telegram") => id.starts_with('@'),
        _ => false,
    };
    Some(if folds {
        id.to_lowercase()
    } else {
        id.to_owned()
    })
}

/// The canonical external user id as someone typed it: a number without `+` or `00` is national to the region.
pub fn typed(channel: &str, external_user_id: &str, region: Option<&Region>) -> Option<String> {
    if Channel::find(channel).is_some_and(|channel| channel.fact == Fact::Phone) {
        phone::typed(external_user_id, region)
    } else {
        canonical(channel, external_user_id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{canonical, typed};
    use crate::channel::CATALOGUE;
    use crate::value::phone::Region;

    #[test]
    fn one_number_in_twenty_spellings_is_one_identity() {
        for spelling in [
            "+491701234567",
            "491701234567",
            "00491701234567",
            "0000491701234567",
            "+49 170 1234567",
            "0049 170 123 45 67",
            "+49-170-1234567",
            "+49.170.123.4567",
            "+49 (170) 1234567",
            "+49 (0)170 1234567",
            "(+49) 170/1234567",
            "[49] 170 1234567",
            " +49\u{a0}170\u{a0}1234567 ",
            "+49\u{202f}170\u{2009}1234567",
            "\u{200e}+49 170 1234567\u{200e}",
            "+49\u{2011}170\u{2013}1234567",
            "\u{ff0b}\u{ff14}\u{ff19}\u{ff11}\u{ff17}\u{ff10}1234567",
            "\u{ff10}\u{ff10}\u{ff14}\u{ff19}\u{ff11}\u{ff17}\u{ff10}\u{ff11}\u{ff12}\u{ff13}4567",
            "+\u{664}\u{669} 170 1234567",
            "\t+49\u{feff}1701234567\n",
        ] {
            for channel in ["whatsapp", "sms"] {
                assert_eq!(
                    canonical(channel, spelling).as_deref(),
                    Some("+491701234567"),
                    "{channel} {spelling:?}"
                );
            }
        }
    }

    #[test]
    fn only_a_typed_number_is_national() {
        let germany = Region::find("DE");
        assert_eq!(
            typed("sms", "0170 1234567", germany.as_ref()).as_deref(),
            Some("+491701234567")
        );
        assert_eq!(
            typed("sms", "+33 6 12 34 56 78", germany.as_ref()).as_deref(),
            Some("+33612345678")
        );
        assert_eq!(
            typed("telegram", "@Ada", germany.as_ref()).as_deref(),
            Some("@ada")
        );
    }

    #[test]
    fn each_channel_has_its_own_spelling() {
        for (channel, text, expected) in [
            ("whatsapp", "491701234567", "+491701234567"),
            ("SMS", "0049 170 1234567", "+491701234567"),
            ("email", " Ada@Example.ORG ", "ada@example.org"),
            ("web_widget", "Visitor-7", "visitor-7"),
            ("teams", "ADA@b.co", "ada@b.co"),
            ("slack", "U02ABC", "U02ABC"),
            ("slack", "Ada@B.co", "ada@b.co"),
            ("telegram", "@Ada", "@ada"),
            ("telegram", "Ada", "Ada"),
            ("discord", " 80351110224678912 ", "80351110224678912"),
            ("pager", "X-1", "X-1"),
        ] {
            assert_eq!(
                canonical(channel, text).as_deref(),
                Some(expected),
                "{channel} {text}"
            );
        }
    }

    #[test]
    fn what_identifies_nobody_is_refused() {
        for (channel, text) in [
            ("whatsapp", "ada"),
            ("line", "  "),
            ("line", "a\0b"),
            ("line", "a\nb"),
        ] {
            assert_eq!(canonical(channel, text), None, "{channel} {text:?}");
        }
        assert_eq!(canonical("line", &"x".repeat(257)), None);
    }

    proptest! {
        #[test]
        fn canonical_of_canonical_is_itself(channel in 0..CATALOGUE.len(), text in r"[@+A-Za-z0-9ΑΣİ -]{0,16}|\PC{0,16}") {
            let channel = CATALOGUE[channel].name;
            if let Some(once) = canonical(channel, &text) {
                prop_assert_eq!(canonical(channel, &once), Some(once.clone()));
            }
        }
    }
}
