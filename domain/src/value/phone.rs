//! Telephone numbers in international form.

mod region;

pub use region::Region;

use super::fold::ascii_digit;
use super::text::is_invisible;

/// How many digits an international number has (E.164 §6 gives the upper bound).
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// The country codes whose numbers keep the zero after the code: Italy with Vatican City, and San Marino.
const KEEP_ZERO: [&str; 2] = ["39", "378"];

/// `+` and 7 to 15 digits, read as an international number whether or not it has `+` or `00`; `None` for anything else.
///
/// Blanks, dots, brackets, hyphens, slashes and invisible marks are ignored; full-width and Arabic digits count. A
/// bracketed trunk zero after the country code, as in `+44 (0)20 …`, is not part of the number.
pub fn international(text: &str) -> Option<String> {
    Some(Dialled::read(text)?.international()).filter(|number| DIGITS.contains(&(number.len() - 1)))
}

/// The number as someone typed it: without `+` or `00` it is national to the region, where that is possible at all.
pub fn typed(text: &str, region: Option<&Region>) -> Option<String> {
    let dialled = Dialled::read(text)?;
    region
        .filter(|_| !dialled.is_international)
        .and_then(|region| region.to_international(&dialled.digits))
        .or_else(|| Some(dialled.international()))
        .filter(|number| DIGITS.contains(&(number.len() - 1)))
}

/// What is left of a text without its separators.
struct Dialled {
    /// The digits, `+` and leading `00` dropped.
    digits: String,
    is_international: bool,
}

impl Dialled {
    fn read(text: &str) -> Option<Self> {
        let text = without_trunk_zero(text);
        let mut digits = String::with_capacity(16);
        let mut is_international = false;
        for letter in text.chars() {
            match letter {
                '+' | '\u{ff0b}' if digits.is_empty() && !is_international => {
                    is_international = true;
                }
                _ => match ascii_digit(letter) {
                    Some(digit) => digits.push(digit),
                    None if is_separator(letter) => {}
                    None => return None,
                },
            }
        }
        while let Some(rest) = digits.strip_prefix("00") {
            digits = String::from(rest);
            is_international = true;
        }
        (!digits.is_empty()).then_some(Self {
            digits,
            is_international,
        })
    }

    fn international(&self) -> String {
        format!("+{}", self.digits)
    }
}

/// Removes `(0)` between a country code and the rest of an international number.
fn without_trunk_zero(text: &str) -> std::borrow::Cow<'_, str> {
    if let Some((before, after)) = text.split_once("(0)") {
        let code: String = before.chars().filter_map(ascii_digit).collect();
        let marked = before.contains(['+', '\u{ff0b}']) || code.starts_with("00");
        let code = code.trim_start_matches('0');
        if marked && (1..=3).contains(&code.len()) && !KEEP_ZERO.contains(&code) {
            return format!("{before}{after}").into();
        }
    }
    text.into()
}

fn is_separator(letter: char) -> bool {
    letter.is_whitespace()
        || is_invisible(letter)
        || ".()[]{}-/".contains(letter)
        || matches!(
            letter,
            '\u{b7}' | '\u{2010}'..='\u{2015}' | '\u{2022}' | '\u{2043}' | '\u{2044}' | '\u{2212}' | '\u{2215}'
                | '\u{30fb}' | '\u{30fc}' | '\u{fe58}' | '\u{fe63}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0d}'..='\u{ff0f}'
                | '\u{ff3b}' | '\u{ff3d}'
        )
}

#[cfg(test)]
mod tests;
