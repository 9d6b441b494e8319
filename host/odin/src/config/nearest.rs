//! "Did you mean …?": the known word that is nearest to an unknown one. Must never guess wildly: no answer is better.

/// How alike two words must be (Jaro-Winkler, 0 to 1) before one is offered for the other. It favours words that
/// start alike; a slip of the finger in a short word is found by counting edits.
const ALIKE: f64 = 0.8;

/// The word of `known` that was probably meant by `word`.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let wanted = plain(word);
    known
        .into_iter()
        .map(|candidate| (likeness(&wanted, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

fn likeness(wanted: &str, candidate: &str) -> f64 {
    let slip = candidate.len() > 2 && strsim::osa_distance(wanted, candidate) == 1;
    let alike = strsim::jaro_winkler(wanted, candidate);
    if slip { alike.max(ALIKE) } else { alike }
}

/// ``; did you mean `address`?`` or nothing, to be put behind a message.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        let keys = ["name", "address", "protocol", "trust-forwarded", "cluster", "plugins", "routes", "on-failure"];
        for (word, expected) in [
            ("adress", Some("address")),
            ("Address", Some("address")),
            ("on_failure", Some("on-failure")),
            ("onfailure", Some("on-failure")),
            ("trust_forward", Some("trust-forwarded")),
            ("plugin", Some("plugins")),
            ("clutser", Some("cluster")),
            ("nmae", Some("name")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }
}
