//! A mistake on the command line, in one line.

use clap::error::{ContextKind, ContextValue};

/// What clap says about a mistake, without its usage text and in one line. Values of settings of remote services are left out: they may
/// be credentials in the wrong place.
#[must_use]
pub fn line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text
        .split("\n\nUsage:")
        .next()
        .and_then(|message| message.split("\n\nFor more").next())
        .unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = words.join(" ");
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let argument = context(ContextKind::InvalidArg);
    let is_remote = argument.starts_with("--bao-") || argument.starts_with("--otel-");
    match is_remote {
        true => blanked(&line, context(ContextKind::InvalidValue)),
        false => line,
    }
}

/// Without the value where it stands in quotes, as clap and the parsers of values write it; bare, it may be a part of their own words.
fn blanked(line: &str, value: &str) -> String {
    line.replace(&format!("'{value}'"), "'...'")
        .replace(&format!("`{value}`"), "`...`")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn line_of(arguments: &[&str]) -> String {
        let flag = |name: &'static str| Arg::new(name).long(name).value_parser(["a", "b"]);
        let command = Command::new("program").args([flag("bao-auth"), flag("format")]);
        let arguments = std::iter::once(&"program").chain(arguments);
        line(&command.try_get_matches_from(arguments).unwrap_err())
    }

    #[test]
    fn values_for_remote_services_are_not_repeated() {
        let secret = line_of(&["--bao-auth", "s.a-token-in-the-wrong-place"]);
        assert!(!secret.contains("token"), "{secret}");
        assert!(secret.contains("'...' for '--bao-auth"), "{secret}");
        let short = line_of(&["--bao-auth", "c"]);
        assert!(short.contains("'...' for '--bao-auth"), "{short}");
        let other = line_of(&["--format", "yaml"]);
        assert!(other.contains("'yaml' for '--format"), "{other}");
    }

    #[test]
    fn a_mistake_is_one_line_without_the_usage() {
        let line = line_of(&["--forma", "a"]);
        assert!(line.contains("'--format'"), "the similar flag: {line}");
        assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
    }
}
