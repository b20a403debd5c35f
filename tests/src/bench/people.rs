//! Made-up people: the same number always gives the same person. Names of real people are nowhere in it.

use std::fmt::Write as _;
use std::ops::Range;

use roster_domain::schema::{Definition, Field, FieldType};

/// The columns of a person, in the order of the file.
pub const COLUMNS: [&str; 12] = [
    "customer_user_id",
    "email",
    "full_name",
    "first_name",
    "last_name",
    "phone",
    "city",
    "country",
    "company",
    "plan",
    "notes",
    "created_on",
];

/// Every so many-th person differs between two editions: 5%.
pub const CHANGES_EVERY: u32 = 20;

/// Given names with their spelling in addresses. None begins with X, so that a search for it finds few.
const FIRST: [(&str, &str); 40] = [
    ("Ada", "ada"),
    ("Amélie", "amelie"),
    ("Anna", "anna"),
    ("Björn", "bjoern"),
    ("Carla", "carla"),
    ("Chloé", "chloe"),
    ("Daniel", "daniel"),
    ("Deniz", "deniz"),
    ("Elif", "elif"),
    ("Emma", "emma"),
    ("Farid", "farid"),
    ("Fatima", "fatima"),
    ("Grace", "grace"),
    ("Hanna", "hanna"),
    ("Ines", "ines"),
    ("Ivan", "ivan"),
    ("Jürgen", "juergen"),
    ("José", "jose"),
    ("Kenji", "kenji"),
    ("Lars", "lars"),
    ("Lena", "lena"),
    ("Łukasz", "lukasz"),
    ("María", "maria"),
    ("Mei", "mei"),
    ("Mohamed", "mohamed"),
    ("Noah", "noah"),
    ("Nora", "nora"),
    ("Olga", "olga"),
    ("Omar", "omar"),
    ("Paul", "paul"),
    ("Priya", "priya"),
    ("Quentin", "quentin"),
    ("Rosa", "rosa"),
    ("Søren", "soeren"),
    ("Sofia", "sofia"),
    ("Tomáš", "tomas"),
    ("Uma", "uma"),
    ("Viktor", "viktor"),
    ("Wei", "wei"),
    ("Zoë", "zoe"),
];

/// Family names with their spelling in addresses.
const LAST: [(&str, &str); 40] = [
    ("Almeida", "almeida"),
    ("Andersson", "andersson"),
    ("Bauer", "bauer"),
    ("Becker", "becker"),
    ("Brown", "brown"),
    ("Castillo", "castillo"),
    ("Chen", "chen"),
    ("Çelik", "celik"),
    ("Dubois", "dubois"),
    ("Eriksen", "eriksen"),
    ("Fernández", "fernandez"),
    ("Fischer", "fischer"),
    ("García", "garcia"),
    ("Gupta", "gupta"),
    ("Hansen", "hansen"),
    ("Horák", "horak"),
    ("Ito", "ito"),
    ("Jansen", "jansen"),
    ("Kowalski", "kowalski"),
    ("Lambert", "lambert"),
    ("López", "lopez"),
    ("Martin", "martin"),
    ("Müller", "mueller"),
    ("Nakamura", "nakamura"),
    ("Nguyễn", "nguyen"),
    ("Novák", "novak"),
    ("O’Brien", "obrien"),
    ("Okafor", "okafor"),
    ("Patel", "patel"),
    ("Petrov", "petrov"),
    ("Quist", "quist"),
    ("Rossi", "rossi"),
    ("Sánchez", "sanchez"),
    ("Schmidt", "schmidt"),
    ("Silva", "silva"),
    ("Tanaka", "tanaka"),
    ("Tremblay", "tremblay"),
    ("Vogel", "vogel"),
    ("Weiß", "weiss"),
    ("Yılmaz", "yilmaz"),
];

const CITIES: [(&str, &str); 32] = [
    ("Amsterdam", "NL"),
    ("Athens", "GR"),
    ("Barcelona", "ES"),
    ("Berlin", "DE"),
    ("Bogotá", "CO"),
    ("Boston", "US"),
    ("Brno", "CZ"),
    ("Cairo", "EG"),
    ("Chicago", "US"),
    ("Cologne", "DE"),
    ("Dublin", "IE"),
    ("Genève", "CH"),
    ("Gdańsk", "PL"),
    ("Hamburg", "DE"),
    ("Helsinki", "FI"),
    ("Istanbul", "TR"),
    ("Kraków", "PL"),
    ("Lagos", "NG"),
    ("Lisboa", "PT"),
    ("London", "GB"),
    ("Lyon", "FR"),
    ("Madrid", "ES"),
    ("Malmö", "SE"),
    ("Melbourne", "AU"),
    ("München", "DE"),
    ("Nairobi", "KE"),
    ("Osaka", "JP"),
    ("Paris", "FR"),
    ("São Paulo", "BR"),
    ("Toronto", "CA"),
    ("Wien", "AT"),
    ("Zürich", "CH"),
];

