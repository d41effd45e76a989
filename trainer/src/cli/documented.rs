//! Every command in the documents and in `--help` is one that the program takes.

use std::path::Path;

use clap::{Command, CommandFactory};

use super::Cli;
use super::family::{FamilyName, with_family};
use crate::run::{Config, ConfigError, Settings};

/// The `sparsecode` commands in the shell blocks of a document, or in the examples of a help text.
fn commands(text: &str, mut inside: bool) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = line.contains("```sh");
        }
        let line = line.trim();
        let continues = !open.is_empty();
        if !inside || !continues && !line.starts_with("sparsecode ") {
            continue;
        }
        open.push_str(line.trim_end_matches('\\'));
        if !line.ends_with('\\') {
            found.push(std::mem::take(&mut open));
        }
    }
    found
}

/// The words of a command line, without quotes, comment and redirection.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for symbol in line.chars() {
        match (quote, symbol) {
            (Some(open), _) if symbol == open => quote = None,
            (Some(_), _) => word.push(symbol),
            (None, '\'' | '"') => quote = Some(symbol),
            (None, ' ') if word.is_empty() => {}
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (None, '#') if word.is_empty() => break,
            (None, '>' | '|') => break,
            (None, _) => word.push(symbol),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

fn check(place: &str, line: &str) {
    let words = words(line);
    if let Err(error) = Cli::command().try_get_matches_from(&words) {
        panic!("{place}: {line}\n{error}");
    }
    // Its settings have keys that exist.
    let value = |flag: &str| {
        let at = words.iter().position(|word| word == flag)?;
        words.get(at + 1)
    };
    let Some(preset) = value("--preset") else {
        return;
    };
    let mut settings: Vec<String> = words
        .windows(2)
        .filter(|pair| pair[0] == "--set")
        .map(|pair| pair[1].clone())
        .collect();
    let is_on_own_data = value("--data").is_some();
    let family = FamilyName::of_preset(preset);
    let checked = with_family!(family, F => settled::<F>(preset, is_on_own_data, &mut settings));
    if let Err(error) = checked {
        panic!("{place}: {line}\n{error}");
    }
}

/// The preset of a family with these settings. On a person's own data it reads a recording or
/// pictures in place of generated ones.
fn settled<F: Settings>(
    preset: &str,
    is_on_own_data: bool,
    settings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let config = Config::<F>::preset(preset)?;
    if is_on_own_data && matches!(config.data.source(), "ecg" | "vibration") {
        settings.push("data.source=signal".to_owned());
    }
    config.with_overrides(None, settings).map(|_| ())
}

#[test]
fn commands_in_documents_are_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/results"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        pages.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let mut tried = 0;
    for page in pages {
        if page.extension().is_some_and(|extension| extension == "md") {
            let text = std::fs::read_to_string(&page).unwrap();
            for line in commands(&text, false) {
                check(&page.display().to_string(), &line);
                tried += 1;
            }
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn commands_in_help_are_taken() {
    fn check_all(command: &Command) -> usize {
        let help = command.get_after_help().map(ToString::to_string);
        let lines = commands(&help.unwrap_or_default(), true);
        lines
            .iter()
            .for_each(|line| check(command.get_name(), line));
        lines.len() + command.get_subcommands().map(check_all).sum::<usize>()
    }
    let tried = check_all(&Cli::command());
    assert!(tried > 20, "{tried}");
}

#[test]
fn a_line_is_split_as_a_shell_splits_it() {
    assert_eq!(
        words("sparsecode train --set 'data.path=[\"a b\"]' --out x  # why\n"),
        [
            "sparsecode",
            "train",
            "--set",
            "data.path=[\"a b\"]",
            "--out",
            "x"
        ]
    );
    let page = "sparsecode a\n```sh\nx\nsparsecode b \\\n  c\n```\nsparsecode d\n";
    assert_eq!(commands(page, false), ["sparsecode b c"]);
}
