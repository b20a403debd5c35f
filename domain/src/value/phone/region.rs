//! National numbers of one region, by the metadata of the `phonenumber` crate.
//!
//! The steps are those of libphonenumber's `parseHelper`. The crate's own parser is not used: it drops a second trunk
//! digit (8 812 … in Russia), and its patterns sit behind one lock.

use phonenumber::metadata::{DATABASE, Descriptor, Descriptors};
use regex::Regex;

/// The dialling rules of one region.
#[derive(Clone, Debug)]
pub struct Region {
    country_code: String,
    /// What is dialled before an international number, such as `011`.
    international_prefix: Option<Regex>,
    /// What people dial before a national number, such as `0`.
    trunk_digits: Option<String>,
    /// The same as a pattern, with carrier codes; its groups feed `transform`.
    national_prefix: Option<Regex>,
    transform: Option<String>,
    national: Regex,
    lengths: Vec<usize>,
}

impl Region {
    /// The rules of an ISO 3166-1 alpha-2 code in upper case; `None` where telephony does not know it.
    pub fn find(code: &str) -> Option<Self> {
        let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        let metadata = is_code.then(|| DATABASE.by_id(code)).flatten()?;
        let general = metadata.descriptors().general();
        let national_prefix = match metadata.national_prefix_for_parsing() {
            Some(pattern) => Some(pattern.as_str().to_owned()),
            None => metadata.national_prefix().map(regex::escape),
        };
        Some(Self {
            country_code: metadata.country_code().to_string(),
            international_prefix: match metadata.international_prefix() {
                Some(pattern) => Some(at_start(pattern.as_str())?),
                None => None,
            },
            trunk_digits: metadata.national_prefix().map(str::to_owned),
            national_prefix: match national_prefix {
                Some(pattern) => Some(at_start(&pattern)?),
                None => None,
            },
            transform: metadata.national_prefix_transform_rule().map(str::to_owned),
            national: Regex::new(&format!(r"\A(?x:{})\z", general.national_number().as_str()))
                .ok()?,
            lengths: lengths(metadata.descriptors()),
        })
    }

    /// The international form of digits dialled in this region; `None` where they cannot be a number of it.
    pub(super) fn to_international(&self, digits: &str) -> Option<String> {
        let abroad = self
            .international_prefix
            .as_ref()
            .and_then(|prefix| prefix.find(digits));
        if let Some(rest) = abroad.map(|prefix| &digits[prefix.end()..])
            && !rest.starts_with('0')
            && !rest.is_empty()
            && !self.national.is_match(digits)
        {
            return Some(format!("+{rest}"));
        }
        let local = self.without_country_code(digits);
        // Where the parsing rule takes too much for a carrier code, the plain prefix may still give a valid number.
        let plain = self
            .trunk_digits
            .as_deref()
            .and_then(|trunk| local.strip_prefix(trunk))
            .unwrap_or(local);
        let candidates = [
            self.without_national_prefix(local),
            plain.to_owned(),
            local.to_owned(),
        ];
        let is_possible = |number: &&String| self.lengths.contains(&number.len());
        let is_valid = |number: &&String| is_possible(number) && self.national.is_match(number);
        let national = candidates
            .iter()
            .find(is_valid)
            .or_else(|| candidates.iter().find(is_possible))?;
        Some(format!("+{}{national}", self.country_code))
    }

    fn without_country_code<'a>(&self, digits: &'a str) -> &'a str {
        let Some(rest) = digits.strip_prefix(&self.country_code) else {
            return digits;
        };
        let is_too_long = self.lengths.iter().all(|length| digits.len() > *length);
        let becomes_valid = !self.national.is_match(digits)
            && self.national.is_match(&self.without_national_prefix(rest));
        if is_too_long || becomes_valid {
            rest
        } else {
            digits
        }
    }

    fn without_national_prefix(&self, digits: &str) -> String {
        let Some(groups) = self
            .national_prefix
            .as_ref()
            .and_then(|prefix| prefix.captures(digits))
        else {
            return digits.to_owned();
        };
        let rest = &digits[groups.get(0).map_or(0, |prefix| prefix.end())..];
        let stripped = match (
            &self.transform,
            groups.len() > 1 && groups.get(groups.len() - 1).is_some(),
        ) {
            (Some(transform), true) => {
                let mut number = transform.clone();
                for place in 1..groups.len() {
                    number = number.replace(
                        &format!("${place}"),
                        groups.get(place).map_or("", |group| group.as_str()),
                    );
                }
                number + rest
            }
            _ => rest.to_owned(),
        };
        // A prefix that belongs to a valid number is no prefix.
        if self.national.is_match(digits) && !self.national.is_match(&stripped) {
            digits.to_owned()
        } else {
            stripped
        }
    }
}

/// How many digits a national number may have, whatever its kind. The metadata leaves it out of the general descriptor.
fn lengths(descriptors: &Descriptors) -> Vec<usize> {
    let kinds = [
        descriptors.fixed_line(),
        descriptors.mobile(),
        descriptors.toll_free(),
        descriptors.premium_rate(),
        descriptors.shared_cost(),
        descriptors.personal_number(),
        descriptors.voip(),
        descriptors.pager(),
        descriptors.uan(),
        descriptors.voicemail(),
    ];
    let special = kinds
        .into_iter()
        .flatten()
        .flat_map(Descriptor::possible_length);
    let mut lengths: Vec<usize> = descriptors
        .general()
        .possible_length()
        .iter()
        .chain(special)
        .map(|length| usize::from(*length))
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

fn at_start(pattern: &str) -> Option<Regex> {
    Regex::new(&format!(r"\A(?x:{pattern})")).ok()
}

#[cfg(test)]
mod tests {
    use phonenumber::metadata::DATABASE;

    use super::Region;

    #[test]
    fn every_region_of_the_metadata_has_rules_and_reads_its_own_examples() {
        let mut read = 0;
        for metadata in DATABASE.iter().filter(|metadata| metadata.id() != "001") {
            let region = Region::find(metadata.id()).expect("the patterns compile");
            let descriptors = metadata.descriptors();
            for descriptor in [descriptors.fixed_line(), descriptors.mobile()]
                .into_iter()
                .flatten()
            {
                let Some(example) = descriptor.example() else {
                    continue;
                };
                let expected = format!("+{}{example}", metadata.country_code());
                let prefixed = format!(
                    "{}{example}",
                    metadata.national_prefix().unwrap_or_default()
                );
                assert_eq!(
                    region.to_international(example).as_deref(),
                    Some(&*expected),
                    "{}",
                    metadata.id()
                );
                assert_eq!(
                    region.to_international(&prefixed).as_deref(),
                    Some(&*expected),
                    "{}",
                    metadata.id()
                );
                read += 1;
            }
        }
        assert!(read > 400, "{read}");
    }

    #[test]
    fn digits_of_any_kind_never_panic() {
        for metadata in DATABASE.iter() {
            let Some(region) = Region::find(metadata.id()) else {
                continue;
            };
            for start in (0..1_000_u64).step_by(7) {
                for length in [0, 4, 7, 9] {
                    let _ =
                        region.to_international(&format!("{start:03}{}", &"123456789"[..length]));
                }
            }
        }
    }

    #[test]
    fn what_is_no_region_has_no_rules() {
        for code in ["", "de", "DEU", "ZZ", "001", "AQ"] {
            assert!(Region::find(code).is_none(), "{code}");
        }
    }
}
