//! The part of the shell's language in which control planes are started: simple commands with quotes, variables, lists and
//! redirections. What decides only when it runs is left open.

use super::Unclear;
use super::word::{Variable, Variables, Word, assignment, is_name};

/// More words than any start script has.
const MAX_WORDS: usize = 10_000;
/// A longer text is no start script; variables that hold each other grow fast.
const MAX_LEN: usize = 1 << 20;

/// The simple commands of a script, in order. `arguments` are `$1` and so on.
pub(super) fn commands(
    script: &str,
    arguments: &[Word],
    variables: &Variables,
) -> Result<Vec<Vec<Word>>, Unclear> {
    let mut reader = Reader {
        rest: script,
        arguments,
        variables: variables.clone(),
        commands: Vec::new(),
        command: Vec::new(),
        word: None,
        skips_word: false,
        conditions: 0,
        words: 0,
        len: 0,
    };
    // Whatever the environment of the script holds is not known.
    reader.variables.is_open = true;
    reader.read()?;
    Ok(reader.commands)
}

struct Reader<'s> {
    rest: &'s str,
    arguments: &'s [Word],
    variables: Variables,
    commands: Vec<Vec<Word>>,
    command: Vec<Word>,
    /// The word that is being read, and whether any of it was quoted.
    word: Option<(Word, bool)>,
    /// Whether the next word is the target of a redirection.
    skips_word: bool,
    /// How many `if`, loops and cases are open.
    conditions: usize,
    words: usize,
    len: usize,
}

fn unclear(what: &str) -> Unclear {
    Unclear::new(format!("a shell script with {what}"))
}

