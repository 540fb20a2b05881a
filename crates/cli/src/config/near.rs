//! Did you mean ...?

/// Longer words are not compared: nobody mistypes a paragraph, and the work grows with the square.
const LONGEST: usize = 64;

/// The known word that differs least, if it is near enough to have been meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let wanted = plain(word);
    // A third of the letters may be wrong, but not all of a short word.
    let most = (wanted.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|known| known.len() <= LONGEST)
        .map(|known| (strsim::osa_distance(&wanted, &plain(known)), known))
        .filter(|(distance, known)| *distance <= most && *distance < known.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// A hint that names it.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_by_its_neighbours_and_a_stranger_is_not() {
        let known = ["instances", "script", "env", "cwd", "max_restarts"];
        for (word, near) in [
            ("instnaces", Some("instances")),
            ("scirpt", Some("script")),
            ("maxRestart", Some("max_restarts")),
            ("evn", Some("env")),
            ("port", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), near, "{word}");
        }
        assert_eq!(nearest(&"script".repeat(1000), known), None);
    }
}
