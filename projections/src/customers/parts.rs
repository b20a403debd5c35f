//! Which parts of a search term the trigram index is asked for. Pure.
//!
//! The index looks every trigram of a pattern up for each row that has the rarest of them: 100 ms for an e-mail address among
//! a million. Conditions of one trigram each, the rarest first, end at the first that a row does not have. How rare they
//! are is seen on a sample, because personal columns have no statistics.

/// Characters of a part: one trigram.
const LENGTH: usize = 3;
/// The most parts.
const MOST: usize = 3;

/// The parts of a folded term to ask the index for, best first: none where the whole term does as well.
///
/// A part is added as long as it leaves out rows of the sample that have those before it, or none of the sample has them.
pub(super) fn rare<'t>(term: &'t str, sample: &[String]) -> Vec<&'t str> {
    let mut left: Vec<Part<'_>> = parts(term)
        .map(|(place, text)| Part {
            place,
            text,
            rows: (0..sample.len())
                .filter(|row| sample[*row].contains(text))
                .collect(),
        })
        .collect();
    let mut chosen = Vec::new();
    let mut places = Vec::new();
    let mut rows: Vec<usize> = (0..sample.len()).collect();
    while chosen.len() < MOST {
        // Neighbours share characters, so they tend to be in the same rows.
        let apart = |part: &Part<'_>| {
            let distances = places.iter().map(|place| part.place.abs_diff(*place));
            distances.min().unwrap_or_default()
        };
        let best = left.iter().enumerate().min_by_key(|(_, part)| {
            (
                part.among(&rows),
                part.rows.len(),
                std::cmp::Reverse(apart(part)),
            )
        });
        let Some((best, _)) = best else { break };
        let part = left.swap_remove(best);
        let among = part.among(&rows);
        if !chosen.is_empty() && !rows.is_empty() && among == rows.len() {
            break;
        }
        rows.retain(|row| part.rows.binary_search(row).is_ok());
        places.push(part.place);
        chosen.push(part.text);
    }
    chosen
}

/// Whether a term has parts to choose from.
pub(super) fn has_any(term: &str) -> bool {
    parts(term).next().is_some()
}

struct Part<'t> {
    place: usize,
    text: &'t str,
    /// The rows of the sample that have it, ascending.
    rows: Vec<usize>,
}

impl Part<'_> {
    fn among(&self, rows: &[usize]) -> usize {
        let has = |row: &&usize| self.rows.binary_search(row).is_ok();
        rows.iter().filter(has).count()
    }
}

/// The different runs of three ASCII letters and digits of a longer term, with their places. Of other characters it depends
/// on the database's locale what a trigram is.
fn parts(term: &str) -> impl Iterator<Item = (usize, &str)> {
    let longer = term.len() > LENGTH;
    let places = 0..if longer { term.len() + 1 - LENGTH } else { 0 };
    let all = places.filter_map(move |place| Some((place, term.get(place..place + LENGTH)?)));
    all.filter(move |(place, text)| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric()) && term.find(text) == Some(*place)
    })
}

#[cfg(test)]
mod tests {
    use super::{has_any, rare};

    fn sample(rows: &[&str]) -> Vec<String> {
        rows.iter().map(|row| (*row).to_owned()).collect()
    }

    #[test]
    fn the_rarest_part_comes_first_and_further_ones_narrow() {
        let rows = sample(&[
            "ann lee\nberlin",
            "ann orr\nparis",
            "bob lee\nberlin",
            "cat fox\nparis",
        ]);
        assert_eq!(rare("ann lee", &rows), ["ann", "lee"]);
        assert_eq!(
            rare("berlin", &rows).len(),
            1,
            "all parts are in the same rows"
        );
        assert_eq!(rare("paris", &rows).len(), 1);
    }

    #[test]
    fn parts_that_no_row_of_the_sample_has_lie_apart() {
        assert_eq!(rare("abcdefghi", &[]), ["abc", "ghi", "def"]);
        let rows = sample(&["x@example.org"; 9]);
        assert_eq!(
            rare("q123456@example.org", &rows)[..2],
            ["q12", "456"],
            "and before those that all have"
        );
    }

    #[test]
    fn a_term_without_a_run_or_of_one_trigram_is_asked_for_as_it_is() {
        for term in ["abc", "a-b-c-d", "李 小龍", "ééé", ""] {
            assert!(!has_any(term) && rare(term, &[]).is_empty(), "{term}");
        }
    }
}
