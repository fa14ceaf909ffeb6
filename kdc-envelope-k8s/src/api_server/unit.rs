//! Units of systemd: the words of `ExecStart` and the environment, by the rules of systemd.service(5) and systemd.exec(5).

use std::path::Path;

use super::word::{Variable, Variables, Word, assignment, is_name};
use super::{Files, Unclear};

/// Whether a text is a unit.
pub(super) fn is_unit(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        line == "[Service]" || line == "[Unit]" || line.starts_with("ExecStart=")
    })
}

/// The command lines of a unit with the drop-ins beside it, and what could not be read on the way.
pub(super) struct Unit {
    pub(super) commands: Vec<Vec<Word>>,
    pub(super) gaps: Vec<String>,
    pub(super) variables: Variables,
}

pub(super) fn parse(text: &str, path: &Path, files: &dyn Files) -> Result<Unit, Unclear> {
    let mut settings = Settings::default();
    settings.read(text);
    let mut folder = path.as_os_str().to_owned();
    folder.push(".d");
    let mut drop_ins = files.list(Path::new(&folder)).unwrap_or_default();
    drop_ins.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "conf")
    });
    drop_ins.sort();
    let mut unit = Unit {
        commands: Vec::new(),
        gaps: Vec::new(),
        variables: Variables::default(),
    };
    for path in drop_ins {
        match files.read(&path) {
            Ok(text) => settings.read(&text),
            Err(error) => unit.gaps.push(format!("`{}`: {error}", path.display())),
        }
    }
    for assigned in &settings.environment {
        for word in split(assigned, &Variables::default())? {
            if let Some((name, value)) = assignment(&word.text) {
                unit.variables
                    .set(name, (!word.is_open).then(|| value.to_owned()));
            }
        }
    }
    for file in &settings.environment_files {
        let (path, is_optional) = match file.strip_prefix('-') {
            Some(path) => (path, true),
            None => (file.as_str(), false),
        };
        match files.read(Path::new(path)) {
            Ok(text) => read_environment(&text, &mut unit.variables),
            Err(_) if is_optional => unit.variables.is_open = true,
            Err(error) => {
                unit.variables.is_open = true;
                unit.gaps.push(format!("EnvironmentFile `{path}`: {error}"));
            }
        }
    }
    for command in &settings.commands {
        let command = command.trim_start_matches(['-', '@', ':', '+', '!', '|']);
        unit.commands.push(split(command, &unit.variables)?);
    }
    Ok(unit)
}

#[derive(Default)]
struct Settings {
    commands: Vec<String>,
    environment: Vec<String>,
    environment_files: Vec<String>,
}

impl Settings {
    fn read(&mut self, text: &str) {
        let mut is_service = !text.lines().any(|line| line.trim() == "[Service]");
        for line in logical_lines(text) {
            let line = line.trim();
            if line.starts_with('[') {
                is_service = line == "[Service]";
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| is_service) else {
                continue;
            };
            let list = match name.trim() {
                "ExecStart" => &mut self.commands,
                "Environment" => &mut self.environment,
                "EnvironmentFile" => &mut self.environment_files,
                _ => continue,
            };
            match value.trim() {
                // An empty one forgets those before it.
                "" => list.clear(),
                value => list.push(value.to_owned()),
            }
        }
    }
}

/// Lines with those that a backslash continues put together; comments between them are left out.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let mut whole = open.take().unwrap_or_default();
        match line.strip_suffix('\\') {
            Some(begin) => {
                whole.push_str(begin);
                whole.push(' ');
                open = Some(whole);
            }
            None => {
                whole.push_str(line);
                lines.push(whole);
            }
        }
    }
    lines.extend(open);
    lines
}

/// Words with quotes, escapes and specifiers undone and variables expanded.
fn split(text: &str, variables: &Variables) -> Result<Vec<Word>, Unclear> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_with(|| Word::known(""));
        match c {
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            '\\' => match rest.next() {
                Some('s') => current.text.push(' '),
                Some('n') => current.text.push('\n'),
                Some('t') => current.text.push('\t'),
                Some(c) => current.text.push(c),
                None => {}
            },
            '%' => match rest.next() {
                Some('%') => current.text.push('%'),
                specifier => {
                    current.is_open = true;
                    current.text.push('%');
                    current.text.extend(specifier);
                }
            },
            c => current.text.push(c),
        }
    }
    if quote.is_some() {
        return Err(Unclear::new(
            "a unit with a quote that nothing ends".to_owned(),
        ));
    }
    words.extend(word);
    Ok(words
        .into_iter()
        .flat_map(|word| expanded(&word, variables))
        .collect())
}

/// `$NAME` as a word of its own becomes the words of the variable, `${NAME}` a part of its word.
fn expanded(word: &Word, variables: &Variables) -> Vec<Word> {
    if let Some(name) = word.text.strip_prefix('$').filter(|name| is_name(name)) {
        return match variables.get(name) {
            Variable::Value(value) => split(value, &Variables::default())
                .unwrap_or_else(|_| vec![Word::open(word.text.clone())]),
            Variable::Unset => Vec::new(),
            Variable::Unknown => vec![Word::open(word.text.clone())],
        };
    }
    let mut out = Word {
        text: String::new(),
        is_open: word.is_open,
    };
    let mut rest = word.text.as_str();
    while let Some((before, from)) = rest.split_once('$') {
        out.text.push_str(before);
        let braced = from
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        rest = match braced {
            _ if from.starts_with('$') => {
                out.text.push('$');
                from.get(1..).unwrap_or_default()
            }
            Some((name, after)) => {
                match variables.get(name) {
                    Variable::Value(value) => out.text.push_str(value),
                    Variable::Unset => {}
                    Variable::Unknown => {
                        out.is_open = true;
                        out.text.push_str(&format!("${{{name}}}"));
                    }
                }
                after
            }
            None => {
                out.text.push('$');
                from
            }
        };
    }
    out.text.push_str(rest);
    vec![out]
}

/// A file of assignments, a line each.
fn read_environment(text: &str, variables: &mut Variables) {
    for line in logical_lines(text) {
        let line = line.trim();
        let Some((name, value)) = assignment(line) else {
            continue;
        };
        let value = value.trim();
        let unquoted = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        variables.set(name, Some(unquoted.unwrap_or(value).to_owned()));
    }
}
