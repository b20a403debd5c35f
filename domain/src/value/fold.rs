//! Search folding: texts that a person would call the same become the same.

use unicode_normalization::UnicodeNormalization;

/// The text without case, accents, compatibility forms and apostrophe styles; every run of blanks is one blank.
///
/// Marks that are letters stay: the vowels of Indic scripts and Thai, the voicing of kana. Syllables of Hangul are whole.
pub fn fold(text: &str) -> String {
    let mut folded = Folded(String::with_capacity(text.len()));
    if text.is_ascii() {
        for byte in text.bytes() {
            folded.push(char::from(byte.to_ascii_lowercase()));
        }
        return folded.0;
    }
    // The acute accent on its own decomposes into a blank and a mark, so apostrophes are mapped first.
    let letters = text
        .chars()
        .map(straight)
        .nfkd()
        .filter(|letter| !is_accent(*letter));
    for letter in letters.flat_map(char::to_lowercase) {
        folded.push(letter);
    }
    folded.0.nfc().collect()
}

struct Folded(String);

impl Folded {
    fn push(&mut self, letter: char) {
        if let Some(letters) = plain(letter) {
            self.0.push_str(letters);
            return;
        }
        let letter = straight(letter);
        if letter.is_whitespace() {
            if !self.0.ends_with(' ') {
                self.0.push(' ');
            }
        } else if !is_accent(letter) {
            self.0.push(letter);
        }
    }
}

/// Marks that people leave out: accents of European scripts, the points of Hebrew and Arabic, and what only chooses a shape.
const fn is_accent(letter: char) -> bool {
    matches!(
        letter,
        '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{591}'..='\u{5bd}'
            | '\u{5bf}'
            | '\u{5c1}'..='\u{5c2}'
            | '\u{5c4}'..='\u{5c5}'
            | '\u{5c7}'
            | '\u{610}'..='\u{61a}'
            | '\u{64b}'..='\u{65f}'
            | '\u{670}'
            | '\u{6d6}'..='\u{6dc}'
            | '\u{6df}'..='\u{6e4}'
            | '\u{6e7}'..='\u{6e8}'
            | '\u{6ea}'..='\u{6ed}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fb1e}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fe20}'..='\u{fe2f}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

/// What people type for a letter whose stroke or ligature Unicode does not take apart.
const fn plain(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ł' => "l",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ŧ' => "t",
        'ı' => "i",
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        _ => return None,
    })
}

/// One character for every apostrophe or single quote, and one for both forms of the small sigma.
const fn straight(letter: char) -> char {
    match letter {
        '`' | '\u{b4}' | '\u{2b9}' | '\u{2bb}' | '\u{2bc}' | '\u{2bd}' | '\u{2c8}' | '\u{55a}'
        | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}' | '\u{2032}' | '\u{2035}'
        | '\u{ff07}' | '\u{ff40}' => '\'',
        '\u{3c2}' => '\u{3c3}',
        other => other,
    }
}

/// The decimal digits of a text, in ASCII: what a telephone number is searched by.
pub fn digits(text: &str) -> String {
    text.chars().filter_map(ascii_digit).collect()
}

/// The ASCII form of a decimal digit: ASCII itself, full-width, Arabic-Indic and its eastern form.
pub(crate) fn ascii_digit(letter: char) -> Option<char> {
    let zero = match letter {
        '0'..='9' => return Some(letter),
        '\u{ff10}'..='\u{ff19}' => '\u{ff10}',
        '\u{660}'..='\u{669}' => '\u{660}',
        '\u{6f0}'..='\u{6f9}' => '\u{6f0}',
        _ => return None,
    };
    char::from_digit(u32::from(letter) - u32::from(zero), 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{digits, fold};

    #[test]
    fn case_accents_and_blanks_do_not_matter() {
        assert_eq!(fold("José  ÁLVAREZ\u{a0}\tŠkoda"), "jose alvarez skoda");
        assert_eq!(fold("Jose\u{301}"), fold("JOSÉ"));
        assert_eq!(fold("ＡＢＣ１"), "abc1");
        assert_eq!(fold("ΟΔΟΣ"), fold("οδός"));
        assert_eq!(fold("İstanbul"), "istanbul");
        assert_eq!(
            fold("Łukasz ŻÓŁĆ, Øster Straße, Ægir, Çığ"),
            "lukasz zolc, oster strasse, aegir, cig"
        );
        assert_eq!(fold("STRASSE"), fold("straße"));
    }

    #[test]
    fn letters_that_unicode_calls_marks_stay() {
        for (one, other) in [
            ("राम", "रमा"),
            ("राम", "रोम"),
            ("กิน", "กน"),
            ("か", "が"),
            ("가", "강"),
        ] {
            assert_ne!(fold(one), fold(other));
        }
        assert_eq!(fold("김").chars().count(), 1);
        assert_eq!(fold("ｶﾞ"), fold("ガ"));
        assert_eq!(fold("مُحَمَّد"), fold("محمد"));
        assert_eq!(fold("שָׁלוֹם"), fold("שלום"));
        assert_eq!(fold("❤\u{fe0f}"), fold("❤"));
    }

    #[test]
    fn every_apostrophe_is_the_same() {
        for quote in ['\'', '’', '‘', 'ʼ', '´', '`', '′', '＇'] {
            assert_eq!(fold(&format!("O{quote}Neil")), "o'neil", "{quote}");
            assert_eq!(fold(&format!("Ó{quote}Neil")), "o'neil", "{quote}");
        }
    }

    #[test]
    fn ascii_and_other_text_fold_alike() {
        assert_eq!(fold("A\n\nB`C"), fold("Á\n\nB`C"));
    }

    #[test]
    fn digits_of_every_width_count() {
        assert_eq!(digits("+49 (170) １２３-x٤"), "491701234");
    }

    proptest! {
        #[test]
        fn fold_of_fold_is_itself(text in any::<String>()) {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }

    #[test]
    fn every_single_character_folds_to_a_fixed_point() {
        for letter in '\0'..=char::MAX {
            let once = fold(&letter.to_string());
            assert_eq!(fold(&once), once, "{letter:?}");
        }
    }
}
