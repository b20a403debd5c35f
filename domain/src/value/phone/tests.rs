//! The spellings that must meet, and those that must not be numbers.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{Region, international, typed};

#[test]
fn twenty_spellings_of_one_number_meet() {
    for text in [
        "+491701234567",
        "491701234567",
        "00491701234567",
        "+49 170 1234567",
        "+49\u{a0}170\u{202f}1234567",
        "+49-170-1234567",
        "+49\u{2010}170\u{2011}1234567",
        "+49\u{2013}170\u{2014}1234567",
        "+49\u{2212}170\u{ad}1234567",
        "+49.170.1234567",
        "+49/170/1234567",
        "+49 (170) 1234567",
        "(+49) 170 1234567",
        "+49 [170] 12 34 567",
        "+49 (0)170 1234567",
        "0049 (0)170/12 34 567",
        "＋４９１７０１２３４５６７",
        "٠٠٤٩١٧٠١٢٣٤٥٦٧",
        "\u{202a}+49 170 1234567\u{202c}",
        "\t+49 170\n1234567 ",
    ] {
        assert_eq!(
            international(text).as_deref(),
            Some("+491701234567"),
            "{text:?}"
        );
        assert_eq!(
            typed(text, None).as_deref(),
            Some("+491701234567"),
            "{text:?}"
        );
    }
}

#[test]
fn a_number_has_7_to_15_digits_and_nothing_else() {
    for text in [
        "",
        "+",
        "00",
        "123456",
        "1234567890123456",
        "+49 170 CALL",
        "+49+170123456",
        "170+1234567",
        "a",
        "*",
    ] {
        assert_eq!(international(text), None, "{text:?}");
    }
    assert_eq!(international("1234567").as_deref(), Some("+1234567"));
    assert_eq!(
        international("00 123456789012345").as_deref(),
        Some("+123456789012345")
    );
}

#[test]
fn an_italian_zero_stays() {
    assert_eq!(
        international("+39 (0)6 698 12345").as_deref(),
        Some("+390669812345")
    );
    assert_eq!(
        international("+44 (0)20 7946 0958").as_deref(),
        Some("+442079460958")
    );
}

#[test]
fn typed_numbers_use_the_region_of_their_field() {
    for (region, text, expected) in [
        ("DE", "0170 1234567", "+491701234567"),
        ("DE", "170 1234567", "+491701234567"),
        ("DE", "+1 415 555 2671", "+14155552671"),
        ("DE", "001 415 555 2671", "+14155552671"),
        ("FR", "33142685300", "+33142685300"),
        ("US", "(415) 555-2671", "+14155552671"),
        ("US", "1-415-555-2671", "+14155552671"),
        ("US", "011 49 170 1234567", "+491701234567"),
        ("US", "491701234567", "+491701234567"),
        ("GB", "020 7946 0958", "+442079460958"),
        ("GB", "07700 900123", "+447700900123"),
        ("IT", "06 698 12345", "+390669812345"),
        ("RU", "8 (812) 123-45-67", "+78121234567"),
        ("RU", "812 123 45 67", "+78121234567"),
        ("FR", "01 42 68 53 00", "+33142685300"),
        ("AR", "011 15 2345 6789", "+5491123456789"),
        ("BR", "0 15 11 98765 4321", "+5511987654321"),
        ("HU", "06 20 123 4567", "+36201234567"),
    ] {
        let rules = Region::find(region).expect("a region");
        assert_eq!(
            typed(text, Some(&rules)).as_deref(),
            Some(expected),
            "{region} {text}"
        );
    }
}

#[test]
fn without_a_region_a_typed_number_is_international() {
    assert_eq!(typed("0170 1234567", None).as_deref(), Some("+01701234567"));
    assert_eq!(
        typed("(415) 555-2671", None).as_deref(),
        Some("+4155552671")
    );
}

proptest! {
    #[test]
    fn canonical_of_canonical_is_itself(text in r"(\+|00)?[0-9 ().０-９-]{0,24}|\PC{0,16}", region in 0..4_usize) {
        static REGIONS: LazyLock<[Option<Region>; 4]> =
            LazyLock::new(|| ["", "DE", "US", "IT"].map(Region::find));
        let region = REGIONS[region].as_ref();
        if let Some(once) = typed(&text, region) {
            prop_assert_eq!(typed(&once, region), Some(once.clone()));
            prop_assert_eq!(international(&once), Some(once.clone()));
        }
        if let Some(once) = international(&text) {
            prop_assert_eq!(international(&once), Some(once.clone()));
        }
    }
}
