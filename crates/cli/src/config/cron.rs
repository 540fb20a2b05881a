//! Whether a text can be a schedule in the words of cron.

/// Fields of digits, names, `*` and what may stand between them: five, or six with seconds.
pub(super) fn check_cron(text: &str) -> Result<(), String> {
    const NAMED: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    let text = text.trim();
    // PM2's way to take a schedule away.
    if text == "0" || NAMED.contains(&text) {
        return Ok(());
    }
    let fields = text.split_whitespace().count();
    if !(5..=6).contains(&fields) {
        return Err(format!("a schedule has 5 fields, or 6 with seconds; this one has {fields}"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "*,-/?#".contains(c);
    match text.split_whitespace().find(|field| !field.chars().all(good)) {
        Some(field) => Err(format!("`{field}` is no field of a schedule")),
        None => Ok(()),
    }
}
