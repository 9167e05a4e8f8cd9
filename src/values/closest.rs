/// The known word that was probably meant by one that is not known.
#[must_use]
pub fn closest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let written: String = written.chars().take(80).collect();
    let scored = known.iter().map(|word| (strsim::osa_distance(&written, word), *word));
    scored.min().filter(|(distance, word)| *distance <= (word.len() / 3).max(1)).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_and_another_word_is_not() {
        assert_eq!(closest("pre-comit", &["pre-commit", "pre-push"]), Some("pre-commit"));
        assert_eq!(closest("rnu", &["run", "root"]), Some("run"));
        assert_eq!(closest("branch", &["run", "root"]), None);
        assert_eq!(closest(&"x".repeat(1 << 20), &["run"]), None);
    }
}
