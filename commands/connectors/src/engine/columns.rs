//! The first row of a table as names.

/// The names of columns: trimmed, a repeated one with its number. A blank one stays blank, and is not read.
pub(crate) fn columns(header: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut originals: Vec<String> = Vec::new();
    for cell in header {
        let name = cell.trim().to_owned();
        let before = originals.iter().filter(|known| **known == name).count();
        let repeated = before > 0 && !name.is_empty();
        names.push(if repeated {
            format!("{name} ({})", before + 1)
        } else {
            name.clone()
        });
        originals.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn repeated_names_are_numbered_and_blank_ones_stay_blank() {
        let header = [" id ", "mail", "", "mail", "mail", ""].map(ToOwned::to_owned);
        assert_eq!(
            columns(header),
            ["id", "mail", "", "mail (2)", "mail (3)", ""]
        );
    }
}