const TRADES: [&str; 12] = [
    "Bakery",
    "Books",
    "Clinic",
    "Dental",
    "Foods",
    "Garden",
    "Insurance",
    "Logistics",
    "Media",
    "Optics",
    "Software",
    "Travel",
];

/// More than half of all have the first plan.
const PLANS: [&str; 8] = [
    "free",
    "free",
    "free",
    "free",
    "starter",
    "starter",
    "team",
    "enterprise",
];

const NOTES: [&str; 8] = [
    "Prefers to be called in the morning.",
    "Asked for an invoice by post, twice.",
    "Speaks English and \"a little\" French",
    "Renews each spring; see the contract of last year.",
    "Has two branches, ask which one it is about.",
    "",
    "Wants the newsletter.\nDoes not want calls.",
    "Introduced by a partner.",
];

/// The id of a person: nine characters, `c` and eight digits.
pub fn id(number: u32) -> String {
    format!("c{number:08}")
}

/// The e-mail address of a person.
pub fn email(number: u32) -> String {
    let dice = Dice::of(number);
    format!(
        "{}.{}.{number}@example.org",
        dice.pick(0, &FIRST).1,
        dice.pick(1, &LAST).1
    )
}

/// The values of a person, by column. Editions differ in plan and notes of every [`CHANGES_EVERY`]-th.
pub fn person(number: u32, edition: u32) -> [String; 12] {
    let dice = Dice::of(number);
    let changed = if number.is_multiple_of(CHANGES_EVERY) {
        edition
    } else {
        0
    };
    let (first, last) = (dice.pick(0, &FIRST).0, dice.pick(1, &LAST).0);
    let (city, country) = *dice.pick(2, &CITIES);
    let day = dice.number(6) % 28 + 1;
    let note = dice.pick(5, &NOTES);
    [
        id(number),
        email(number),
        format!("{first} {last}"),
        first.into(),
        last.into(),
        format!("+49170{:08}", u64::from(number)),
        city.into(),
        country.into(),
        format!("{} {}", dice.pick(7, &LAST).0, dice.pick(3, &TRADES)),
        (*dice.pick(4, &PLANS)).into(),
        if changed == 0 {
            (*note).into()
        } else {
            format!("{note} Reviewed {changed}.")
        },
        format!(
            "{}-{:02}-{day:02}",
            2018 + dice.number(8) % 8,
            dice.number(9) % 12 + 1
        ),
    ]
}

/// The file of these people in pieces of some hundred lines; the first has the header.
pub fn csv(numbers: Range<u32>, edition: u32) -> impl Iterator<Item = String> {
    let header = std::iter::once(format!("{}\n", COLUMNS.join(",")));
    let step = 500;
    let pieces = numbers.clone().step_by(step as usize).map(move |from| {
        let mut text = String::with_capacity(110_000);
        for number in from..numbers.end.min(from.saturating_add(step)) {
            write_record(&mut text, &person(number, edition));
        }
        text
    });
    header.chain(pieces)
}

/// Adds a record, with its line break.
pub fn write_record(text: &mut String, cells: &[String]) {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        if cell.contains([',', '"', '\n']) {
            let _ = write!(text, "\"{}\"", cell.replace('"', "\"\""));
        } else {
            text.push_str(cell);
        }
    }
    text.push('\n');
}

/// The schema of these people: typed fields, and e-mail addresses that belong to one customer only.
pub fn definition() -> Definition {
    let fields = COLUMNS.map(|name| {
        let (field_type, unique) = match name {
            "customer_user_id" => (FieldType::String, true),
            "email" => (FieldType::Email, true),
            "phone" => (FieldType::Phone, false),
            _ => (FieldType::String, false),
        };
        Field {
            unique,
            required: name == "customer_user_id",
            ..Field::new(name, field_type)
        }
    });
    Definition {
        fields: fields.to_vec(),
        ..Definition::default()
    }
}

/// Numbers that look random and depend on the person only.
struct Dice(u64);

impl Dice {
    const fn of(number: u32) -> Self {
        Self(number as u64)
    }

    /// splitmix64 (Steele, Lea, Flood 2014) over person and throw.
    const fn number(&self, throw: u64) -> u64 {
        let mut z = (self.0 << 8 | throw).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 16
    }

    fn pick<'a, T>(&self, throw: u64, from: &'a [T]) -> &'a T {
        let place = usize::try_from(self.number(throw)).unwrap_or_default();
        &from[place % from.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::{CHANGES_EVERY, COLUMNS, csv, person};

    #[test]
    fn the_same_number_is_the_same_person_and_a_twentieth_changes() {
        assert_eq!(person(7, 0), person(7, 3));
        let changed = (0..1_000)
            .filter(|number| person(*number, 0) != person(*number, 1))
            .count();
        assert_eq!(changed, 1_000 / CHANGES_EVERY as usize);
    }

    #[test]
    fn a_file_has_a_header_and_a_record_for_each() {
        let text: String = csv(0..1_250, 0).collect();
        assert!(text.starts_with(&COLUMNS.join(",")));
        assert_eq!(text.matches("\nc0").count(), 1_250);
    }
}