impl<'s> Reader<'s> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn read(&mut self) -> Result<(), Unclear> {
        while let Some(c) = self.next() {
            match c {
                '\n' | ';' | '|' | '(' | ')' => self.end_command()?,
                '&' if self.peek() == Some('>') => self.end_word()?,
                '&' => self.end_command()?,
                c if c.is_whitespace() => self.end_word()?,
                '#' if self.word.is_none() => self.skip_comment(),
                '<' | '>' => self.redirection(c)?,
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(c) => self.push(&c.to_string(), true)?,
                },
                '\'' => {
                    let (text, rest) = self
                        .rest
                        .split_once('\'')
                        .ok_or_else(|| unclear("a quote that nothing ends"))?;
                    self.rest = rest;
                    self.push(text, true)?;
                }
                '"' => self.double_quoted()?,
                '$' | '`' => self.expansion(c, false)?,
                c => self.push(c.encode_utf8(&mut [0; 4]), false)?,
            }
        }
        self.end_command()
    }

    fn skip_comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.rest = self.rest.get(end..).unwrap_or_default();
    }

    fn push(&mut self, text: &str, is_quoted: bool) -> Result<(), Unclear> {
        self.len += text.len();
        if self.len > MAX_LEN {
            return Err(unclear("variables that grow without end"));
        }
        let (word, quoted) = self.word.get_or_insert_with(|| (Word::known(""), false));
        word.text.push_str(text);
        *quoted |= is_quoted;
        Ok(())
    }

    fn push_open(&mut self, text: &str) -> Result<(), Unclear> {
        self.push(text, false)?;
        if let Some((word, _)) = &mut self.word {
            word.is_open = true;
        }
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), Unclear> {
        let Some((word, _)) = self.word.take() else {
            return Ok(());
        };
        if std::mem::take(&mut self.skips_word) {
            return Ok(());
        }
        self.words += 1;
        if self.words > MAX_WORDS {
            return Err(unclear("more words than can be looked at"));
        }
        self.command.push(word);
        Ok(())
    }

    fn end_command(&mut self) -> Result<(), Unclear> {
        self.end_word()?;
        self.skips_word = false;
        let command = std::mem::take(&mut self.command);
        let Some(first) = command.first() else {
            return Ok(());
        };
        match first.text.as_str() {
            "if" | "while" | "until" | "for" | "case" | "select" => self.conditions += 1,
            "fi" | "done" | "esac" => self.conditions = self.conditions.saturating_sub(1),
            _ => {}
        }
        self.assign(&command);
        self.commands.push(command);
        Ok(())
    }

    /// Takes note of a command that sets variables.
    fn assign(&mut self, command: &[Word]) {
        let is_export = |word: &Word| {
            matches!(
                word.text.as_str(),
                "export" | "local" | "readonly" | "declare" | "typeset"
            )
        };
        let words = match command.split_first() {
            Some((first, rest)) if is_export(first) => rest,
            _ => command,
        };
        if !words
            .iter()
            .all(|word| assignment(&word.text.replacen("+=", "=", 1)).is_some())
        {
            return;
        }
        for word in words {
            let Some((name, value)) = word.text.split_once('=') else {
                continue;
            };
            let (name, before) = match name.strip_suffix('+') {
                Some(name) => (name, self.variables.get(name)),
                None => (name, Variable::Value("")),
            };
            let value = match before {
                Variable::Value(before) if !word.is_open && self.conditions == 0 => {
                    Some(format!("{before}{value}"))
                }
                _ => None,
            };
            self.variables.set(name, value);
        }
    }

    fn redirection(&mut self, c: char) -> Result<(), Unclear> {
        if c == '<' && self.peek() == Some('<') {
            return Err(unclear("a document in its own text"));
        }
        let is_descriptor =
            |word: &Word, quoted: bool| !quoted && word.text.bytes().all(|b| b.is_ascii_digit());
        match self.word.take() {
            Some((word, quoted)) if is_descriptor(&word, quoted) => {}
            word => {
                self.word = word;
                self.end_word()?;
            }
        }
        while matches!(self.peek(), Some('>' | '<' | '&' | '|')) {
            self.next();
        }
        self.skips_word = true;
        Ok(())
    }

    fn double_quoted(&mut self) -> Result<(), Unclear> {
        self.push("", true)?;
        loop {
            match self.next() {
                None => return Err(unclear("a quote that nothing ends")),
                Some('"') => return Ok(()),
                Some('\\') => match self.next() {
                    Some('\n') | None => {}
                    Some(c @ ('$' | '"' | '\\' | '`')) => self.push(&c.to_string(), true)?,
                    Some(c) => self.push(&format!("\\{c}"), true)?,
                },
                Some(c @ ('$' | '`')) => self.expansion(c, true)?,
                Some(c) => self.push(c.encode_utf8(&mut [0; 4]), true)?,
            }
        }
    }

    /// What follows `$` or a backtick.
    fn expansion(&mut self, begin: char, is_quoted: bool) -> Result<(), Unclear> {
        if begin == '`' {
            let end = self
                .rest
                .find('`')
                .ok_or_else(|| unclear("a quote that nothing ends"))?;
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            return self.push_open("`...`");
        }
        match self.peek() {
            Some('(') => {
                self.skip_substitution()?;
                self.push_open("$(...)")
            }
            Some('{') => {
                let (inner, rest) = self
                    .rest
                    .get(1..)
                    .and_then(|rest| rest.split_once('}'))
                    .ok_or_else(|| unclear("a brace that nothing ends"))?;
                self.rest = rest;
                match is_name(inner) || matches!(inner, "@" | "*") {
                    true => self.variable(inner, is_quoted),
                    false => self.push_open(&format!("${{{inner}}}")),
                }
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let is_end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
                let end = self.rest.find(is_end).unwrap_or(self.rest.len());
                let (name, rest) = self.rest.split_at(end);
                self.rest = rest;
                self.variable(name, is_quoted)
            }
            Some(c @ ('0'..='9' | '@' | '*' | '?' | '$' | '!' | '#' | '-')) => {
                self.next();
                self.variable(c.encode_utf8(&mut [0; 4]), is_quoted)
            }
            _ => self.push("$", is_quoted),
        }
    }

    fn skip_substitution(&mut self) -> Result<(), Unclear> {
        let mut depth = 0_usize;
        while let Some(c) = self.next() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(unclear("a parenthesis that nothing ends"))
    }

    fn variable(&mut self, name: &str, is_quoted: bool) -> Result<(), Unclear> {
        if matches!(name, "@" | "*") {
            let arguments = self.arguments;
            for (index, argument) in arguments.iter().enumerate() {
                if index > 0 {
                    self.end_word()?;
                }
                match argument.is_open {
                    true => self.push_open(&argument.text)?,
                    false => self.push(&argument.text, true)?,
                }
            }
            return Ok(());
        }
        if let Ok(number) = name.parse::<usize>() {
            let argument = number.checked_sub(1).and_then(|at| self.arguments.get(at));
            return match argument.cloned() {
                Some(word) if !word.is_open => self.push(&word.text, true),
                _ => self.push_open(&format!("${name}")),
            };
        }
        let value = match self.variables.get(name) {
            Variable::Value(value) => value.to_owned(),
            Variable::Unknown | Variable::Unset => return self.push_open(&format!("${name}")),
        };
        if is_quoted {
            return self.push(&value, true);
        }
        let mut words = value.split_whitespace().peekable();
        if value.starts_with(char::is_whitespace) {
            self.end_word()?;
        }
        while let Some(word) = words.next() {
            self.push(word, false)?;
            if words.peek().is_some() || value.ends_with(char::is_whitespace) {
                self.end_word()?;
            }
        }
        Ok(())
    }
}
