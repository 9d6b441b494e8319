//! Reads a table of bad configs; `tests/tests/schema.rs` of the workspace does, too.

/// Each text with its errors.
pub(crate) fn cases(table: &str) -> Vec<(String, String)> {
    let mut cases: Vec<(String, String)> = Vec::new();
    let (mut text, mut value, mut errors) = (Vec::new(), None, Vec::new());
    let mut told = false;
    for line in table.lines().chain([""]) {
        let next_value = line.strip_prefix("@ ");
        if !errors.is_empty() && !line.starts_with("=> ") {
            let text = text.join("\n");
            let text = value.map_or(text.clone(), |value| text.replace('@', value));
            cases.push((text, std::mem::take(&mut errors).join("\n")));
            told = true;
        }
        match (line.strip_prefix("=> "), next_value) {
            (Some(error), _) => errors.push(error),
            (None, Some(next)) => value = Some(next),
            (None, None) if told => (text, value, told) = (Vec::new(), None, false),
            // A text may have empty lines, but does not begin with one.
            (None, None) if text.is_empty() && (line.is_empty() || line.starts_with("## ")) => {}
            (None, None) => text.push(line),
        }
    }
    cases
}
